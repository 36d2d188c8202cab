// Package edge is the facade of the event-loop edge: it wires the hub, which knows who
// subscribed to what, to the loops, which hold the conns.
//
// It imports no kernel program: an edge runs and is tested without one. Its source of events
// is a small interface, satisfied by broker/region.
package edge
