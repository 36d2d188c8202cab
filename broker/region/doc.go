// Package region is one node's view of the bus: which topics it wants, in which order their
// events come, and what to do when one is missing. It speaks to the bus through [Source] and
// hands on to a [Sink].
//
// # Gaps
//
// Each event says which of its topic came before it. If that one was not seen, the events
// between are read from the stream while later ones of the topic are held; other topics go
// on. When the source says that it may have lost something, every topic is looked up in the
// stream, since the last event of a topic has no successor that could tell of its loss. A
// repair asks until it is answered, so that a source which is away costs time and no event; what
// is lost while it reads has another one follow. What cannot be proven whole becomes a Reset.
//
// # Patterns
//
// Which topics a pattern has is known only as their events come. The first one is checked like any
// other: its topic begins where its shard was when the pattern opened. Of topics known in this way a
// bounded number is kept. When the source has lost something, it cannot be known which topics it was
// of: then the pattern is Reset. An event is handed on once, whatever stands for its topic.
//
// # Locks
//
// Node.sinkMu orders calls of the sink and is held during them; Node.mu guards the topics.
// Order: sinkMu, then mu, then the matcher's own; headsReader's are held with none of those. Subscribe and Unsubscribe take mu alone, so that a sink which waits
// does not hold them up, except for the moment in which a topic opens.
package region
