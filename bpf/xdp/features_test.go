//go:build linux

package xdp

import (
	"log/slog"
	"testing"

	"weir/bpf/bpftest"
)

// TestNetnsFeaturesAreThoseOfTheKernel: docs/HOSTS.md names the Linux that brought each of them.
func TestNetnsFeaturesAreThoseOfTheKernel(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	p, _, err := loadIn(t, bpftest.Namespace(t), Config{Interface: "lo", Slots: 16})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	f := p.Features()
	for _, tt := range []struct {
		name, since string
		found       bool
	}{
		{"connections watched", "5.15", f.Watch},
		{"packets of several buffers", "5.18", f.Frags},
		{"SYN cookies in XDP", "6.0", f.Cookies},
		{"the end of older connections by sockops", "6.12", f.CallbackFlags},
	} {
		if want := bpftest.Since(t, tt.since); tt.found != want {
			t.Errorf("%s, since Linux %s: found %v, want %v", tt.name, tt.since, tt.found, want)
		}
	}
}

// TestNetnsProgramLoadsAsForOlderKernels: each feature is done without where it is not there.
func TestNetnsProgramLoadsAsForOlderKernels(t *testing.T) {
	bpftest.Require(t, "6.0", "SYN cookies in XDP")
	for _, tt := range []struct {
		name     string
		features Features
		moved    string
	}{
		{"without types", Features{}, "pass/pass_quota"},
		{"5.15", Features{Watch: true}, "pass/pass_unproved"},
		{"6.0", Features{Watch: true, Frags: true, Cookies: true}, "pass/pass_unproved"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p *Program
			err := bpftest.Namespace(t).Do(func() (err error) {
				p, err = loadWith(Config{Interface: "lo", Slots: 16}.Defaults(), tt.features, nil, slog.New(slog.DiscardHandler))
				return err
			})
			if err != nil {
				t.Fatalf("%+v", err)
			}
			defer p.Close() //nolint:errcheck // a test's
			setPolicy(t, p, packets(1, 1), ModeEnforce)
			wants(t, p, udpFrom("192.0.2.1"), tt.moved)
		})
	}
}
