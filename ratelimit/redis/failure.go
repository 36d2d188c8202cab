package redis

import (
	"context"
	"errors"
	"net"

	"github.com/redis/rueidis"
)

// failure is why the server did not decide. Names are the series of metrics.
type failure uint8

const (
	failedConnect failure = iota // there was no connection
	failedTimeout                // no answer in Config.Timeout
	failedBroken                 // the connection ended
	failedAnswer                 // an error, or what the scripts do not answer
	failures
)

var failureNames = [failures]string{"connect", "timeout", "broken", "answer"}

// errNoLink is wrapped by every error about a first connection.
var errNoLink = errors.New("there is no connection")

// failureOf is what an error of an ask is.
func failureOf(err error) failure {
	dial, isNet := errors.AsType[*net.OpError](err)
	_, said := errors.AsType[*rueidis.RedisError](err)
	switch {
	case errors.Is(err, errNoLink), isNet && dial.Op == "dial":
		return failedConnect
	case errors.Is(err, context.DeadlineExceeded):
		return failedTimeout
	case said, rueidis.IsParseErr(err), errors.Is(err, errAnswer):
		return failedAnswer
	}
	return failedBroken
}

// fail counts an error of an ask.
func (c *counts) fail(err error) { c.failed[failureOf(err)].Add(1) }
