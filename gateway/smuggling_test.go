package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/smuggling"
)

func TestNothingIsSmuggledPastTheGateway(t *testing.T) {
	var served atomic.Int64
	up := origin(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // it never was whole
		}
		served.Add(1)
		fmt.Fprint(w, "ok")
	})
	plan := plain(up.URL)
	plan.Rules.LoosePaths = true // which paths are refused has tests of its own
	plan.Rules.Routes[0].IdleTimeout = time.Second
	r := serve(t, Config{MaxHeadBytes: smuggling.MaxHeadBytes, MaxFields: smuggling.MaxFields, HeadTimeout: 2 * time.Second}, plan, Deps{})
	for _, c := range smuggling.Cases() {
		if c.Status == http.StatusHTTPVersionNotSupported && strings.HasPrefix(string(c.Raw), "PRI * HTTP/2.0") {
			continue // it is spoken here
		}
		t.Run(c.Name, func(t *testing.T) {
			before := served.Load()
			conn, in := r.dial(t)
			go func() { _, _ = conn.Write(c.Raw) }()
			statuses := answers(t, in, c)
			if isGood(c) {
				for _, s := range statuses {
					if s >= 400 {
						t.Errorf("%v: %s", statuses, c.Why)
					}
				}
				return
			}
			if len(statuses) == 0 || statuses[len(statuses)-1] < 400 {
				t.Fatalf("%v, want %d at the end: %s", statuses, c.Status, c.Why)
			}
			// A fault of a body is met when its head was sent on already; what comes behind it never is.
			if n := served.Load() - before; n > int64(c.Requests) {
				t.Errorf("the upstream served %d requests, want %d at most: %s", n, c.Requests, c.Why)
			}
		})
	}
}

func isGood(c smuggling.Case) bool { return c.Status < 300 }

// answers reads the statuses of all answers until the conn ends, or as many as a good case has.
func answers(t *testing.T, in *bufio.Reader, c smuggling.Case) (statuses []int) {
	t.Helper()
	method, _, _ := strings.Cut(string(c.Raw), " ")
	for !isGood(c) || len(statuses) < c.Requests {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && isGood(c) {
				t.Error(err)
			}
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode >= 200 {
			statuses = append(statuses, res.StatusCode)
		}
	}
	return statuses
}
