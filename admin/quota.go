package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Quotas is what the API can ask of and do to the quotas in XDP. What it returns is JSON-able; an
// error is the caller's mistake, in a sentence that says what to do.
type Quotas interface {
	// Show is a picture of them.
	Show() (any, error)
	// SetMode switches to off, shadow, enforce or under-attack.
	SetMode(mode string) error
	// Top is the first n clients by packets, dropped or connections.
	Top(by string, n int) (any, error)
	// Explain says what holds for an address.
	Explain(client string) (any, error)
	// Apply makes a policy hold, for a time unless it is confirmed.
	Apply(r QuotaPolicy) (any, error)
	// Confirm has it stay.
	Confirm() error
	// Edit changes the policy that holds.
	Edit(r QuotaEdit) error
	// Events hands over samples of refused packets until ctx ends or write fails.
	Events(ctx context.Context, perSecond int, write func(any) error) error
}

// QuotaPolicy is a policy to apply.
type QuotaPolicy struct {
	// Policy is its text, YAML; Name stands for it in errors.
	Policy string `json:"policy"`
	Name   string `json:"name"`
	// ConfirmSeconds is how long it holds unless it is confirmed; 0: it stays.
	ConfirmSeconds int `json:"confirm_seconds"`
	// Force applies it though it cuts somebody off.
	Force bool `json:"force"`
	// Operators are addresses that it must not cut off.
	Operators []string `json:"operators"`
}

// QuotaEdit is a change of the policy.
type QuotaEdit struct {
	// Prefixes are listed as Verdict says: allow, deny, class, or none: no longer.
	Prefixes []string `json:"prefixes"`
	Verdict  string   `json:"verdict"`
	// Class is that of the verdict, and that of Set: keys and their values, "packets": "100/s"; an
	// empty one is no quota.
	Class     string            `json:"class"`
	Set       map[string]string `json:"set"`
	Force     bool              `json:"force"`
	Operators []string          `json:"operators"`
}

// Bounds of the quota calls.
const (
	maxTop           = 10_000
	defaultTop       = 20
	defaultPerSecond = 10
)

// quotas answers a call on the quotas: with the result of f, or with what is wrong.
func (s *Server) quotas(w http.ResponseWriter, r *http.Request, f func(q Quotas) (any, error)) {
	if s.deps.Quotas == nil {
		writeReply(w, r, reply{Error: &apiError{codeNotAvailable, "XDP is off: " + s.deps.QuotasOff}})
		return
	}
	result, err := f(s.deps.Quotas)
	if err != nil {
		writeReply(w, r, reply{Error: &apiError{codeBadRequest, "bad request: " + err.Error()}})
		return
	}
	writeReply(w, r, reply{Result: result})
}

func (s *Server) quota(w http.ResponseWriter, r *http.Request) {
	if s.deps.Quotas == nil {
		writeReply(w, r, reply{Result: map[string]any{"enabled": false, "reason": s.deps.QuotasOff}})
		return
	}
	shown, err := s.deps.Quotas.Show()
	if err != nil {
		writeReply(w, r, reply{Error: &apiError{codeInternal, err.Error()}})
		return
	}
	writeReply(w, r, reply{Result: shown})
}

func (s *Server) quotaMode(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Mode string `json:"mode"`
	}
	if !decode(w, r, &req) {
		return
	}
	s.quotas(w, r, func(q Quotas) (any, error) { return req, q.SetMode(req.Mode) })
}

func (s *Server) quotaTop(w http.ResponseWriter, r *http.Request) {
	s.quotas(w, r, func(q Quotas) (any, error) { return q.Top(r.URL.Query().Get("by"), howMany(r)) })
}

// howMany is how many clients a request asks for.
func howMany(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 1 {
		return defaultTop
	}
	return min(n, maxTop)
}

func (s *Server) quotaExplain(w http.ResponseWriter, r *http.Request) {
	s.quotas(w, r, func(q Quotas) (any, error) { return q.Explain(r.URL.Query().Get("client")) })
}

func (s *Server) quotaApply(w http.ResponseWriter, r *http.Request) {
	var req QuotaPolicy
	if decode(w, r, &req) {
		s.quotas(w, r, func(q Quotas) (any, error) { return q.Apply(req) })
	}
}

func (s *Server) quotaConfirm(w http.ResponseWriter, r *http.Request) {
	s.quotas(w, r, func(q Quotas) (any, error) { return struct{}{}, q.Confirm() })
}

func (s *Server) quotaEdit(w http.ResponseWriter, r *http.Request) {
	var req QuotaEdit
	if decode(w, r, &req) {
		s.quotas(w, r, func(q Quotas) (any, error) { return struct{}{}, q.Edit(req) })
	}
}

// quotaEvents streams samples, a line of JSON each, until the client goes.
func (s *Server) quotaEvents(w http.ResponseWriter, r *http.Request) {
	if s.deps.Quotas == nil {
		s.quotas(w, r, nil)
		return
	}
	n, err := strconv.Atoi(r.URL.Query().Get("per_second"))
	if err != nil {
		n = defaultPerSecond
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() { // the server's end ends the stream
		select {
		case <-s.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	out := http.NewResponseController(w)
	started := false
	start := func() error {
		started = true
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		return out.Flush()
	}
	err = s.deps.Quotas.Events(ctx, n, func(v any) error {
		if !started {
			if err := start(); err != nil || v == nil {
				return err
			}
		}
		if v == nil {
			return out.Flush()
		}
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		_ = out.SetWriteDeadline(time.Now().Add(headTimeout)) // without one the write itself tells
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
		return out.Flush()
	})
	if err != nil && !started {
		writeReply(w, r, reply{Error: &apiError{codeBadRequest, "bad request: " + err.Error()}})
	}
}
