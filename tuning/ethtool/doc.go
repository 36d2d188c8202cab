// Package ethtool reads and sets rings, channels, coalescing, features and the spread over queues (RSS) of network devices over the kernel's generic
// netlink, family ethtool (Documentation/networking/ethtool-netlink.rst). Settings have names as rings/rx or features/rx-gro;
// numbers are in base 10, features on or off, rss/table as "128: 0-3"; rss/key, which can only be read, says
// whether the key is published. What a device does not have is not among its settings.
//
// A client is of the network namespace of the thread that opened it, and for one goroutine at a time.
package ethtool
