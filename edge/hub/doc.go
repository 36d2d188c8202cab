// Package hub connects topics to their subscribers on one node.
//
// A [Hub] holds the node's interest: the first subscriber of a topic on any loop opens it at
// the broker, and some time after the last one left it is closed again. Each event loop owns
// one [Shard], which holds that loop's subscribers of each topic in a dense slice and writes
// to them. Nothing of a shard is touched off its loop, except its inbox.
//
// # The way of an event
//
// [Hub.Deliver] makes one [Message] of each event and puts it into the inbox of every shard
// with subscribers, in order, waking each loop at most once. [Shard.Run], called by the
// loop, gathers what has come per topic, joins it into one run of frames per [Variant]
// (group commit: what arrives during a sweep leaves with the next one, in one write per
// conn), and sweeps over the subscribers in slices so that the loop's other work goes on; the topic
// whose sweep has come the least far has the next one.
// Encodings are made once an event and shared by all loops and subscribers; so is what
// permessage-deflate makes of them, as no conn keeps a window between messages.
//
// # Patterns
//
// A subscription may be of a pattern, such as ticks.*: to a shard that is one more topic, whose
// messages are those of all topics that match, in the order in which the node got them. Which
// patterns stand for an event's topic is asked once an event, of a [broker.Matcher]. A pattern has no
// stream: its ring is all that there is to catch up from, and past that its subscribers are told.
//
// # Position
//
// A shard's topic stands at the offset of the last event formed into a sweep. A subscriber
// that resumes is brought from its position to that one, from the topic's ring of recent
// messages or else through the broker, and only then joins the slice; the bookkeeping is in
// attach.go. Whoever cannot be brought there exactly is told so.
//
// # Locks
//
// Hub.mu guards the map of topics, entry.mu one topic's list of shards and its order of
// delivery, Shard.inboxMu a shard's inbox. Order: Hub.mu, then the matcher's own or entry.mu, then
// inboxMu. The
// loops take inboxMu, so a stalled Deliver never blocks a loop, and by itself
// Message.deflating, while one of them compresses what all of them are about to send.
package hub
