package kernels

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// unitsPackage has the tests of the Debian package where systemd runs it: the kernel's verifier takes half a minute each time that weir starts.
const (
	unitsPackage  = "test/units"
	unitsPatience = 30 * time.Minute
)

// vector are modules that udev loads for the guest's CPU, and that need registers which it has not (see cpu): aesni_intel ends in an oops.
const vector = "aesni_intel,ghash_clmulni_intel,crc32_pclmul,crct10dif_pclmul,polyval_clmulni,sha1_ssse3,sha256_ssse3,sha512_ssse3"

// vmTest finds its tests.
var vmTest = regexp.MustCompile(`(?m)^func (TestVM\w*)\(`)

// TestVM boots a whole Debian, made of its packages by tools/vm.sh and kept in .cache/vm, provisioned as any machine of ours, and
// runs the tests of weir's Debian package and of the host's tuning in it; it boots again, what is to hold over that is tested, and
// then all that TestKernels runs. `make vm` runs it.
func TestVM(t *testing.T) {
	for _, tool := range []string{"qemu-system-x86_64", "mmdebstrap", "mke2fs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("no %s: run make deps", tool)
		}
	}
	dir, err := filepath.Abs(filepath.Join(root, ".cache/vm"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(root+"/tools/vm.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("make a Debian: %v\n%s", err, out)
	}
	packages := inPhases(buildUnits(t), ofWhole(t, build(t)))
	g := guest{dir: dir, root: " root=/dev/vda rw module_blacklist=" + vector, disks: []string{"root.ext4", "weir.ext4"}}
	if err := writeDisk(t, g.path("weir.ext4"), packages); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	again := g.boot(t)
	judge(t, g, packages, g.version(t), fmt.Sprintf("%v%s", time.Since(start).Round(time.Second), again))
}

// ofWhole are the packages without the tests that are not for a whole guest.
func ofWhole(t *testing.T, packages []pkg) []pkg {
	t.Helper()
	left := 0
	for i := range packages {
		p := &packages[i]
		p.tests = slices.DeleteFunc(p.tests, func(name string) bool {
			isLeft := leftOutOfWhole()[p.Dir+"."+name] != ""
			if isLeft {
				p.leftOut = append(p.leftOut, name)
				left++
			}
			return isLeft
		})
	}
	if left != len(leftOutOfWhole()) {
		t.Errorf("%d of the %d tests left out are there", left, len(leftOutOfWhole()))
	}
	return packages
}

// version is the first two numbers of the guest's kernel.
func (g guest) version(t *testing.T) string {
	t.Helper()
	numbers := strings.SplitN(g.read(t, "release"), ".", 3)
	return strings.Join(numbers[:min(2, len(numbers))], ".")
}

// Tests of the units that run around the boot, after their others.
const (
	beforeBoot = "TestVMBeforeBoot"
	afterBoot  = "TestVMAfterBoot"
)

// inPhases is the order in which packages run: what a test leaves behind for after the boot comes last before it, and the tiers,
// which need nothing of weir installed, when that has been purged.
func inPhases(units pkg, tiers []pkg) []pkg {
	var phases [3]pkg // first, before the boot, after it
	for i, pattern := range []string{"^TestVM", "^" + beforeBoot, "^" + afterBoot} {
		phases[i] = pkg{Dir: units.Dir, binary: units.binary, pattern: pattern, patience: unitsPatience}
	}
	phases[0].leftOut = []string{beforeBoot + ".*", afterBoot + ".*"}
	phases[2].rebooted = true
	for _, name := range units.tests {
		i := 0
		switch {
		case strings.HasPrefix(name, beforeBoot):
			i = 1
		case strings.HasPrefix(name, afterBoot):
			i = 2
		}
		phases[i].tests = append(phases[i].tests, name)
	}
	return append(phases[:], tiers...)
}

// buildUnits is the package of the units' tests, with its binary.
func buildUnits(t *testing.T) pkg {
	t.Helper()
	p := pkg{Dir: unitsPackage, binary: filepath.Join(t.TempDir(), "units"), pattern: "^TestVM"}
	files, err := filepath.Glob(filepath.Join(root, unitsPackage, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range vmTest.FindAllSubmatch(b, -1) {
			p.tests = append(p.tests, string(m[1]))
		}
	}
	if len(p.tests) == 0 {
		t.Fatalf("no tests in %s", unitsPackage)
	}
	goTool(t, slices.Concat([]string{"test", "-c"}, buildFlags(p.binary), []string{"./" + p.Dir})...)
	return p
}

// writeDisk writes the file system that is at /weir in the guest.
func writeDisk(t *testing.T, path string, packages []pkg) error {
	t.Helper()
	at := directoryTree(t.TempDir())
	deb, err := exec.Command(root+"/tools/deb.sh", t.TempDir()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("tools/deb.sh: %w\n%s", err, deb)
	}
	err = errors.Join(
		addTests(at, packages),
		at.addFile("init", 0o755, filepath.Join(filepath.Dir(packages[len(packages)-1].binary), "init")),
		at.addFile("weir.deb", 0o644, strings.TrimSpace(string(deb))),
		at.addFile("tools/provision.sh", 0o755, root+"/tools/provision.sh"),
		at.addFile("run", 0o755, root+"/tools/vm-guest.sh"),
	)
	if err != nil {
		return err
	}
	// What was below weir for an initrd is the disk's own.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-d", string(at), path, "2G").CombinedOutput()
	if err != nil {
		return fmt.Errorf("mke2fs: %w\n%s", err, out)
	}
	return nil
}

// directoryTree is a tree in a directory, in which what is below weir elsewhere is at the top.
type directoryTree string

func (d directoryTree) path(name string) string {
	return filepath.Join(string(d), strings.TrimPrefix(name, "weir/"))
}

func (d directoryTree) addFile(name string, mode uint32, from string) error {
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(d.path(name)), 0o755)
	}
	if err == nil {
		err = os.WriteFile(d.path(name), b, os.FileMode(mode))
	}
	return err
}

func (d directoryTree) addTree(from, to string) error { return addFiles(d, from, to) }

func (d directoryTree) addText(name, text string) error {
	return os.WriteFile(d.path(name), []byte(text), 0o600)
}
