// Package broker is the vocabulary of weir's delivery path: what an [Event] is, how a
// [Topic] is named, and what a [Position] promises. It does no I/O and starts nothing; the
// packages below it do: broker/bus speaks NATS, broker/region keeps interest, order and
// recovery for one node.
//
// # The delivery promise
//
// Every event of a topic has a Position (epoch, offset). Within one epoch a topic's offsets
// rise strictly but are not dense: a shard's stream numbers the events of all its topics.
// [Event.Prev] is therefore the offset of the topic's event before this one, and a receiver
// that last saw offset p knows that nothing is missing exactly when Prev <= p. A receiver
// that resumes from a Position gets every later event once and in order, or is told
// recovered=false whenever a hole cannot be excluded.
package broker
