package genl

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// version is that of requests, of all families that are asked.
const version = 1

// Family is a family of the kernel's, with a socket to ask it by. The zero value is one that the kernel does not have.
type Family struct {
	conn *genetlink.Conn
	id   uint16
}

// Open finds a family by its name. A kernel without it is no error, see [Family.Known]. Close it when it is done with.
func Open(name string) (*Family, error) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return Find(conn, name)
}

// Find is Open by a socket that is there, which is the family's from then on, and closed if there is none.
func Find(conn *genetlink.Conn, name string) (*Family, error) {
	found, err := conn.GetFamily(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &Family{}, conn.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find the kernel's %s family: %w", name, err), conn.Close())
	}
	return &Family{conn: conn, id: found.ID}, nil
}

// Known reports whether the kernel has the family.
func (f *Family) Known() bool { return f.conn != nil }

// Require is nil if the kernel has the family. Else its error wraps errors.ErrUnsupported, and names the Linux that has what is
// asked for, as "5.6".
func (f *Family) Require(since string) error {
	if f.Known() {
		return nil
	}
	return fmt.Errorf("%w: Linux %s or newer is needed", errors.ErrUnsupported, since)
}

// Execute sends a command with the attributes that encode adds, and returns what the kernel answers. The error wraps the kernel's
// unix.Errno. The family has to be known.
func (f *Family) Execute(command uint8, flags netlink.HeaderFlags, encode func(*netlink.AttributeEncoder)) ([]genetlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	encode(ae)
	data, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	return f.conn.Execute(genetlink.Message{Header: genetlink.Header{Command: command, Version: version}, Data: data}, f.id, flags)
}

// Close lets go of the socket.
func (f *Family) Close() error {
	if !f.Known() {
		return nil
	}
	return f.conn.Close()
}
