package latency

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"weir/internal/mounts"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// attachSockOps attaches a program to all sockets of the host.
func attachSockOps(p *ebpf.Program) (link.Link, error) {
	root, err := mounts.Cgroup2()
	if err != nil {
		return nil, err
	}
	return link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupSockOps, Program: p})
}

// attachGo attaches a program to its function of Go's runtime in each process: by the place in the file, as a stripped binary has no
// symbols that the kernel, or a library, could look up.
func (t *Tracer) attachGo(program string, pids []int) error {
	for _, pid := range pids {
		path := filepath.Join("/proc", strconv.Itoa(pid), "exe")
		at, err := t.functions.offset(path, goHooks()[program])
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("trace %s: there is no process %d any more: %w", t.about.Name, pid, err)
		}
		if err != nil {
			return err
		}
		file, err := link.OpenExecutable(path)
		if err != nil {
			return err
		}
		l, err := file.Uprobe(program, t.coll.Programs[program], &link.UprobeOptions{Address: at, PID: pid})
		if err != nil {
			return err
		}
		t.links = append(t.links, l)
	}
	return nil
}
