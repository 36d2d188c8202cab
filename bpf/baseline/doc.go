// Package baseline has the programs that xdp_weir is measured against, and runs any XDP program
// on a packet many times: [Drop] does nothing, [LRU] and [Window] limit sources as is commonly
// done, [Least] what they all do at least, [Spray] and [Rewind] make a flood of one packet. Nothing here is ever attached.
//
// It starts no goroutine that outlives a call.
package baseline
