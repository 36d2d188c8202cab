package hoststats

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// table reads the numbers of a protocol in a file such as /proc/net/snmp: lines come in twos, names and values, each behind the name of a
// protocol and a colon. procfs reads them too, but leaves some of them out.
func table(path, protocol string) (map[string]float64, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a file of /proc
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		of, rest, _ := strings.Cut(line, ":")
		if of != protocol {
			continue
		}
		fields := strings.Fields(rest)
		if names == nil {
			names = fields
			continue
		}
		if len(fields) != len(names) {
			return nil, fmt.Errorf("%s: %d names and %d values: %w", path, len(names), len(fields), errMalformed)
		}
		all := make(map[string]float64, len(names))
		for i, name := range names {
			if all[name], err = strconv.ParseFloat(fields[i], 64); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		return all, nil
	}
	return nil, fmt.Errorf("%s: %w", path, errMalformed)
}
