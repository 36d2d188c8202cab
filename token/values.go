package token

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// Value is what the token says of a claim that Config.Values names: its text, or a number or a boolean as it was
// written.
func (c *Claims) Value(name string) (string, bool) {
	v, ok := c.values[name]
	return v, ok
}

// values reads the claims that are kept beside the known ones, of a token that was checked.
func (v *Verifier) values(text string) (map[string]string, error) {
	if len(v.cfg.Values) == 0 {
		return nil, nil //nolint:nilnil // none is no error
	}
	_, rest, _ := strings.Cut(text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	var all map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	kept := map[string]string{}
	for _, name := range v.cfg.Values {
		value, ok := all[name]
		var s string
		switch {
		case !ok || len(value) == 0:
		case json.Unmarshal(value, &s) == nil && value[0] == '"':
			kept[name] = s
		case value[0] != '{' && value[0] != '[' && string(value) != "null":
			kept[name] = string(value)
		}
	}
	return kept, nil
}
