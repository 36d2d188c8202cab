package http1

import "testing"

// wrk and browser are what these send.
const (
	wrk     = "GET /api/items HTTP/1.1\r\nHost: 127.0.0.1:8002\r\n\r\n"
	browser = "GET /api/items?page=2&size=50 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n" +
		"Upgrade-Insecure-Requests: 1\r\nCache-Control: max-age=0\r\nReferer: https://api.example.com/\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nConnection: keep-alive\r\n\r\n"
)

func BenchmarkSendOn(b *testing.B) {
	o := Onward{Without: []string{"X-Forwarded-*", "Forwarded"}, Extra: []Field{{Name: []byte("X-Forwarded-For"), Value: []byte("192.0.2.1")}, {Name: []byte("X-Forwarded-Proto"), Value: []byte("http")}}}
	for _, tt := range []struct{ name, in string }{{"wrk", wrk}, {"browser", browser}} {
		b.Run(tt.name, func(b *testing.B) {
			var r Request
			var dst []byte
			in := []byte(tt.in)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Parse(in, gateway); err != nil {
					b.Fatal(err)
				}
				var err error
				if dst, err = AppendRequestHead(dst[:0], &r, &o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBody(b *testing.B) {
	in := []byte("1000\r\n")
	in = append(append(in, make([]byte, 4096)...), "\r\n0\r\n\r\n"...)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		var d Body
		d.Start(FramingChunked, 0, 0)
		if n, done, err := d.Skip(in); n != len(in) || !done || err != nil {
			b.Fatal(n, done, err)
		}
	}
}
