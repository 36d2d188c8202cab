package loop

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"weir/broker"
	"weir/edge/http1"
	"weir/edge/hub"
	"weir/edge/ws"
)

// httpError is an answer other than a subscription.
type httpError struct {
	status int
	text   string
	header []http1.Field
	reason CloseReason // 0: by what it is
}

func (e *httpError) Error() string { return e.text }

var (
	errHandshakeTimeout = &httpError{status: http.StatusRequestTimeout, text: "the request was not complete in time: send it at once"}
	errTooEager         = &httpError{status: http.StatusBadRequest, text: "too much was sent before the handshake was answered: wait for the answer"}
	errFull             = &httpError{status: http.StatusServiceUnavailable, text: "this edge holds all the connections it may: try again later, or another edge", header: retryAfter("5")}
	errDraining         = &httpError{status: http.StatusServiceUnavailable, text: "this edge is shutting down: connect again, to another one", header: retryAfter("1")}
	errOrigin           = &httpError{status: http.StatusForbidden, text: "this origin is not allowed: add it to edge.allowed_origins"}
	errEchoOff          = &httpError{status: http.StatusNotFound, text: "/echo is off: start weir with --echo"}
	errPlainText        = &httpError{status: http.StatusBadRequest, text: "this address speaks TLS: use https:// or wss://"}
	errNoTopic          = &httpError{status: http.StatusBadRequest, text: "no topic: ask for /ws/{topic} or /ws?topic=a&topic=b"}
	errMethod           = &httpError{status: http.StatusMethodNotAllowed, text: "only GET is served here: publish with POST /api/publish on the admin address", header: []http1.Field{{Name: []byte("Allow"), Value: []byte("GET")}}}
	errNotFound         = &httpError{status: http.StatusNotFound, text: "no such path: subscribe at /ws/{topic}, /ws?topic=a&topic=b or /sse/{topic}"}
)

func retryAfter(seconds string) []http1.Field {
	return []http1.Field{{Name: []byte("Retry-After"), Value: []byte(seconds)}}
}

// opening is a request whose topics are being opened. It outlives the request's bytes.
type opening struct {
	variant hub.Variant
	stream  bool   // server-sent events
	key     []byte // Sec-WebSocket-Key
	deflate agreement
	// protocol is the subprotocol agreed on, empty for none.
	protocol string
	// token is the client's until it is checked; empty for none.
	token   string
	origin  string // to be allowed by name in the answer
	topics  []broker.Pattern
	since   []broker.Position // one a topic, or none at all
	waiting int               // topics not open yet
	echo    *echo             // the message being put together on /echo; nil on other doors
}

// readHead parses the request once its head is complete, and routes it.
func (c *conn) readHead() {
	if c.buffered() == 0 {
		return
	}
	b := c.peek()
	r := &c.loop.request
	n, err := r.Parse(b, c.loop.headLimits)
	if errors.Is(err, http1.ErrShort) {
		return
	}
	if err != nil {
		c.respondError(ReasonBadRequest, &httpError{status: http1.StatusOf(err), text: err.Error()})
		return
	}
	o, err := c.loop.route(r)
	if err != nil {
		c.respondRefusal(err)
		return
	}
	// r and what aliases it is dead from here on.
	if o.token != "" {
		c.check(o, n)
		return
	}
	if err := c.loop.mayOpen(o, nil); err != nil {
		c.respondRefusal(err)
		return
	}
	c.discard(n)
	c.begin(o)
}

// respondRefusal answers with what route found wrong, under the reason that fits.
func (c *conn) respondRefusal(err error) {
	reason := ReasonBadRequest
	var he *httpError
	if !errors.As(err, &he) {
		he = &httpError{status: http.StatusBadRequest, text: err.Error()}
	}
	switch {
	case he.reason != 0:
		reason = he.reason
	case he == errOrigin:
		reason = ReasonRefusedOrigin
	case he == errDraining:
		reason = ReasonDraining
	case he.status == http.StatusNotFound || he.status == http.StatusMethodNotAllowed:
		reason = ReasonResponded
	}
	c.respondError(reason, he)
}

// respondError answers with e as a JSON body and ends the conn.
func (c *conn) respondError(reason CloseReason, e *httpError) {
	c.loop.scratch = e.appendTo(c.loop.scratch[:0])
	c.write(c.loop.scratch)
	c.finish(reason)
}

// appendTo appends e as an answer.
func (e *httpError) appendTo(dst []byte) []byte {
	body := fmt.Appendf(nil, "{\"error\":{\"status\":%d,\"message\":%s}}\n", e.status, quoteJSON(e.text))
	return http1.AppendResponse(dst, e.status, "application/json", e.header, body)
}

// route decides what a request asks for, or says what is wrong with it. Whether its client may have that is to be
// asked yet.
func (l *loop) route(r *http1.Request) (*opening, error) {
	if l.draining {
		return nil, errDraining
	}
	path := string(r.Path)
	name, isWS := strings.CutPrefix(path, "/ws/")
	isWS = isWS || path == "/ws"
	stream, isSSE := strings.CutPrefix(path, "/sse/")
	switch {
	case path == "/echo" && !l.cfg.Echo:
		return nil, errEchoOff
	case !isWS && !isSSE && path != "/echo":
		return nil, errNotFound
	case string(r.Method) != http.MethodGet:
		return nil, errMethod
	}
	origin, err := l.checkOrigin(r)
	if err != nil {
		return nil, err
	}
	if isSSE {
		return l.routeStream(r, stream, origin)
	}
	key, err := checkHandshake(r)
	if err != nil {
		return nil, err
	}
	o := &opening{key: bytes.Clone(key), origin: origin}
	switch path {
	case "/echo":
		o.echo = &echo{}
	case "/ws":
	default:
		if err := o.addPathTopic(name); err != nil {
			return nil, err
		}
	}
	if err := l.readQuery(o, r); err != nil {
		return nil, err
	}
	if err := l.findToken(o, r); err != nil {
		return nil, err
	}
	if o.deflate = l.agreeDeflate(r); o.deflate.shared() {
		o.variant = o.variant.Deflated()
	}
	return o, nil
}

// routeStream is route for /sse/{topic}.
func (l *loop) routeStream(r *http1.Request, name, origin string) (*opening, error) {
	if r.ContentLength > 0 || r.Chunked {
		return nil, &httpError{status: http.StatusBadRequest, text: "a GET of a stream has no body: send none"}
	}
	o := &opening{stream: true, variant: hub.SSE, origin: origin}
	if err := o.addPathTopic(name); err != nil {
		return nil, err
	}
	if err := l.readQuery(o, r); err != nil {
		return nil, err
	}
	if len(o.topics) != 1 {
		return nil, &httpError{status: http.StatusBadRequest, text: "a stream has one topic: use /ws?topic=a&topic=b for several"}
	}
	if err := l.findToken(o, r); err != nil {
		return nil, err
	}
	// A browser that connects again sends the last id it saw: newer than the URL's since.
	if id, ok := r.Get("Last-Event-ID"); ok && len(id) > 0 {
		p, err := broker.ParsePosition(string(id))
		if err != nil {
			return nil, err
		}
		o.since = []broker.Position{p}
	}
	return o, nil
}

// checkHandshake is RFC 6455 section 4.2.1; it returns the request's key.
func checkHandshake(r *http1.Request) ([]byte, error) {
	get := func(name string) []byte {
		v, _ := r.Get(name)
		return v
	}
	h := ws.Handshake{
		Method:     r.Method,
		Connection: listed(r, "Connection", "upgrade"),
		Upgrade:    listed(r, "Upgrade", "websocket"),
		Version:    get("Sec-WebSocket-Version"),
		Key:        get("Sec-WebSocket-Key"),
	}
	if err := ws.CheckHandshake(h); err != nil {
		he := &httpError{status: http.StatusBadRequest, text: err.Error()}
		if bad, ok := errors.AsType[*ws.HandshakeError](err); ok {
			he.status = bad.Status()
		}
		if he.status == http.StatusUpgradeRequired {
			he.header = []http1.Field{
				{Name: []byte("Upgrade"), Value: []byte("websocket")},
				{Name: []byte("Sec-WebSocket-Version"), Value: []byte("13")},
			}
		}
		return nil, he
	}
	if r.ContentLength > 0 || r.Chunked {
		return nil, &httpError{status: http.StatusBadRequest, text: "a WebSocket handshake has no body: send none"}
	}
	return h.Key, nil
}

// listed is the token, if the list that the fields of a name make has it.
func listed(r *http1.Request, name, token string) []byte {
	if r.HasToken(name, token) {
		return []byte(token)
	}
	return nil
}

// checkOrigin returns the origin to allow by name in the answer, if the request has one.
func (l *loop) checkOrigin(r *http1.Request) (string, error) {
	origin, has := r.Get("Origin")
	for _, a := range l.cfg.AllowedOrigins {
		if a == "*" || has && a == string(origin) {
			return string(origin), nil
		}
	}
	return "", errOrigin
}

// readQuery reads topic=, since= and format=, and token= if tokens are taken; of a query of /echo that alone. What else
// is in a query is not ours.
func (l *loop) readQuery(o *opening, r *http1.Request) error {
	if o.echo != nil && l.cfg.Tokens == nil {
		return nil
	}
	format := "raw"
	var failed error
	err := http1.QueryValues(r.RawQuery, func(k, v []byte) bool {
		name := string(k)
		if name == "token" && l.cfg.Tokens != nil {
			failed = o.addToken(string(v))
		}
		if o.echo != nil {
			return failed == nil
		}
		switch name {
		case "topic":
			failed = o.addTopic(string(v))
		case "since":
			var p broker.Position
			if len(v) > 0 { // an empty one resumes nothing
				p, failed = broker.ParsePosition(string(v))
			}
			o.since = append(o.since, p)
		case "format":
			format = string(v)
		}
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil || o.echo != nil {
		return err
	}
	switch {
	case len(o.topics) == 0:
		return errNoTopic
	case len(o.topics) > l.cfg.MaxTopics:
		return &httpError{status: http.StatusBadRequest, text: fmt.Sprintf("%d topics: one connection may have %d: open another", len(o.topics), l.cfg.MaxTopics)}
	case len(o.since) > 0 && len(o.since) != len(o.topics):
		return &httpError{status: http.StatusBadRequest, text: fmt.Sprintf("%d since= for %d topics: give one for each, in order, or none", len(o.since), len(o.topics))}
	case o.stream:
		return nil
	}
	switch format {
	case "raw":
		o.variant = hub.RawWS
		if len(o.since) > 0 {
			o.variant = hub.ResumedRawWS
		}
	case "json":
		o.variant = hub.JSONWS
	default:
		return &httpError{status: http.StatusBadRequest, text: fmt.Sprintf("format %q: want raw or json", format)}
	}
	return nil
}

// addPathTopic is addTopic for a name as it stands in a path.
func (o *opening) addPathTopic(escaped string) error {
	name, err := http1.PathUnescape(nil, []byte(escaped))
	if err != nil {
		return err
	}
	return o.addTopic(string(name))
}

func (o *opening) addTopic(name string) error {
	t, err := broker.ParsePattern(name)
	if err != nil {
		return err
	}
	if slices.Contains(o.topics, t) {
		return &httpError{status: http.StatusBadRequest, text: fmt.Sprintf("topic %q is asked for twice: name it once", name)}
	}
	o.topics = append(o.topics, t)
	return nil
}
