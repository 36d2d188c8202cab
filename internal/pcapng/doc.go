// Package pcapng writes capture files that Wireshark, tshark and tcpdump read, in the format of
// draft-ietf-opsawg-pcapng. A packet carries the reason why it was captured, in words, and how
// many were not since the one before.
//
// It reads no such files, and starts no goroutine.
package pcapng
