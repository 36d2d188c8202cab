package host

import (
	"fmt"
	"strconv"
	"strings"
)

// Cache is one of the kernel's caches of objects, of which a conn has one.
type Cache struct {
	Name string `json:"cache"`
	// Bytes are those of memory that an object takes, with its share of what is left over in a slab.
	Bytes int64 `json:"bytes"`
}

// Socket are the caches that an open TCP conn which epoll watches has an object of: nil if this host does not tell, as to who is not
// root. A listener of both families has sockets of IPv6.
func (h *Host) Socket() []Cache {
	var all []Cache
	tcp := Cache{"TCP", h.slab("TCP")}
	if v6 := h.slab("TCPv6"); v6 > tcp.Bytes {
		tcp = Cache{"TCPv6", v6}
	}
	all = append(all, tcp)
	for _, name := range []string{"sock_inode_cache", "filp", "dentry", "eventpoll_epi", "eventpoll_pwq"} {
		all = append(all, Cache{name, h.slab(name)})
	}
	for _, c := range all {
		if c.Bytes == 0 {
			return nil
		}
	}
	for _, name := range []string{"lsm_inode_cache", "lsm_file_cache"} { // of kernels with security modules
		if n := h.slab(name); n > 0 {
			all = append(all, Cache{name, n})
		}
	}
	return all
}

// slab is what an object of a cache takes, by sysfs or /proc/slabinfo (slabinfo(5)), 0 if neither says.
func (h *Host) slab(name string) int64 {
	if h.files == nil {
		return 0
	}
	dir := "/sys/kernel/slab/" + name
	objects, order := h.count(dir+"/objs_per_slab"), h.count(dir+"/order")
	if objects > 0 && order >= 0 && order < 16 {
		return h.PageBytes << order / objects
	}
	text, _ := h.Text("/proc/slabinfo")
	for line := range strings.Lines(text) {
		var active, objects, bytes, perSlab, pages int64
		rest, ok := strings.CutPrefix(line, name+" ")
		if !ok {
			continue
		}
		if _, err := fmt.Sscan(rest, &active, &objects, &bytes, &perSlab, &pages); err == nil && perSlab > 0 {
			return pages * h.PageBytes / perSlab
		}
	}
	return 0
}

// count is the number that a file says, -1 if it says none.
func (h *Host) count(path string) int64 {
	text, _ := h.Text(path)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
