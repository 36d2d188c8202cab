package loop

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"weir/edge/hub"
)

// TestAHeldPortIsForServersThatShareItAlone has two servers listen on one, and nobody else.
func TestAHeldPortIsForServersThatShareItAlone(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", ":0", "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			held, err := Hold("edge.listen", listen)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			at := held.Addr().String()
			refused := func(when string) {
				t.Helper()
				if ln, err := net.Listen("tcp", at); !errors.Is(err, syscall.EADDRINUSE) {
					if err == nil {
						_ = ln.Close()
					}
					t.Errorf("%s somebody else listens there: %v", when, err)
				}
			}
			refused("while it is held")
			cfg := Config{Listen: at, SharedPort: true, Loops: 1}
			a, b := start(t, cfg), start(t, cfg)
			refused("while it is served")
			if _, err := Hold("edge.listen", at); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("it is held twice: %v", err)
			}
			for _, r := range []*rig{a, b} {
				if fds, err := r.srv.Listeners(); err != nil || len(fds) == 0 {
					t.Errorf("listeners %v, %v", fds, err)
				}
			}
			for n := 0; a.srv.Conns() == 0 || b.srv.Conns() == 0; n++ {
				if a.open("/ws/a"); n == 200 {
					t.Fatalf("of %d conns one has %d, the other %d", n, a.srv.Conns(), b.srv.Conns())
				}
			}
		})
	}
}

func TestNoPortIsHeldThatIsServed(t *testing.T) {
	r := startWith(t, Config{}, hub.Config{})
	if _, err := Hold("edge.listen", r.srv.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("held: %v", err)
	}
	if _, err := Hold("edge.listen", "192.0.2.1:0"); err == nil {
		t.Error("an address of another host is held")
	}
}
