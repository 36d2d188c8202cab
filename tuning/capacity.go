package tuning

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"weir/tuning/catalog"
	"weir/tuning/host"
	"weir/tuning/knob"
)

// Capacity is how many conns a host holds, and what is in the way of more.
type Capacity struct {
	// Kernel are the caches that a conn has an object of, none if the host does not tell; then KernelBytes is an estimate.
	Kernel      []host.Cache `json:"kernel,omitempty"`
	KernelBytes int64        `json:"kernel_bytes"`
	// QueuedBytes are those of what a conn may have queued in the worst burst, in whole pages; ProcessBytes weir's own.
	QueuedBytes  int64 `json:"queued_bytes"`
	ProcessBytes int64 `json:"process_bytes"`
	// Walls are what bounds the number, in the order in which settings are applied.
	Walls []Wall `json:"walls"`
	// First is the wall that binds first.
	First struct {
		Now     string `json:"now"`
		Applied string `json:"applied"`
		Advised string `json:"advised"`
	} `json:"first"`
}

// Wall is one of them.
type Wall struct {
	Name string `json:"wall"`
	// Now, Applied and Advised are how many conns it lets in: on the host as it is, once the plan is applied, and with its
	// advice followed too.
	Now     int64 `json:"now"`
	Applied int64 `json:"applied"`
	Advised int64 `json:"advised"`
	// Each is what so many may be of, "" for the host: it is no wall of all conns then.
	Each string `json:"each,omitempty"`
}

// least is the number of the wall that binds first at a stage.
func least(walls []Wall, at func(Wall) int64) Wall {
	whole := slices.DeleteFunc(slices.Clone(walls), func(w Wall) bool { return w.Each != "" })
	if len(whole) == 0 {
		return Wall{}
	}
	return slices.MinFunc(whole, func(a, b Wall) int { return cmp.Compare(at(a), at(b)) })
}

func now(w Wall) int64     { return w.Now }
func applied(w Wall) int64 { return w.Applied }
func advised(w Wall) int64 { return w.Advised }

// capacityOf computes it from the plan's items and the host.
func capacityOf(p *Plan, in catalog.Input) Capacity {
	h := p.Host
	c := Capacity{
		Kernel: h.Socket(), KernelBytes: catalog.SocketBytes(h), QueuedBytes: catalog.QueuedPages(in) * h.PageBytes, ProcessBytes: catalog.ProcessBytes,
		Walls: []Wall{},
	}
	watches := int64(1)
	if p.Profile == catalog.Gateway {
		watches = 2 // a conn that goes upstream has two
	}
	p.wall(&c, "fs.nr_open", "descriptors a process may have", catalog.ConnsWithin)
	p.wall(&c, "nofile", "descriptors of this process", catalog.ConnsWithin)
	p.wall(&c, "fs.file-max", "open files of the host", func(n int64) int64 { return n - first(h, "/proc/sys/fs/file-nr") })
	p.wall(&c, "fs.epoll.max_user_watches", "watches of epoll", func(n int64) int64 { return n / watches })
	p.wall(&c, "net.ipv4.tcp_mem", "memory of TCP", func(n int64) int64 { return n / catalog.QueuedPages(in) })
	p.wall(&c, "net.ipv4.ip_local_port_range", "ports", func(n int64) int64 { return n })
	p.wall(&c, "net.netfilter.nf_conntrack_max", "table of conntrack", func(n int64) int64 {
		return n - first(h, "/proc/sys/net/netfilter/nf_conntrack_count")
	})
	if h.MemoryBytes > 0 {
		fit := max(catalog.SpareBytes(h)/(c.KernelBytes+c.QueuedBytes+c.ProcessBytes), 0)
		c.Walls = append(c.Walls, Wall{Name: "memory", Now: fit, Applied: fit, Advised: fit})
	}
	c.First.Now, c.First.Applied, c.First.Advised = least(c.Walls, now).Name, least(c.Walls, applied).Name, least(c.Walls, advised).Name
	return c
}

// wall adds that of a setting, if the plan has it: conns is how many a value lets in.
func (p *Plan) wall(c *Capacity, setting, name string, conns func(int64) int64) {
	i := slices.IndexFunc(p.Items, func(i Item) bool { return i.Setting == setting })
	if i < 0 || p.Items[i].Status == Absent {
		return
	}
	item := p.Items[i]
	w := Wall{Name: name, Now: boundOf(item, item.Is)}
	w.Applied = w.Now
	if item.Status == Change {
		w.Applied = boundOf(item, item.Want)
	}
	w.Advised = w.Applied
	if item.Status == Advice {
		w.Advised = boundOf(item, item.Want)
	}
	if min(w.Now, w.Applied, w.Advised) < 0 {
		return // it says nothing that could be understood
	}
	for _, n := range []*int64{&w.Now, &w.Applied, &w.Advised} {
		*n = max(conns(*n), 0)
	}
	if setting == "net.ipv4.ip_local_port_range" && p.Profile != catalog.Bench {
		w.Each = "to each address and port upstream"
	}
	c.Walls = append(c.Walls, w)
}

// boundOf is the number that a value of a setting lets have, below 0 for one that says none.
func boundOf(item Item, value string) int64 {
	if value == "unlimited" {
		return math.MaxInt64
	}
	all, err := knob.Integers(value)
	switch {
	case err != nil || len(all) == 0:
		return -1
	case item.Setting == "net.ipv4.ip_local_port_range" && len(all) == 2:
		return all[1] - all[0] + 1
	}
	return all[len(all)-1]
}

// first is the first number of a file, 0 if there is none.
func first(h *host.Host, path string) int64 {
	text, _ := h.Text(path)
	word, _, _ := strings.Cut(text, "\t")
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// mostTold is the number of conns above which a wall is none.
const mostTold = 100_000_000

func conns(n int64) string {
	if n > mostTold {
		return "over " + thousands(mostTold)
	}
	return thousands(n)
}

// text prints the walls as a table, and which binds first.
func (c *Capacity) text(b *strings.Builder, wanted int) {
	parts := make([]string, len(c.Kernel))
	for i, one := range c.Kernel {
		parts[i] = fmt.Sprintf("%s %d", one.Name, one.Bytes)
	}
	of := "an estimate: how large its objects are, the kernel tells root alone"
	if len(parts) > 0 {
		of = strings.Join(parts, ", ")
	}
	fmt.Fprintf(b, "\nCapacity: a conn takes %s bytes of the kernel's, %s queued in the worst burst, %s of weir's\n  the kernel's: %s\n",
		thousands(c.KernelBytes), thousands(c.QueuedBytes), thousands(c.ProcessBytes), of)
	fmt.Fprintf(b, "  %-32s %16s %16s %16s\n", "conns that fit within", "now", "applied", "with the advice")
	for _, w := range c.Walls {
		fmt.Fprintf(b, "  %-32s %16s %16s %16s", w.Name, conns(w.Now), conns(w.Applied), conns(w.Advised))
		if w.Each != "" {
			b.WriteString("  " + w.Each)
		}
		b.WriteByte('\n')
	}
	if len(c.Walls) == 0 {
		return
	}
	fmt.Fprintf(b, "  first:\n    now              %s, at %s\n    applied          %s, at %s\n    with the advice  %s, at %s\n",
		c.First.Now, conns(least(c.Walls, now).Now), c.First.Applied, conns(least(c.Walls, applied).Applied), c.First.Advised, conns(least(c.Walls, advised).Advised))
	if most := least(c.Walls, advised); most.Advised < int64(wanted) {
		fmt.Fprintf(b, "  %s conns are wanted, and no setting gives more %s: take more hosts, or more of it\n", thousands(int64(wanted)), most.Name)
	}
}
