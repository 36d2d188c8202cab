package xdp

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// labels are classes by name, as bindings have them: what class a label is in each generation of the policy
// is in class_labels.
type labels struct {
	// byName is read without the lock: it is replaced whole.
	byName atomic.Pointer[map[string]uint16]

	mu     sync.Mutex // what follows, and the writes that go with it
	byHash map[uint64]uint16
	is     []weirLabel // by label; 0 is the default class
	// classes are the classes of each generation, by the hash of their name.
	classes [generations]map[uint64]uint8
}

// readLabels reads those that there are.
func (p *Program) readLabels() error {
	l := &p.labels
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byName.Store(&map[string]uint16{"": 0})
	l.byHash, l.is = map[uint64]uint16{}, make([]weirLabel, 1, maxClasses)
	for id := uint32(1); p.adopted && id < maxLabels; id++ {
		var is weirLabel
		if err := p.objs.ClassLabels.Lookup(id, &is); err != nil {
			return fmt.Errorf("read the labels of classes: %w", err)
		}
		if is.Name == 0 {
			break
		}
		l.is = append(l.is, is)
		l.byHash[is.Name] = uint16(id) //nolint:gosec // below maxLabels
	}
	return nil
}

// label is that of a class. It waits for nobody unless the name is new.
func (p *Program) label(class string) (uint16, error) {
	if id, ok := (*p.labels.byName.Load())[class]; ok {
		return id, nil
	}
	p.labels.mu.Lock()
	defer p.labels.mu.Unlock()
	return p.addLabel(class)
}

// addLabel gives a class its label, the one it had before if it had one. labels.mu is held.
func (p *Program) addLabel(class string) (uint16, error) {
	l := &p.labels
	known := *l.byName.Load()
	if id, ok := known[class]; ok {
		return id, nil
	}
	hash := keyedHash(p.seed, class) | 1 // 0 says that a label is free
	id, ok := l.byHash[hash]
	if !ok {
		if len(l.is) == maxLabels {
			return 0, fmt.Errorf("bind to class %q: %w: %d names of classes were in use since the state was made: remove the pinned state", class, ErrFull, maxLabels)
		}
		id = uint16(len(l.is)) //nolint:gosec // below maxLabels
		is := weirLabel{Name: hash}
		for g, classes := range l.classes {
			is.ClassId[g] = classes[hash]
		}
		if err := p.objs.ClassLabels.Put(uint32(id), is); err != nil {
			return 0, fmt.Errorf("write the label of class %q: %w", class, err)
		}
		l.is, l.byHash[hash] = append(l.is, is), id
	}
	known = maps.Clone(known)
	known[class] = id
	l.byName.Store(&known)
	return id, nil
}

// labelClasses is which class each label is under the policy that holds.
func (p *Program) labelClasses() (classes [maxLabels]uint8) {
	p.labels.mu.Lock()
	defer p.labels.mu.Unlock()
	generation := p.policyWord().Generation % generations
	for id, l := range p.labels.is {
		classes[id] = l.ClassId[generation]
	}
	return classes
}

// writeLabels says which class each label is in a generation that does not hold. Labels of names that the
// policy does not have are the default class. p.mu is held.
func (p *Program) writeLabels(generation uint32, classes []Class) error {
	l := &p.labels
	l.mu.Lock()
	defer l.mu.Unlock()
	now := map[uint64]uint8{}
	for i, c := range classes {
		now[keyedHash(p.seed, c.Name)|1] = uint8(i) //nolint:gosec // below maxClasses
	}
	l.classes[generation] = now
	for id := range l.is[1:] {
		is := &l.is[id+1]
		is.ClassId[generation] = now[is.Name]
		if err := p.objs.ClassLabels.Update(uint32(id+1), is, ebpf.UpdateAny); err != nil { //nolint:gosec // below maxLabels
			return fmt.Errorf("write the labels of classes: %w", err)
		}
	}
	for _, c := range classes {
		if _, err := p.addLabel(c.Name); err != nil && !errors.Is(err, ErrFull) { // who binds to it is told
			return err
		}
	}
	return nil
}
