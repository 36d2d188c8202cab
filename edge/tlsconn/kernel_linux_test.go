package tlsconn

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"weir/internal/testkernel"
)

// kernelRig is a rig that gives the kernel its conns.
func kernelRig(t *testing.T) *rig {
	t.Helper()
	testkernel.RequireOption(t, "CONFIG_TLS")
	return newRig(t, Config{Kernel: true})
}

// mustShakeKernel is a conn whose record layer is in the kernel.
func (r *rig) mustShakeKernel(t *testing.T, cfg *tls.Config) *peer {
	t.Helper()
	p := r.mustShake(t, cfg)
	if p.Records != nil {
		t.Fatalf("the record layer is in the process: %+v", r.Stats())
	}
	return p
}

// exchange sends text both ways.
func (p *peer) exchange() {
	p.tb.Helper()
	for _, text := range []string{"x", "hello", strings.Repeat("0123456789", 30_000)} {
		go p.say(text)
		got := make([]byte, len(text))
		if _, err := io.ReadFull(p.socket, got); err != nil {
			p.tb.Fatal(err)
		}
		if string(got) != text {
			p.tb.Fatalf("the server read %.100q, want %.100q", got, text)
		}
		go p.send([]byte(text))
		p.wantRead(text)
	}
}

func TestNetnsKernelTLSTakesOverAHandshake(t *testing.T) {
	r := kernelRig(t)
	r.mustShakeKernel(t, r.cert.Client()).exchange() // without a ticket
	cfg := r.cert.Client()
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for resumed := range 3 {
		p := r.mustShakeKernel(t, cfg)
		p.exchange()
		if p.Resumed != (resumed > 0) {
			t.Errorf("conn %d: resumed %v", resumed, p.Resumed)
		}
	}
	if s := r.Stats(); s.KernelFailed > 0 || s.Handshakes[ResultResumed] != 2 {
		t.Errorf("%+v", s)
	}
}

func TestNetnsKernelTLSLeavesOldVersionsHere(t *testing.T) {
	r := kernelRig(t)
	cfg := r.cert.Client()
	cfg.MaxVersion = tls.VersionTLS12
	if p := r.mustShake(t, cfg); p.Records == nil {
		t.Error("TLS 1.2 is in the kernel")
	}
}

// TestNetnsKernelTLSWithoutAES runs the first test in a process that has, as it believes, no instructions
// for AES: it prefers ChaCha20.
func TestNetnsKernelTLSWithoutAES(t *testing.T) {
	r := kernelRig(t)
	const mark = "TLSCONN_WITHOUT_AES"
	if os.Getenv(mark) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNetnsKernelTLSWithoutAES$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=cpu.aes=off", mark+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	p := r.mustShakeKernel(t, r.cert.Client())
	if id := p.client.ConnectionState().CipherSuite; id != tls.TLS_CHACHA20_POLY1305_SHA256 {
		t.Fatal(tls.CipherSuiteName(id))
	}
	p.exchange()
}

// TestNetnsKernelTLSSpeaksAESAsTheStandardHasIt has records of the kernel opened, and made for it, by
// crypto/cipher.
func TestNetnsKernelTLSSpeaksAESAsTheStandardHasIt(t *testing.T) {
	testkernel.RequireOption(t, "CONFIG_TLS")
	for _, id := range []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384} {
		t.Run(tls.CipherSuiteName(id), func(t *testing.T) {
			s := secrets{client: random(t, 48), server: random(t, 48), tickets: 258}
			server, client := socketPair(t)
			if _, err := handOver(server, id, &s); err != nil {
				t.Fatal(err)
			}
			if _, err := server.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			header := make([]byte, recordHeaderBytes)
			if _, err := io.ReadFull(client, header); err != nil {
				t.Fatal(err)
			}
			body := make([]byte, binary.BigEndian.Uint16(header[3:]))
			if _, err := io.ReadFull(client, body); err != nil {
				t.Fatal(err)
			}
			aead, nonce := byHand(t, id, s.server, s.tickets)
			plain, err := aead.Open(nil, nonce, body, header)
			if err != nil || string(plain) != "hello\x17" {
				t.Fatalf("opened %q, %v", plain, err)
			}
			aead, nonce = byHand(t, id, s.client, 0)
			header = []byte{23, 3, 3, 0, byte(len("world") + 1 + aead.Overhead())}
			if _, err := client.Write(aead.Seal(header, nonce, []byte("world\x17"), header)); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 64)
			if n, err := server.Read(got); err != nil || string(got[:n]) != "world" {
				t.Fatalf("read %q, %v", got[:n], err)
			}
		})
	}
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// byHand is what a record is sealed with (RFC 8446 sections 5.2 and 5.3).
func byHand(t *testing.T, id uint16, secret []byte, number uint64) (cipher.AEAD, []byte) {
	t.Helper()
	key, iv, err := suites[id].trafficKeys(secret)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := binary.BigEndian.AppendUint64([]byte{0, 0, 0, 0}, number)
	for i := range nonce {
		nonce[i] ^= iv[i]
	}
	return aead, nonce
}

func TestNetnsKernelTLSEndsAreToldFromFaults(t *testing.T) {
	r := kernelRig(t)
	read := func(p *peer) (fd int, err error) {
		raw, err := p.socket.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(n uintptr) { fd = int(n) })
		_, err = p.socket.Read(make([]byte, 1))
		return fd, err
	}
	for _, tt := range []struct {
		name  string
		do    func(p *peer)
		ended bool
	}{
		{"close_notify", func(p *peer) { _ = p.client.CloseWrite() }, true},
		{"the connection's end", func(p *peer) { _ = p.client.NetConn().Close() }, true},
		{"a record that does not decrypt", func(p *peer) {
			_, _ = p.client.NetConn().Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)))
		}, false},
		{"another version", func(p *peer) {
			_, _ = p.client.NetConn().Write([]byte("\x17\x09\x09\x00\x20" + strings.Repeat("x", 32)))
		}, false},
		{"plain text", func(p *peer) { _, _ = p.client.NetConn().Write([]byte("GET / HTTP/1.1\r\n\r\n")) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := r.mustShakeKernel(t, r.cert.Client())
			tt.do(p)
			fd, err := read(p)
			if err == nil {
				t.Fatal("read without an error")
			}
			if Ended(fd, err) != tt.ended {
				t.Errorf("%v: ended %v", err, !tt.ended)
			}
		})
	}
	p := r.mustShakeKernel(t, r.cert.Client())
	raw, err := p.socket.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { SendEnd(int(fd)) })
	if n, err := p.client.Read(make([]byte, 1)); n > 0 || err != io.EOF { //nolint:errorlint // as it is returned
		t.Errorf("the client reads %d, %v, want the end", n, err)
	}
}

// TestKernelWithoutTLSIsFoundOnce holds on every kernel: on one with TLS nothing falls back.
func TestKernelWithoutTLSIsFoundOnce(t *testing.T) {
	r := newRig(t, Config{Kernel: true})
	for range 2 {
		p := r.mustShake(t, r.cert.Client())
		if had := p.Records == nil; had != r.kernel.Load() {
			t.Errorf("in the kernel: %v, and it is found there: %v", had, r.kernel.Load())
		}
		if p.Records != nil {
			go p.send(p.seal("hello"))
			p.wantRead("hello")
		}
	}
	if s := r.Stats(); s.KernelFailed > 0 {
		t.Errorf("%+v", s)
	}
}
