package catalog

import (
	"slices"
	"testing"
)

func TestWhatWasMeasuredIsOfASetting(t *testing.T) {
	for key := range measured() {
		if !slices.ContainsFunc(All(), func(s Setting) bool { return s.Key == key && s.Measured != "" }) {
			t.Errorf("%s was measured, and is no setting", key)
		}
	}
}
