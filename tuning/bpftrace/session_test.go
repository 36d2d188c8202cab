package bpftrace

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestScriptsSayWhatTheyAre(t *testing.T) {
	files, err := fs.Glob(scripts, "*.bt")
	if err != nil || len(files) != len(Sessions()) {
		t.Fatalf("%d scripts for %d sessions: %v", len(files), len(Sessions()), err)
	}
	for _, s := range Sessions() {
		text, err := Script(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(text, "*/")
		for _, want := range []string{"#!/usr/bin/env bpftrace\n/*\n * " + s.Name + ": " + s.Question + "\n", " * Usage: bpftrace " + s.Name + ".bt", " * Example:\n", " * Cost: "} {
			if !strings.Contains(head, want) {
				t.Errorf("%s: no %q in its head", s.Name, want)
			}
		}
		if !strings.Contains(text, "\nBEGIN\n") {
			t.Errorf("%s: nothing is printed when it has begun", s.Name)
		}
	}
}

// refused are probes that a locked-down kernel does not take, and the one that kills Go processes.
var refused = regexp.MustCompile(`(?m)^(kprobe|kretprobe|kfunc|kretfunc|fentry|fexit|rawtracepoint|iter|uretprobe|hardware):|\bargs\.`)

func TestScriptsUseWhatLockedDownKernelsAndOldReleasesTake(t *testing.T) {
	for _, s := range Sessions() {
		text, err := Script(s.Name)
		if found := refused.FindString(text); found != "" || err != nil {
			t.Errorf("%s: %q %v", s.Name, found, err)
		}
	}
	for _, bad := range []string{"kprobe:tcp_sendmsg", "uretprobe:x:y", "{ @a = args.ret; }"} {
		if !refused.MatchString(bad) {
			t.Errorf("%q is not found", bad)
		}
	}
}

func TestParametersAreHeldToTheSession(t *testing.T) {
	for _, tt := range []struct {
		name   string
		params Params
		want   string
	}{
		{"offcpu", Params{}, "needs a pid"},
		{"offcpu", Params{PID: 1, Port: 80}, "takes no port"},
		{"offcpu", Params{PID: -1}, "pid is -1"},
		{"accept", Params{Port: 65536}, "port is 65536"},
		{"accept", Params{Duration: -time.Second}, "duration is -1s"},
		{"xdpdrop", Params{PID: 1}, "takes no pid"},
		{"accept", Params{PID: 1, Port: 65535}, ""},
		{"xdpdrop", Params{}, ""},
	} {
		s, err := find(tt.name)
		if err != nil {
			t.Fatal(err)
		}
		err = s.check(tt.params)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrParams) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s %+v: %v, want %q", tt.name, tt.params, err, tt.want)
		}
	}
	_, err := Script("none")
	if !errors.Is(err, ErrSession) || !strings.Contains(err.Error(), "accept, gc, offcpu") {
		t.Error(err)
	}
}
