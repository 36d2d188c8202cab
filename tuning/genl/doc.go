// Package genl opens families of the kernel's generic netlink by their names, sends requests and waits for the answers. What a
// family's commands and attributes are is its caller's to know. An older kernel has no such family: that is no error until one
// that cannot do without it asks [Family.Require].
//
// A family is of the network namespace of the thread that opened it, and for one goroutine at a time. The package is of Linux
// alone: who uses it says what other systems are told.
package genl
