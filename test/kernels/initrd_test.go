package kernels

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// pkg is a package with tests to run in a guest.
type pkg struct {
	Dir                       string // below the module's root
	TestGoFiles, XTestGoFiles []string

	tests   []string
	leftOut []string
	binary  string
	pattern string // of its tests; empty: runPattern

	rebooted bool          // the guest boots again before them
	patience time.Duration // with the binary; 0: binaryPatience
}

func (p *pkg) add(test string) {
	if leftOut()[p.Dir+"."+test] == "" {
		p.tests = append(p.tests, test)
	} else {
		p.leftOut = append(p.leftOut, test)
	}
}

// guestTest finds what runs in a guest: the tests of the tiers test-bpf and test-netns.
var guestTest = regexp.MustCompile(`(?m)^func (Test(?:BPF|Netns)\w*)\(`)

// runPattern is guestTest for a test's binary.
const runPattern = "^Test(BPF|Netns)"

// goTool runs the go tool for a guest, at the module's root.
func goTool(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return b
}

// buildFlags have the same sources give the same bytes.
func buildFlags(out string) []string {
	return []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out}
}

// build makes static binaries of all packages with tests for a guest, and of its init.
func build(t *testing.T) (packages []pkg) {
	t.Helper()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	left := 0
	listed := goTool(t, "list", "-json=Dir,TestGoFiles,XTestGoFiles", "./...")
	for d := json.NewDecoder(bytes.NewReader(listed)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		dir := p.Dir
		if p.Dir, err = filepath.Rel(top, dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range guestTest.FindAllSubmatch(b, -1) {
				p.add(string(m[1]))
			}
		}
		left += len(p.leftOut)
		if len(p.tests) > 0 && p.Dir != "internal/tidy" { // which needs the sources and a compiler
			p.binary = filepath.Join(out, strings.ReplaceAll(p.Dir, "/", "-"))
			goTool(t, slices.Concat([]string{"test", "-c"}, buildFlags(p.binary), []string{"./" + p.Dir})...)
			packages = append(packages, p)
		}
	}
	if left != len(leftOut()) {
		t.Errorf("%d of the %d tests left out are there", left, len(leftOut()))
	}
	if len(packages) < 3 {
		t.Fatalf("only %d packages have tests for a guest", len(packages))
	}
	goTool(t, slices.Concat([]string{"build"}, buildFlags(filepath.Join(out, "init")), []string{"./test/kernels/init"})...)
	return packages
}

// wanted are the modules to load beside those that they need.
func wanted() []string {
	return []string{
		"veth",     // the cables of netlab
		"tun",      // packets that no driver would send
		"tcp_diag", // sockets by netlink

		// Kernel TLS, and the ciphers that nobody loads there on demand.
		"tls", "gcm", "ctr", "ghash_generic", "chacha20poly1305", "chacha_generic", "poly1305_generic",
	}
}

// writeInitrd writes the file system of a guest: a cpio archive of the form "newc"
// (Documentation/driver-api/early-userspace/buffer-format.rst in Linux).
func writeInitrd(path, modules string, packages []pkg) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // closed below; again does nothing
	a := &archive{to: bufio.NewWriter(f), have: map[string]bool{".": true}}
	a.add("dev/console", character|0o600, [2]uint32{5, 1}, nil)
	if err := a.addFile("init", 0o755, filepath.Join(filepath.Dir(packages[0].binary), "init")); err != nil {
		return err
	}
	order, err := loadOrder(modules, wanted())
	if err != nil {
		return err
	}
	for i, module := range order {
		if err := a.addFile(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(module)), 0o644, module); err != nil {
			return err
		}
	}
	if err := addTests(a, packages); err != nil {
		return err
	}
	a.add("TRAILER!!!", 0, [2]uint32{}, nil)
	return errors.Join(a.err, a.to.Flush(), f.Close())
}

// tree is where the files of a guest go.
type tree interface {
	addFile(name string, mode uint32, from string) error
	// addTree adds the files below a directory, if it is there.
	addTree(from, to string) error
	addText(name, text string) error
}

// addTests adds what the tests of packages need, below weir, and the list of their binaries.
func addTests(a tree, packages []pkg) error {
	var list strings.Builder
	for _, p := range packages {
		if p.rebooted {
			list.WriteString("reboot\n")
		}
		pattern, patience := runPattern, binaryPatience
		if p.patience != 0 {
			patience = p.patience
		}
		if p.pattern != "" {
			pattern = p.pattern
		}
		fmt.Fprintf(&list, "/weir/%s -test.run=%s -test.v=test2json -test.timeout=%v", p.Dir, pattern, patience)
		if len(p.leftOut) > 0 {
			fmt.Fprintf(&list, " -test.skip=^(%s)$", strings.Join(p.leftOut, "|"))
		}
		list.WriteString("\n")
		if err := a.addFile("weir/"+p.Dir+"/tests", 0o755, p.binary); err != nil {
			return err
		}
		// Tests read the testdata of their package and of those above it.
		for dir := p.Dir; ; dir = filepath.Dir(dir) {
			if err := a.addTree(filepath.Join(root, dir, "testdata"), filepath.Join("weir", dir, "testdata")); err != nil {
				return err
			}
			if dir == "." {
				break
			}
		}
	}
	return a.addText("packages", list.String())
}

// Kinds of files in a mode, as in include/uapi/linux/stat.h.
const (
	regular   = 0o100000
	directory = 0o040000
	character = 0o020000
)

// archive writes a cpio archive. What it has it does not add again.
type archive struct {
	to   *bufio.Writer
	have map[string]bool
	err  error
}

func (a *archive) add(name string, mode uint32, device [2]uint32, data []byte) {
	if a.have[name] {
		return
	}
	a.have[name] = true
	if dir := filepath.Dir(name); !a.have[dir] {
		a.add(dir, directory|0o755, [2]uint32{}, nil)
	}
	// Magic, inode, mode, uid, gid, links, time, size, device, the device it is, name's size, sum.
	a.printf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		len(a.have), mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(name)+1, 0, name)
	a.printf("%s", data)
}

// printf writes and pads to the next multiple of four.
func (a *archive) printf(format string, args ...any) {
	n, err := fmt.Fprintf(a.to, format, args...)
	a.err = errors.Join(a.err, err)
	pad := -n & 3
	_, err = a.to.Write(make([]byte, pad))
	a.err = errors.Join(a.err, err)
}

func (a *archive) addFile(name string, mode uint32, from string) error {
	b, err := os.ReadFile(from)
	if err == nil {
		a.add(name, regular|mode, [2]uint32{}, b)
	}
	return err
}

func (a *archive) addText(name, text string) error {
	a.add(name, regular|0o644, [2]uint32{}, []byte(text))
	return nil
}

func (a *archive) addTree(from, to string) error { return addFiles(a, from, to) }

// addFiles is a tree's addTree, by its addFile.
func addFiles(a tree, from, to string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return a.addFile(filepath.Join(to, strings.TrimPrefix(path, from)), 0o644, path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// loadOrder are the files of the modules and of those that they need, in the order to load them.
// Modules built into the kernel have none.
func loadOrder(dir string, names []string) (paths []string, err error) {
	name := func(path string) string {
		return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
	}
	files := map[string]string{}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".ko") {
			files[name(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	done := map[string]bool{}
	for line := range strings.FieldsSeq(string(b)) {
		done[name(line)] = true
	}
	var add func(names []string) error
	add = func(names []string) error {
		for _, n := range names {
			if done[n] || n == "" {
				continue
			}
			done[n] = true
			if files[n] == "" {
				return fmt.Errorf("no module %s below %s: take it out of those wanted", n, dir)
			}
			needs, err := dependencies(files[n])
			if err == nil {
				err = add(needs)
			}
			if err != nil {
				return err
			}
			paths = append(paths, files[n])
		}
		return nil
	}
	return paths, add(names)
}

// dependencies are the modules that a module says it needs.
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	info, err := f.Section(".modinfo").Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", path, err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, found := strings.CutPrefix(field, "depends="); found {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
