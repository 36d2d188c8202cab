package floor

import (
	"weir/bench/load"
	"weir/edge/ws"
)

// Response is the answer to every handshake, which is right for the load generator's key alone: the
// floor computes none.
func Response() string {
	return string(ws.AppendUpgradeResponse(nil, []byte(load.Key), "", ""))
}
