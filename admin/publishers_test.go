package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir/broker"

	"github.com/prometheus/client_golang/prometheus"
)

// noted is a bus that notes what is published.
type noted struct{ topics []string }

func (n *noted) Publish(_ context.Context, t broker.Topic, _ []byte, _, _ string) (broker.Position, error) {
	n.topics = append(n.topics, string(t))
	return broker.Position{}, nil
}

// TestWhoHasATokenPublishesWhatItMay tries each credential at each door.
func TestWhoHasATokenPublishesWhatItMay(t *testing.T) {
	t.Parallel()
	publishers := func(token string) (func(broker.Topic) bool, error) {
		if token != "alice" {
			return nil, errors.New("it is forged")
		}
		return func(t broker.Topic) bool { return t == "chat.alice" }, nil
	}
	const one, many = `{"channel":"chat.alice","data":1}`, `{"channels":["chat.alice","chat.bob"],"data":1}`
	for _, tt := range []struct {
		name, key, path, header, value, body string
		without                              bool // no tokens are checked
		status                               int
		answer, published                    string
	}{
		{name: "a token, its topic", key: "k", path: "publish", header: "Authorization", value: "bearer alice", body: one, status: 200, answer: `"offset"`, published: "chat.alice"},
		{name: "a token, another topic", key: "k", path: "publish", header: "Authorization", value: "Bearer alice", body: `{"channel":"news","data":1}`, status: 200, answer: `"code":103`},
		{name: "a token, several topics", key: "k", path: "broadcast", header: "Authorization", value: "Bearer alice", body: many, status: 200, answer: `"code":103`, published: "chat.alice"},
		{name: "a token where no key is asked for", path: "publish", header: "Authorization", value: "Bearer alice", body: `{"channel":"news","data":1}`, status: 200, answer: `"code":103`},
		{name: "a wrong token", key: "k", path: "publish", header: "Authorization", value: "Bearer eve", body: one, status: 401, answer: "it is forged"},
		{name: "a wrong token where no key is asked for", path: "publish", header: "Authorization", value: "Bearer eve", body: one, status: 401, answer: "it is forged"},
		{name: "a token, another door", key: "k", path: "info", header: "Authorization", value: "Bearer alice", status: 401, answer: "API key"},
		{name: "a token where none are checked", key: "k", path: "publish", header: "Authorization", value: "Bearer alice", body: one, without: true, status: 401, answer: "API key"},
		{name: "the key", key: "k", path: "publish", header: "X-API-Key", value: "k", body: `{"channel":"news","data":1}`, status: 200, answer: `"offset"`, published: "news"},
		{name: "the key as Centrifugo has it", key: "k", path: "publish", header: "Authorization", value: "apikey k", body: one, status: 200, answer: `"offset"`, published: "chat.alice"},
		{name: "nothing", key: "k", path: "publish", body: one, status: 401, answer: "API key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bus := &noted{}
			deps := Deps{Publisher: bus, Publishers: publishers, Numbers: func() Numbers { return Numbers{} }, Gatherer: prometheus.NewRegistry()}
			if tt.without {
				deps.Publishers = nil
			}
			s, err := New(Config{APIKey: tt.key}, deps, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/"+tt.path, strings.NewReader(tt.body))
			if tt.header != "" {
				r.Header.Set(tt.header, tt.value)
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.answer) || strings.Join(bus.topics, " ") != tt.published {
				t.Errorf("%d %s, published %v", w.Code, w.Body, bus.topics)
			}
		})
	}
}
