package loop

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"weir/edge/tlsconn"
	"weir/internal/testkernel"
)

// startKernelTLS starts a server whose conns have their record layer in the kernel.
func startKernelTLS(t *testing.T, cfg Config) *rig {
	t.Helper()
	testkernel.RequireOption(t, "CONFIG_TLS")
	r := start(t, secured(t, cfg))
	r.tls = &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	r.layer = "kernel"
	return r
}

// TestNetnsKernelTLSConnsAreAsPlainOnes does with the kernel's records what the tests of those of the
// process do.
func TestNetnsKernelTLSConnsAreAsPlainOnes(t *testing.T) {
	for name, do := range map[string]func(*testing.T, *rig){
		"gets payloads":      getsPayloads,
		"streams":            streams,
		"takes many records": takesManyRecords,
		"reads every event":  readsEveryEvent,
		"answers the end":    answersTheEnd,
		"drains":             drains,
	} {
		t.Run(name, func(t *testing.T) { do(t, startKernelTLS(t, Config{Echo: true})) })
	}
}

// TestNetnsKernelTLSLeavesNothingInTheProcess compares with a conn in plain text.
func TestNetnsKernelTLSLeavesNothingInTheProcess(t *testing.T) {
	const conns, slack = 400, 400
	r := startKernelTLS(t, Config{})
	for _, version := range []uint16{0, tls.VersionTLS13} { // the first of each kind has caches filled
		r.idleBytes(10, version)
	}
	plain, secure := r.idleBytes(conns, 0), r.idleBytes(conns, tls.VersionTLS13)
	if secure > plain+slack {
		t.Errorf("%d bytes a conn, in plain text %d", secure, plain)
	}
	if n := r.srv.Stats().TLS.Handshakes[tlsconn.ResultOK]; n != conns+10 {
		t.Errorf("%d handshakes", n)
	}
}

func TestNetnsKernelTLSFaultsHaveTheirReason(t *testing.T) {
	r := startKernelTLS(t, Config{})
	for i, garbage := range []string{"\x17\x03\x03\x00\x20" + strings.Repeat("x", 32), "GET / HTTP/1.1\r\n\r\n"} {
		c := r.open("/ws/a")
		if _, err := io.WriteString(c.Conn.(*tls.Conn).NetConn(), garbage); err != nil {
			t.Fatal(err)
		}
		c.wantUntilClosed()
		r.wantClosed(ReasonTLSError, uint64(i+1)) //nolint:gosec // a small index
	}
	if s := r.srv.Stats(); s.Conns != 0 || s.TLS.KernelFailed > 0 {
		t.Errorf("%+v", s)
	}
}

func TestNetnsKernelTLSConnsAreTakenOver(t *testing.T) {
	testkernel.RequireOption(t, "CONFIG_TLS")
	takesOverTLS(t, Config{}, "kernel")
}
