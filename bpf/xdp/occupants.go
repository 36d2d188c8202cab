package xdp

// Occupant is an XDP program on an interface.
type Occupant struct {
	// ID is the kernel's of the program; Name its own, "" if it may not be asked.
	ID   uint32
	Name string
	// Mode is how it is there: "native", "generic" or "offload".
	Mode string
	// Link is the id of the bpf_link that holds it there, 0 for one that was attached by netlink, or if that may not be asked.
	Link uint32
}

// Ours reports whether it is weir's, by its name.
func (o Occupant) Ours() bool { return o.Name == weirProgXdpWeir }
