package ws_test

import (
	"errors"
	"fmt"

	"weir/edge/ws"
)

func ExampleDecoder_Next() {
	in := ws.AppendMaskedFrame(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte("hello"))
	limits := ws.Limits{MaxFrameBytes: 1024, MaxMessageBytes: 1024, RequireMask: true}
	var d ws.Decoder
	for {
		f, n, err := d.Next(in, &limits)
		if errors.Is(err, ws.ErrShort) {
			break // read more
		}
		if err != nil {
			fmt.Println(ws.CloseCodeOf(err))
			break
		}
		fmt.Printf("%s\n", f.Payload)
		in = in[n:]
	}
	// Output: hello
}
