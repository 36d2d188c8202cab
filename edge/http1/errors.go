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
	ErrTargetTooLong    = errors.New("the request line is too long: ask for a shorter target")
	ErrTooManyFields    = errors.New("the request has too many headers: send fewer")
	ErrRequestLine      = errors.New("the request line is not METHOD SP target SP HTTP/1.1")
	ErrStatusLine       = errors.New("the status line is not HTTP/1.1 SP status SP reason")
	ErrMethod           = errors.New("the method has a byte that is not allowed")
	ErrConnect          = errors.New("CONNECT asks for a tunnel: none is opened here")
	ErrTarget           = errors.New("the target is not a path: ask for /path?query")
	ErrVersion          = errors.New("the version is not HTTP/1.1")
	ErrLineEnd          = errors.New("a line does not end in CR LF")
	ErrFieldName        = errors.New("a header's name has a byte that is not allowed, or white space before the colon")
	ErrFieldValue       = errors.New("a header's value has a byte that is not allowed")
	ErrFolded           = errors.New("a header is folded over two lines")
	ErrUnderscore       = errors.New("a header has the name of one that frames the body, but with an underscore")
	ErrHost             = errors.New("want exactly one Host header, a name or an address with or without a port")
	ErrHostDiffers      = errors.New("the Host header is not the host of the target")
	ErrRepeated         = errors.New("a header that may come once came twice")
	ErrContentLength    = errors.New("the Content-Length is not one decimal number")
	ErrLengthAndChunks  = errors.New("there is a Content-Length beside a Transfer-Encoding")
	ErrTransferEncoding = errors.New("the Transfer-Encoding is not chunked")
	ErrChunksInHTTP10   = errors.New("there is a Transfer-Encoding in HTTP/1.0, which has none")
	ErrConnection       = errors.New("the Connection header names a header that is not of one hop, is no list of names, or is too long")
	ErrExpect           = errors.New("the Expect header is not 100-continue")
	ErrTrailerName      = errors.New("a header is named as a trailer that may not be one")
	ErrEscape           = errors.New("a percent escape is not % and two hexadecimal digits")
	ErrNoBody           = errors.New("the answer has a status that allows no body, and says that it has one")
)

// What a body can do wrong. A trailer can also end in [ErrLineEnd], [ErrFieldName], [ErrFieldValue] or
// [ErrTrailerName].
var (
	ErrBodyTooLarge     = errors.New("the body is too large: send less")
	ErrChunkSize        = errors.New("a chunk's size is not a hexadecimal number below the limit")
	ErrChunkExtension   = errors.New("a chunk's extension is not ;name or ;name=value")
	ErrChunkLine        = errors.New("a chunk's extensions are too long: send none")
	ErrChunkEnd         = errors.New("a chunk does not end in CR LF where its size says")
	ErrTrailersTooLarge = errors.New("the trailers are too large or too many: send fewer")
	ErrCutShort         = errors.New("the connection ended within the body")
)

// What is wrong with a head that is to be written.
var (
	ErrReserved = errors.New("a header that is stated by who writes the head was added to it: leave it out")
	ErrFraming  = errors.New("the head was to have a framing that such a message cannot have")
)

var statuses = []struct {
	err    error
	status int
}{
	{ErrHeadTooLarge, http.StatusRequestHeaderFieldsTooLarge},
	{ErrTargetTooLong, http.StatusRequestURITooLong},
	{ErrTooManyFields, http.StatusRequestHeaderFieldsTooLarge},
	{ErrRequestLine, http.StatusBadRequest},
	{ErrStatusLine, http.StatusBadGateway},
	{ErrMethod, http.StatusBadRequest},
	{ErrConnect, http.StatusNotImplemented},
	{ErrTarget, http.StatusBadRequest},
	{ErrVersion, http.StatusHTTPVersionNotSupported},
	{ErrLineEnd, http.StatusBadRequest},
	{ErrFieldName, http.StatusBadRequest},
	{ErrFieldValue, http.StatusBadRequest},
	{ErrFolded, http.StatusBadRequest},
	{ErrUnderscore, http.StatusBadRequest},
	{ErrHost, http.StatusBadRequest},
	{ErrHostDiffers, http.StatusBadRequest},
	{ErrRepeated, http.StatusBadRequest},
	{ErrContentLength, http.StatusBadRequest},
	{ErrLengthAndChunks, http.StatusBadRequest},
	{ErrTransferEncoding, http.StatusNotImplemented},
	{ErrChunksInHTTP10, http.StatusBadRequest},
	{ErrConnection, http.StatusBadRequest},
	{ErrExpect, http.StatusExpectationFailed},
	{ErrTrailerName, http.StatusBadRequest},
	{ErrEscape, http.StatusBadRequest},
	{ErrNoBody, http.StatusBadGateway},
	{ErrBodyTooLarge, http.StatusRequestEntityTooLarge},
	{ErrChunkSize, http.StatusBadRequest},
	{ErrChunkExtension, http.StatusBadRequest},
	{ErrChunkLine, http.StatusBadRequest},
	{ErrChunkEnd, http.StatusBadRequest},
	{ErrTrailersTooLarge, http.StatusRequestHeaderFieldsTooLarge},
	{ErrCutShort, http.StatusBadRequest},
	{ErrReserved, http.StatusInternalServerError},
	{ErrFraming, http.StatusInternalServerError},
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
