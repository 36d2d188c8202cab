package latency

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// attachSockOps attaches a program to all sockets of the host.
func attachSockOps(p *ebpf.Program) (link.Link, error) {
	root, err := cgroupRoot()
	if err != nil {
		return nil, err
	}
	return link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupSockOps, Program: p})
}

// cgroupRoot is where the root of the unified hierarchy is mounted.
func cgroupRoot() (string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", fmt.Errorf("look for cgroup2: %w", err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", errors.New("cgroup2 is nowhere mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
}
