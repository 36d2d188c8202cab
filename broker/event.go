package broker

// Event is one published event as a node receives it. It is immutable once handed on: all
// subscribers share Data.
type Event struct {
	Topic    Topic
	Position Position
	// Prev is the offset of the topic's event before this one, as the stream knew it when
	// it stored the event; 0 if it knew none.
	Prev uint64
	// OriginNanos is when the publisher's weir took the event, nanoseconds of Unix time; 0
	// if unknown.
	OriginNanos int64
	// Key says what the event is about, as its publisher named it; may be empty. Of a topic in
	// mode latest a slow subscriber is sent the newest event of each key.
	Key string
	// Data is the payload. Nobody may change it.
	Data []byte
}

// Recovery is the answer to a resume: what a client that stood at a Position missed.
type Recovery struct {
	// Events are the topic's events after the Position asked for, oldest first. Nil unless
	// Recovered.
	Events []*Event
	// Head is the topic's position after Events: where live delivery goes on, or, with More, where
	// to ask for the rest.
	Head Position
	// More says that there are events after Head, which were over the limit.
	More bool
	// Recovered is false whenever a hole between the Position asked for and Head cannot be
	// excluded.
	Recovered bool
}

// Wanted says whether the events of a topic are wanted, and past which offset.
type Wanted func(Topic) (past uint64, ok bool)
