package kernel

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/bpf/bpftest"
	"weir/bpf/xdp"
	"weir/ratelimit"
)

func prefix(s string) Client { return Client{Prefix: netip.MustParsePrefix(s)} }

func TestEscalationIsCompiledForTheProgram(t *testing.T) {
	tenSeconds := ratelimit.Rate{Count: 2, Per: 10 * time.Second}
	for _, tt := range []struct {
		name    string
		e       Escalation
		packets xdp.Quota
		lasts   time.Duration
	}{
		{"nothing passes", Escalation{Policy: "api", For: time.Minute}, xdp.Quota{}, time.Minute},
		{"a few packets", Escalation{Policy: "api", For: time.Minute, Packets: tenSeconds, PacketBurst: 3, AllowNew: true}, xdp.Quota{Interval: 80e9, Limit: 240e9}, time.Minute},
		{"until a time", Escalation{Policy: "api", Until: time.Now().Add(time.Hour), Packets: tenSeconds}, xdp.Quota{Interval: 80e9, Limit: 80e9}, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prog := &program{}
			if err := agent(t, prog).Escalate(Client{Identity: "alice"}, tt.e); err != nil {
				t.Fatal(err)
			}
			e := prog.escalated[0]
			lasts := time.Duration(e.UntilNanos - e.SinceNanos) //nolint:gosec // an hour
			if e.Client.Identity != "alice" || e.Policy != "api" || e.Packets != tt.packets || e.AllowNew != tt.e.AllowNew ||
				lasts > tt.lasts || lasts < tt.lasts-10*time.Second || xdp.Now()-e.SinceNanos > 10e9 {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestEscalationThatMakesNoSenseIsRefused(t *testing.T) {
	operator := Peer{netip.MustParseAddr("192.0.2.7"), "connected by SSH"}
	prog := &program{}
	a := agent(t, prog, operator)
	minute := Escalation{For: time.Minute}
	for want, tt := range map[string]struct {
		c Client
		e Escalation
	}{
		"want a time to come":     {Client{Identity: "a"}, Escalation{}},
		"for -":                   {Client{Identity: "a"}, Escalation{Until: time.Now().Add(-time.Second)}},
		"want one of the two":     {Client{Identity: "a"}, Escalation{Until: time.Now().Add(time.Hour), For: 1}},
		"packets: rate":           {Client{Identity: "a"}, Escalation{For: 1, Packets: ratelimit.Rate{Count: 1e9, Per: time.Second}}},
		"192.0.2.7 (connected by": {prefix("192.0.2.0/24"), minute},
	} {
		err := a.Escalate(tt.c, tt.e)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(want, "SSH") && !errors.Is(err, ErrCuts) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if len(prog.escalated) != 0 {
		t.Errorf("%+v", prog.escalated)
	}
	// Who shares no address with the operator is cut, and so is an identity.
	if err := errors.Join(a.Escalate(prefix("192.0.2.8/32"), minute), a.Escalate(Client{Identity: "192.0.2.7"}, minute)); err != nil {
		t.Error(err)
	}
}

func TestEscalatedSaysWhoSinceWhenAndUntil(t *testing.T) {
	prog := &program{}
	a := agent(t, prog)
	now := xdp.Now()
	prog.escalated = []xdp.Escalation{{Client: prefix("192.0.2.8/32"), Policy: "api", SinceNanos: now - 60e9, UntilNanos: now + 3600e9, Dropped: 7, Refused: 2, Key: 9}}
	all, err := a.Escalated()
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	e := all[0]
	since, until := time.Since(e.Since), time.Until(e.Until)
	if e.Client.String() != "192.0.2.8/32" || e.Policy != "api" || e.Dropped != 7 || e.Refused != 2 || e.Key != 9 ||
		since < time.Minute || since > 70*time.Second || until > time.Hour || until < time.Hour-10*time.Second {
		t.Errorf("%+v", e)
	}
	if was, err := a.Relieve(prefix("192.0.2.8/32")); !was || err != nil {
		t.Errorf("%v, %v", was, err)
	}
	if was, _ := a.Relieve(prefix("192.0.2.8/32")); was {
		t.Error("it was relieved twice")
	}
}

func TestExplainSaysWhoIsCutAndWhatIsBound(t *testing.T) {
	const now = uint64(1e12)
	prog := &program{}
	a := agent(t, prog)
	conn := xdp.Binding{Local: netip.MustParseAddrPort("198.51.100.1:443"), Remote: netip.MustParseAddrPort("192.0.2.7:5000"), Name: "alice"}
	prog.bound = []xdp.Binding{conn}
	if e := a.ExplainIdentity("alice", now); !e.Proved || e.Class != Default || e.BoundAll != 1 || e.Bound[0] != (BoundConn{"192.0.2.7:5000", "198.51.100.1:443", "alice", Default}) ||
		e.Text != "its next packet passes: it owes nothing" {
		t.Errorf("%+v", e)
	}
	prog.identity = &xdp.Client{Identity: "alice", Packets: 60, PacketTAT: (now + 50e6) * ratelimit.TicksPerNano, SeenNanos: now}
	if e := a.ExplainIdentity("alice", now); e.Slots[0].Prefix != "alice" || e.Slots[0].Packets != 60 || e.Text != "its next packet passes in 1ms: it has used up its packets (1000/s)" {
		t.Errorf("%+v", e)
	}
	prog.escalated = []xdp.Escalation{{Client: Client{Identity: "alice"}, Policy: "api", SinceNanos: now - 1e9, UntilNanos: now + 2e9, Dropped: 5, Refused: 1}}
	e := a.ExplainIdentity("alice", now)
	if e.Escalated == nil || *e.Escalated != (EscalationState{"api", "1s", "2s", 5, 1, false}) ||
		e.Text != "it is cut for 2s more, as it kept exceeding policy api: then it comes back by itself" {
		t.Errorf("%+v", e)
	}
	addr := netip.MustParseAddr("192.0.2.7")
	if e := a.Explain(addr, now); e.Escalated != nil || e.BoundAll != 1 || e.Proved {
		t.Errorf("%+v", e)
	}
	prog.escalated[0].Client = prefix("192.0.2.7/32")
	if e := a.Explain(addr, now); e.Escalated == nil || !strings.Contains(e.Text, "kept exceeding policy api") {
		t.Errorf("%+v", e)
	}
	if err := a.Edit(false, nil, func(p *Policy) error {
		p.List(Entry{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Allow: true})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if e := a.Explain(addr, now); !strings.Contains(e.Text, "no quota holds for it") {
		t.Errorf("%q", e.Text)
	}
}

// TestBPFAgentTellsTheProgram: names of classes, clients and times are those that the program has.
func TestBPFAgentTellsTheProgram(t *testing.T) {
	bpftest.Require(t, "5.15", "xdp_weir")
	prog, err := xdp.Load(xdp.Config{Interface: "lo", Slots: 1024, Proof: xdp.OptionOff}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer prog.Close() //nolint:errcheck // a test's
	policy := thousand()
	policy.Classes = append(policy.Classes, Class{Name: "gold"})
	a, err := NewAgent(prog, policy, xdp.ModeEnforce, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	local, remote := netip.MustParseAddrPort("[::ffff:198.51.100.1]:443"), netip.MustParseAddrPort("192.0.2.7:5000")
	if err := a.Bind(local, remote, "alice", "gold"); err != nil {
		t.Fatal(err)
	}
	client := a.ClientOf(remote.Addr())
	for _, c := range []Client{client, {Identity: "alice"}} {
		if err := a.Escalate(c, Escalation{Policy: "api", For: time.Minute, Packets: ratelimit.Rate{Count: 1, Per: time.Second}}); err != nil {
			t.Fatal(err)
		}
	}
	policy.Classes = append(policy.Classes, Class{Name: "a class before it"})
	if _, err := a.Apply(Change{Policy: policy}); err != nil {
		t.Fatal(err)
	}
	now := xdp.Now()
	e := a.ExplainIdentity("alice", now)
	if e.Class != "gold" || e.BoundAll != 1 || e.Bound[0] != (BoundConn{"192.0.2.7:5000", "198.51.100.1:443", "alice", "gold"}) || e.Escalated == nil || e.Escalated.Policy != "api" {
		t.Errorf("%+v", e)
	}
	if e := a.Explain(remote.Addr(), now); e.Escalated == nil || e.BoundAll != 1 {
		t.Errorf("%+v", e)
	}
	all, err := a.Escalated()
	if err != nil || len(all) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := a.Unbind(local, remote); err != nil {
		t.Fatal(err)
	}
	if was, err := a.Relieve(client); !was || err != nil {
		t.Errorf("%v, %v", was, err)
	}
	if e := a.Explain(remote.Addr(), now); e.Escalated != nil || e.BoundAll != 0 {
		t.Errorf("%+v", e)
	}
}
