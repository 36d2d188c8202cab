package tidy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// files are those in git, or to be added to it.
func files(t *testing.T) map[string]string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list files: %v", err)
	}
	all := map[string]string{}
	for name := range strings.FieldsSeq(string(out)) {
		b, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted, not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files", len(all))
	}
	return all
}

// rule finds what is wrong with a file, "" if nothing is.
type rule struct {
	name string
	find func(name, text string) string
}

var (
	machinePath = regexp.MustCompile(`(^|[\s"'=(])/(work|root|home)/`)
	undone      = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	bareVerdict = regexp.MustCompile(`return XDP_`)
	goSleep     = regexp.MustCompile(`time\.Sleep\(`)
)

func rules() []rule {
	isCode := func(name string) bool {
		return (strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".c") || strings.HasSuffix(name, ".h")) && !strings.HasSuffix(name, "_bpfel.go")
	}
	isC := func(name string) bool { return strings.HasSuffix(name, ".c") || strings.HasSuffix(name, ".h") }
	isText := func(name string) bool { return !strings.HasSuffix(name, ".o") && !strings.HasSuffix(name, ".sum") }
	matches := func(applies func(string) bool, re *regexp.Regexp) func(name, text string) string {
		return func(name, text string) string {
			if !applies(name) || strings.HasPrefix(name, "internal/tidy/") {
				return ""
			}
			return strings.TrimSpace(re.FindString(text))
		}
	}
	return []rule{
		{"at most 500 lines", func(name, text string) string {
			if isCode(name) && strings.Count(text, "\n") > 500 {
				return "longer"
			}
			return ""
		}},
		{"no path of somebody's machine", matches(isText, machinePath)},
		{"nothing left undone", matches(isText, undone)},
		{"verdicts are given by verdict() alone", matches(func(name string) bool {
			return isC(name) && !strings.HasPrefix(name, "bpf/bpftest/") && !strings.HasPrefix(name, "bpf/flood/") && !strings.HasPrefix(name, "bpf/baseline/")
		}, bareVerdict)},
		{"no test sleeps", matches(func(name string) bool {
			return strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(name, "_sync_test.go")
		}, goSleep)},
		{"C says its license, and is hidden from Go", func(name, text string) string {
			if isC(name) && !strings.Contains(text, "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause") {
				return "no SPDX line"
			}
			if strings.HasSuffix(name, ".c") && !strings.HasPrefix(text, "//go:build ignore\n") {
				return "does not begin with //go:build ignore"
			}
			return ""
		}},
	}
}

func TestTreeIsTidy(t *testing.T) {
	for name, text := range files(t) {
		for _, r := range rules() {
			if found := r.find(name, text); found != "" {
				t.Errorf("%s: %s: %s", name, r.name, found)
			}
		}
	}
}

func TestEachRuleFindsWhatItIsFor(t *testing.T) {
	bad := map[string]string{
		"at most 500 lines":                         strings.Repeat("x\n", 501),
		"no path of somebody's machine":             "see " + "/root" + "/x",
		"nothing left undone":                       "// TO" + "DO",
		"verdicts are given by verdict() alone":     "return XDP" + "_DROP;",
		"no test sleeps":                            "time.Sleep" + "(1)",
		"C says its license, and is hidden from Go": "int x;",
	}
	for _, r := range rules() {
		found := ""
		for _, name := range []string{"x.c", "x_test.go"} {
			found += r.find(name, bad[r.name])
		}
		if found == "" {
			t.Errorf("%s finds nothing", r.name)
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	cmd := exec.Command("go", "list", "-f", "{{.ImportPath}}\t{{.Doc}}", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if pkg, doc, _ := strings.Cut(strings.TrimSpace(line), "\t"); doc == "" {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

// TestBPFObjectsAreThoseOfTheSources compiles the programs in a copy of the tree elsewhere: the
// bytes may depend on the sources and the compiler alone.
func TestBPFObjectsAreThoseOfTheSources(t *testing.T) {
	if _, err := exec.LookPath("clang-14"); err != nil {
		if os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatal("no clang-14: run make deps")
		}
		t.Skip("no clang-14: run make deps")
	}
	dir := t.TempDir()
	for name, text := range files(t) {
		if !strings.HasPrefix(name, "bpf/") && name != "go.mod" && name != "go.sum" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "generate", "./bpf/...")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go generate: %v\n%s", err, out)
	}
	for name, text := range files(t) {
		if !strings.HasSuffix(name, ".o") && !strings.HasSuffix(name, "_bpfel.go") {
			continue
		}
		made, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(made, []byte(text)) {
			t.Errorf("%s is not what its source compiles to: run make generate (%v)", name, err)
		}
	}
}
