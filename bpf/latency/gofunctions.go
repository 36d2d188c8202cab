package latency

import (
	"debug/elf"
	"debug/gosym"
	"fmt"
	"os"
)

// goHooks are the functions of Go's runtime that programs are at the entry of. Each runs a few times in a collection.
func goHooks() map[string]string {
	return map[string]string{
		"stop_the_world":   "runtime.stopTheWorldWithSema",
		"start_the_world":  "runtime.startTheWorldWithSema",
		"start_cycle":      "runtime.(*gcControllerState).startCycle",
		"mark_termination": "runtime.gcMarkTermination",
	}
}

// goFunctions says where in executables functions of Go's are, by the table that Go's runtime names its own code by: a stripped binary
// has it too. A file is read once.
type goFunctions struct {
	files []goFile
}

type goFile struct {
	info    os.FileInfo
	at      map[string]uint64 // of goHooks, by function
	missing error             // what is missing; nil if they are all there
}

// offset is where in a file a function of [goHooks] begins, bytes. Errors wrap ErrNotGo, or are those of reading it.
func (g *goFunctions) offset(path, function string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	var known *goFile
	for i := range g.files {
		if os.SameFile(g.files[i].info, info) {
			known = &g.files[i]
		}
	}
	if known == nil {
		g.files = append(g.files, goFile{info: info})
		known = &g.files[len(g.files)-1]
		known.at, known.missing = readGoHooks(path)
	}
	if at, ok := known.at[function]; ok {
		return at, nil
	}
	return 0, known.missing
}

// readGoHooks finds the functions of goHooks; the error says which is missing, if one is.
func readGoHooks(path string) (map[string]uint64, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrNotGo, err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	table, err := goTable(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: it has no table of functions", path, ErrNotGo)
	}
	at, missing := map[string]uint64{}, error(nil)
	for _, function := range goHooks() {
		fn := table.LookupFunc(function)
		if offset, ok := fileOffset(f, fn); ok {
			at[function] = offset
		} else {
			missing = fmt.Errorf("%s: %w of a release that is known: it has no function %s", path, ErrNotGo, function)
		}
	}
	return at, missing
}

// fileOffset is where a function's code is in the file.
func fileOffset(f *elf.File, fn *gosym.Func) (uint64, bool) {
	if fn == nil {
		return 0, false
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && fn.Entry >= p.Vaddr && fn.Entry < p.Vaddr+p.Filesz {
			return fn.Entry - p.Vaddr + p.Off, true
		}
	}
	return 0, false
}
