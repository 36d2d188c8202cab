package tlsconn

import (
	"crypto/tls"
	"fmt"
	"testing"
)

// BenchmarkSeal is what a delivery costs besides that of plain text.
func BenchmarkSeal(b *testing.B) {
	r := newRig(b, Config{})
	for _, version := range []string{"1.2", "1.3"} {
		cfg := r.cert.Client()
		cfg.MinVersion, cfg.MaxVersion = versions[version], versions[version]
		p := r.mustShake(b, cfg)
		for _, size := range []int{200, 1024, 16384} {
			b.Run(fmt.Sprintf("%s/%d", version, size), func(b *testing.B) {
				plain, dst := make([]byte, size), make([]byte, 0, 2*size+64)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := p.Records.Seal(dst, plain); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkHandshake is a handshake's time with its client's part.
func BenchmarkHandshake(b *testing.B) {
	for _, resumed := range []bool{false, true} {
		b.Run(fmt.Sprintf("resumed=%v", resumed), func(b *testing.B) {
			r := newRig(b, Config{})
			cfg := r.cert.Client()
			if resumed {
				cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				p := r.mustShake(b, cfg)
				p.send(p.seal("x"))
				p.wantRead("x")
			}
			b.ReportAllocs()
			for b.Loop() {
				p := r.mustShake(b, cfg)
				if p.Resumed != resumed {
					b.Fatalf("resumed %v", p.Resumed)
				}
				_, _ = p.client.NetConn().Close(), p.socket.Close()
			}
		})
	}
}
