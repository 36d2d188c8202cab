package broker

import (
	"strings"
	"sync"
)

// maxMatches bounds the topics whose matches a [Matcher] remembers; past it all are forgotten.
const maxMatches = 1 << 15

// Matcher finds those of many patterns that stand for a topic: a trie of their tokens, and the
// answers of late. The zero value is empty. Any goroutine.
type Matcher[V any] struct {
	mu   sync.Mutex
	root matchNode[V]
	n    int
	// generation changes with the patterns: an answer of an older one is found anew.
	generation uint64
	answers    map[Topic]matches[V]
	stats      MatchStats
}

// MatchStats count a Matcher's answers.
type MatchStats struct {
	// Hits are those that were remembered, Misses those that were looked for in the trie.
	Hits, Misses uint64
}

type matches[V any] struct {
	generation uint64
	values     []V
}

// matchNode is what follows some first tokens.
type matchNode[V any] struct {
	next map[string]*matchNode[V] // by the next token, wildcards included
	// value is that of the pattern that ends here, if one does.
	value *V
}

// Add has p stand for v; in place of what it stood for.
func (m *Matcher[V]) Add(p Pattern, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := &m.root
	for token := range strings.SplitSeq(string(p), ".") {
		if at.next == nil {
			at.next = make(map[string]*matchNode[V])
		}
		if at.next[token] == nil {
			at.next[token] = &matchNode[V]{}
		}
		at = at.next[token]
	}
	if at.value == nil {
		m.n++
	}
	at.value = &v
	m.generation++
}

// Remove forgets p.
func (m *Matcher[V]) Remove(p Pattern) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.root.remove(string(p)) {
		m.n--
		m.generation++
	}
}

func (n *matchNode[V]) remove(rest string) (removed bool) {
	token, rest, more := strings.Cut(rest, ".")
	child := n.next[token]
	switch {
	case child == nil:
		return false
	case more:
		removed = child.remove(rest)
	default:
		removed = child.value != nil
		child.value = nil
	}
	if child.value == nil && len(child.next) == 0 {
		delete(n.next, token)
	}
	return removed
}

// Match is what the patterns that stand for t stand for, in no order. Nobody may change it.
func (m *Matcher[V]) Match(t Topic) []V {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == 0 {
		return nil
	}
	if a, ok := m.answers[t]; ok && a.generation == m.generation {
		m.stats.Hits++
		return a.values
	}
	m.stats.Misses++
	if m.answers == nil {
		m.answers = make(map[Topic]matches[V])
	}
	if len(m.answers) >= maxMatches {
		clear(m.answers)
	}
	values := m.root.match(nil, string(t))
	m.answers[Topic(strings.Clone(string(t)))] = matches[V]{m.generation, values}
	return values
}

func (n *matchNode[V]) match(found []V, rest string) []V {
	if c := n.next[">"]; c != nil {
		found = append(found, *c.value) // nothing comes after it
	}
	token, rest, more := strings.Cut(rest, ".")
	for _, c := range [...]*matchNode[V]{n.next[token], n.next["*"]} {
		switch {
		case c == nil:
		case more:
			found = c.match(found, rest)
		case c.value != nil:
			found = append(found, *c.value)
		}
	}
	return found
}

// Len is the number of patterns.
func (m *Matcher[V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

// Stats are the counts since the start.
func (m *Matcher[V]) Stats() MatchStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}
