package http1_test

import (
	"fmt"
	"strings"

	"weir/edge/http1"
)

// A gateway parses a head, writes it anew, and passes the body on as it is framed.
func Example() {
	in := []byte("POST /items HTTP/1.1\r\nHost: api.example\r\nConnection: keep-alive\r\nX-Forwarded-For: made up\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"5;note=x\r\nhello\r\n0\r\nChecksum: 1\r\n\r\n")
	var request http1.Request
	n, err := request.Parse(in, http1.Limits{MaxHeadBytes: 8 << 10, MaxFields: 64})
	if err != nil {
		fmt.Println(http1.StatusOf(err), err)
		return
	}
	out, err := http1.AppendRequestHead(nil, &request, &http1.Onward{
		Without: []string{"X-Forwarded-*"},
		Extra:   []http1.Field{{Name: []byte("X-Forwarded-For"), Value: []byte("192.0.2.1")}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var body http1.Body
	body.Start(request.Framing(), request.ContentLength, 1<<20)
	for rest := in[n:]; len(rest) > 0 && !body.Done(); {
		raw, n, _, err := body.Raw(rest)
		if err != nil {
			fmt.Println(http1.StatusOf(err), err)
			return
		}
		out, rest = append(out, raw...), rest[n:]
	}
	fmt.Println(strings.ReplaceAll(string(out), "\r\n", "|"))
	fmt.Println(body.Trailers(), "trailer left out")
	// Output:
	// POST /items HTTP/1.1|Host: api.example|X-Forwarded-For: 192.0.2.1|Transfer-Encoding: chunked||5|hello|0||
	// 1 trailer left out
}
