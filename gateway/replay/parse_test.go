package replay

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/gateway/policy"

	"pgregory.net/rapid"
)

// keysOf are parts of keys by their names.
func keysOf(tb testing.TB, texts ...string) (parts []policy.KeyPart) {
	tb.Helper()
	for _, text := range texts {
		p, err := policy.ParseKeyPart(text)
		if err != nil {
			tb.Fatal(err)
		}
		parts = append(parts, p)
	}
	return parts
}

func layoutOf(tb testing.TB, cfg Config, parts ...string) *layout {
	tb.Helper()
	l, err := newLayout(&cfg, keysOf(tb, parts...))
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// at is a time as tests write it.
func at(text string) int64 {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t.UnixNano()
}

func TestLinesAreReadAsTheirServersWriteThem(t *testing.T) {
	client := netip.MustParseAddr("192.0.2.7")
	common := entry{begun: at("2026-01-02T03:04:05Z"), coarse: true, client: client, method: "GET", path: "/a", status: 200, sent: 512}
	with := func(change func(*entry)) entry {
		e := common
		change(&e)
		return e
	}
	for _, tt := range []struct {
		name, line string
		want       entry
	}{
		{"common", `192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 512`, common},
		{"common with a zone", `192.0.2.7 - - [01/Jan/2026:22:04:05 -0500] "GET /a HTTP/1.1" 200 512`, common},
		{"common with a user", `192.0.2.7 - shop [02/Jan/2026:03:04:05 +0000] "GET /a?b=c HTTP/1.1" 200 512`, with(func(e *entry) { e.identity = "shop" })},
		{"a user with a space", `192.0.2.7 - a b [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 512`, with(func(e *entry) { e.identity = "a b" })},
		{"no bytes", `192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 -`, with(func(e *entry) { e.sent = 0 })},
		{"a virtual host", `example.com:443 192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 512`, with(func(e *entry) { e.host = "example.com:443" })},
		{"combined", `192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 512 "-" "curl/8 \x22x\x22 \"y\""`, with(func(e *entry) { e.keys = []string{`curl/8 "x" "y"`} })},
		{"combined, and more", `192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 512 "https://x/" "curl" "203.0.113.1" 0.5`, with(func(e *entry) { e.keys = []string{"curl"} })},
		{"an absolute target", `192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET http://example.com/a?b=://c HTTP/1.1" 200 512`, with(func(e *entry) { e.host = "example.com" })},
		{"no request", `192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "-" 400 0`, with(func(e *entry) { e.method, e.path, e.status, e.sent = "", "", 400, 0 })},
		{"IPv6", `2001:db8::1 - - [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 512`, with(func(e *entry) { e.client = netip.MustParseAddr("2001:db8::1") })},
		{"nginx's JSON", `{"time":"2026-01-02T03:04:07+00:00","remote_addr":"192.0.2.7","remote_user":"-","request":"GET /a?b HTTP/1.1","status":"200","body_bytes_sent":512,"request_time":"1.500","http_host":"example.com","http_user_agent":"curl"}`, with(func(e *entry) {
			e.begun, e.took, e.timed, e.host, e.keys = at("2026-01-02T03:04:05.5Z"), 1500*time.Millisecond, true, "example.com", []string{"curl"}
		})},
		{"nginx's JSON in milliseconds", `{"msec":"1767323045.250","remote_addr":"192.0.2.7","request_method":"GET","request_uri":"/a","status":200,"bytes_sent":"512"}`, with(func(e *entry) { e.begun, e.coarse = at("2026-01-02T03:04:05.25Z"), false })},
		{"Caddy's", `{"level":"info","ts":1767323046.5,"logger":"http.log.access","request":{"remote_ip":"10.0.0.1","remote_port":"41","client_ip":"192.0.2.7","proto":"HTTP/2.0","method":"GET","host":"example.com","uri":"/a?x=1","headers":{"User-Agent":["curl","other"],"Accept":["*/*",{"client":"192.0.2.9"}]}},"bytes_read":3,"user_id":"","duration":1.5,"size":512,"status":200}`, with(func(e *entry) {
			e.took, e.timed, e.coarse, e.host, e.received, e.keys = 1500*time.Millisecond, true, false, "example.com", 3, []string{"curl"}
		})},
		{"weir's own", `{"time":"2026-01-02T03:04:05.25Z","client":"192.0.2.7","identity":"shop","method":"GET","host":"h","path":"/a","proto":"HTTP/1.1","status":429,"outcome":"limited","route":"all","limited":["p"],"received_bytes":1,"sent_bytes":512,"seconds":5e-7,"added_seconds":0}`, with(func(e *entry) {
			e.begun, e.coarse, e.identity, e.host, e.status, e.received, e.took, e.timed = at("2026-01-02T03:04:05.25Z"), false, "shop", "h", 429, 1, 500, true
			e.outcome, e.decided = policy.Limited, true
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got entry
			if err := layoutOf(t, Config{}, "header:User-Agent").parse(tt.line, &got); err != nil {
				t.Fatal(err)
			}
			if tt.want.keys == nil {
				tt.want.keys = []string{""}
			}
			if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", tt.want); g != w {
				t.Errorf("got\n%s, want\n%s", g, w)
			}
		})
	}
}

func TestABadLineSaysWhatIsWrong(t *testing.T) {
	const good = `192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 512`
	for line, want := range map[string]string{
		"x": "neither JSON nor the common",
		strings.Replace(good, "192.0.2.7", "host.example", 1): "want an address",
		strings.Replace(good, "02/Jan", "31/Feb", 1):          "its time is",
		strings.Replace(good, "03:04:05", "24:04:05", 1):      "its time is",
		strings.Replace(good, "Jan", "Jam", 1):                "its time is",
		strings.Replace(good, "2026", "1950", 1):              "its time is",
		strings.Replace(good, "+0000", "*0000", 1):            "its time is",
		strings.Replace(good, "200", "2xx", 1):                "its status is",
		strings.Replace(good, "512", "-5", 1):                 "its bytes sent are",
		strings.TrimSuffix(good, " 200 512"):                  "neither JSON nor the common",
		strings.Replace(good, `1.1"`, `1.1`, 1):               "neither JSON nor the common",
		good + ` "-" "open`:                                   "neither JSON nor the common",
		`{"time":1767323045}`:                                 "it has no client",
		`{"client":"192.0.2.7"}`:                              "it has no time",
		`{"client":"192.0.2.7","time":"yesterday"}`:           "its time is",
		`{"client":"192.0.2.7","time":1,"duration":-1}`:       "it took",
		`{"client":"192.0.2.7"`:                               "is none",
		`{"a":01}`:                                            "is none",
		`{"a":` + strings.Repeat("[", 100):                    "is none",
		`{} x`:                                                "is none",
	} {
		if err := layoutOf(t, Config{}).parse(line, &entry{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func TestFieldsOfOtherLogsAreNamed(t *testing.T) {
	cfg := Config{
		Fields: map[string]string{"client": "peer.ip", "begun": "start", "forwarded": "xff", "identity": "user.name", "seconds": "took"},
		Keys:   map[string]string{"header:X-Tenant": "tenant", "claim:org": "jwt.org"},
	}
	l := layoutOf(t, cfg, "claim:org", "header:X-Tenant")
	var e entry
	line := `{"time":1,"client":"203.0.113.9","peer":{"ip":"192.0.2.7:443"},"start":1767323045123,"xff":"198.51.100.1","user":{"name":"sh\u00f6p"},"took":2,"tenant":42,"jwt":{"org":"acme"}}`
	if err := l.parse(line, &e); err != nil {
		t.Fatal(err)
	}
	if e.client != netip.MustParseAddr("192.0.2.7") || e.begun != at("2026-01-02T03:04:05.123Z") || e.forwarded != "198.51.100.1" || e.identity != "shöp" || !slices.Equal(e.keys, []string{"acme", "42"}) {
		t.Errorf("%+v", e)
	}
	if _, err := newLayout(&Config{}, keysOf(t, "header:X-Tenant")); err == nil || !strings.Contains(err.Error(), "--key header:X-Tenant=FIELD") {
		t.Errorf("a header that no log has: %v", err)
	}
}

func TestTimesAreReadExactly(t *testing.T) {
	for text, want := range map[string]int64{
		"1767323045": 1767323045e9, "1767323045.1": 17673230451e8, "1767323045.000000001": 1767323045e9 + 1, "1767323045.0000000019": 1767323045e9 + 1,
		"1767323045123": 1767323045123e6, "1767323045123456": 1767323045123456e3, "1767323045123456789": 1767323045123456789, "1.767323045e9": 1767323045e9,
		"2026-01-02T03:04:05.000000001Z": 1767323045e9 + 1, "0": 0, "9000000000": 9e18,
	} {
		if got, err := parseTime(text); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "9000000001", "99999999999", "9999999999999999999", "1767323045123.5", "NaN", "1e300", "2026-13-02T03:04:05Z", "9999-01-02T03:04:05Z", "1.2.3"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

// TestWhatNginxEscapesIsReadBack: a request and an agent of any bytes, written as nginx and as Apache do, are what was written.
func TestWhatNginxEscapesIsReadBack(t *testing.T) {
	l := layoutOf(t, Config{}, "header:User-Agent", "header:Referer")
	rapid.Check(t, func(t *rapid.T) {
		agent, referer := rapid.String().Draw(t, "agent"), rapid.String().Draw(t, "referer")
		apache := rapid.Bool().Draw(t, "apache")
		escape := func(s string) string {
			var b strings.Builder
			for i := range len(s) {
				switch c := s[i]; {
				case apache && (c == '"' || c == '\\'):
					b.WriteString(`\` + string(rune(c)))
				case c < ' ' || c >= 0x7f || c == '"' || c == '\\':
					fmt.Fprintf(&b, `\x%02X`, c)
				default:
					b.WriteByte(c)
				}
			}
			return b.String()
		}
		line := fmt.Sprintf(`192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /%s HTTP/1.1" 200 1 "%s" "%s"`, "x", escape(referer), escape(agent))
		var e entry
		if err := l.parse(line, &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.keys[0] != unlessDash(agent) || e.keys[1] != unlessDash(referer) {
			t.Errorf("%q is %q", line, e.keys)
		}
	})
}

// walk is what the layout's scanner looks at, by encoding/json: the last value of each path, of a list the first.
func walk(d *json.Decoder, to map[string]string, path string, depth int) (deep bool) {
	token, err := d.Token()
	if err != nil {
		panic(err) // it is valid
	}
	switch v := token.(type) {
	case json.Delim:
		deep = depth > maxDepth
		for first := true; d.More(); first = false {
			into, p := to, path
			if v == '{' {
				name, _ := d.Token()
				if p != "" {
					p += "."
				}
				p += name.(string)
			} else if !first {
				into = nil
			}
			deep = walk(d, into, p, depth+1) || deep
		}
		_, _ = d.Token()
	case string:
		if to != nil {
			to[path] = v
		}
	case json.Number:
		if to != nil {
			to[path] = v.String()
		}
	}
	return deep
}

// FuzzJSON holds the scanner to encoding/json: what is JSON, and what a field says.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"client":"192.0.2.7","time":1}`, `{"a":{"client":["x","y"]}}`, `{"client":"\ud83d\ude00\u00e9"}`, "{\"client\":\"\xff\"}", `{"client":-1.5e+3}`,
		`{"client":1,"client":"2"}`, `{"client":[[{"a":1}]]}`, `{"a.b":"x","a":{"b":"y"}}`, `{}`, `{"client":null,"x":true}`, `{"client":0}`, `{"a":[]}`, `{"a":tru}`,
	} {
		f.Add(seed, "client")
	}
	f.Fuzz(func(t *testing.T, line, field string) {
		if !strings.HasPrefix(line, "{") || field == "" {
			t.Skip()
		}
		l := &layout{fields: map[string][]wanted{field: {{0, 1}}}, values: make(raw, 1), ranks: make([]int, 1)}
		err := l.json(line)
		if !json.Valid([]byte(line)) {
			if err == nil {
				t.Fatalf("%q is no JSON", line)
			}
			return
		}
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		want := map[string]string{}
		deep := walk(d, want, "", 0)
		if err != nil {
			if !deep {
				t.Fatalf("%q is JSON", line)
			}
			return
		}
		if l.values[0] != want[field] {
			t.Errorf("%q: %s is %q, want %q", line, field, l.values[0], want[field])
		}
	})
}

// FuzzLine: no line breaks anything, and what is read of one is in range.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{
		`192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a HTTP/1.1" 200 512 "-" "curl\x22"`, `a 192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "-" 400 -`,
		`{"time":"2026-01-02T03:04:07Z","remote_addr":"192.0.2.7","request":"GET http:///a?b HTTP/1.1","status":"200","request_time":"1.5"}`,
		`{"ts":1767323046.5,"request":{"client_ip":"::1","uri":"/a"},"duration":1e-7,"status":200}`,
		`{"time":"2026-01-02T03:04:05.25Z","client":"192.0.2.7","outcome":"limited","seconds":1}`, `x [y] "\`,
	} {
		f.Add(seed)
	}
	l := layoutOf(f, Config{}, "header:User-Agent", "header:Referer")
	f.Fuzz(func(t *testing.T, line string) {
		e := entry{keys: []string{"left", "over"}}
		if err := l.parse(line, &e); err != nil {
			return
		}
		if !e.client.IsValid() || e.client.Is4In6() || e.begun > maxUnix*1e9 || e.begun < -int64(maxTook) || e.took < 0 || e.received < 0 || e.sent < 0 || e.status < 0 || len(e.keys) != 2 || strings.Contains(e.path, "?") {
			t.Errorf("%q is %+v", line, e)
		}
	})
}

func parsePrefix(tb testing.TB, text string) netip.Prefix {
	tb.Helper()
	p, err := netip.ParsePrefix(text)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}
