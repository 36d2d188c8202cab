// Package proxyproto parses the header with which a TCP proxy tells whom it speaks for: the PROXY
// protocol, versions 1 (a line) and 2 (binary), of HAProxy's doc/proxy-protocol.txt. It does no I/O
// and keeps no bytes.
//
// A header is to be asked for from known proxies alone: anybody can write one. Where it is asked
// for it must be there, since what is meant for a server may look like one (section 2 there).
package proxyproto
