// Package host reads what a host is: CPUs, memory, kernel, network interfaces, whether it is a
// container and in which network namespace one is. It reads files alone, below a root directory if
// one is given, so that a host can be looked at that is not this one. It writes nothing of its own accord.
package host
