package http1

import (
	"net/http"
	"strconv"
)

// AppendResponse appends a whole answer that closes the connection. contentType may be empty
// if body is.
func AppendResponse(dst []byte, status int, contentType string, header []Field, body []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(dst, ' '), http.StatusText(status)...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	if contentType != "" {
		dst = append(append(dst, "\r\nContent-Type: "...), contentType...)
	}
	for _, f := range header {
		dst = append(append(dst, "\r\n"...), f.Name...)
		dst = append(append(dst, ": "...), f.Value...)
	}
	dst = append(dst, "\r\nConnection: close\r\n\r\n"...)
	return append(dst, body...)
}
