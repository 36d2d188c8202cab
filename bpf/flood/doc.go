// Package flood sends packets of several kinds, from few sources or from many, at a rate or as
// fast as it goes, to see what holds. It runs in a network namespace made for it and refuses any
// other.
//
// Frames are made by a BPF program and leave an interface without a socket, as XDP live frames:
// a peer's XDP program gets them as if they had come by wire. A veth peer must have an XDP
// program or GRO ([weir/bpf/netlab.FeatureGRO]); unless another CPU is at its queue already, it
// takes the frames in on the CPU, and within the time, of the sender.
//
// [Open] starts nothing; [Flood.Run] sends on its caller's goroutine, or for [KindConnect] on
// goroutines that it joins.
package flood
