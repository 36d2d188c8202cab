package bpftrace

import (
	"errors"
	"strings"
	"testing"
)

func TestLinesAreTranslatedWhereverTheyAreCut(t *testing.T) {
	text := "Attaching 3 probes...\n\nbegun\n@a: 1\n\n\n\nrest"
	for cut := range len(text) {
		var out strings.Builder
		l := &lines{out: &out, translate: strings.ToUpper, begun: make(chan struct{})}
		for _, part := range []string{text[:cut], text[cut:]} {
			if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := l.finish(); err != nil || out.String() != "BEGUN\n@A: 1\n\nREST" {
			t.Fatalf("cut at %d: %q %v", cut, &out, err)
		}
		<-l.begun
	}
}

func TestNothingHasBegunBeforeTheScriptPrints(t *testing.T) {
	l := &lines{out: &strings.Builder{}, translate: strings.ToUpper, begun: make(chan struct{})}
	_, _ = l.Write([]byte("Attaching 3 probes...\n\nbeg"))
	select {
	case <-l.begun:
		t.Error("begun")
	default:
	}
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestErrorOfTheWriterIsReturnedAtTheEnd(t *testing.T) {
	l := &lines{out: broken{}, translate: strings.ToUpper, begun: make(chan struct{})}
	if n, err := l.Write([]byte("begun\n")); n != 6 || err != nil {
		t.Error(n, err)
	}
	if err := l.finish(); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

func TestComplaintsOfBpftraceAreExplained(t *testing.T) {
	for said, want := range map[string]error{
		"ERROR: bpftrace currently only supports running as the root user.\n":                                               ErrNotPermitted,
		"ERROR: tracepoint not found: skb:kfree_skb\n":                                                                      ErrKernel,
		"/dev/stdin:1:1-20: ERROR: Struct/union of type 'struct x' does not contain a field named 'reason'\n":               ErrKernel,
		"Kernel lockdown is enabled and set to 'confidentiality'. Lockdown mode blocks\nparts of BPF\n":                     ErrKernel,
		"ERROR: Could not resolve symbol: /bin/x:runtime.stopTheWorldWithSema\n":                                            ErrSymbols,
		"/dev/stdin:3:1-2: ERROR: syntax error, unexpected end of file\n":                                                   ErrScript,
		"WARNING: x\nERROR: Error attaching probe: tracepoint:a:b\n":                                                        ErrKernel,
		"ERROR: couldn't set RLIMIT_MEMLOCK for bpftrace. x\nERROR: Error loading program: tracepoint:sched:sched_switch\n": ErrKernel,
	} {
		err := diagnose(said)
		if !errors.Is(err, want) {
			t.Errorf("%q: %v", said, err)
		}
		if strings.Contains(err.Error(), "RLIMIT") {
			t.Errorf("%q: what does not matter is told: %v", said, err)
		}
	}
	if err := diagnose("Error while reading traceable functions from /sys/a: Operation not permittedERROR: no luck\nlast\n"); err.Error() != "bpftrace: ERROR: no luck" {
		t.Error(err)
	}
	if err := diagnose("one\nlast words\n"); err.Error() != "bpftrace: last words" {
		t.Error(err)
	}
}

func TestWarningsAreKeptButForWhatIsNoNews(t *testing.T) {
	const glued = "Error while reading traceable functions from /sys/a: Operation not permitted"
	got := warnings(glued + "ERROR: couldn't set RLIMIT_MEMLOCK for bpftrace.\n\nWARNING: a map is full\n" + glued)
	if len(got) != 1 || got[0] != "WARNING: a map is full" {
		t.Errorf("%q", got)
	}
}

func TestReasonsAreNamedByTheKernelsOwnFormat(t *testing.T) {
	named := parseReasons(`print fmt: "reason: %s", __print_symbolic(REC->reason, { 2, "NOT_SPECIFIED" }, { 40, "TCP_LISTEN_OVERFLOW" })`)
	for line, want := range map[string]string{
		"@dropped[40, tcp_conn_request+1]: 7": "@dropped[TCP_LISTEN_OVERFLOW, tcp_conn_request+1]: 7",
		"@dropped[4, x]: 7":                   "@dropped[4, x]: 7",
		"@unsent[40]: 7":                      "@unsent[40]: 7",
	} {
		if got := nameReason(named, line); got != want {
			t.Errorf("%q: %q", line, got)
		}
	}
}

func TestStacksOfThreadsAreSummedUp(t *testing.T) {
	var out strings.Builder
	l := &lines{out: &out, translate: strings.ToLower, stacks: stacks{name: "@a"}, begun: make(chan struct{})}
	_, _ = l.Write([]byte("begun\n@a[\n    X\n    Y\n]: 3\n@a[\n    Z\n]: 4\n@a[\n    X\n    Y\n]: 2\n@b: 1\n"))
	if err := l.finish(); err != nil || out.String() != "begun\n@b: 1\n@a[\n    z\n]: 4\n@a[\n    x\n    y\n]: 5\n" {
		t.Errorf("%q %v", &out, err)
	}
}
