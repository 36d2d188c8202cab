package policy

import "net/http"

// Outcome is what becomes of a request. Names and numbers of the series of metrics: new ones go before outcomes.
type Outcome uint8

// The outcomes.
const (
	// Admitted is sent on to the upstream.
	Admitted Outcome = iota
	// Ask is not decided: see [Exchange.Ask].
	Ask
	// BadPath is a path that can be read in two ways.
	BadPath
	// NoRoute fits no route.
	NoRoute
	// NoMethod fits a route that takes other methods.
	NoMethod
	// Unauthorized has no credential, or a wrong one.
	Unauthorized
	// Incomplete lacks what the key of a policy is made of.
	Incomplete
	// Limited is over a quota.
	Limited
	// Shed is over what the host serves at once.
	Shed
	// Unavailable is refused since the store of shared quotas is gone, and a policy is closed then.
	Unavailable
	// TooLarge has a longer body than the route takes.
	TooLarge
	// Malformed has a head that is no HTTP, or could be read in two ways.
	Malformed
	outcomes
)

var outcomeNames = [...]string{
	"admitted", "ask", "bad_path", "no_route", "no_method", "unauthorized", "incomplete", "limited", "shed", "unavailable", "too_large", "malformed",
}

var outcomeStatus = [...]int{
	http.StatusOK, http.StatusInternalServerError, http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed,
	http.StatusUnauthorized, http.StatusBadRequest, http.StatusTooManyRequests, http.StatusServiceUnavailable,
	http.StatusServiceUnavailable, http.StatusRequestEntityTooLarge, http.StatusBadRequest,
}

// Outcomes are all of them but Ask.
func Outcomes() (all []Outcome) {
	for o := range outcomes {
		if o != Ask {
			all = append(all, o)
		}
	}
	return all
}

// String is the outcome as metrics have it.
func (o Outcome) String() string { return nameOf(outcomeNames[:], o) }

// Status is the status of the answer; of Admitted it is the upstream's to say.
func (o Outcome) Status() int { return outcomeStatus[o] }
