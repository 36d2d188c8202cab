package replay

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// BadLine is a line that is not read as a request.
type BadLine struct {
	Log  string `json:"log"`
	Line uint64 `json:"line"`
	Why  string `json:"why"`
}

// lines counts what was read of all logs.
type lines struct {
	read, bad uint64
	first     []BadLine
}

func (l *lines) note(log string, line uint64, err error) {
	l.bad++
	if len(l.first) < maxBadLines {
		l.first = append(l.first, BadLine{log, line, err.Error()})
	}
}

// source reads a log, and puts its requests in order.
type source struct {
	name   string
	in     *bufio.Reader
	layout *layout
	window time.Duration
	most   int // held
	held   entries
	newest int64
	line   uint64
	seq    uint64
	place  int
	ended  bool
	counts *lines
	free   *[]*entry
}

func newSource(from Source, place int, l *layout, window time.Duration, most int, counts *lines, free *[]*entry) (*source, error) {
	in := from.Reader
	if strings.HasSuffix(from.Name, ".gz") {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read %s: it is no gzip: %w", from.Name, err)
		}
		in = z
	}
	return &source{
		name: from.Name, in: bufio.NewReaderSize(in, maxLineBytes), layout: l, window: window, most: most, place: place, counts: counts, free: free,
	}, nil
}

// head is the first request that there is, nil at the end.
func (s *source) head(ctx context.Context) (*entry, error) {
	for !s.ended && len(s.held) < s.most && (len(s.held) == 0 || s.newest-s.held[0].begun < int64(s.window)) {
		if s.line%(1<<12) == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := s.read(); err != nil {
			return nil, fmt.Errorf("read %s, line %d: %w", s.name, s.line+1, err)
		}
	}
	if len(s.held) == 0 {
		return nil, nil //nolint:nilnil // there is no more
	}
	return s.held[0], nil
}

// errLong says that a line is not read, as it is too long.
var errLong = errors.New("it is longer than 64 KiB")

// read reads a line.
func (s *source) read() error {
	text, err := s.in.ReadSlice('\n')
	long := false
	for errors.Is(err, bufio.ErrBufferFull) {
		long = true
		_, err = s.in.ReadSlice('\n')
	}
	switch {
	case errors.Is(err, io.EOF):
		s.ended = true
	case err != nil:
		return err
	}
	if s.ended && len(text) == 0 && !long {
		return nil
	}
	s.line++
	line := strings.TrimSpace(string(text)) // a copy, whose parts the entry keeps
	if line == "" {
		return nil
	}
	s.counts.read++
	e := s.entry()
	if err = errLong; !long {
		err = s.layout.parse(line, e)
	}
	if err != nil {
		s.counts.note(s.name, s.line, err)
		*s.free = append(*s.free, e)
		return nil
	}
	s.seq++
	e.seq, e.line, e.source = s.seq, s.line, s.place
	s.newest = max(s.newest, e.begun)
	push(&s.held, e)
	return nil
}

// entry is one to be filled.
func (s *source) entry() *entry {
	n := len(*s.free)
	if n == 0 {
		return &entry{}
	}
	e := (*s.free)[n-1]
	*s.free = (*s.free)[:n-1]
	return e
}

// before orders entries of a log.
func (e *entry) before(other *entry) bool {
	return e.begun < other.begun || e.begun == other.begun && e.seq < other.seq
}

// entries is a heap, the first at 0.
type entries []*entry

// ordered is what heaps are of.
type ordered[T any] interface{ before(other T) bool }

// push puts one into a heap.
func push[S ~[]T, T ordered[T]](h *S, e T) {
	*h = append(*h, e)
	a := *h
	for at := len(a) - 1; at > 0; {
		up := (at - 1) / 2
		if !a[at].before(a[up]) {
			return
		}
		a[at], a[up] = a[up], a[at]
		at = up
	}
}

// pop takes the first one out of a heap that is not empty.
func pop[S ~[]T, T ordered[T]](h *S) T {
	a := *h
	first, n := a[0], len(a)-1
	a[0] = a[n]
	var none T
	a[n] = none
	a = a[:n]
	*h = a
	for at := 0; ; {
		least := at
		for child := 2*at + 1; child <= 2*at+2 && child < n; child++ {
			if a[child].before(a[least]) {
				least = child
			}
		}
		if least == at {
			return first
		}
		a[at], a[least] = a[least], a[at]
		at = least
	}
}
