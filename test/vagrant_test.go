package test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestE2EVagrantfileIsValid needs no provider, box or network.
func TestE2EVagrantfileIsValid(t *testing.T) {
	if _, err := exec.LookPath("vagrant"); err != nil {
		if os.Getenv("REQUIRE_BPF") == "1" {
			t.Fatal("no vagrant: run make deps")
		}
		t.Skip("no vagrant, and no right to install it: run make deps as root")
	}
	cmd := exec.Command("vagrant", "validate", "--ignore-provider")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "VAGRANT_HOME="+t.TempDir(), "VAGRANT_DOTFILE_PATH="+t.TempDir(), "VAGRANT_CHECKPOINT_DISABLE=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Vagrantfile validated successfully") {
		t.Errorf("vagrant validate: %v\n%s", err, out)
	}
}
