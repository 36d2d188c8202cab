// Package bus is the event bus: NATS with JetStream, embedded in the process. It is the only
// importer of the NATS server and client.
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
// # Goroutines and locks
//
// [Open] starts the server's and the clients' goroutines and one that answers publishes from
// outside; [Bus.Close] joins them. A [Link] runs on its caller's, and has one beside it that looks after
// its interest. Order of a link's locks: interest.op, which is held over round trips, then interest.mu,
// which is not.
package bus
