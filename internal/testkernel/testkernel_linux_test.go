package testkernel

import (
	"strings"
	"testing"
)

func TestOptionIsListedIfBuiltInOrAModule(t *testing.T) {
	config := "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=7\n"
	for option, want := range map[string]bool{"CONFIG_A": true, "CONFIG_B": true, "CONFIG_C": false, "CONFIG_D": false, "CONFIG": false} {
		if got := lists(strings.NewReader(config), option); got != want {
			t.Errorf("%s: %v", option, got)
		}
	}
}
