package smuggling

import (
	"net/http"
	"strings"
	"testing"
)

func TestEveryCaseHasOneVerdict(t *testing.T) {
	entries, err := files.ReadDir("cases")
	if err != nil {
		t.Fatal(err)
	}
	all := Cases()
	if len(all) != len(entries) || len(all) < 250 {
		t.Errorf("%d verdicts for %d files", len(all), len(entries))
	}
	seen, good := map[string]string{}, 0
	for _, c := range all {
		if other, twice := seen[string(c.Raw)]; twice {
			t.Errorf("%s and %s are the same bytes", c.Name, other)
		}
		seen[string(c.Raw)] = c.Name
		if c.Good() {
			good++
		}
		if http.StatusText(c.Status) == "" || c.Why == "" || len(c.Raw) == 0 || c.Good() && c.Requests == 0 {
			t.Errorf("%+v", c)
		}
		if strings.HasPrefix(c.Name, "good-") && !c.Good() {
			t.Errorf("%s is refused", c.Name)
		}
	}
	if good < 20 {
		t.Errorf("%d good cases: what refuses all would pass", good)
	}
}
