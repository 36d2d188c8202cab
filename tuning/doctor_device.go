package tuning

import (
	"fmt"
	"slices"
	"strings"

	"weir/tuning/catalog"
	"weir/tuning/host"
)

// Examine says what there is to say of a host and of the interface that is guarded: its driver and queues, the interrupts of these, and
// what a profile would change. It is beside [Host.Examine].
func (t *Tuner) Examine(wanted catalog.Wanted, iface string) ([]Finding, error) {
	plan, err := t.Plan(wanted)
	if err != nil {
		return nil, err
	}
	found := append([]Finding{settings(plan), room(plan)}, singled(plan)...)
	if i := slices.IndexFunc(plan.Host.NICs, func(n host.NIC) bool { return n.Name == iface }); i >= 0 {
		nic := &plan.Host.NICs[i]
		found = append(found, driver(nic), queues(plan.Host, nic), interrupts(plan.Host, nic))
	}
	return found, nil
}

// settings says how far the host is from a profile.
func settings(p *Plan) Finding {
	change, advice := len(p.Of(Change)), len(p.Of(Advice))
	f := Finding{Check: "settings", Level: OK, Found: fmt.Sprintf("profile %s: %d as they should be, %d to change, %d to look at", p.Profile, len(p.Of(Same)), change, advice)}
	if change > 0 {
		f.Level = Warn
		f.Why = "defaults are for hosts of few connections; each setting says why, and what it risks"
		f.Mend = fmt.Sprintf("weir tune plan --profile %s --conns %d, then weir tune apply with the same", p.Profile, p.Conns)
	}
	return f
}

// room says how many conns fit, and what bounds them first.
func room(p *Plan) Finding {
	w := least(p.Capacity.Walls, now)
	f := Finding{Check: "capacity", Level: OK, Found: fmt.Sprintf("%s conns, bounded by %s", conns(w.Now), w.Name)}
	if w.Name == "" {
		f.Found = "not known"
		return f
	}
	if w.Now < int64(p.Conns) {
		f.Level = Warn
		f.Why = fmt.Sprintf("%s are wanted", conns(int64(p.Conns)))
		f.Mend = fmt.Sprintf("weir tune plan --profile %s --conns %d shows each wall, and what moves it", p.Profile, p.Conns)
	}
	return f
}

// walls are the settings that doctor names by themselves, since what is past them is lost: by key, as people call them.
func walls() map[string]string {
	return map[string]string{
		"net.core.somaxconn": "accept queue", "net.ipv4.tcp_max_syn_backlog": "SYN queue", "net.ipv4.ip_local_port_range": "ephemeral ports",
		"net.ipv4.tcp_mem": "memory of TCP", "fs.nr_open": "descriptors of a process", "fs.epoll.max_user_watches": "watches of epoll",
	}
}

// singled are the findings of walls, as the catalog has them: what they should be is known there alone.
func singled(p *Plan) (all []Finding) {
	for _, item := range p.Items {
		name, ok := walls()[item.Setting]
		if !ok {
			continue
		}
		f := Finding{Check: name, Level: OK, Found: item.Knob.Name + " = " + item.Is}
		if item.Status != Same {
			f.Why = item.Reason
		}
		switch item.Status {
		case Same:
		case Absent:
			f.Found, f.Why = item.Knob.Name+" is not there", item.Why
		case Refused:
			f.Level, f.Found = Warn, f.Found+", "+item.Want+" would be right"
			f.Mend = item.Why
		case Change, Advice:
			f.Level, f.Found = Warn, f.Found+", "+item.Want+" would be right"
			f.Mend = fmt.Sprintf("sysctl -w %s=%q", item.Knob.Name, item.Want)
		}
		all = append(all, f)
	}
	return all
}

func driver(n *host.NIC) Finding {
	f := Finding{Check: "driver", Level: OK, Found: n.Name + ": " + n.Driver}
	if n.Driver == "" {
		f.Found = n.Name + ": no device"
		f.Why = "what is in front of it, as a bridge or a tunnel, has received its packets before XDP sees them; veth runs XDP itself"
	}
	return f
}

func queues(h *host.Host, n *host.NIC) Finding {
	f := Finding{Check: "queues", Level: OK, Found: fmt.Sprintf("%s: %d to receive, %d to send, %d CPUs", n.Name, n.RXQueues, n.TXQueues, len(h.CPUs))}
	if n.RXQueues < len(h.CPUs) && n.RXQueues > 0 && len(h.CPUs) > 1 {
		f.Level = Warn
		f.Why = "packets are received on as many CPUs as there are queues: in a flood these are full while others idle"
		f.Mend = fmt.Sprintf("ethtool -L %s combined %d where the device has them, else weir tune apply, which spreads what is behind XDP (RPS)", n.Name, len(h.CPUs))
	}
	return f
}

// interrupts says whether queues share a CPU while others have none.
func interrupts(h *host.Host, n *host.NIC) Finding {
	f := Finding{Check: "interrupts", Level: OK, Found: fmt.Sprintf("%s: %d of queues", n.Name, len(n.IRQs))}
	on := map[string][]string{}
	for _, irq := range n.IRQs {
		if cpus, ok := h.Text(fmt.Sprintf("/proc/irq/%d/effective_affinity_list", irq.Number)); ok && cpus != "" {
			on[cpus] = append(on[cpus], irq.Name)
		}
	}
	most := ""
	for cpus, all := range on {
		if len(all) > len(on[most]) || len(all) == len(on[most]) && cpus < most {
			most = cpus
		}
	}
	if share := len(on[most]); len(on) > 0 {
		f.Found += fmt.Sprintf(", on %d CPUs", len(on))
		if fair := (len(n.IRQs) + len(h.CPUs) - 1) / len(h.CPUs); share > fair {
			f.Level = Warn
			f.Found += fmt.Sprintf("; CPU %s has %d: %s", most, share, strings.Join(on[most], " "))
			f.Why = fmt.Sprintf("with %d CPUs none needs more than %d", len(h.CPUs), fair)
			f.Mend = "weir tune apply, which gives each queue a CPU of its own"
			if h.Balancer {
				f.Mend += "; irqbalance runs and would change it again: systemctl disable --now irqbalance"
			}
		}
	}
	return f
}
