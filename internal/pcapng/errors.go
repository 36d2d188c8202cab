package pcapng

import "errors"

var (
	// ErrInvalid is wrapped by errors about what cannot be put into the format. Nothing of it was
	// written; the writer can go on.
	ErrInvalid = errors.New("cannot be written as pcapng")
	// ErrFinished is returned for what comes after Finish.
	ErrFinished = errors.New("capture is finished: make a new Writer")
)
