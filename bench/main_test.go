package bench

import (
	"fmt"
	"os"
	"testing"

	"weir/bench/traceload"
)

// TestMain has this binary be a scenario's load too, where a scenario starts itself.
func TestMain(m *testing.M) {
	code := 0
	if len(os.Args) == 3 && os.Args[1] == "bench-worker" && os.Args[2] == "trace" {
		if err := traceload.Run(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	} else {
		code = m.Run()
	}
	os.Exit(code) //nolint:forbidigo // it may be the main of another process
}
