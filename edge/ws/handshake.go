package ws

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 section 1.3 asks for it; it protects nothing here
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// acceptGUID is RFC 6455 section 1.3's.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// keyBytes is the length of a Sec-WebSocket-Key: 16 bytes in base64.
const keyBytes = 24

// Handshake is what of a request makes a handshake; a header that is not there is empty.
type Handshake struct {
	Method, Connection, Upgrade, Version, Key []byte
}

// HandshakeError says what is wrong with a handshake.
type HandshakeError struct {
	status int
	text   string
}

// Error says what is wrong and what to send.
func (e *HandshakeError) Error() string { return e.text }

// Status is the HTTP status to answer with.
func (e *HandshakeError) Status() int { return e.status }

// What a handshake can lack. Tested for with [errors.Is].
var (
	ErrHandshakeMethod  = &HandshakeError{http.StatusMethodNotAllowed, "a WebSocket handshake is a GET"}
	ErrHandshakeUpgrade = &HandshakeError{http.StatusUpgradeRequired, "this path speaks WebSocket: send Connection: Upgrade and Upgrade: websocket"}
	ErrHandshakeVersion = &HandshakeError{http.StatusUpgradeRequired, "want Sec-WebSocket-Version: 13"}
	ErrHandshakeKey     = &HandshakeError{http.StatusBadRequest, "want a Sec-WebSocket-Key of 16 bytes in base64"}
)

// CheckHandshake judges a request by RFC 6455 section 4.2.1. Its errors are *[HandshakeError].
func CheckHandshake(h Handshake) error {
	switch {
	case string(h.Method) != http.MethodGet:
		return ErrHandshakeMethod
	case !hasToken(h.Connection, "upgrade") || !hasToken(h.Upgrade, "websocket"):
		return ErrHandshakeUpgrade
	case string(h.Version) != "13":
		return ErrHandshakeVersion
	case !validKey(h.Key):
		return ErrHandshakeKey
	}
	return nil
}

func validKey(key []byte) bool {
	if len(key) != keyBytes {
		return false
	}
	var raw [18]byte
	n, err := base64.StdEncoding.Decode(raw[:], key)
	return err == nil && n == 16
}

// hasToken reports whether a comma-separated list has the token, in any case.
func hasToken(list []byte, token string) bool {
	for part := range strings.SplitSeq(string(list), ",") {
		if strings.EqualFold(strings.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}

// AcceptKey appends the Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2).
func AcceptKey(dst, key []byte) []byte {
	var buf [keyBytes + len(acceptGUID)]byte
	b := append(append(buf[:0], key...), acceptGUID...)
	sum := sha1.Sum(b) //nolint:gosec // see the import
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// AppendUpgradeResponse appends the answer to a handshake; protocol is the subprotocol agreed
// on and extensions what [AcceptDeflate] answers, if any.
func AppendUpgradeResponse(dst, key []byte, protocol, extensions string) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = AcceptKey(dst, key)
	if protocol != "" {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, protocol...)
	}
	if extensions != "" {
		dst = append(dst, "\r\nSec-WebSocket-Extensions: "...)
		dst = append(dst, extensions...)
	}
	return append(dst, "\r\n\r\n"...)
}

// AppendClientHandshake appends a client's request. target is the path with its query, key 16
// random bytes in base64. Each extra is a whole header line without its end.
func AppendClientHandshake(dst []byte, host, target, key string, extra ...string) []byte {
	dst = fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", target, host, key)
	for _, line := range extra {
		dst = append(append(dst, line...), "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// ErrNotUpgraded is wrapped when a server did not take the handshake.
var ErrNotUpgraded = errors.New("the server did not upgrade to WebSocket")

// CheckServerHandshake judges a server's answer, its head whole, by RFC 6455 section 4.1.
func CheckServerHandshake(head []byte, key string) error {
	lines := strings.Split(string(head), "\r\n")
	if !strings.HasPrefix(lines[0], "HTTP/1.1 101") {
		return fmt.Errorf("%w: it answered %q", ErrNotUpgraded, lines[0])
	}
	want := string(AcceptKey(nil, []byte(key)))
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "Sec-WebSocket-Accept") && strings.TrimSpace(value) == want {
			return nil
		}
	}
	return fmt.Errorf("%w: Sec-WebSocket-Accept is missing or wrong", ErrNotUpgraded)
}
