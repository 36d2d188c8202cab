package token

import "strings"

// Bearer is the token in the value of an Authorization field, RFC 6750, section 2.1; not ok for another scheme. It may be empty.
func Bearer(authorization string) (text string, ok bool) {
	const scheme = "bearer "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return "", false
	}
	return strings.Trim(authorization[len(scheme):], " "), true
}
