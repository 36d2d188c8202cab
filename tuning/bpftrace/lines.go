package bpftrace

import (
	"bytes"
	"io"
	"strings"
	"time"
)

// lines hands on what bpftrace prints, line by line, each as translate makes it. It is written to by one
// goroutine; finish is called once that has ended.
type lines struct {
	out       io.Writer
	translate func(line string) string
	stacks    stacks
	// begun is closed at the first line of the script's own, which bpftrace hands on once all probes are attached, which was at.
	begun chan struct{}
	began bool
	at    time.Time
	// blank says that the last line was empty: of several that follow each other one is handed on.
	blank   bool
	partial []byte
	err     error
}

// Write takes part of the output. It goes on taking it after an error of the writer's, which finish returns.
func (l *lines) Write(p []byte) (int, error) {
	l.partial = append(l.partial, p...)
	for {
		i := bytes.IndexByte(l.partial, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.line(string(l.partial[:i]), "\n")
		l.partial = l.partial[i+1:]
	}
}

// line hands one on.
func (l *lines) line(text, end string) {
	if !l.began {
		if text == "" || strings.HasPrefix(text, "Attaching ") {
			return
		}
		l.began, l.at = true, time.Now()
		close(l.begun)
	}
	text = l.translate(text)
	if text == "" && l.blank || l.stacks.take(text) {
		return
	}
	l.blank = text == ""
	l.write(text + end)
}

func (l *lines) write(text string) {
	if l.err == nil {
		_, l.err = io.WriteString(l.out, text)
	}
}

// finish hands on the stacks, and what had no end of line, and returns the writer's error.
func (l *lines) finish() error {
	if len(l.partial) > 0 {
		l.line(string(l.partial), "")
	}
	l.write(l.stacks.String())
	return l.err
}
