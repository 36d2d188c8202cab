package bpftrace

import (
	"embed"
	"fmt"
	"strings"
	"time"
)

//go:embed *.bt
var scripts embed.FS

// Param is something that a session is told.
type Param string

// The parameters.
const (
	// PID is the process that is looked at.
	PID Param = "pid"
	// Port is the local TCP port that is looked at.
	Port Param = "port"
)

// Session is one script.
type Session struct {
	// Name is what [Run] knows it by, Question what it answers.
	Name     string `json:"name"`
	Question string `json:"question"`
	// Needs are parameters that must be given, Takes those that may be.
	Needs []Param `json:"needs,omitempty"`
	Takes []Param `json:"takes,omitempty"`
}

// Params are what a session is told. Zero ones are not given.
type Params struct {
	// PID is a process's, as this process sees it.
	PID int
	// Port is a local TCP port, 1 to 65535.
	Port int
	// Duration is how long it gathers, from when its probes are attached; until the context ends if 0.
	Duration time.Duration
}

// Sessions are all, in the order of their names. The caller owns the slice.
func Sessions() []Session {
	return []Session{
		{"accept", "How long do new connections wait to be accepted?", nil, []Param{PID, Port}},
		{"gc", "How long does Go's runtime stop the world, why, and how often?", []Param{PID}, nil},
		{"offcpu", "What keeps the event loops' threads off the CPU?", []Param{PID}, nil},
		{"retransmit", "What is sent again, from which port, to whom?", nil, []Param{Port}},
		{"runq", "How long do runnable threads wait for a CPU, and behind whom?", []Param{PID}, nil},
		{"write", "How large are the process's writes, and how long do they take?", []Param{PID}, nil},
		{"xdpdrop", "Which packets does the kernel drop, where and why, beside those that weir counts itself?", nil, nil},
	}
}

// find is the session of a name.
func find(name string) (Session, error) {
	names := make([]string, 0, 8)
	for _, s := range Sessions() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Session{}, fmt.Errorf("%w: %q: want one of %s", ErrSession, name, strings.Join(names, ", "))
}

// Script is a session's text, to be read, or changed and given to bpftrace by hand.
func Script(name string) (string, error) {
	if _, err := find(name); err != nil {
		return "", err
	}
	b, err := scripts.ReadFile(name + ".bt")
	return string(b), err
}

// check holds parameters to what the session needs and takes.
func (s Session) check(p Params) error {
	given := map[Param]int{PID: p.PID, Port: p.Port}
	known := map[Param]bool{}
	for _, n := range s.Needs {
		known[n] = true
		if given[n] == 0 {
			return fmt.Errorf("%s: %w: it needs a %s: that of a weir is in pgrep -af 'weir (serve|edge|gateway)'", s.Name, ErrParams, n)
		}
	}
	for _, n := range s.Takes {
		known[n] = true
	}
	for _, n := range []Param{PID, Port} {
		if given[n] != 0 && !known[n] {
			return fmt.Errorf("%s: %w: it takes no %s", s.Name, ErrParams, n)
		}
	}
	switch {
	case p.PID < 0:
		return fmt.Errorf("%s: %w: pid is %d: want that of a process", s.Name, ErrParams, p.PID)
	case p.Port < 0 || p.Port > 65535:
		return fmt.Errorf("%s: %w: port is %d: want 1 to 65535", s.Name, ErrParams, p.Port)
	case p.Duration < 0:
		return fmt.Errorf("%s: %w: duration is %v: want more than 0, or 0 for until it is ended", s.Name, ErrParams, p.Duration)
	}
	return nil
}
