package tlsconn

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options of a socket with kernel TLS, its ciphers and the kinds of its records; include/uapi/linux/tls.h.
const (
	ulpName = "tls"

	tlsTX            = 1
	tlsRX            = 2
	tlsSetRecordType = 1
	tlsGetRecordType = 2

	cipherAESGCM128 = 51
	cipherAESGCM256 = 52
	cipherChaCha20  = 54

	recordAlert = 21
)

var kernelCiphers = map[uint16]uint16{
	tls.TLS_AES_128_GCM_SHA256:       cipherAESGCM128,
	tls.TLS_AES_256_GCM_SHA384:       cipherAESGCM256,
	tls.TLS_CHACHA20_POLY1305_SHA256: cipherChaCha20,
}

// cryptoInfo is struct tls12_crypto_info_* of include/uapi/linux/tls.h: version and cipher, the last 8
// bytes of the nonce (of ChaCha20 all 12), the key, the nonce's first 4 (of ChaCha20 none), and the
// number of the next record.
func cryptoInfo(id uint16, key, iv []byte, next uint64) string {
	explicit, salt := iv[4:], iv[:4]
	if id == tls.TLS_CHACHA20_POLY1305_SHA256 {
		explicit, salt = iv, nil
	}
	b := binary.NativeEndian.AppendUint16(nil, tls.VersionTLS13)
	b = binary.NativeEndian.AppendUint16(b, kernelCiphers[id])
	b = append(b, explicit...)
	b = append(b, key...)
	b = append(b, salt...)
	return string(binary.BigEndian.AppendUint64(b, next))
}

// handOver gives the kernel the record layer of a conn whose handshake is done. begun is whether an
// error came too late for another record layer to take its place.
func handOver(conn net.Conn, id uint16, s *secrets) (begun bool, err error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false, fmt.Errorf("a %T has no descriptor", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false, err
	}
	var infos [2]string
	for i, secret := range [][]byte{s.server, s.client} {
		key, iv, err := suites[id].trafficKeys(secret)
		if err != nil {
			return false, err
		}
		infos[i] = cryptoInfo(id, key, iv, []uint64{s.tickets, 0}[i])
	}
	failed := raw.Control(func(fd uintptr) { begun, err = setKernelTLS(int(fd), infos) })
	if err == nil {
		err = failed
	}
	return begun, err
}

func setKernelTLS(fd int, infos [2]string) (begun bool, err error) {
	if err = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_ULP, ulpName); err != nil {
		return false, fmt.Errorf("%w: %w", errNoKernelTLS, err)
	}
	// A socket with the protocol and no keys yet is as it was.
	if err = unix.SetsockoptString(fd, unix.SOL_TLS, tlsTX, infos[0]); err != nil {
		return false, fmt.Errorf("give the kernel the key to send with: %w", err)
	}
	if err = unix.SetsockoptString(fd, unix.SOL_TLS, tlsRX, infos[1]); err != nil {
		return true, fmt.Errorf("give the kernel the key to receive with: %w", err)
	}
	return true, nil
}

// SendEnd sends the alert close_notify on a socket whose record layer is in the kernel, if there is
// room for it.
func SendEnd(fd int) {
	// A control message: its length, which is of the machine's word, level, type, and the record's.
	control := make([]byte, unix.CmsgSpace(1))
	n := copyWord(control, uint64(unix.CmsgLen(1))) //nolint:gosec // a small constant
	binary.NativeEndian.PutUint32(control[n:], unix.SOL_TLS)
	binary.NativeEndian.PutUint32(control[n+4:], tlsSetRecordType)
	control[unix.CmsgLen(0)] = recordAlert
	_ = unix.Sendmsg(fd, []byte{1, 0}, control, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

func copyWord(b []byte, v uint64) int {
	if unix.SizeofPtr == 4 {
		binary.NativeEndian.PutUint32(b, uint32(v)) //nolint:gosec // the length of a header
		return 4
	}
	binary.NativeEndian.PutUint64(b, v)
	return 8
}

// Ended reports whether a socket whose record layer is in the kernel, and whose read failed with err,
// was ended by its client: its record was close_notify. Else what came was a fault: another alert, an
// update of keys, which kernels before 6.14 do not know, or a record that does not decrypt.
func Ended(fd int, err error) bool {
	// A fault may be told by the socket alone, to who waits for it.
	if fault, e := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); e == nil && fault != 0 {
		err = errors.Join(err, syscall.Errno(fault))
	}
	if !errors.Is(err, unix.EIO) {
		return !errors.Is(err, unix.EBADMSG) && !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.EINVAL)
	}
	var data [2]byte
	control := make([]byte, unix.CmsgSpace(1))
	n, nc, _, _, err := unix.Recvmsg(fd, data[:], control, unix.MSG_DONTWAIT)
	if err != nil || n != len(data) {
		return false
	}
	messages, err := unix.ParseSocketControlMessage(control[:nc])
	if err != nil || len(messages) != 1 || len(messages[0].Data) < 1 {
		return false
	}
	return messages[0].Header.Type == tlsGetRecordType && messages[0].Data[0] == recordAlert && data[1] == 0
}
