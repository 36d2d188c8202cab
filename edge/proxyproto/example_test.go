package proxyproto_test

import (
	"fmt"

	"weir/edge/proxyproto"
)

func Example() {
	b := []byte("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n")
	h, n, err := proxyproto.Parse(b)
	fmt.Printf("%v %v %q\n", h.Source, err, b[n:])
	_, n, err = proxyproto.Parse(b[:20])
	fmt.Println(n, err)
	// Output:
	// 192.0.2.7:56324 <nil> "GET / HTTP/1.1\r\n"
	// 21 more bytes are needed
}
