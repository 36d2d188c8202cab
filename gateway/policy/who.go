package policy

import (
	"crypto/sha256"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"weir/token"
)

// Errors of a credential. A client may be told them, and those of package token.
var (
	ErrNoCredential = errors.New("a credential is missing: send an API key or a bearer token")
	ErrUnknownKey   = errors.New("the API key is not known")
	ErrTwoKeys      = errors.New("there is more than one credential: send one API key or one bearer token")
)

// maxKeyBytes bounds an API key.
const maxKeyBytes = 256

// Tokens checks tokens: token's Verifier is one.
type Tokens interface {
	Verify(text string) (*token.Claims, error)
}

// identify finds out who the request is from, by its credential. The error says what is wrong with it.
func (r *Rules) identify(q *Request, x *Exchange) error {
	key, hasKey := q.Fields.At(r.cfg.KeyField, 0)
	bearer, hasBearer := bearerOf(q.Fields)
	if _, second := q.Fields.At(r.cfg.KeyField, 1); second || hasKey && len(r.consumers.byKey) > 0 && hasBearer && r.deps.Tokens != nil {
		return ErrTwoKeys
	}
	if _, second := q.Fields.At("Authorization", 1); second {
		return ErrTwoKeys
	}
	switch {
	case hasKey && len(r.consumers.byKey) > 0:
		if len(key) > maxKeyBytes {
			return ErrUnknownKey
		}
		c := r.consumers.byKey[sha256.Sum256(view(key))]
		if c == nil {
			return ErrUnknownKey
		}
		x.Consumer, x.Identity = c, c.Name
	case hasBearer && r.deps.Tokens != nil:
		if len(bearer) > token.MaxTokenBytes {
			return token.ErrMalformed
		}
		claims := r.claims.known(bearer)
		if claims == nil && x.Later {
			x.unchecked = bearer
			return nil
		}
		if claims == nil {
			var err error
			if claims, err = r.claims.check(r.deps.Tokens, bearer); err != nil {
				return err
			}
		}
		x.claim(claims)
	}
	return nil
}

// claim makes the request that of a token's subject.
func (x *Exchange) claim(claims *token.Claims) {
	x.Claims, x.Identity, x.Consumer = claims, claims.Subject, x.rules.consumers.byName[claims.Subject]
}

func bearerOf(f Fields) (string, bool) {
	v, _ := f.At("Authorization", 0)
	return token.Bearer(v)
}

// planOf is the plan of a request's client, nil for none.
func (r *Rules) planOf(x *Exchange) *plan {
	switch {
	case x.Identity == "":
		return r.anonymous
	case x.Consumer != nil && x.Consumer.Plan != "":
		return r.plans[x.Consumer.Plan]
	case x.Claims != nil && x.Claims.Class != "":
		if p := r.plans[x.Claims.Class]; p != nil {
			return p
		}
	}
	return r.standard
}

// Bounds of the claims that are kept.
const (
	claimSets  = 1 << 12
	claimWays  = 4
	claimsKept = time.Minute
)

// claimCache keeps what tokens say for a minute, so that not each request costs the check of a signature. A key that is
// withdrawn is honored for as long.
type claimCache struct {
	seed maphash.Seed
	sets [claimSets]claimSet
	now  func() time.Time
}

type claimSet struct {
	mu   sync.Mutex
	next uint8
	at   [claimWays]claimEntry
}

type claimEntry struct {
	sum    [32]byte
	until  time.Time
	claims *token.Claims
}

func newClaimCache() *claimCache { return &claimCache{seed: maphash.MakeSeed(), now: time.Now} }

// known is what a token says that was checked lately, nil if it was not.
func (c *claimCache) known(text string) *token.Claims {
	sum := sha256.Sum256(view(text))
	set := c.setOf(&sum)
	now := c.now()
	set.mu.Lock()
	defer set.mu.Unlock()
	for i := range set.at {
		if e := &set.at[i]; e.sum == sum && now.Before(e.until) {
			return e.claims
		}
	}
	return nil
}

// check checks a token, and keeps what it says.
func (c *claimCache) check(by Tokens, text string) (*token.Claims, error) {
	claims, err := by.Verify(text)
	if err != nil {
		return nil, err
	}
	until := c.now().Add(claimsKept)
	if claims.Expires.Before(until) {
		until = claims.Expires
	}
	sum := sha256.Sum256(view(text))
	set := c.setOf(&sum)
	set.mu.Lock()
	defer set.mu.Unlock()
	set.at[set.next%claimWays] = claimEntry{sum, until, claims}
	set.next++
	return claims, nil
}

func (c *claimCache) setOf(sum *[32]byte) *claimSet {
	return &c.sets[maphash.Bytes(c.seed, sum[:])%claimSets]
}
