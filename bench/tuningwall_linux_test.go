package bench

import (
	"testing"
	"time"

	"weir/bpf/bpftest"
)

// TestNetnsConnsThatTheHostHasNoRoomForAreCounted has SYNs dropped by their own host, as a full backlog of the network does: the
// kernel gives up after six seconds.
func TestNetnsConnsThatTheHostHasNoRoomForAreCounted(t *testing.T) {
	bpftest.Require(t, "5.15", "network namespaces")
	lab, err := newPlainLab("weir-wall-test-", LabAddrs(LabSubscribers, tuningSources)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	const arp, syn = 42, 74 // bytes: the limit is between them
	if err := lab.Load.SetQueue(LabLoadEnd, (arp+syn)/2); err != nil {
		t.Fatal(err)
	}
	b := &backlogBurst{conns: 3}
	epoll, end, err := b.begin(lab)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	failed := 0
	for deadline := time.Now().Add(wallPatience); failed < b.conns && time.Now().Before(deadline); {
		n, gone, err := arrivals(epoll, 100*time.Millisecond)
		if err != nil || n > 0 {
			t.Fatalf("%d connected: %v", n, err)
		}
		failed += gone
	}
	if failed != b.conns {
		t.Errorf("%d of %d failed", failed, b.conns)
	}
}
