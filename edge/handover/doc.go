// Package handover carries what one edge process gives to the next over a local socket: messages,
// and descriptors beside them (SCM_RIGHTS, unix(7)). What a message means is its users' matter.
//
// The socket is for the same user alone: its file is in a directory of his, and each end looks at
// who the other one is (SO_PEERCRED).
package handover
