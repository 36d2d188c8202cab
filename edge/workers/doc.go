// Package workers runs an edge as several processes that listen on one port: the group, in the process that
// the operator started, starts them, starts those again that die, and sums up what they count. Each has
// its own limit of descriptors, which is what they are for.
//
// The two ends speak over a socket pair that the worker inherits: edge/handover's messages, of which a
// question has one answer, in any order. Its end is the worker's.
package workers
