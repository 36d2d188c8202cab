package workers

import (
	"weir/edge"
	"weir/edge/handover"
)

// The messages.
const (
	msgTask   handover.Kind = iota + 1 // to a worker, first: Task
	msgServes                          // of one, once: Serves, and its listeners
	msgAsk                             // to one: Question
	msgAnswer                          // of one: Answer
	msgStop                            // to one: drain, and end
)

// Task is what a worker is to do.
type Task struct {
	// Worker is its number, from 0.
	Worker int
	// Address is where it is to listen, beside others; TLSAddress for TLS, empty: nowhere.
	Address, TLSAddress string
	// Pinned says that it runs on its share of the CPUs alone.
	Pinned bool
	// Config is what Options.Config gave.
	Config []byte
}

// Serves is what a worker says of itself once it serves.
type Serves struct {
	// MaxConns is how many conns it can hold.
	MaxConns int
}

// About is what a worker is asked about.
type About uint8

// What there is to ask.
const (
	AboutReadiness About = iota + 1 // an error says why it cannot serve
	AboutMetrics                    // Answer.Families
	AboutStats                      // Answer.Stats
	AboutConns                      // Answer.Conns, of Question.Client
)

// Question is put to a worker.
type Question struct {
	ID     uint64
	About  About
	Client string
}

// Answer is a worker's.
type Answer struct {
	ID uint64
	// Err says why there is none; empty if there is one.
	Err      string
	Families []Family
	Stats    *edge.Stats
	Conns    []edge.ConnReport
}
