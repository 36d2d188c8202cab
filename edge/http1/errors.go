package http1

import (
	"errors"
	"net/http"
)

// ErrShort says that the head has not ended yet. Nothing was consumed.
var ErrShort = errors.New("more bytes are needed")

// What a head can do wrong. [StatusOf] has the status to answer with.
var (
	ErrHeadTooLarge     = errors.New("the request head is too large: send fewer or shorter headers")
	ErrTooManyFields    = errors.New("the request has too many headers: send fewer")
	ErrRequestLine      = errors.New("the request line is not METHOD SP target SP HTTP/1.1")
	ErrStatusLine       = errors.New("the status line is not HTTP/1.1 SP status SP reason")
	ErrMethod           = errors.New("the method has a byte that is not allowed")
	ErrTarget           = errors.New("the target is not a path: ask for /path?query")
	ErrVersion          = errors.New("the version is not HTTP/1.1")
	ErrLineEnd          = errors.New("a line does not end in CR LF")
	ErrFieldName        = errors.New("a header's name has a byte that is not allowed, or white space before the colon")
	ErrFieldValue       = errors.New("a header's value has a byte that is not allowed")
	ErrFolded           = errors.New("a header is folded over two lines")
	ErrHost             = errors.New("want exactly one Host header")
	ErrRepeated         = errors.New("a header that may come once came twice")
	ErrContentLength    = errors.New("the Content-Length is not one decimal number")
	ErrLengthAndChunks  = errors.New("there is a Content-Length beside a Transfer-Encoding")
	ErrTransferEncoding = errors.New("the Transfer-Encoding is not chunked")
	ErrEscape           = errors.New("a percent escape is not % and two hexadecimal digits")
)

var statuses = []struct {
	err    error
	status int
}{
	{ErrHeadTooLarge, http.StatusRequestHeaderFieldsTooLarge},
	{ErrTooManyFields, http.StatusRequestHeaderFieldsTooLarge},
	{ErrRequestLine, http.StatusBadRequest},
	{ErrStatusLine, http.StatusBadGateway},
	{ErrMethod, http.StatusBadRequest},
	{ErrTarget, http.StatusBadRequest},
	{ErrVersion, http.StatusHTTPVersionNotSupported},
	{ErrLineEnd, http.StatusBadRequest},
	{ErrFieldName, http.StatusBadRequest},
	{ErrFieldValue, http.StatusBadRequest},
	{ErrFolded, http.StatusBadRequest},
	{ErrHost, http.StatusBadRequest},
	{ErrRepeated, http.StatusBadRequest},
	{ErrContentLength, http.StatusBadRequest},
	{ErrLengthAndChunks, http.StatusBadRequest},
	{ErrTransferEncoding, http.StatusNotImplemented},
	{ErrEscape, http.StatusBadRequest},
}

// StatusOf is the HTTP status to answer an error of this package with; 400 for any other.
func StatusOf(err error) int {
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return http.StatusBadRequest
}
