package handover

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// MaxDescriptors bounds those that go with one message (the kernel's SCM_MAX_FD).
	MaxDescriptors = 253
	// maxMessageBytes bounds a message: what MaxDescriptors conns may have buffered, and some.
	maxMessageBytes = 64 << 20
	headerBytes     = 5
)

// Peer is one end of a handover. One goroutine at a time sends, and one receives.
type Peer struct {
	conn *net.UnixConn
	pid  int
}

// Pair is a socket of two ends: ours, and one that a process which is to be started inherits, there for
// [Inherited]. The file is the caller's to close, once that process has it.
func Pair() (*Peer, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair for a process: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "peer")
	ours, err := fromDescriptor(fds[0])
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// Inherited is the end of a [Pair] that this process was started with, by its descriptor, which is
// closed. Processes that this one starts do not inherit it.
func Inherited(fd int) (*Peer, error) {
	unix.CloseOnExec(fd)
	return fromDescriptor(fd)
}

// fromDescriptor takes fd over.
func fromDescriptor(fd int) (*Peer, error) {
	f := os.NewFile(uintptr(fd), "peer")
	conn, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("take over descriptor %d: want a socket that another weir has passed on: %w", fd, err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("take over descriptor %d: it is no socket that another weir has passed on", fd)
	}
	p, err := newPeer(unixConn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return p, nil
}

// newPeer takes conn over, if its other end is of our user, or root.
func newPeer(conn *net.UnixConn) (*Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	if credErr != nil {
		return nil, fmt.Errorf("ask who is at the other end: %w", credErr)
	}
	if uid := os.Getuid(); int(cred.Uid) != uid && cred.Uid != 0 {
		return nil, fmt.Errorf("the other end is of user %d, this one of %d: run both as one user", cred.Uid, uid)
	}
	return &Peer{conn, int(cred.Pid)}, nil
}

// PID is the process at the other end, as it was when the two were joined.
func (p *Peer) PID() int { return p.pid }

// Close ends it: what is sent and not received is gone, its descriptors included.
func (p *Peer) Close() error { return p.conn.Close() }

// SetDeadline bounds all later calls.
func (p *Peer) SetDeadline(t time.Time) error { return p.conn.SetDeadline(t) }

// Send sends a message whose payload is v, by encoding/gob, or none if v is nil, with descriptors, which
// stay the caller's.
func (p *Peer) Send(k Kind, v any, fds ...int) error {
	var b bytes.Buffer
	b.Write(make([]byte, headerBytes))
	if v != nil {
		if err := gob.NewEncoder(&b).Encode(v); err != nil {
			return fmt.Errorf("encode a message of a takeover: %w", err)
		}
	}
	message := b.Bytes()
	if len(message) > maxMessageBytes {
		return ErrTooLong
	}
	message[0] = byte(k)
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-headerBytes)) //nolint:gosec // bounded above
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	// The descriptors go with the first part that the kernel takes: with the header, at least.
	n, _, err := p.conn.WriteMsgUnix(message, rights, nil)
	if err == nil && n < len(message) {
		_, err = p.conn.Write(message[n:])
	}
	if err != nil {
		return fmt.Errorf("send to the other process: %w", err)
	}
	return nil
}

// Message is one that was received.
type Message struct {
	Kind    Kind
	payload []byte
	// Descriptors came with it; they are close-on-exec, and the receiver's to close.
	Descriptors []int
}

// Decode reads the payload into v, a pointer.
func (m *Message) Decode(v any) error {
	if err := gob.NewDecoder(bytes.NewReader(m.payload)).Decode(v); err != nil {
		return fmt.Errorf("decode a message of a takeover: %w", err)
	}
	return nil
}

// Close closes the descriptors.
func (m *Message) Close() {
	for _, fd := range m.Descriptors {
		_ = unix.Close(fd)
	}
	m.Descriptors = nil
}

// Receive waits for the next message. io.EOF says that the other end is gone.
func (p *Peer) Receive() (*Message, error) {
	header := make([]byte, headerBytes)
	rights := make([]byte, unix.CmsgSpace(4*MaxDescriptors))
	n, rightsLen, flags, _, err := p.conn.ReadMsgUnix(header, rights)
	if err == nil && n == 0 {
		err = io.EOF
	}
	m := &Message{}
	if err == nil {
		m.Descriptors, err = descriptors(rights[:rightsLen])
	}
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = fmt.Errorf("descriptors were lost: raise the limit of open files (ulimit -n): %w", syscall.EMFILE)
	}
	if err == nil && n < headerBytes {
		err = p.rest(header[n:])
	}
	if err == nil {
		m.Kind = Kind(header[0])
		err = p.receivePayload(m, binary.BigEndian.Uint32(header[1:]))
	}
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("receive from the other process: %w", err)
	}
	return m, nil
}

func (p *Peer) receivePayload(m *Message, length uint32) error {
	if length > maxMessageBytes {
		return ErrTooLong
	}
	m.payload = make([]byte, length)
	return p.rest(m.payload)
}

// rest reads what must still come of a message.
func (p *Peer) rest(b []byte) error {
	_, err := io.ReadFull(p.conn, b)
	if errors.Is(err, io.EOF) && len(b) > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

func descriptors(rights []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		part, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // credentials
		}
		fds = append(fds, part...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds, nil
}
