package admin

import (
	"context"
	"net/http"

	"weir/broker"
	"weir/token"
)

// Publishers says to which topics who has a token may publish. The error may be told to who sent it, and says what is wrong with it.
type Publishers func(token string) (may func(broker.Topic) bool, err error)

// mayKey is the key of a request's context for who publishes by a token: to which topics.
type mayKey struct{}

// guardPublisher asks for the API key, or for a token of who may publish, which then is all that the request may.
func (s *Server) guardPublisher(next http.HandlerFunc) http.HandlerFunc {
	byKey := s.guard(next)
	if s.deps.Publishers == nil {
		return byKey
	}
	return func(w http.ResponseWriter, r *http.Request) {
		text, has := token.Bearer(r.Header.Get("Authorization"))
		if !has {
			byKey(w, r)
			return
		}
		may, err := s.deps.Publishers(text)
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			writeError(w, r, http.StatusUnauthorized, codeUnauthorized, "the token is not taken: "+err.Error())
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), mayKey{}, may)))
	}
}

// mayPublish reports whether a request may publish to a topic.
func mayPublish(ctx context.Context, t broker.Topic) bool {
	may, byToken := ctx.Value(mayKey{}).(func(broker.Topic) bool)
	return !byToken || may(t)
}
