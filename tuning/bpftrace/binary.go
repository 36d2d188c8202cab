package bpftrace

import (
	"debug/elf"
	"debug/gosym"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// binary is what a Go program's executable says of its functions. Go keeps a table of them for its own
// stacks (.gopclntab) also where the symbols were stripped, as weir's releases are: bpftrace cannot read it.
type binary struct {
	table *gosym.Table
	// loads are the segments, which say where in the file an address is.
	loads []elf.ProgHeader
	// symbols are the names that bpftrace finds by itself; none in a stripped binary.
	symbols map[string]bool
	// fixed says that addresses in the process are those in the file.
	fixed bool
}

// openBinary reads the table of an executable's functions. The file is not kept open.
func openBinary(path string) (*binary, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the binary %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	var table []byte
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		if s := f.Section(name); s != nil {
			if table, err = s.Data(); err != nil {
				return nil, fmt.Errorf("read %s of %s: %w", name, path, err)
			}
		}
	}
	text := f.Section(".text")
	if table == nil || text == nil {
		return nil, fmt.Errorf("%w: %s is no Go program", ErrSymbols, path)
	}
	b := &binary{symbols: map[string]bool{}, fixed: f.Type == elf.ET_EXEC}
	if b.table, err = gosym.NewTable(nil, gosym.NewLineTable(table, text.Addr)); err != nil {
		return nil, fmt.Errorf("read the functions of %s: %w", path, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			b.loads = append(b.loads, p.ProgHeader)
		}
	}
	symbols, _ := f.Symbols() // a stripped binary has none, which is an error there
	for _, s := range symbols {
		b.symbols[s.Name] = true
	}
	return b, nil
}

// offset is where in the file a function begins, bytes.
func (b *binary) offset(function string) (uint64, error) {
	f := b.table.LookupFunc(function)
	if f == nil {
		return 0, fmt.Errorf("%w: it has no %s", ErrSymbols, function)
	}
	i := slices.IndexFunc(b.loads, func(p elf.ProgHeader) bool { return f.Entry >= p.Vaddr && f.Entry < p.Vaddr+p.Filesz })
	if i < 0 {
		return 0, fmt.Errorf("%w: %s is at %#x, which is not in the file", ErrSymbols, function, f.Entry)
	}
	return f.Entry - b.loads[i].Vaddr + b.loads[i].Off, nil
}

// isVariable reports whether an address is that of a variable of the binary's own.
func (b *binary) isVariable(address uint64) bool {
	return b.fixed && slices.ContainsFunc(b.loads, func(p elf.ProgHeader) bool {
		return p.Flags&elf.PF_W != 0 && address >= p.Vaddr && address < p.Vaddr+p.Memsz
	})
}

// frame is a line of a stack that bpftrace had no name for.
var frame = regexp.MustCompile(`^(\s+)0x([0-9a-f]+)$`)

// name puts a function's name in the place of an address that is a line of its own, as bpftrace writes those
// that it knows.
func (b *binary) name(line string) string {
	m := frame.FindStringSubmatch(line)
	if m == nil || !b.fixed {
		return line
	}
	address, err := strconv.ParseUint(m[2], 16, 64)
	if err != nil {
		return line
	}
	f := b.table.PCToFunc(address)
	if f == nil {
		return line
	}
	return fmt.Sprintf("%s%s+%d", m[1], f.Name, address-f.Entry)
}
