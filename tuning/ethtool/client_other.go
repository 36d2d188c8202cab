//go:build !linux

package ethtool

import (
	"errors"
	"fmt"
)

// Client asks the kernel, which has to be Linux.
type Client struct{}

var errSystem = fmt.Errorf("%w: run it on Linux", errors.ErrUnsupported)

// Open makes a client.
func Open() (*Client, error) { return nil, errSystem }

// Close lets go of it.
func (*Client) Close() error { return nil }

// All are the settings of a device.
func (*Client) All(string) (map[string]string, error) { return nil, errSystem }

// Set sets one.
func (*Client) Set(string, string, string) error { return errSystem }
