package gateway

import "testing"

// BenchmarkRequest is a request over event loops, from a client that waits for each answer: the time of both, the upstream's and
// gnet's as well. What is allocated is the whole process's.
func BenchmarkRequest(b *testing.B) {
	for name, deps := range tracings(b) {
		b.Run(name, func(b *testing.B) {
			r := serve(b, Config{Way: WayLoops, Loops: 1}, plain(fixed(b, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello")), deps)
			c, _ := r.dial(b)
			out, in := []byte("GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: wrk\r\nAccept: */*\r\n\r\n"), make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(out); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Read(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
