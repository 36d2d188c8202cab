package broker

import "errors"

// Errors of this package and of those below it, to be tested for with [errors.Is].
var (
	// ErrBadTopic is wrapped by every error about a topic's name.
	ErrBadTopic = errors.New("bad topic")
	// ErrBadKey is wrapped by every error about an event's key.
	ErrBadKey = errors.New("bad key")
	// ErrBadPosition is wrapped by every error about the text of a position.
	ErrBadPosition = errors.New("bad position")
	// ErrTooLarge says that a payload is over the bus's limit.
	ErrTooLarge = errors.New("event too large")
	// ErrUnavailable says that the bus cannot take or give events now; trying again later
	// may work.
	ErrUnavailable = errors.New("bus unavailable")
	// ErrClosed says that the bus or node was closed.
	ErrClosed = errors.New("closed")
)
