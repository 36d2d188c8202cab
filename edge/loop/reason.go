package loop

// CloseReason is why a conn ended. Its names are label values of
// weir_edge_closed_total{reason}; new ones are added at the end.
type CloseReason uint8

// The reasons.
const (
	// ReasonClientClosed: the client sent a close frame.
	ReasonClientClosed CloseReason = iota
	// ReasonPeerGone: the client's end of the TCP connection closed or failed.
	ReasonPeerGone
	// ReasonResponded: an HTTP answer other than a subscription was sent in full.
	ReasonResponded
	// ReasonBadRequest: the request head was not valid HTTP/1.1, or not a valid handshake.
	ReasonBadRequest
	// ReasonHandshakeTimeout: no answer was possible within HandshakeTimeout.
	ReasonHandshakeTimeout
	// ReasonRefusedFull: MaxConns or the descriptor limit was reached.
	ReasonRefusedFull
	// ReasonRefusedOrigin: the Origin header was not on the list.
	ReasonRefusedOrigin
	// ReasonSubscribeFailed: a topic could not be opened.
	ReasonSubscribeFailed
	// ReasonProtocolError: a frame broke RFC 6455, or a compressed message RFC 7692.
	ReasonProtocolError
	// ReasonTooLarge: a message or frame was over MaxMessageBytes, as it came or inflated, or had too many
	// empty fragments.
	ReasonTooLarge
	// ReasonInvalidUTF8: a text message was not UTF-8.
	ReasonInvalidUTF8
	// ReasonNotAllowed: the client sent a message where this door only sends.
	ReasonNotAllowed
	// ReasonPongTimeout: a ping was not answered, or a stream's comment not acknowledged, within PongTimeout.
	ReasonPongTimeout
	// ReasonSlowConsumer: the client did not read, and MaxPendingBytes was reached.
	ReasonSlowConsumer
	// ReasonDraining: the edge is shutting down.
	ReasonDraining
	// ReasonRefusedPrefix: the client's prefix held MaxConnsPerPrefix.
	ReasonRefusedPrefix
	// ReasonRefusedPrefixRate: the client's prefix opened more than AcceptRatePerPrefix.
	ReasonRefusedPrefixRate
	// ReasonRefusedRate: all clients together opened more than AcceptRate.
	ReasonRefusedRate
	// ReasonBadProxyHeader: a conn of ProxyProtocol did not begin with a valid PROXY header.
	ReasonBadProxyHeader
	// ReasonHandedOver: the conn lives on in the process that took over.
	ReasonHandedOver
	// ReasonTLSError: the TLS handshake failed, or what came afterwards was no valid record.
	ReasonTLSError
	// ReasonUnauthorized: the client's token was not taken, or it had none where one is needed.
	ReasonUnauthorized
	// ReasonForbidden: a topic was asked for that the client may not subscribe to.
	ReasonForbidden
	// ReasonNoTokenKeys: the keys to check the token with were not there.
	ReasonNoTokenKeys
	// ReasonRefusedChecks: too many tokens waited to be checked.
	ReasonRefusedChecks
	// ReasonRefusedIdentity: the token's subject held MaxConnsPerIdentity.
	ReasonRefusedIdentity
	// ReasonTokenExpired: the token that the conn was opened with ended.
	ReasonTokenExpired
	reasons
)

var reasonNames = [reasons]string{
	ReasonClientClosed:     "client_closed",
	ReasonPeerGone:         "peer_gone",
	ReasonResponded:        "responded",
	ReasonBadRequest:       "bad_request",
	ReasonHandshakeTimeout: "handshake_timeout",
	ReasonRefusedFull:      "refused_full",
	ReasonRefusedOrigin:    "refused_origin",
	ReasonSubscribeFailed:  "subscribe_failed",
	ReasonProtocolError:    "protocol_error",
	ReasonTooLarge:         "too_large",
	ReasonInvalidUTF8:      "invalid_utf8",
	ReasonNotAllowed:       "not_allowed",
	ReasonPongTimeout:      "pong_timeout",
	ReasonSlowConsumer:     "slow_consumer",
	ReasonDraining:         "draining",

	ReasonRefusedPrefix:     "refused_prefix",
	ReasonRefusedPrefixRate: "refused_prefix_rate",
	ReasonRefusedRate:       "refused_rate",
	ReasonBadProxyHeader:    "bad_proxy_header",
	ReasonHandedOver:        "handed_over",
	ReasonTLSError:          "tls_error",

	ReasonUnauthorized:    "unauthorized",
	ReasonForbidden:       "forbidden",
	ReasonNoTokenKeys:     "no_token_keys",
	ReasonRefusedChecks:   "refused_checks",
	ReasonRefusedIdentity: "refused_identity",
	ReasonTokenExpired:    "token_expired",
}

// String is the reason's label value.
func (r CloseReason) String() string {
	if r >= reasons {
		return "unknown"
	}
	return reasonNames[r]
}

// Reasons are all of them, in order.
func Reasons() []CloseReason {
	all := make([]CloseReason, reasons)
	for i := range all {
		all[i] = CloseReason(i)
	}
	return all
}
