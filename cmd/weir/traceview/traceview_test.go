package traceview

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/golden"
	"weir/internal/testlog"

	tea "charm.land/bubbletea/v2"
)

// counts is a source whose tracers count how often they were read since they were reset.
type counts struct {
	mu     sync.Mutex
	names  []string
	reads  []int
	resets []int
	err    error
}

func newCounts(names ...string) *counts {
	return &counts{names: names, reads: make([]int, len(names)), resets: make([]int, len(names))}
}

func (c *counts) Names() []string { return c.names }

func (c *counts) Read(i int) (Reading, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads[i]++
	return Reading{
		Question: "how often is " + c.names[i] + " read?", Of: "weir, pid 42", At: time.Date(2026, 11, 26, 12, 0, c.reads[i], 0, time.UTC), Seconds: float64(c.reads[i]),
		Histograms: []Histogram{{
			Name: "reads", Summary: fmt.Sprintf("%d, p50 <= 1 ms, p99 <= 8 ms", c.reads[i]),
			Buckets: []Bucket{{"488 µs .. 977 µs", 100}, {"977 µs .. 1.95 ms", 0}, {"1.95 ms .. 3.91 ms", 1}, {"3.91 ms .. 7.81 ms", 33}},
		}},
		Lines: []string{"polls: 7"}, Cost: "cost of tracing: 303 runs of its programs, 121 ns each, 0.04 % of a CPU",
	}, c.err
}

func (c *counts) Reset(i int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads[i] = 0
	c.resets[i]++
	return c.err
}

// do has the model take a message, and what its command answers but for the tick, which it returns.
func do(t *testing.T, m *Model, msg tea.Msg) (quits, ticks bool) {
	t.Helper()
	_, cmd := m.Update(msg)
	for _, cmd := range flat(cmd) {
		done := make(chan tea.Msg, 1)
		go func() { done <- cmd() }()
		select {
		case msg := <-done:
			if _, ok := msg.(tea.QuitMsg); ok {
				return true, ticks
			}
			q, tk := do(t, m, msg)
			quits, ticks = quits || q, ticks || tk
		case <-time.After(100 * time.Millisecond): // of an hour
			ticks = true
		}
	}
	return quits, ticks
}

// flat are the commands of one, which may be several.
func flat(cmd tea.Cmd) []tea.Cmd {
	if cmd == nil {
		return nil
	}
	if batch, ok := isBatch(cmd); ok {
		return batch
	}
	return []tea.Cmd{cmd}
}

// isBatch asks a command that answers at once.
func isBatch(cmd tea.Cmd) ([]tea.Cmd, bool) {
	answer := make(chan tea.Msg, 1)
	go func() { answer <- cmd() }()
	select {
	case msg := <-answer:
		if batch, ok := msg.(tea.BatchMsg); ok {
			return batch, true
		}
		return []tea.Cmd{func() tea.Msg { return msg }}, true
	case <-time.After(100 * time.Millisecond):
		return []tea.Cmd{cmd}, true
	}
}

func press(key string) tea.KeyPressMsg {
	switch key {
	case "tab":
		return tea.KeyPressMsg{Code: tea.KeyTab}
	case "shift+tab":
		return tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift}
	case "ctrl+c":
		return tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}
	}
	return tea.KeyPressMsg{Code: rune(key[0]), Text: key}
}

func begin(t *testing.T, source Source) *Model {
	t.Helper()
	m := New(source, time.Hour)
	_, ticks := do(t, m, m.Init()())
	if !ticks {
		t.Fatal("it does not go on after the first reading")
	}
	return m
}

func TestViewShowsBarsPercentilesAndCost(t *testing.T) {
	m := begin(t, newCounts("accept", "runq"))
	golden.Check(t, "testdata/view.txt", m.View().Content+"\n")
	do(t, m, tea.WindowSizeMsg{Width: 50, Height: 9})
	golden.Check(t, "testdata/small.txt", m.View().Content+"\n")
	if !m.View().AltScreen {
		t.Error("it writes over what the terminal had")
	}
	for _, size := range []tea.WindowSizeMsg{{Width: 1, Height: 1}, {Width: 300, Height: 100}} {
		do(t, m, size)
		for line := range strings.Lines(m.View().Content) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > size.Width {
				t.Errorf("a line of %d columns in %d", n, size.Width)
			}
		}
	}
}

func TestViewHasNothingBeforeTheFirstReading(t *testing.T) {
	if got := New(newCounts("accept"), time.Hour).View().Content; !strings.HasPrefix(got, "[1 accept]\nreads\n") {
		t.Errorf("it shows %q", got)
	}
}

func TestKeysChooseTheTracer(t *testing.T) {
	m := begin(t, newCounts("accept", "read", "runq"))
	for _, tt := range []struct {
		key  string
		want string
	}{
		{"tab", "read"},
		{"tab", "runq"},
		{"tab", "accept"},
		{"shift+tab", "runq"},
		{"2", "read"},
		{"9", "read"},
		{"x", "read"},
		{"1", "accept"},
	} {
		if quits, _ := do(t, m, press(tt.key)); quits || !strings.Contains(m.View().Content, "how often is "+tt.want+" read?") {
			t.Errorf("after %s it shows\n%s\nwant %s", tt.key, m.View().Content, tt.want)
		}
	}
}

func TestPauseKeepsWhatIsShown(t *testing.T) {
	source := newCounts("accept")
	m := begin(t, source)
	do(t, m, press("p"))
	if _, ticks := do(t, m, due{}); !ticks || source.reads[0] != 1 || !strings.Contains(m.View().Content, "paused") {
		t.Errorf("paused it was read %d times, and shows\n%s", source.reads[0], m.View().Content)
	}
	do(t, m, press("p"))
	if _, ticks := do(t, m, due{}); !ticks || source.reads[0] != 2 || strings.Contains(m.View().Content, "paused") {
		t.Errorf("then it was read %d times, and shows\n%s", source.reads[0], m.View().Content)
	}
}

func TestResetCountsAnew(t *testing.T) {
	source := newCounts("accept", "runq")
	m := begin(t, source)
	do(t, m, due{})
	do(t, m, press("2"))
	do(t, m, press("1"))
	if source.reads[0] != 3 {
		t.Fatalf("it was read %d times", source.reads[0])
	}
	do(t, m, press("r"))
	if source.resets[0] != 1 || source.resets[1] != 0 || !strings.Contains(m.View().Content, "reads: 1,") {
		t.Errorf("reset %v, and it shows\n%s", source.resets, m.View().Content)
	}
}

func TestViewEndsWhenAskedOrWhenItCannotRead(t *testing.T) {
	for _, key := range []string{"q", "ctrl+c"} {
		if quits, _ := do(t, begin(t, newCounts("accept")), press(key)); !quits {
			t.Errorf("%s does not end it", key)
		}
	}
	for _, msg := range []tea.Msg{due{}, press("r"), press("1")} {
		source := newCounts("accept")
		m := begin(t, source)
		source.err = io.ErrUnexpectedEOF
		if quits, _ := do(t, m, msg); !quits || !errors.Is(m.Err(), io.ErrUnexpectedEOF) {
			t.Errorf("%v: it goes on with %v", msg, m.Err())
		}
	}
}

// A whole program, on what is no terminal: it draws, and ends by the key.
func TestRunDrawsAndEnds(t *testing.T) {
	in, keys := io.Pipe()
	var out testlog.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), New(newCounts("accept"), 10*time.Millisecond), tea.WithInput(in), tea.WithOutput(&out), tea.WithWindowSize(80, 24), tea.WithEnvironment([]string{"TERM=xterm"}))
	}()
	deadline := time.After(20 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); !strings.Contains(out.String(), "how often is accept read?"); {
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("it draws %q", out.String())
		}
	}
	if _, err := keys.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close() //nolint:errcheck // it is only read
	for _, in := range []io.Reader{null, strings.NewReader("q")} {
		if err := Run(ctx, newCounts("accept"), time.Hour, in, &out); err != nil {
			t.Errorf("interrupted: %v", err)
		}
	}
}

func TestNoOtherDeviceIsATerminal(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close() //nolint:errcheck // nothing was written
	if IsTerminal(null) || IsTerminal(&bytes.Buffer{}) {
		t.Error("something else is taken for one")
	}
}
