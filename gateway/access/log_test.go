package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"weir/gateway/policy"
)

// logged is what a Log writes of records, after which it has ended.
func logged(t *testing.T, l *Log, records ...Record) string {
	t.Helper()
	for i := range records {
		l.Observe(&records[i])
	}
	var out bytes.Buffer
	done := make(chan struct{})
	close(done)
	l.Run(done, &out)
	return out.String()
}

func newLog(t *testing.T, cfg LogConfig) *Log {
	t.Helper()
	l, err := NewLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWhoHasALine(t *testing.T) {
	for name, c := range map[string]struct {
		r    Record
		want [3]bool // with nothing, with Refused, with Failed
	}{
		"an answer":            {Record{Status: 200}, [3]bool{}},
		"a refusal":            {Record{Outcome: policy.Limited, Status: 429}, [3]bool{false, true, false}},
		"an error":             {Record{Status: 500}, [3]bool{false, false, true}},
		"half of an answer":    {Record{Status: 200, Cut: true}, [3]bool{false, false, true}},
		"a client that went":   {Record{Status: 200, Cut: true, Gone: true, Err: errors.New("gone")}, [3]bool{false, false, true}},
		"an error on the way":  {Record{Status: 400, Err: errors.New("x")}, [3]bool{false, false, true}},
		"the upstream's 404":   {Record{Status: 404}, [3]bool{}},
		"no answer":            {Record{}, [3]bool{false, false, true}},
		"a refusal with a 503": {Record{Outcome: policy.Shed, Status: 503}, [3]bool{false, true, false}},
	} {
		for i, cfg := range []LogConfig{{}, {Refused: true}, {Failed: true}} {
			if got := logged(t, newLog(t, cfg), c.r) != ""; got != c.want[i] {
				t.Errorf("%s, %+v: %v", name, cfg, got)
			}
			cfg.Sample = 1
			if logged(t, newLog(t, cfg), c.r) == "" {
				t.Errorf("%s, all: no line", name)
			}
		}
	}
}

func TestASampleIsItsPart(t *testing.T) {
	const n = 200_000
	for _, part := range []float64{0, .001, .25, .9, 1} {
		l := newLog(t, LogConfig{Sample: part})
		count := 0
		for range n {
			if l.wants(&Record{Status: 200}) {
				count++
			}
		}
		if off := math.Abs(float64(count) - part*n); off > 5*math.Sqrt(n*part*(1-part)) { // five times as far as it strays
			t.Errorf("%d of %d, want a part of %v", count, n, part)
		}
	}
	for _, bad := range []float64{-.1, 1.1, math.NaN()} {
		if _, err := NewLog(LogConfig{Sample: bad}); !errors.Is(err, ErrBadSample) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestALineHasNoQueryAndNoCredential(t *testing.T) {
	r := Record{
		Begun: start, Method: "GET", Host: "me:secret@api.example.com", Path: "/a", Proto: "HTTP/1.1", Client: netip.MustParseAddr("192.0.2.1"),
		Identity: "shop", Outcome: policy.Limited, Status: 429, Route: "all", Total: 1500 * time.Microsecond, Added: time.Microsecond,
		Policies: []Asked{{"burst", false, false}, {"day", false, true}, {"new", true, false}}, RequestID: "id", TraceID: "trace", Server: "10.0.0.1:80", Attempts: 2,
		Received: 1, Sent: 2, Upstream: time.Millisecond, Err: errors.New("why"), Cut: true,
	}
	want := `{"time":"2023-11-14T22:13:20Z","client":"192.0.2.1","identity":"shop","method":"GET","host":"api.example.com","path":"/a","proto":"HTTP/1.1",` +
		`"status":429,"cut":true,"outcome":"limited","route":"all","limited":["burst"],"shadowed":["new"],"received_bytes":1,"sent_bytes":2,"seconds":0.0015,` +
		`"upstream_seconds":0.001,"added_seconds":0.000001,"server":"10.0.0.1:80","attempts":2,"request_id":"id","trace_id":"trace","error":"why"}` + "\n"
	if got := logged(t, newLog(t, LogConfig{Sample: 1}), r); got != want {
		t.Errorf("got  %s want %s", got, want)
	}
}

// stuck is a writer that blocks until it is let go.
type stuck struct {
	begun, goes chan struct{}
	out         bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	select {
	case s.begun <- struct{}{}:
	default:
	}
	<-s.goes
	return s.out.Write(b)
}

func TestLinesAreDroppedAndCountedWhileTheWriterBlocks(t *testing.T) {
	for name, r := range map[string]Record{"many lines": {Status: 200}, "long lines": {Status: 200, Path: strings.Repeat("\x01", maxPath)}} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t, LogConfig{Sample: 1})
			w := &stuck{begun: make(chan struct{}, 1), goes: make(chan struct{})}
			done, ended := make(chan struct{}), make(chan struct{})
			go func() { l.Run(done, w); close(ended) }()
			l.Observe(&r)
			<-w.begun
			const more = 3 * maxLines
			for range more {
				l.Observe(&r)
			}
			_, dropped := l.Stats()
			if held := l.queued.Load(); held > maxQueued || dropped < more-maxLines {
				t.Errorf("%d bytes are held, %d dropped", held, dropped)
			}
			close(w.goes)
			close(done)
			<-ended
			written, dropped := l.Stats()
			if written+dropped != more+1 || uint64(bytes.Count(w.out.Bytes(), []byte("\n"))) != written || l.queued.Load() != 0 { //nolint:gosec // few
				t.Errorf("%d written, %d dropped, of %d; %d bytes held", written, dropped, more+1, l.queued.Load())
			}
		})
	}
}

// broken is a writer that fails.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	l := newLog(t, LogConfig{Sample: 1})
	for range 10 {
		l.Observe(&Record{Status: 200})
	}
	done := make(chan struct{})
	close(done)
	l.Run(done, broken{})
	if written, dropped := l.Stats(); written != 0 || dropped != 10 {
		t.Errorf("%d written, %d dropped", written, dropped)
	}
}

func TestARequestWithoutALineCostsNothing(t *testing.T) {
	l := newLog(t, LogConfig{Refused: true})
	r := &Record{Status: 200}
	if n := testing.AllocsPerRun(100, func() { l.Observe(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("GET", "a", "/\xff\n\"", "shop", "id", "x")
	f.Add("", "u:p@h", strings.Repeat("é", 3000), "\x00", "\u2028", "")
	f.Fuzz(func(t *testing.T, method, host, path, identity, id, why string) {
		r := Record{Method: method, Host: host, Path: path, Identity: identity, RequestID: id, Err: errors.New(why)}
		text := lineOf(&r)
		if !json.Valid(text) || bytes.IndexByte(text, '\n') != len(text)-1 || !utf8.Valid(text) || len(text) > 32<<10 {
			t.Fatalf("%q", text)
		}
		var back line
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if utf8.ValidString(path) && len(path) <= maxPath && back.Path != path {
			t.Fatalf("%q is %q", path, back.Path)
		}
		if strings.Contains(back.Host, "@") {
			t.Fatalf("%q", back.Host)
		}
	})
}

func TestAFileIsWrittenOnAfterItWasMovedOrCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		t.Helper()
		if _, err := f.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	write("1")
	if err := os.Truncate(path, 0); err != nil { // copytruncate
		t.Fatal(err)
	}
	write("2")
	if got := read(path); got != "2" {
		t.Errorf("cut: %q", got)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("3")
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	write("4")
	if old, now := read(path+".1"), read(path); old != "23" || now != "4" {
		t.Errorf("moved: %q, then %q", old, now)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err == nil || !strings.Contains(err.Error(), "set gateway.access_log to a file") {
		t.Errorf("%v", err)
	}
	write("5") // on to the one before
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	if _, err := OpenFile(path); err == nil {
		t.Error("a directory is opened")
	}
}
