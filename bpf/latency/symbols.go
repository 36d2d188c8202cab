package latency

import (
	"bufio"
	"debug/elf"
	"debug/gosym"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Symbols names addresses of processes and of the kernel: of Go programs with file and line, also of
// stripped ones; of others as far as they have symbols. What it cannot name is the number itself. It
// reads a process's files when it first meets it. It is for one goroutine.
type Symbols struct {
	root      string // of procfs
	processes map[uint32][]mapping
	files     map[string]*symbolFile
	kernel    []symbol
}

// NewSymbols reads nothing yet.
func NewSymbols() *Symbols {
	return &Symbols{root: "/proc", processes: map[uint32][]mapping{}, files: map[string]*symbolFile{}}
}

// mapping is a file's code in a process.
type mapping struct {
	from, to, offset uint64
	path             string
}

type symbol struct {
	from uint64
	name string
}

// symbolFile is what an executable or a library says of itself.
type symbolFile struct {
	segments []elf.ProgHeader
	table    *gosym.Table // nil if it is not Go's
	symbols  []symbol     // by address
}

// User names an address of a process's code. inner says that it is not the innermost: then it is the
// address that the call returns to, which may be of the next line.
func (s *Symbols) User(pid uint32, address uint64, inner bool) string {
	maps, known := s.processes[pid]
	if !known {
		maps, _ = mappingsOf(filepath.Join(s.root, strconv.Itoa(int(pid)), "maps")) // gone: it has no names
		s.processes[pid] = maps
	}
	if inner {
		address--
	}
	for _, m := range maps {
		if address >= m.from && address < m.to {
			if name := s.file(pid, m.path).name(address - m.from + m.offset); name != "" {
				return name
			}
			return fmt.Sprintf("%s+%#x", filepath.Base(m.path), address-m.from+m.offset)
		}
	}
	return fmt.Sprintf("%#x", address)
}

// Kernel names an address of the kernel, if it tells its names.
func (s *Symbols) Kernel(address uint64) string {
	if s.kernel == nil {
		s.kernel = readKernel(filepath.Join(s.root, "kallsyms"))
	}
	if name := nameOf(s.kernel, address); name != "" {
		return name
	}
	return fmt.Sprintf("%#x", address)
}

func nameOf(all []symbol, address uint64) string {
	i := sort.Search(len(all), func(i int) bool { return all[i].from > address })
	if i == 0 {
		return ""
	}
	return all[i-1].name
}

func mappingsOf(path string) (all []mapping, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it is only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // from-to rights offset device inode path
		if len(fields) < 6 || !strings.Contains(fields[1], "x") || !strings.HasPrefix(fields[5], "/") {
			continue
		}
		low, high, _ := strings.Cut(fields[0], "-")
		from, err1 := strconv.ParseUint(low, 16, 64)
		to, err2 := strconv.ParseUint(high, 16, 64)
		offset, err3 := strconv.ParseUint(fields[2], 16, 64)
		if errors.Join(err1, err2, err3) == nil {
			all = append(all, mapping{from, to, offset, fields[5]})
		}
	}
	return all, lines.Err()
}

// readKernel is empty where all addresses are 0, as for those who may not know them.
func readKernel(path string) []symbol {
	all := []symbol{}
	f, err := os.Open(path)
	if err != nil {
		return all
	}
	defer f.Close() //nolint:errcheck // it is only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // address kind name
		if len(fields) < 3 || !strings.ContainsAny(fields[1], "tTwW") {
			continue
		}
		if at, err := strconv.ParseUint(fields[0], 16, 64); err == nil && at != 0 {
			all = append(all, symbol{at, fields[2]})
		}
	}
	slices.SortFunc(all, bySymbol)
	return all
}

func bySymbol(a, b symbol) int {
	switch {
	case a.from < b.from:
		return -1
	case a.from > b.from:
		return 1
	default:
		return strings.Compare(a.name, b.name)
	}
}

// file is what a file says, read once; of another root the process sees its own.
func (s *Symbols) file(pid uint32, path string) *symbolFile {
	at := filepath.Join(s.root, strconv.Itoa(int(pid)), "root", path)
	if s.files[at] == nil {
		f, err := openSymbols(at)
		if err != nil {
			f = &symbolFile{}
		}
		s.files[at] = f
	}
	return s.files[at]
}

func openSymbols(path string) (*symbolFile, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it is only read
	s := &symbolFile{}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			s.segments = append(s.segments, p.ProgHeader)
		}
	}
	if table, err := goTable(f); err == nil {
		s.table = table
		return s, nil
	}
	for _, read := range []func() ([]elf.Symbol, error){f.Symbols, f.DynamicSymbols} {
		all, _ := read() // a file may have none
		for _, one := range all {
			if elf.ST_TYPE(one.Info) == elf.STT_FUNC && one.Value != 0 {
				s.symbols = append(s.symbols, symbol{one.Value, one.Name})
			}
		}
	}
	slices.SortFunc(s.symbols, bySymbol)
	return s, nil
}

// goTable is the table by which Go's runtime names its own code.
func goTable(f *elf.File) (*gosym.Table, error) {
	section, text := f.Section(".gopclntab"), f.Section(".text")
	if section == nil {
		section = f.Section(".data.rel.ro.gopclntab")
	}
	if section == nil || text == nil {
		return nil, errors.New("it is not Go's")
	}
	data, err := io.ReadAll(section.Open())
	if err != nil {
		return nil, err
	}
	return gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
}

// name is that of the code at an offset of the file, empty if it has none.
func (f *symbolFile) name(offset uint64) string {
	for _, p := range f.segments {
		if offset < p.Off || offset >= p.Off+p.Filesz {
			continue
		}
		address := offset - p.Off + p.Vaddr
		if f.table == nil {
			return nameOf(f.symbols, address)
		}
		if file, line, fn := f.table.PCToLine(address); fn != nil {
			return fmt.Sprintf("%s %s:%d", fn.Name, filepath.Base(file), line)
		}
	}
	return ""
}
