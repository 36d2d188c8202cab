package tuning

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"weir/tuning/catalog"
	"weir/tuning/knob"
)

// Text prints the plan for people: what is to be changed with reason and risk, then the rest in short.
func (p *Plan) Text(w io.Writer) error {
	var b strings.Builder
	h := p.Host
	fmt.Fprintf(&b, "host     Linux %s, CPUs %d, memory %s, %s, %s\n", h.Kernel, len(h.CPUs), gibibytes(h.MemoryBytes), p.network(), p.container())
	for _, n := range h.NICs {
		fmt.Fprintf(&b, "         %s: %s, mtu %d, queues rx %d tx %d, interrupts %d\n", n.Name, orText(n.Driver, "no device"), n.MTUBytes, n.RXQueues, n.TXQueues, len(n.IRQs))
	}
	fmt.Fprintf(&b, "profile  %s, conns %s\n", p.Profile, thousands(int64(p.Conns)))
	p.Capacity.text(&b, p.Conns)
	for _, part := range []struct {
		title    string
		statuses []Status
	}{
		{"To change", []Status{Change}},
		{"As it is", []Status{Same}},
		{"Advice: not weir's to set", []Status{Advice}},
		{"Refused or absent", []Status{Refused, Absent}},
	} {
		items := p.Of(part.statuses...)
		fmt.Fprintf(&b, "\n%s (%d)\n", part.title, len(items))
		why := ""
		for _, g := range grouped(items) {
			if g[0].Why != why {
				why = g[0].Why
				fmt.Fprintf(&b, "  %s\n", why)
			}
			g.print(&b)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Plan) network() string {
	if p.Host.InitialNetwork {
		return "the initial network namespace"
	}
	return "a network namespace of its own (" + p.Host.NetworkWhy + ")"
}

func (p *Plan) container() string {
	switch {
	case p.Host.Container == "" && p.Host.ContainerWhy != "":
		return "no container (" + p.Host.ContainerWhy + ")"
	case p.Host.Container == "":
		return "no container"
	}
	return "in a container: " + p.Host.Container + " (" + p.Host.ContainerWhy + ")"
}

// alike are items that are told in one line: knobs of one setting about which the same is to be said.
type alike []Item

// grouped puts items together that differ in nothing but a number in the knob's name, or in what they are
// wanted to be beside it, as CPUs of queues. Those of one reason to be refused follow each other.
func grouped(items []Item) (all []alike) {
	for _, item := range items {
		i := slices.IndexFunc(all, func(g alike) bool {
			f := g[0]
			return item.Knob.Name != f.Knob.Name && f.Setting == item.Setting && f.Status == item.Status && f.Why == item.Why && pattern(f.Knob) == pattern(item.Knob)
		})
		if i < 0 {
			all = append(all, alike{item})
			continue
		}
		all[i] = append(all[i], item)
	}
	var reasons []string
	for _, g := range all {
		if !slices.Contains(reasons, g[0].Why) {
			reasons = append(reasons, g[0].Why)
		}
	}
	slices.SortStableFunc(all, func(a, b alike) int { return slices.Index(reasons, a[0].Why) - slices.Index(reasons, b[0].Why) })
	return all
}

// pattern is a knob's name without its numbers.
func pattern(k knob.Knob) string {
	var b strings.Builder
	digits := false
	for _, r := range k.Name {
		if isDigit := r >= '0' && r <= '9'; isDigit {
			if !digits {
				b.WriteByte('*')
			}
			digits = true
			continue
		}
		digits = false
		b.WriteRune(r)
	}
	return b.String()
}

// name is the knob's, or the first and how many there are.
func (g alike) name() string {
	if len(g) == 1 {
		return g[0].Knob.Name
	}
	return fmt.Sprintf("%s and %d more", g[0].Knob.Name, len(g)-1)
}

// span is what all say, or the first and the last.
func (g alike) span(of func(Item) string) string {
	first, last := of(g[0]), of(g[len(g)-1])
	if len(g) > 1 && slices.ContainsFunc(g, func(i Item) bool { return of(i) != first }) {
		return first + " .. " + last
	}
	return first
}

func (g alike) print(b *strings.Builder) {
	first := g[0]
	is, want := g.span(func(i Item) string { return i.Is }), g.span(func(i Item) string { return i.Want })
	switch first.Status {
	case Change:
		fmt.Fprintf(b, "  %s\n      %s -> %s   (%s)\n      why   %s\n", g.name(), is, want, first.Scope, first.Reason)
		if first.Risk != "none" {
			fmt.Fprintf(b, "      risk  %s\n", first.Risk)
		}
		fmt.Fprintf(b, "      see   %s\n", first.Check)
		if first.Measured != "" {
			fmt.Fprintf(b, "      bench %s\n", first.Measured)
		}
	case Same:
		fmt.Fprintf(b, "  %s = %s\n", g.name(), is)
	case Advice:
		fmt.Fprintf(b, "  %s: %s\n      why   %s\n      do    %s\n", g.name(), adviceOf(is, want), first.Reason, first.Command)
	case Refused:
		fmt.Fprintf(b, "      %s: %s, %s would be right\n", g.name(), is, want)
	case Absent:
		fmt.Fprintf(b, "      %s\n", g.name())
	}
}

func adviceOf(is, want string) string {
	if is == "" {
		return want
	}
	return is + ", " + want + " would be right"
}

// Sysctl prints the plan's sysctls, those that are right already too, as a file for /etc/sysctl.d.
func (p *Plan) Sysctl(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# weir tune plan --sysctl: profile %s, conns %d, Linux %s\n", p.Profile, p.Conns, p.Host.Kernel)
	for _, item := range p.settable() {
		key, ok := sysctlOf(item)
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "\n# %s\n# risk: %s\n%s = %s\n", item.Reason, item.Risk, key, valueOf(item))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// settable are the items that are right, or will be, and that are weir's to set.
func (p *Plan) settable() []Item {
	return slices.DeleteFunc(p.Of(Change, Same), func(i Item) bool { return i.Command != "" })
}

// sysctlOf is the name of an item's sysctl.
func sysctlOf(item Item) (string, bool) {
	return item.Knob.Name, strings.HasPrefix(item.Knob.Path, "/proc/sys/")
}

// valueOf is what an item's knob has, or is to have.
func valueOf(item Item) string {
	if item.Status == Same {
		return item.Is
	}
	return item.Want
}

// Tuned prints the plan as a profile of tuned: tuned.conf.
func (p *Plan) Tuned(w io.Writer) error {
	sections := map[string][]string{}
	add := func(section, format string, args ...any) {
		sections[section] = append(sections[section], fmt.Sprintf(format, args...))
	}
	for _, item := range p.settable() {
		value := valueOf(item)
		if key, ok := sysctlOf(item); ok {
			add("[sysctl]", "%s=%s", key, value)
			continue
		}
		switch {
		case item.Setting == "transparent_hugepage/enabled":
			add("[vm]", "transparent_hugepages=%s", value)
		case item.Setting == "scaling_governor":
			if len(sections["[cpu]"]) == 0 {
				add("[cpu]", "governor=%s", value)
			}
		case strings.HasPrefix(item.Knob.Field, "napi-"), strings.HasPrefix(item.Knob.Field, "rss/"): // tuned has no word for them
		case item.Knob.Device != "":
			addDevice(sections, item, value)
		case item.Status == Change && !item.Knob.ThisBoot:
			add("[sysfs]", "%s=%s", item.Knob.Path, value)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[main]\nsummary=weir: %s, %d conns\n", p.Profile, p.Conns)
	for _, name := range sortedKeys(sections) {
		fmt.Fprintf(&b, "\n%s\n%s\n", name, strings.Join(sections[name], "\n"))
	}
	b.WriteString("\n# Affinities of interrupts are not here: their numbers change from boot to boot. Neither are settings of NAPI instances\n# and tables of queues, which tuned does not set.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// addDevice adds a device's setting to its section [net-NAME] as tuned has it: features=rx-gro on.
func addDevice(sections map[string][]string, item Item, value string) {
	name := "[net-" + item.Knob.Device + "]"
	group, field, _ := strings.Cut(item.Knob.Field, "/")
	if group == "rings" {
		group = "ring"
	}
	if strings.HasPrefix(field, "adaptive-") {
		value = map[string]string{"0": "off", "1": "on"}[value]
	}
	if len(sections[name]) == 0 {
		sections[name] = []string{"type=net", "devices=" + item.Knob.Device}
	}
	for i, line := range sections[name] {
		if strings.HasPrefix(line, group+"=") {
			sections[name][i] = line + " " + field + " " + value
			return
		}
	}
	sections[name] = append(sections[name], group+"="+field+" "+value)
}

func sortedKeys(m map[string][]string) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// Markdown is the table of all settings of the catalog, for docs/TUNING.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| setting | of | profiles | should be | why | risk | see | measured | source |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range catalog.All() {
		profiles := make([]string, len(s.Profiles))
		for i, p := range s.Profiles {
			profiles[i] = string(p)
		}
		list := strings.Join(profiles, ", ")
		if len(profiles) == len(catalog.Profiles()) {
			list = "all"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s |\n", s.Key, s.Scope, list, cell(s.Formula), cell(s.Reason), cell(s.Risk), cell(s.Check), cell(s.Measured), cell(s.Source))
	}
	return b.String()
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

func orText(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// gibibytes is a size in GiB, or MiB below one.
func gibibytes(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// thousands puts commas into a number.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
