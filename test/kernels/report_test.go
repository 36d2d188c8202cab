package kernels

import (
	"encoding/json"
	"maps"
	"os/exec"
	"strings"
	"testing"
)

// report is what a guest says.
type report struct {
	packages map[string]result // by directory
	err      string            // init's own
	done     bool              // it came to its end
}

// result is that of a package.
type result struct {
	status string            // of the binary; empty if it did not end
	ended  map[string]string // a test's last action: run, pass, fail or skip
	partly map[string]bool   // a test with a subtest that skips
	output map[string]string // of a test and its subtests; under "" that of the package
}

// problem is what is wrong with a test, "" if it passed.
func (r result) problem(name string) string {
	switch action := r.ended[name]; action {
	case "pass":
		if r.partly[name] {
			return "a part of it skips"
		}
		return ""
	case "fail":
		return "it fails"
	case "skip":
		return "it skips"
	case "":
		return "it did not run"
	default:
		return "it did not end"
	}
}

// after adds what the package did earlier, by other tests of it.
func (r result) after(earlier result) result {
	if earlier.ended == nil {
		return r
	}
	if r.status == "0" {
		r.status = earlier.status
	}
	maps.Copy(r.ended, earlier.ended)
	maps.Copy(r.partly, earlier.partly)
	for name, text := range earlier.output {
		r.output[name] = tail(text + r.output[name])
	}
	return r
}

// mark begins the lines of test/kernels/init.
const mark = "=== weir: "

// parse reads a guest's report, which may end anywhere.
func parse(text string) report {
	g := report{packages: map[string]result{}}
	var dir string
	var printed strings.Builder
	end := func(status string) {
		if dir != "" {
			g.packages[dir] = parsePackage(printed.String(), status).after(g.packages[dir])
		}
		dir = ""
		printed.Reset()
	}
	for line := range strings.Lines(text) {
		said, marked := strings.CutPrefix(strings.TrimSuffix(line, "\n"), mark)
		if !marked {
			printed.WriteString(line)
			continue
		}
		switch what, rest, _ := strings.Cut(said, " "); what {
		case "begin":
			end("")
			dir = strings.TrimPrefix(rest, "/weir/")
		case "end":
			_, status, _ := strings.Cut(rest, " ")
			end(status)
		case "error":
			g.err = rest
		case "done":
			g.done = true
		}
	}
	end("")
	return g
}

// parsePackage reads what a binary with -test.v=test2json printed.
func parsePackage(printed, status string) result {
	r := result{status, map[string]string{}, map[string]bool{}, map[string]string{}}
	cmd := exec.Command("go", "tool", "test2json")
	cmd.Stdin = strings.NewReader(printed)
	events, err := cmd.Output()
	if err != nil {
		r.output[""] = "go tool test2json: " + err.Error()
	}
	for d := json.NewDecoder(strings.NewReader(string(events))); ; {
		var e struct{ Action, Test, Output string }
		if d.Decode(&e) != nil {
			break
		}
		name, _, sub := strings.Cut(e.Test, "/")
		switch e.Action {
		case "output":
			r.output[name] = tail(r.output[name] + e.Output)
		case "run", "pass", "fail", "skip":
			if !sub {
				r.ended[name] = e.Action
			} else if e.Action == "skip" {
				r.partly[name] = true
			}
		}
	}
	return r
}

// tail is the end of a text that may be long.
func tail(s string) string {
	const most = 8 << 10
	if len(s) <= most {
		return s
	}
	return "...\n" + s[len(s)-most:]
}

// TestReportHidesNothing has reports of guests that went wrong, in the order of what went well.
func TestReportHidesNothing(t *testing.T) {
	const (
		begin = "\n" + mark + "begin /weir/a\n"
		runA  = "\x16=== RUN   TestBPFA\n"
		passA = "\x16--- PASS: TestBPFA (0.00s)\n"
		end   = "\n" + mark + "end /weir/a "
		done  = "\n" + mark + "done\n"
	)
	for name, tt := range map[string]struct {
		report, problem, status string
		done                    bool
	}{
		"nothing":                       {"", "it did not run", "", false},
		"a package that did not begin":  {done, "it did not run", "", true},
		"a guest that died in a test":   {begin + runA + "x", "it did not end", "", false},
		"a binary that died in a test":  {begin + runA + end + "2" + done, "it did not end", "2", true},
		"a test that did not run":       {begin + "\x16PASS\n" + end + "0" + done, "it did not run", "0", true},
		"a test that fails":             {begin + runA + "\x16--- FAIL: TestBPFA (0.00s)\n\x16FAIL\n" + end + "1" + done, "it fails", "1", true},
		"a test that skips":             {begin + runA + "\x16--- SKIP: TestBPFA (0.00s)\n\x16PASS\n" + end + "0" + done, "it skips", "0", true},
		"a subtest that skips":          {begin + runA + "\x16=== RUN   TestBPFA/b\n" + passA + "    \x16--- SKIP: TestBPFA/b (0.00s)\n\x16PASS\n" + end + "0" + done, "a part of it skips", "0", true},
		"a package that fails after it": {begin + runA + passA + "\x16PASS\nleft open\n" + end + "1" + done, "", "1", true},
		"a guest that died after it":    {begin + runA + passA + "\x16PASS\n" + end + "0", "", "0", false},
		"all well":                      {begin + runA + passA + "\x16PASS\n" + end + "0" + done, "", "0", true},
	} {
		g := parse(tt.report)
		r := g.packages["a"]
		if problem := r.problem("TestBPFA"); problem != tt.problem || r.status != tt.status || g.done != tt.done {
			t.Errorf("%s: %q, status %q, done %v: want %q, %q, %v", name, problem, r.status, g.done, tt.problem, tt.status, tt.done)
		}
	}
	twice := parse(begin + runA + passA + "\x16FAIL\n" + end + "1" + begin + strings.ReplaceAll(runA+passA, "TestBPFA", "TestBPFB") + "\x16PASS\n" + end + "0" + done)
	if r := twice.packages["a"]; r.problem("TestBPFA") != "" || r.problem("TestBPFB") != "" || r.status != "1" {
		t.Errorf("run twice it is %+v", r)
	}
	if g := parse("\n" + mark + "error no veth\n"); g.err != "no veth" {
		t.Errorf("init's error is %q", g.err)
	}
}
