package bpftrace

import (
	"os"
	"regexp"
)

// reasonFormats are where the kernel says what its reasons for dropping a packet are called: the numbers differ
// from version to version.
func reasonFormats() []string {
	return []string{"/sys/kernel/tracing/events/skb/kfree_skb/format", "/sys/kernel/debug/tracing/events/skb/kfree_skb/format"}
}

var (
	reasonName = regexp.MustCompile(`\{ (\d+), "(\w+)" \}`)
	reasonKey  = regexp.MustCompile(`^(@dropped\[)(\d+)(, )`)
)

// reasons are the names of this kernel's reasons, by number; empty if it does not say.
func reasons() map[string]string {
	for _, path := range reasonFormats() {
		if b, err := os.ReadFile(path); err == nil {
			return parseReasons(string(b))
		}
	}
	return nil
}

// parseReasons reads the names from the format of the tracepoint.
func parseReasons(format string) map[string]string {
	named := map[string]string{}
	for _, m := range reasonName.FindAllStringSubmatch(format, -1) {
		named[m[1]] = m[2]
	}
	return named
}

// nameReason puts a reason's name in the place of its number.
func nameReason(named map[string]string, line string) string {
	m := reasonKey.FindStringSubmatch(line)
	if m == nil || named[m[2]] == "" {
		return line
	}
	return m[1] + named[m[2]] + m[3] + line[len(m[0]):]
}
