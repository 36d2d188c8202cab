package tlsconn

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
)

// secrets are the application's of a TLS 1.3 handshake.
type secrets struct {
	client, server []byte
	tickets        uint64 // records that were sent under the server's
}

// Write implements [io.Writer] as a Config.KeyLogWriter: it takes a line of the form "label random
// secret", both in hexadecimal.
func (s *secrets) Write(line []byte) (int, error) {
	fields := bytes.Fields(line)
	if len(fields) != 3 {
		return 0, errors.New("a line of the key log does not have three fields")
	}
	var to *[]byte
	switch string(fields[0]) {
	case "CLIENT_TRAFFIC_SECRET_0":
		to = &s.client
	case "SERVER_TRAFFIC_SECRET_0":
		to = &s.server
	default:
		return len(line), nil
	}
	*to = make([]byte, hex.DecodedLen(len(fields[2])))
	_, err := hex.Decode(*to, fields[2])
	return len(line), err
}

// forget overwrites the secrets.
func (s *secrets) forget() {
	clear(s.client)
	clear(s.server)
	*s = secrets{}
}

// suite is a cipher suite of TLS 1.3.
type suite struct {
	hash     func() hash.Hash
	keyBytes int
}

var suites = map[uint16]suite{
	tls.TLS_AES_128_GCM_SHA256:       {sha256.New, 16},
	tls.TLS_AES_256_GCM_SHA384:       {sha512.New384, 32},
	tls.TLS_CHACHA20_POLY1305_SHA256: {sha256.New, 32},
}

// ivBytes is the length of a nonce in all of them (RFC 8446 section 5.3).
const ivBytes = 12

// trafficKeys are those that a secret gives (RFC 8446 section 7.3).
func (s suite) trafficKeys(secret []byte) (key, iv []byte, err error) {
	if key, err = s.expandLabel(secret, "key", s.keyBytes); err != nil {
		return nil, nil, err
	}
	iv, err = s.expandLabel(secret, "iv", ivBytes)
	return key, iv, err
}

// expandLabel is HKDF-Expand-Label without a context (RFC 8446 section 7.1).
func (s suite) expandLabel(secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := append([]byte{byte(n >> 8), byte(n), byte(len(label))}, label...)
	b, err := hkdf.Expand(s.hash, secret, string(append(info, 0)), n)
	if err != nil {
		return nil, fmt.Errorf("derive a traffic key: %w", err)
	}
	return b, nil
}
