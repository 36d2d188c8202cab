package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"weir/broker"
)

// Error codes of Centrifugo's server API, which this one is shaped after.
const (
	codeInternal     = 100
	codeUnauthorized = 101
	codeDenied       = 103
	codeNotFound     = 104
	codeBadRequest   = 107
	codeNotAvailable = 108
)

// statusOf is the HTTP status of a code, where a client asks for one.
var statusOf = map[int]int{
	codeInternal:     http.StatusInternalServerError,
	codeUnauthorized: http.StatusUnauthorized,
	codeDenied:       http.StatusForbidden,
	codeNotFound:     http.StatusNotFound,
	codeBadRequest:   http.StatusBadRequest,
	codeNotAvailable: http.StatusServiceUnavailable,
}

type apiError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type reply struct {
	Result any       `json:"result,omitempty"`
	Error  *apiError `json:"error,omitempty"`
}

// publishRequest is one publish. Data is any JSON value, published as it stands; B64Data is
// for what is not JSON.
type publishRequest struct {
	Channel        string          `json:"channel"`
	Data           json.RawMessage `json:"data"`
	B64Data        []byte          `json:"b64data"`
	IdempotencyKey string          `json:"idempotency_key"`
	// Key says what the event is about: of a topic in mode latest slow subscribers are sent the
	// newest of each.
	Key string `json:"key"`
}

type publishResult struct {
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
}

// payload is what is to be published, or what is wrong with the request.
func (p *publishRequest) payload() ([]byte, error) {
	switch {
	case p.Data != nil && p.B64Data != nil:
		return nil, errors.New("both data and b64data are given: send one")
	case p.B64Data != nil:
		return p.B64Data, nil
	case p.Data != nil:
		return p.Data, nil
	}
	return nil, errors.New("data is missing: send any JSON value, or b64data")
}

func (s *Server) publish(w http.ResponseWriter, r *http.Request) {
	var req publishRequest
	if !decode(w, r, &req) {
		return
	}
	result, e := s.publishOne(r.Context(), req.Channel, &req)
	writeReply(w, r, reply{Result: orNil(result), Error: e})
}

func orNil(r *publishResult) any {
	if r == nil {
		return nil
	}
	return r
}

func (s *Server) publishOne(ctx context.Context, channel string, req *publishRequest) (*publishResult, *apiError) {
	topic, err := broker.ParseTopic(channel)
	if channel == "" {
		err = errors.New("channel is missing: name the topic to publish to")
	}
	if err != nil {
		return nil, &apiError{codeBadRequest, "bad request: " + err.Error()}
	}
	if !mayPublish(ctx, topic) {
		return nil, &apiError{codeDenied, "permission denied: the token's topics.publish does not have " + string(topic)}
	}
	data, err := req.payload()
	if err != nil {
		return nil, &apiError{codeBadRequest, "bad request: " + err.Error()}
	}
	if s.deps.Publisher == nil {
		return nil, &apiError{codeNotAvailable, "there is no bus in this process: publish to a broker, or to weir serve"}
	}
	p, err := s.deps.Publisher.Publish(ctx, topic, data, req.Key, req.IdempotencyKey)
	switch {
	case err == nil:
		return &publishResult{Offset: p.Offset, Epoch: p.Epoch.String()}, nil
	case errors.Is(err, broker.ErrTooLarge), errors.Is(err, broker.ErrBadKey):
		return nil, &apiError{codeBadRequest, "bad request: " + err.Error()}
	case errors.Is(err, broker.ErrUnavailable):
		return nil, &apiError{codeNotAvailable, err.Error()}
	default:
		return nil, &apiError{codeInternal, err.Error()}
	}
}

// broadcastRequest publishes the same to several topics.
type broadcastRequest struct {
	Channels []string `json:"channels"`
	publishRequest
}

func (s *Server) broadcast(w http.ResponseWriter, r *http.Request) {
	var req broadcastRequest
	if !decode(w, r, &req) {
		return
	}
	if len(req.Channels) == 0 {
		writeReply(w, r, reply{Error: &apiError{codeBadRequest, "bad request: channels is missing: list the topics to publish to"}})
		return
	}
	responses := make([]reply, len(req.Channels))
	for i, c := range req.Channels {
		result, e := s.publishOne(r.Context(), c, &req.publishRequest)
		responses[i] = reply{Result: orNil(result), Error: e}
	}
	writeReply(w, r, reply{Result: map[string]any{"responses": responses}})
}

func (s *Server) info(w http.ResponseWriter, r *http.Request) {
	writeReply(w, r, reply{Result: s.deps.Numbers()})
}

func (s *Server) why(w http.ResponseWriter, r *http.Request) {
	conns, err := s.deps.Why(r.Context(), r.URL.Query().Get("client"))
	if err != nil {
		writeReply(w, r, reply{Error: &apiError{codeBadRequest, "bad request: " + err.Error()}})
		return
	}
	result := map[string]any{"conns": conns}
	if s.deps.Quotas != nil {
		// What the client's packets are charged to: a conn whose packets are dropped looks like a slow one.
		if quota, err := s.deps.Quotas.Explain(hostOf(r.URL.Query().Get("client"))); err == nil {
			result["quota"] = quota
		}
	}
	writeReply(w, r, reply{Result: result})
}

var errNoGateway = &apiError{codeNotAvailable, "there is no gateway in this process: see weir gateway --help"}

func (s *Server) gateway(w http.ResponseWriter, r *http.Request) {
	if s.deps.Gateway == nil {
		writeReply(w, r, reply{Error: errNoGateway})
		return
	}
	writeReply(w, r, reply{Result: s.deps.Gateway.Show()})
}

func (s *Server) gatewayExplain(w http.ResponseWriter, r *http.Request) {
	s.askGateway(w, r, func(g Gateway) (any, error) {
		told, err := g.Explain(r.URL.Query().Get("client"))
		return map[string]any{"policies": told}, err
	})
}

// gatewayTop ranks the gateway's clients, by refusals unless it is asked for something else.
func (s *Server) gatewayTop(w http.ResponseWriter, r *http.Request) {
	s.askGateway(w, r, func(g Gateway) (any, error) {
		by := r.URL.Query().Get("by")
		if by == "" {
			by = "limited"
		}
		return g.Top(by, howMany(r))
	})
}

// askGateway answers a call on the gateway: with the result of f, or with what is wrong.
func (s *Server) askGateway(w http.ResponseWriter, r *http.Request, f func(g Gateway) (any, error)) {
	if s.deps.Gateway == nil {
		writeReply(w, r, reply{Error: errNoGateway})
		return
	}
	result, err := f(s.deps.Gateway)
	if err != nil {
		writeReply(w, r, reply{Error: &apiError{codeBadRequest, "bad request: " + err.Error()}})
		return
	}
	writeReply(w, r, reply{Result: result})
}

func (s *Server) gatewayReload(w http.ResponseWriter, r *http.Request) {
	if s.deps.Gateway == nil {
		writeReply(w, r, reply{Error: errNoGateway})
		return
	}
	if err := s.deps.Gateway.Reload(r.Context()); err != nil {
		writeReply(w, r, reply{Error: &apiError{codeBadRequest, "the routes stay as they were: " + err.Error()}})
		return
	}
	writeReply(w, r, reply{Result: struct{}{}})
}

// hostOf is the address of a client that may be given with a port.
func hostOf(client string) string {
	if p, err := netip.ParseAddrPort(client); err == nil {
		return p.Addr().String()
	}
	return client
}

func (s *Server) unknownMethod(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/api/publish", "/api/broadcast", "/api/quota/mode", "/api/quota/apply", "/api/quota/confirm", "/api/quota/edit", "/api/gateway/reload":
		w.Header().Set("Allow", http.MethodPost)
		writeError(w, r, http.StatusMethodNotAllowed, codeBadRequest, "bad request: use POST")
	default:
		writeError(w, r, http.StatusNotFound, codeNotFound, "method not found: there are publish, broadcast, info, why, gateway, gateway/explain, gateway/top, gateway/reload, quota, and below quota: mode, top, explain, apply, confirm, edit, events")
	}
}

// decode reads a JSON body, and answers what is wrong with it.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		writeError(w, r, http.StatusRequestEntityTooLarge, codeBadRequest, fmt.Sprintf("bad request: the body is over %d bytes", maxBodyBytes))
		return false
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		writeError(w, r, http.StatusBadRequest, codeBadRequest, "bad request: the body is not the JSON object wanted: "+err.Error())
		return false
	}
	return true
}

// writeReply answers as Centrifugo does: status 200 also for an error of the call itself,
// unless the client asks for HTTP statuses.
func writeReply(w http.ResponseWriter, r *http.Request, v reply) {
	status := http.StatusOK
	if v.Error != nil && r.Header.Get("X-Centrifugo-Error-Mode") == "transport" {
		status = statusOf[v.Error.Code]
	}
	writeJSON(w, status, v)
}

// writeError answers a request that is no call.
func writeError(w http.ResponseWriter, _ *http.Request, status, code int, message string) {
	writeJSON(w, status, reply{Error: &apiError{code, message}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":100,"message":"internal server error"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that went needs no answer
}

// streamInterval is the pace of the page's numbers.
const streamInterval = time.Second

// stream sends the numbers as server-sent events until the client goes.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	t := time.NewTicker(streamInterval)
	defer t.Stop()
	for {
		b, err := json.Marshal(s.deps.Numbers())
		if err != nil {
			s.log.Error("numbers do not marshal", "err", err)
			return
		}
		_ = out.SetWriteDeadline(time.Now().Add(headTimeout)) // without one the write itself tells
		if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.done:
			return
		case <-t.C:
		}
	}
}
