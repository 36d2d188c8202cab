// Package steer has the kernel give a connection to a listener of the CPU that its first packet came in
// on, of several that listen on one port with SO_REUSEPORT, in whatever processes.
package steer
