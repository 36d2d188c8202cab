package tidy

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`((?: \"[^\"]+\")*)")
	rowName  = regexp.MustCompile(`"([^"]+)"`)
)

// proofs are the tests that a page's tables name in their last column, each with the rows that it names of
// that test. Lines are those without any.
func proofs(page string) (named map[string][]string, without []string) {
	named = map[string][]string{}
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasSuffix(line, "| test |") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		found := testName.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(found) == 0 {
			without = append(without, line)
		}
		for _, f := range found {
			named[f[1]] = append(named[f[1]], "")
			for _, row := range rowName.FindAllStringSubmatch(f[2], -1) {
				named[f[1]] = append(named[f[1]], row[1])
			}
		}
	}
	return named, without
}

// missing are those of a page's proofs that the tests, by file, do not have.
func missing(page string, tests map[string]string) (all []string) {
	named, without := proofs(page)
	for _, line := range without {
		all = append(all, "no test in "+line)
	}
	for test, rows := range named {
		var text string
		for name, t := range tests {
			if strings.HasSuffix(name, "_test.go") && strings.Contains(t, "\nfunc "+test+"(") {
				text = packageTests(name, tests)
			}
		}
		if text == "" {
			all = append(all, "no "+test)
			continue
		}
		for _, row := range rows {
			if row != "" && !strings.Contains(text, strconv.Quote(row)) {
				all = append(all, test+" has no row "+strconv.Quote(row))
			}
		}
	}
	return all
}

// packageTests are the tests of a file's package: a table may stand in another file.
func packageTests(file string, all map[string]string) (text string) {
	for name, t := range all {
		if filepath.Dir(name) == filepath.Dir(file) && strings.HasSuffix(name, "_test.go") {
			text += t
		}
	}
	return text
}

func TestConformanceNamesTestsThatAreThere(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/CONFORMANCE.md"))
	if err != nil {
		t.Fatal(err)
	}
	if named, _ := proofs(string(page)); len(named) < 40 {
		t.Fatalf("only %d tests are named", len(named))
	}
	for _, m := range missing(string(page), files(t)) {
		t.Error(m)
	}
}

func TestMissingProofsAreFound(t *testing.T) {
	tests := map[string]string{"a/a_test.go": "\nfunc TestA(t", "a/b_test.go": `{"a row"}`, "b/b_test.go": `{"elsewhere"}`}
	for page, want := range map[string]string{
		"| x | `TestA` \"a row\" |":     "",
		"| x | `TestA` \"elsewhere\" |": `TestA has no row "elsewhere"`,
		"| x | `TestB` |":               "no TestB",
		"| x | proved |":                "no test in | x | proved |",
	} {
		if got := strings.Join(missing(page, tests), "; "); got != want {
			t.Errorf("%q: %q, want %q", page, got, want)
		}
	}
}
