package gateway

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// mostInSockets is more than the buffers of the sockets on the way and what a way holds of a body.
const mostInSockets = 24 << 20

// stands waits until a count has not changed for a while, and returns it.
func stands(t *testing.T, n *atomic.Int64) int64 {
	t.Helper()
	last, since := n.Load(), time.Now()
	eventually(t, "it stands still", func() bool {
		if now := n.Load(); now != last || now == 0 {
			last, since = now, time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	})
	return last
}

func TestWhoDoesNotReadHoldsUpTheUpstream(t *testing.T) {
	const all = 200 << 20
	var sent atomic.Int64
	up := origin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(all))
		part := make([]byte, 64<<10)
		for range all / len(part) {
			n, err := w.Write(part)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	r := serve(t, Config{}, plain(up.URL), Deps{})
	c, in := r.dial(t)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if n := stands(t, &sent); n > mostInSockets {
		t.Errorf("%d bytes were taken of an answer that nobody reads", n)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, res.Body); n != all || err != nil {
		t.Errorf("%d bytes came, %v", n, err)
	}
	eventually(t, "nothing in flight", func() bool { return r.flight.InFlight() == 0 })
}

func TestAnUpstreamThatDoesNotReadHoldsUpTheClient(t *testing.T) {
	const all = 200 << 20
	may := make(chan struct{})
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		<-may
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	plan := plain(up.URL)
	plan.Rules.Routes[0].MaxBody = -1
	r := serve(t, Config{}, plan, Deps{})
	c, in := r.dial(t)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	var sent atomic.Int64
	go func() {
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", all)
		part := make([]byte, 64<<10)
		for range all / len(part) {
			n, err := c.Write(part)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	if n := stands(t, &sent); n > mostInSockets {
		t.Errorf("%d bytes were taken of a body that nobody reads", n)
	}
	close(may)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); string(b) != fmt.Sprint(all, nil) || err != nil {
		t.Errorf("%s, %v", b, err)
	}
}
