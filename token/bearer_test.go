package token

import "testing"

func TestBearerIsTheOneSchemeInAnyCase(t *testing.T) {
	for value, want := range map[string]string{"Bearer a.b.c": "a.b.c", "bearer  a.b.c ": "a.b.c", "BEARER x": "x", "Bearer ": ""} {
		if text, ok := Bearer(value); !ok || text != want {
			t.Errorf("%q: %q, %v", value, text, ok)
		}
	}
	for _, value := range []string{"", "Bearer", "Bearera.b.c", "Basic YTpi", " Bearer a"} {
		if text, ok := Bearer(value); ok || text != "" {
			t.Errorf("%q is taken for %q", value, text)
		}
	}
}
