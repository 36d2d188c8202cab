package ws

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
)

const (
	noTakeover = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	window15   = noTakeover + "; server_max_window_bits=15"
)

// offerRows are values of Sec-WebSocket-Extensions and the answer to each.
var offerRows = []struct {
	name, field, want string
}{
	{"the extension by its name", "permessage-deflate", noTakeover},
	{"what Chrome and Firefox send", "permessage-deflate; client_max_window_bits", noTakeover},
	{"every parameter that may go without a value", "permessage-deflate;server_no_context_takeover;client_no_context_takeover;client_max_window_bits", noTakeover},
	{"our own window is answered", "permessage-deflate; server_max_window_bits=15", window15},
	{"quoted", `permessage-deflate; server_max_window_bits="15"`, window15},
	{"quoted, with an escape", `permessage-deflate; server_max_window_bits="1\5"`, window15},
	{"white space everywhere", " \t permessage-deflate ;\tserver_max_window_bits = 15 , ", window15},
	{"empty elements of the list", ", ,permessage-deflate,,", noTakeover},
	{"a client window of 8", "permessage-deflate; client_max_window_bits=8", noTakeover},
	{"a client window of 15, quoted", `permessage-deflate; client_max_window_bits="15"`, noTakeover},
	{"behind another extension", `x-foo; a="1"; a; b=2, permessage-deflate`, noTakeover},
	{"the first of two, though it wants a small window", "permessage-deflate; server_max_window_bits=10, permessage-deflate; client_max_window_bits", noTakeover + "; server_max_window_bits=10"},
	{"our window of 8", "permessage-deflate; server_max_window_bits=8", noTakeover + "; server_max_window_bits=8"},
	{"our window of 14", "permessage-deflate; server_max_window_bits=14; client_max_window_bits=9", noTakeover + "; server_max_window_bits=14"},
	{"the second offer, for the first has a window that cannot be", "permessage-deflate; server_max_window_bits=7, permessage-deflate; client_max_window_bits", noTakeover},
	{"the first of two good ones", "permessage-deflate; server_max_window_bits=15, permessage-deflate", window15},

	{"nothing", "", ""},
	{"white space", " \t", ""},
	{"another extension", "x-webkit-deflate-frame", ""},
	{"a name that begins alike", "permessage-deflate2", ""},
	{"a name in other case", "Permessage-Deflate", ""},
	{"an unknown parameter", "permessage-deflate; mux=1", ""},
	{"a parameter in other case", "permessage-deflate; Client_Max_Window_Bits", ""},
	{"a parameter twice", "permessage-deflate; client_max_window_bits; client_max_window_bits", ""},
	{"a parameter twice, with two values", "permessage-deflate; client_max_window_bits=9; client_max_window_bits=10", ""},
	{"our window twice", "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15", ""},
	{"a value where none may be", "permessage-deflate; server_no_context_takeover=1", ""},
	{"a value where none may be, of the client", "permessage-deflate; client_no_context_takeover=true", ""},
	{"our window without a value", "permessage-deflate; server_max_window_bits", ""},
	{"our window of 7", "permessage-deflate; server_max_window_bits=7", ""},
	{"our window of 16", "permessage-deflate; server_max_window_bits=16", ""},
	{"a leading zero", "permessage-deflate; server_max_window_bits=015", ""},
	{"a client window of 7", "permessage-deflate; client_max_window_bits=7", ""},
	{"a client window of 16", "permessage-deflate; client_max_window_bits=16", ""},
	{"a client window with a leading zero", "permessage-deflate; client_max_window_bits=08", ""},
	{"a client window with a sign", "permessage-deflate; client_max_window_bits=+9", ""},
	{"a client window of 2^64+8", "permessage-deflate; client_max_window_bits=18446744073709551624", ""},

	{"a value that is missing", "permessage-deflate; client_max_window_bits=", ""},
	{"an empty quoted value", `permessage-deflate; client_max_window_bits=""`, ""},
	{"a quote that does not end", `permessage-deflate; client_max_window_bits="15`, ""},
	{"a quote that ends in an escape", `permessage-deflate; client_max_window_bits="15\`, ""},
	{"a quoted value that is no token", `permessage-deflate; client_max_window_bits="1 5"`, ""},
	{"a parameter without a name", "permessage-deflate; =1", ""},
	{"a semicolon at the end", "permessage-deflate;", ""},
	{"two names", "permessage-deflate permessage-deflate", ""},
	{"bytes that no token has", "permessage-deflate; \xff", ""},
	{"a good offer before a broken one", "permessage-deflate, ;", ""},
}

// windowSaid is the server's window that an answer promises, 0 if it is none.
func windowSaid(answer string) (bits int) {
	if answer == "" {
		return 0
	}
	_, text, ok := strings.Cut(answer, "server_max_window_bits=")
	if !ok {
		return MaxWindowBits
	}
	bits, _ = strconv.Atoi(text)
	return bits
}

func TestAnswerToOffers(t *testing.T) {
	for _, tt := range offerRows {
		got, bits := AcceptDeflate([]byte(tt.field))
		if got != tt.want {
			t.Errorf("%s: %q is answered %q, want %q", tt.name, tt.field, got, tt.want)
		}
		if said := windowSaid(got); bits != said {
			t.Errorf("%s: a window of %d bits, answered %q", tt.name, bits, got)
		}
	}
}

func TestAcceptingAnOfferAllocatesNothing(t *testing.T) {
	field := []byte("permessage-deflate; client_max_window_bits")
	if n := testing.AllocsPerRun(100, func() { AcceptDeflate(field) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestUpgradeResponseNamesTheExtension(t *testing.T) {
	key := []byte("dGhlIHNhbXBsZSBub25jZQ==")
	if got := string(AppendUpgradeResponse(nil, key, "", noTakeover)); !strings.Contains(got, "\r\nSec-WebSocket-Extensions: "+noTakeover+"\r\n\r\n") {
		t.Errorf("%q", got)
	}
	if got := string(AppendUpgradeResponse(nil, key, "", "")); strings.Contains(got, "Extensions") {
		t.Errorf("%q", got)
	}
}

// FuzzAcceptDeflate: whatever a client sends, the answer is one of ours with its window, the field is left
// as it was, and white space around it makes no difference.
func FuzzAcceptDeflate(f *testing.F) {
	for _, tt := range offerRows {
		f.Add([]byte(tt.field))
	}
	f.Fuzz(func(t *testing.T, field []byte) {
		before := bytes.Clone(field)
		got, bits := AcceptDeflate(field)
		if got != "" && got != noTakeover && got != noTakeover+"; server_max_window_bits="+strconv.Itoa(bits) || bits != windowSaid(got) || bits > 0 && (bits < 8 || bits > 15) {
			t.Fatalf("%q is answered %q, %d", field, got, bits)
		}
		if got != "" && !bytes.Contains(field, []byte("permessage-deflate")) {
			t.Fatalf("%q is accepted", field)
		}
		if !bytes.Equal(field, before) {
			t.Fatalf("%q became %q", before, field)
		}
		if padded, _ := AcceptDeflate(append(append([]byte(" ,\t"), field...), " , "...)); padded != got {
			t.Fatalf("%q is answered %q, with space around it %q", field, got, padded)
		}
	})
}
