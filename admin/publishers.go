package admin

import (
	"context"
	"net/http"
	"strings"

	"weir/broker"
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
		token, has := bearer(r)
		if !has {
			byKey(w, r)
			return
		}
		may, err := s.deps.Publishers(token)
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			writeError(w, r, http.StatusUnauthorized, codeUnauthorized, "the token is not taken: "+err.Error())
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), mayKey{}, may)))
	}
}

// bearer is the token of an Authorization.
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// mayPublish reports whether a request may publish to a topic.
func mayPublish(ctx context.Context, t broker.Topic) bool {
	may, byToken := ctx.Value(mayKey{}).(func(broker.Topic) bool)
	return !byToken || may(t)
}
