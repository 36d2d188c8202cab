// Package netdev asks the kernel over generic netlink, family netdev (Documentation/netlink/specs/netdev.yaml), what a
// device can do with XDP, and reads and sets how its NAPI instances are polled. Settings have names as
// napi-0/irq-suspend-timeout: the number counts the device's instances in the order of their ids, since ids are others
// after a reboot and often after the device was down. Numbers are in base 10.
//
// A client is of the network namespace of the thread that opened it, and for one goroutine at a time.
package netdev
