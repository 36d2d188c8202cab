package http1

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"weir/internal/smuggling"
)

// gateway has the limits that the corpus' verdicts are for.
var gateway = Limits{MaxHeadBytes: smuggling.MaxHeadBytes, MaxFields: smuggling.MaxFields, AllowHTTP10: true, AllowAbsolute: true}

// readAll goes over in as one conn: how many requests are right and whole, where the last of them ends, and
// what is wrong with what follows.
func readAll(in []byte) (requests, end int, err error) {
	var r Request
	var d Body
	for at := 0; at < len(in); {
		n, err := r.Parse(in[at:], gateway)
		if err != nil {
			return requests, end, err
		}
		at += n
		d.Start(r.Framing(), r.ContentLength, 0)
		n, done, err := d.Skip(in[at:])
		if err != nil {
			return requests, end, err
		}
		if !done {
			return requests, end, ErrShort
		}
		at += n
		requests, end = requests+1, at
	}
	return requests, end, nil
}

func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return StatusOf(err)
}

func TestNothingIsSmuggled(t *testing.T) {
	for _, c := range smuggling.Cases() {
		requests, _, err := readAll(c.Raw)
		if requests != c.Requests || statusOf(err) != c.Status || errors.Is(err, ErrShort) {
			t.Errorf("%s (%s): %d requests, then %d (%v); want %d, then %d", c.Name, c.Why, requests, statusOf(err), err, c.Requests, c.Status)
		}
	}
}

// sameHead holds a head to what net/http makes of it.
func sameHead(t *testing.T, std *http.Request, r *Request) {
	t.Helper()
	if std.Method != string(r.Method) || std.Host != string(r.Host) || (len(std.TransferEncoding) > 0) != r.Chunked || max(std.ContentLength, 0) != max(r.ContentLength, 0) && !r.Chunked {
		t.Fatalf("net/http has %s %s %d %v, we have %s %s %d %v", std.Method, std.Host, std.ContentLength, std.TransferEncoding, r.Method, r.Host, r.ContentLength, r.Chunked)
	}
	if std.Close != r.Close {
		t.Fatalf("net/http has close=%v, we have %v", std.Close, r.Close)
	}
	path, err := PathUnescape(nil, r.Path)
	if err != nil || string(path) != cmp.Or(std.URL.Path, "/") || std.URL.RawQuery != string(r.RawQuery) {
		t.Fatalf("net/http has %q and %q, we have %q and %q", std.URL.Path, std.URL.RawQuery, r.Path, r.RawQuery)
	}
	if raw, _, _ := strings.Cut(std.RequestURI, "?"); !r.absolute && raw != string(r.Path) {
		t.Fatalf("net/http has the target %q, we have %q", std.RequestURI, r.Path)
	}
	want := http.Header{}
	for _, f := range r.Fields {
		want.Add(string(f.Name), string(f.Value))
	}
	want.Del("Host")
	want.Del("Transfer-Encoding")
	if r.Chunked {
		want.Del("Trailer")
	}
	if p, ok := want["Pragma"]; ok && p[0] == "no-cache" && len(want["Cache-Control"]) == 0 {
		want.Set("Cache-Control", "no-cache") // net/http's own
	}
	if len(want) != len(std.Header) {
		t.Fatalf("net/http has the fields %q, we have %q", std.Header, want)
	}
	for name, values := range want {
		if got := std.Header[name]; !slices.Equal(got, values) {
			t.Fatalf("%s is %q, net/http has %q", name, values, got)
		}
	}
}
