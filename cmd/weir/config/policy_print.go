package config

import (
	"fmt"
	"strings"

	"weir/ratelimit"
	"weir/ratelimit/kernel"
)

// PrintPolicy writes a policy as [ParsePolicy] reads it.
func PrintPolicy(p kernel.Policy) string {
	var b strings.Builder
	b.WriteString("classes:\n")
	for _, c := range p.Classes {
		fmt.Fprintf(&b, "  %s:\n", c.Name)
		printQuotas(&b, "    ", c.Client)
		if c.NoProof {
			b.WriteString("    proof: none\n")
		}
		if c.Aggregate != (kernel.Quotas{}) {
			b.WriteString("    aggregate:\n")
			printQuotas(&b, "      ", c.Aggregate)
		}
		if u := c.Unproved; u != (kernel.Budget{}) {
			b.WriteString("    unproved:\n")
			printRate(&b, "      ", "packets", u.Packets, u.PacketBurst)
			printBytes(&b, "      ", u.Bytes, u.ByteBurst)
			printRate(&b, "      ", "syns", u.SYNs, u.SYNBurst)
		}
	}
	var allow, deny []string
	var classed strings.Builder
	for _, e := range p.Entries {
		switch {
		case e.Allow:
			allow = append(allow, e.Prefix.String())
		case e.Deny:
			deny = append(deny, e.Prefix.String())
		default:
			fmt.Fprintf(&classed, "  %q: %s\n", e.Prefix.String(), e.Class)
		}
	}
	if classed.Len() > 0 {
		b.WriteString("prefixes:\n" + classed.String())
	}
	fmt.Fprintf(&b, "allow: %s\ndeny: %s\n", quoteList(allow), quoteList(deny))
	pass := make([]string, len(p.Pass))
	for i, r := range p.Pass {
		pass[i] = r.String()
	}
	fmt.Fprintf(&b, "pass: [%s]\n", strings.Join(pass, ", "))
	return b.String()
}

func printQuotas(b *strings.Builder, indent string, q kernel.Quotas) {
	if q.IPv4Bits > 0 {
		fmt.Fprintf(b, "%sipv4_prefix: %d\n", indent, q.IPv4Bits)
	}
	if q.IPv6Bits > 0 {
		fmt.Fprintf(b, "%sipv6_prefix: %d\n", indent, q.IPv6Bits)
	}
	printRate(b, indent, "packets", q.Packets, q.PacketBurst)
	printBytes(b, indent, q.Bytes, q.ByteBurst)
	printRate(b, indent, "connections", q.Connections, q.ConnectionBurst)
	if q.Concurrent > 0 {
		fmt.Fprintf(b, "%sconcurrent: %d\n", indent, q.Concurrent)
	}
}

func printRate(b *strings.Builder, indent, name string, r ratelimit.Rate, burst uint64) {
	if r.Count > 0 {
		fmt.Fprintf(b, "%s%s: %v\n", indent, name, r)
	}
	if burst > 0 {
		fmt.Fprintf(b, "%s%s_burst: %d\n", indent, name, burst)
	}
}

func printBytes(b *strings.Builder, indent string, r ratelimit.ByteRate, burst uint64) {
	if r.Bytes > 0 {
		fmt.Fprintf(b, "%sbytes: %v\n", indent, r)
	}
	if burst > 0 {
		fmt.Fprintf(b, "%sbytes_burst: %s\n", indent, formatSize(int64(burst))) //nolint:gosec // it was read from an int64
	}
}
