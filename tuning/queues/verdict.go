package queues

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// State is where the bottleneck is.
type State string

// The states.
const (
	// Idle: XDP drops nothing, and nothing is lost.
	Idle State = "idle"
	// XDPAbsorbs: what is dropped is dropped by XDP.
	XDPAbsorbs State = "xdp_absorbs"
	// QueueOverflows: packets are lost before XDP could see them.
	QueueOverflows State = "queue_overflows"
	// SoftirqSaturated: a CPU has no time left to receive more.
	SoftirqSaturated State = "softirq_saturated"
	// BacklogOverflows: packets are lost between driver and stack.
	BacklogOverflows State = "backlog_overflows"
)

// XDPCounts are packets that XDP counted between the two samples.
type XDPCounts struct{ Seen, Dropped uint64 }

// Finding is what the rates mean.
type Finding struct {
	State State `json:"state"`
	// Text is a sentence with the figures, and the remedy if there is something to mend.
	Text string `json:"text"`
	// Note says what could not be seen, "" if nothing is known to be.
	Note string `json:"note,omitempty"`
}

const (
	// noisePerSecond and noiseShare bound what may be lost without a word: well hosts lose a few
	// packets when a queue is refilled late or an interface comes up, and TCP does not feel one in
	// a thousand.
	noisePerSecond, noiseShare = 10, 0.001
	// saturated is the share of a CPU's time from which there is none left for a burst. At full load
	// it seldom shows more: ksoftirqd shares its CPU with other threads.
	saturated = 0.9
)

// Verdict says where the bottleneck is. Losses come before signs of coming losses.
func Verdict(r Rates, x XDPCounts) Finding {
	f := Finding{State: Idle, Note: r.note()}
	if r.Elapsed <= 0 {
		f.Text = "nothing can be said: no time passed between the samples: take them a second apart"
		return f
	}
	w := words{Rates: r, seen: r.per(x.Seen), dropped: r.per(x.Dropped), before: sum(r.Before)}
	for _, c := range r.CPUs {
		w.backlog += c.Dropped
		if c.Softirq > w.busiest.Softirq {
			w.busiest = c
		}
		if c.Dropped > w.fullest.Dropped {
			w.fullest = c
		}
	}
	noise := max(noisePerSecond, noiseShare*(max(w.seen, r.Link["rx_packets"])+w.before))
	switch {
	case w.before > noise && w.before >= w.backlog:
		f.State, f.Text = QueueOverflows, w.queue()
	case w.backlog > noise:
		f.State, f.Text = BacklogOverflows, w.full()
	case w.busiest.Softirq >= saturated:
		f.State, f.Text = SoftirqSaturated, w.softirq()
	case x.Dropped > 0:
		f.State, f.Text = XDPAbsorbs, "XDP absorbs it: "+w.xdp()+", "+w.lost()+w.cpu()
	default:
		f.Text = "nothing to absorb: " + w.xdp() + ", " + w.lost() + w.cpu()
	}
	return f
}

func (r Rates) note() string {
	var notes []string
	if r.Restarted {
		notes = append(notes, r.Interface+" was made anew or its counters began again between the samples: sample again")
	}
	if s := blindSpot(r.Driver); s != "" {
		notes = append(notes, s)
	}
	if len(r.Missing) > 0 {
		notes = append(notes, "this host does not show "+strings.Join(r.Missing, ", "))
	}
	return strings.Join(notes, "; ")
}

// words puts rates into sentences.
type words struct {
	Rates
	seen, dropped, before, backlog float64
	busiest, fullest               CPURates
}

func (w words) queue() string {
	largest := w.Before[0]
	mend := fmt.Sprintf("spread over more RX queues (ethtool -L %s combined N), give them room (ethtool -G %s rx N), or ask upstream to filter", w.Interface, w.Interface)
	if largest.Port {
		mend = fmt.Sprintf("the port lost them before a queue was chosen: ask upstream to filter, or spread over more RX queues (ethtool -L %s combined N) in case it waits for them", w.Interface)
	}
	return fmt.Sprintf("the queue is the bottleneck: %s lost %s packets/s before XDP could see them (%s), while %s%s; %s",
		w.Interface, count(w.before), w.names(), w.xdp(), w.cpu(), mend)
}

// names are those of the counters, the largest first.
func (w words) names() string {
	var names []string
	for _, l := range w.Before {
		names = append(names, l.Counter)
	}
	const most = 3
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return strings.Join(names, ", ")
}

func (w words) full() string {
	return fmt.Sprintf("XDP is not the bottleneck: %s packets/s were lost between driver and stack because the backlog of a CPU was full (softnet_stat; %s/s of CPU %d, from whatever interface), while %s; raise net.core.netdev_max_backlog (sysctl -w), or spread them: /sys/class/net/%s/queues/rx-*/rps_cpus",
		count(w.backlog), count(w.fullest.Dropped), w.fullest.CPU, w.xdp(), w.Interface)
}

func (w words) softirq() string {
	mend := fmt.Sprintf("spread over more RX queues (ethtool -L %s combined N) and their interrupts over more CPUs", w.Interface)
	if 2*w.dropped < w.seen {
		mend = "most packets pass XDP and cost the stack more than a drop: lower the quotas, or " + mend
	}
	return fmt.Sprintf("XDP is not the bottleneck, a CPU is: %s, %s%s; %s", w.xdp(), w.lost(), w.cpu(), mend)
}

func (w words) xdp() string {
	return fmt.Sprintf("XDP dropped %s of the %s packets/s it saw on %s", count(w.dropped), count(w.seen), w.Interface)
}

func (w words) lost() string {
	if w.before+w.backlog == 0 {
		return "nothing is known to be lost elsewhere"
	}
	return fmt.Sprintf("only %s/s were lost elsewhere", count(w.before+w.backlog))
}

// cpu is a clause about the busiest CPU, and the others beside it.
func (w words) cpu() string {
	if w.busiest.Softirq == 0 {
		return ""
	}
	next := 0.0
	for _, c := range w.CPUs {
		if c.CPU != w.busiest.CPU {
			next = max(next, c.Softirq)
		}
	}
	s := fmt.Sprintf(", and CPU %d spends %.0f %% in softirq", w.busiest.CPU, 100*w.busiest.Softirq)
	if len(w.CPUs) > 1 {
		s += fmt.Sprintf(", the others at most %.0f %%", 100*next)
	}
	return s
}

// count is a rate in whole numbers, with a comma before every third digit. Less than one is "0.3".
func count(v float64) string {
	if v > 0 && v < 0.95 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	s := strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
