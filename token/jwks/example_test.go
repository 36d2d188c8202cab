package jwks_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"weir/token/jwks"
)

func ExampleSet() {
	dir, err := os.MkdirTemp("", "jwks")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an example's
	path := filepath.Join(dir, "set.json")
	text := `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	set, err := jwks.New(jwks.Config{Location: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- set.Run(ctx) }()
	for set.Ready() != nil {
		<-time.After(time.Millisecond)
	}
	fmt.Println(set.KeySet() != nil)
	stop()
	fmt.Println(<-done)
	// Output:
	// true
	// <nil>
}
