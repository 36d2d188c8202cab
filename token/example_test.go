package token_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"weir/token"

	"github.com/golang-jwt/jwt/v5"
)

func ExampleVerifier() {
	secret := []byte("32 bytes or more, made at random")
	key, err := token.ParseKey("2026-01", "HS256", secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := token.New(token.Config{Keys: []token.Key{key}})
	if err != nil {
		fmt.Println(err)
		return
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "alice", "exp": time.Now().Add(time.Minute).Unix(),
		"topics": map[string]any{"subscribe": []string{"chat.*"}},
	})
	t.Header["kid"] = "2026-01"
	text, err := t.SignedString(secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := v.Verify(text)
	fmt.Println(c.Subject, c.MaySubscribe("chat.alice"), c.MaySubscribe("ticks.EURUSD"), err)
	_, err = v.Verify(text[:strings.LastIndexByte(text, '.')+1]) // without its signature
	fmt.Println(errors.Is(err, token.ErrForged), token.Explain(err))
	// Output:
	// alice true false <nil>
	// true the token is not signed by a key that is known here
}
