// Package queues says where a host loses packets under a flood: before XDP could see them, for
// want of CPU, or nowhere but in XDP. It compares two samples of the kernel's counters.
//
// It changes nothing on the host and starts no goroutine. What a driver does not count it cannot
// tell; a finding then says so.
package queues
