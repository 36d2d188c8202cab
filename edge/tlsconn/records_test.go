package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
)

// versions are what a client may speak.
var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// eachVersion runs f with the ends of a conn of each version.
func eachVersion(t *testing.T, f func(t *testing.T, p *peer)) {
	t.Helper()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			cfg := r.cert.Client()
			cfg.MaxVersion = version
			p := r.mustShake(t, cfg)
			if got := p.client.ConnectionState(); got.Version != version || got.NegotiatedProtocol != "http/1.1" {
				t.Fatalf("version %x, protocol %q", got.Version, got.NegotiatedProtocol)
			}
			f(t, p)
		})
	}
}

func TestRecordsGoBothWays(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *peer) {
		t.Helper()
		for _, text := range []string{"x", "hello", strings.Repeat("0123456789", 30_000)} {
			go p.say(text)
			p.want(text)
			go p.send(p.seal(text))
			p.wantRead(text)
		}
	})
}

func TestRecordsCutAnywhereOpen(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *peer) {
		t.Helper()
		p.say("first")
		p.say("second")
		var b []byte
		for whole := len("firstsecond") + 2*recordHeaderBytes; len(b) < whole; {
			b = append(b, p.arrive()...)
		}
		var got []byte
		for i := range b {
			var err error
			if got, err = p.Records.Open(got, b[i:i+1]); err != nil {
				t.Fatalf("byte %d of %d: %v", i, len(b), err)
			}
			if reply := p.Records.Reply(); len(reply) > 0 {
				t.Fatalf("byte %d: replied % x", i, reply)
			}
		}
		if string(got) != "firstsecond" {
			t.Errorf("opened %q", got)
		}
	})
}

func TestBatchIsCutIntoFewRecords(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *peer) {
		t.Helper()
		const size = 40 << 10
		b := p.seal(strings.Repeat("x", size))
		const records, overhead = 3, 40
		if len(b) > size+records*overhead {
			t.Errorf("%d bytes make %d of records", size, len(b))
		}
	})
}

func TestEachEndSaysWhenItIsDone(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *peer) {
		t.Helper()
		p.send(p.Records.SealEnd(nil))
		if _, err := p.client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("the client reads %v, want the end", err)
		}
		if _, err := p.Records.Seal(nil, []byte("more")); err == nil {
			t.Error("sealed behind the end")
		}
		p.say("last")
		if err := p.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var got []byte
		var err error
		for err == nil {
			got, err = p.Records.Open(got, p.arrive())
		}
		if string(got) != "last" || !IsEnd(err) {
			t.Errorf("opened %q, then %v", got, err)
		}
	})
}

func TestRecordThatIsWrongIsAnsweredByAnAlert(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *peer) {
		t.Helper()
		p.say("hello")
		b := p.arrive()
		b[len(b)-1] ^= 1
		got, err := p.Records.Open(nil, b)
		if len(got) > 0 || err == nil || IsEnd(err) {
			t.Fatalf("opened %q, %v", got, err)
		}
		p.send(p.Records.Reply())
		if _, err := p.client.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
			t.Errorf("the client reads %v", err)
		}
	})
}

func TestGarbageIsAnError(t *testing.T) {
	for name, garbage := range map[string]string{
		"another version":   "\x17\x09\x09\x00\x01x",
		"a record too long": "\x17\x03\x03\xff\xff",
		"plain text":        "GET / HTTP/1.1\r\n\r\n",
		"a new handshake":   "\x16\x03\x03\x00\x04\x01\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, p *peer) {
				t.Helper()
				if got, err := p.Records.Open(nil, []byte(garbage)); err == nil || IsEnd(err) || len(got) > 0 {
					t.Errorf("opened %q, %v", got, err)
				}
			})
		})
	}
}

func TestEmptyRecordsWithoutEndAreAnError(t *testing.T) {
	r := newRig(t, Config{})
	cfg := r.cert.Client()
	cfg.MaxVersion = tls.VersionTLS13
	p := r.mustShake(t, cfg)
	var err error
	const many = 1000
	for range many {
		// A change_cipher_spec, which TLS 1.3 ignores.
		if _, err = p.Records.Open(nil, []byte("\x14\x03\x03\x00\x01\x01")); err != nil {
			return
		}
	}
	t.Errorf("%d useless records are taken", many)
}

func TestSealingDoesNotAllocate(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *peer) {
		t.Helper()
		dst, plain := make([]byte, 0, 4096), make([]byte, 512)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := p.Records.Seal(dst, plain); err != nil {
				t.Fatal(err)
			}
		}); n > sealAllocs {
			t.Errorf("%v allocations a batch", n)
		}
	})
}
