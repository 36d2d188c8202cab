package loop

import "errors"

// Why requests fail, as the access log has it.
var (
	errAnswerLate = errors.New("no answer in the route's time")
	errClientGone = errors.New("the client has gone")
	errUpstream   = errors.New("the upstream gave no answer that can be read")
	errCut        = errors.New("the upstream broke off its answer")
	errBody       = errors.New("the client's body cannot be read")
)
