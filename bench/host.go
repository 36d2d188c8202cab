package bench

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// HostCard says what a result was measured on.
type HostCard struct {
	CPU         string   `json:"cpu"`
	Cores       int      `json:"cores"`
	MemoryKiB   string   `json:"memory"`
	Kernel      string   `json:"kernel"`
	Go          string   `json:"go"`
	Commit      string   `json:"commit"`
	Mitigations []string `json:"mitigations"`
}

// ReadHostCard reads this host's.
func ReadHostCard() HostCard {
	h := HostCard{Cores: runtime.NumCPU(), Go: runtime.Version(), Kernel: firstLine("/proc/sys/kernel/osrelease")}
	h.CPU = field("/proc/cpuinfo", "model name")
	h.MemoryKiB = field("/proc/meminfo", "MemTotal")
	files, _ := filepath.Glob("/sys/devices/system/cpu/vulnerabilities/*") // the pattern is right
	for _, f := range files {
		h.Mitigations = append(h.Mitigations, filepath.Base(f)+": "+firstLine(f))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				h.Commit = s.Value
			}
		}
	}
	return h
}

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// field is the first "name: value" of a file.
func field(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}
