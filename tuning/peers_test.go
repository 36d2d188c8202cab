package tuning

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestPeersAreThoseConnectedToThePort(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, "proc/net", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	write("tcp", head+
		"   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n"+
		"   1: 010200C0:0016 070200C0:C001 01 00000000:00000000 00:00000000 00000000     0        0 2\n"+
		"   2: 010200C0:0016 070200C0:C002 01 00000000:00000000 00:00000000 00000000     0        0 3\n"+
		"   3: 010200C0:0050 080200C0:C003 01 00000000:00000000 00:00000000 00000000     0        0 4\n"+
		"   4: 010200C0:0016 090200C0:C004 06 00000000:00000000 00:00000000 00000000     0        0 5\n")
	write("tcp6", head+
		"   0: 0000000000000000FFFF0000010200C0:0016 0000000000000000FFFF0000050200C0:C001 01 0:0 00:0 0 0 0 1\n"+
		"   1: B80D0120000000000000000001000000:0016 B80D0120000000000000000007000000:C001 01 0:0 00:0 0 0 0 1\n")
	all, err := Peers(root, 22)
	if got := fmt.Sprint(all); err != nil || got != "[192.0.2.5 192.0.2.7 2001:db8::7]" {
		t.Errorf("%s, %v", got, err)
	}
	if all, err := Peers(t.TempDir(), 22); err != nil || len(all) != 0 {
		t.Errorf("without the files: %v, %v", all, err)
	}
}
