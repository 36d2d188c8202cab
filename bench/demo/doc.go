// Package demo shows weir hold a flood off: an edge with native XDP in one network namespace,
// and in another its subscribers, and for half of the time a flooder. It cleans up what it
// made, also what a killed run left.
package demo
