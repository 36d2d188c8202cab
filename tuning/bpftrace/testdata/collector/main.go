// Command collector collects its garbage again and again, from a stack that grows, until its input ends.
package main

import (
	"io"
	"os"
	"runtime"
)

// deepen takes about a KiB of stack a level, so that Go moves the stack while its frames are on it.
func deepen(levels int) (sum byte) {
	var room [1 << 10]byte
	if levels == 0 {
		runtime.GC()
		return room[0]
	}
	room[levels%len(room)] = deepen(levels - 1)
	return room[len(room)-1]
}

func main() {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for levels := 0; ; levels = (levels + 7) % 500 {
		select {
		case <-ended:
			return
		default:
		}
		grown := make(chan byte)
		go func() { grown <- deepen(levels) }()
		<-grown
	}
}
