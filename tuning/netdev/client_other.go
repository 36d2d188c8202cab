//go:build !linux

package netdev

import (
	"errors"
	"fmt"
	"strings"
)

// Client asks the kernel, which has to be Linux.
type Client struct{}

var errSystem = fmt.Errorf("%w: run it on Linux", errors.ErrUnsupported)

// Has reports whether a name is of a setting of this package.
func Has(name string) bool { return strings.HasPrefix(name, "napi-") }

// Open makes a client.
func Open() (*Client, error) { return nil, errSystem }

// Close lets go of it.
func (*Client) Close() error { return nil }

// Device is what a device can do with XDP.
func (*Client) Device(string) (Device, error) { return Device{}, errSystem }

// All are the settings of a device's NAPI instances.
func (*Client) All(string) (map[string]string, error) { return nil, errSystem }

// Set sets one.
func (*Client) Set(string, string, string) error { return errSystem }
