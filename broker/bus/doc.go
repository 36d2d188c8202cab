// Package bus is the event bus: NATS with JetStream, embedded in the process, or that of another
// process over the network. It is the only importer of the NATS server and client.
//
// # Layout
//
// A topic belongs to one of [broker.Shards] shards. A shard is a stream, made when first
// used; its sequence numbers are the offsets of its events, its metadata names the epoch.
//
//	ev.default.<shard>.<topic>     where an event is stored
//	live.default.<shard>.<topic>   where the stream sends it on, with its sequence and that
//	                               of the topic's event before it
//	weir.publish.<topic>           where any NATS client publishes, if a listener is open
//	weir.open.<shard>              where an edge asks for a shard's stream to be made
//
// # What the server does by default, and what is done about it
//
// Its logger's Fatalf ends the process: ours notes the error, which [Open] or [Bus.Failed]
// returns. It takes SIGINT: not here. JetStream takes 75 % of the memory, and a directory in
// the system's temporary one that all processes share: both are set. A slow subscriber in the
// process would stall publishers: that is off, and what a [Link] loses shows as a gap.
// JetStream acknowledges before it syncs to disk: [Config].Sync says what that may lose.
//
// # Interest
//
// Each subscription is known to every server of a cluster, so a [Link] holds few: by topic, by shard
// as a whole when many of its topics are wanted or they come and go, by pattern. One that takes the
// place of others is confirmed by a round trip before those end, and those end a second later: what
// the server had begun to hand to them alone is still on its way. What comes twice meanwhile the reader
// of the link sees by its position.
//
// # Sessions
//
// A connection to another process's bus breaks and is made anew: each time is a session. What a
// session read of a shard, its epoch above all, holds for that session alone, since the server may
// have been started anew in between. A [Link] marks in its stream of events where a session begins,
// drops events whose shard the session has not read, and says at the mark that events may be missing:
// whoever then reads a topic by [Link.Replay] reads it by that session or a later one, to which the
// live subjects were subscribed before.
//
// # Locks
//
// Bus.mu guards the list of clients, Bus.making the making of a shard's stream, shard.mu one client's
// reading of it, interest.op a link's changes of interest, over their round trips, and interest.mu
// what its reader looks at. Order: shard.mu, then making; interest.op, then interest.mu; Bus.mu is taken
// alone. None is held by the callbacks of nats.go, which may hold its own.
//
// # Goroutines
//
// [Open] starts the server's and the clients' goroutines and one that answers publishes from
// outside; [Bus.Close] joins them. A [Link] runs on its caller's, and has one beside it that looks after its
// interest; a session that begins waits for it.
package bus
