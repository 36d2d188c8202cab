package config

import (
	"fmt"
	"maps"
	"slices"
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

// SetQuotas sets keys of a class of a policy, such as packets: 100/s; an empty value is no quota.
// Keys of its aggregate and budget have those before them: unproved.syns.
func SetQuotas(p *kernel.Policy, class string, set map[string]string) error {
	if class == "" {
		class = kernel.Default
	}
	i := slices.IndexFunc(p.Classes, func(c kernel.Class) bool { return c.Name == class })
	if i < 0 {
		return fmt.Errorf("there is no class %q: name one of the policy's (weir quota show --policy)", class)
	}
	// What is not set stays: the class is written out, changed and read back.
	lines := quotaLines(p.Classes[i])
	maps.Copy(lines, set)
	c, err := classOf(class, lines)
	if err != nil {
		return err
	}
	c.NoProof = p.Classes[i].NoProof
	p.Classes = slices.Clone(p.Classes)
	p.Classes[i] = c
	return nil
}

// quotaLines are the keys and values of a class, as PrintPolicy writes them.
func quotaLines(c kernel.Class) map[string]string {
	lines := map[string]string{}
	for prefix, print := range map[string]func(*strings.Builder){
		"":           func(b *strings.Builder) { printQuotas(b, "", c.Client) },
		"aggregate.": func(b *strings.Builder) { printQuotas(b, "", c.Aggregate) },
		"unproved.": func(b *strings.Builder) {
			printRate(b, "", "packets", c.Unproved.Packets, c.Unproved.PacketBurst)
			printBytes(b, "", c.Unproved.Bytes, c.Unproved.ByteBurst)
			printRate(b, "", "syns", c.Unproved.SYNs, c.Unproved.SYNBurst)
		},
	} {
		var b strings.Builder
		print(&b)
		for line := range strings.Lines(b.String()) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			lines[prefix+key] = value
		}
	}
	return lines
}

// classOf reads a class from keys and values.
func classOf(name string, lines map[string]string) (kernel.Class, error) {
	parts := map[string]string{}
	for key, value := range lines {
		if value == "" {
			continue
		}
		part, rest, nested := strings.Cut(key, ".")
		if !nested {
			part, rest = "", key
		}
		parts[part] += fmt.Sprintf("%s: %s\n", rest, value)
	}
	var text strings.Builder
	text.WriteString("classes:\n  " + name + ":\n" + indent("    ", parts[""]))
	for part, body := range parts {
		if part != "" {
			text.WriteString("    " + part + ":\n" + indent("      ", body))
		}
	}
	if name != kernel.Default {
		text.WriteString("  " + kernel.Default + ":\n")
	}
	p, _, err := ParsePolicy("set", []byte(text.String()))
	if err != nil {
		return kernel.Class{}, err
	}
	for _, c := range p.Classes {
		if c.Name == name {
			return c, nil
		}
	}
	return kernel.Class{Name: name}, nil
}

func indent(by, text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(by + line)
	}
	return out.String()
}
