package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"weir/tuning"
	"weir/tuning/catalog"
)

// tuningFigure is one figure of a turn.
type tuningFigure struct {
	name string
	// more says that more is better.
	more bool
	// bar says that a profile should not make it worse.
	bar string
	of  func(t *TuningTurn, conns int) float64
}

// tuningFigures are all, in the order of tables.
func tuningFigures() []tuningFigure {
	return []tuningFigure{
		{"conns_per_gb", true, "idle connections per GB", func(t *TuningTurn, n int) float64 { return t.perGB(t.Held, n) }},
		{"conns_per_gb_queued", true, "connections per GB, a message queued to each", func(t *TuningTurn, n int) float64 { return t.perGB(t.Queued, n) }},
		{"p50_ms", false, "", func(t *TuningTurn, _ int) float64 { return t.Fanout.P50 }},
		{"p99_ms", false, "p99 of delivery", func(t *TuningTurn, _ int) float64 { return t.Fanout.P99 }},
		{"p999_ms", false, "", func(t *TuningTurn, _ int) float64 { return t.Fanout.P999 }},
		{"server_cpu_us", false, "CPU a delivery, the server's", func(t *TuningTurn, _ int) float64 { return t.Fanout.MicrosCPU }},
		{"softirq_us", false, "", func(t *TuningTurn, _ int) float64 { return t.SoftirqMicros }},
		{"host_cpu_us", false, "CPU a delivery, all of the host's", func(t *TuningTurn, _ int) float64 { return t.HostMicros }},
	}
}

// Verdict is what a comparison came to.
type Verdict string

// The verdicts.
const (
	// VerdictGain: every pair was better with the settings, and the median by more than twice the noise.
	VerdictGain Verdict = "gain"
	// VerdictLoss: the same the other way.
	VerdictLoss Verdict = "loss"
	// VerdictNone: neither.
	VerdictNone Verdict = "no gain seen"
	// VerdictFew: too few turns to tell.
	VerdictFew Verdict = "too few turns"
	// VerdictUnmeasured: it was not asked for.
	VerdictUnmeasured Verdict = "not measured"
	// VerdictMixed: some figures gained, and some lost.
	VerdictMixed Verdict = "gain and loss"
	// VerdictWall: a bound, which no speed shows.
	VerdictWall Verdict = "wall: not measured by speed"
	// VerdictWallMoved: a bound, and what was past it was not with the setting.
	VerdictWallMoved Verdict = "wall: moved"
	// VerdictAsIs: it is as it should be here, so that there is nothing to compare.
	VerdictAsIs Verdict = "as it should be here"
	// VerdictNotHere: it is not there, or must not be written here.
	VerdictNotHere Verdict = "not here"
	// VerdictAdvice: it is not weir's to set.
	VerdictAdvice Verdict = "not weir's to set"
)

// tuningLeast is how many pairs, and turns of the same settings behind one another, a verdict takes. Where nothing
// changes, one verdict in 75 is then a gain or a loss all the same, with five pairs one in 175, with twelve hardly any
// (normal noise, simulated).
const tuningLeast = 4

// tuningGathered is the share of deliveries that may gather: above it, CPU a delivery is of something else.
const tuningGathered = 0.05

// TuningRow is a figure of a group, without and with its settings.
type TuningRow struct {
	Group  string `json:"group"`
	Figure string `json:"figure"`
	// More says that more is better.
	More bool `json:"more_is_better,omitempty"`
	// Off and On are medians over the turns.
	Off float64 `json:"off"`
	On  float64 `json:"on"`
	// Ratio is the median over the pairs of on / off, Min and Max are the least and the most of them.
	Ratio float64 `json:"ratio"`
	Min   float64 `json:"ratio_min"`
	Max   float64 `json:"ratio_max"`
	Pairs int     `json:"pairs"`
	// Noise is by how much turns of the same settings behind one another differ, the median: a ratio, at least 1; 0 is
	// not known.
	Noise   float64 `json:"noise"`
	Verdict Verdict `json:"verdict"`
}

// tuningRows are those of the groups, in order.
func tuningRows(groups []string, turns []TuningTurn, conns int) (rows []TuningRow) {
	for _, g := range groups {
		for _, f := range tuningFigures() {
			rows = append(rows, tuningRow(g, f, turns, conns))
		}
	}
	return rows
}

func tuningRow(group string, f tuningFigure, turns []TuningTurn, conns int) TuningRow {
	r := TuningRow{Group: group, Figure: f.name, More: f.more}
	byPair := map[int]*[2]float64{}
	var values [2][]float64
	for i := range turns {
		t := &turns[i]
		if t.Group != group {
			continue
		}
		on, v := 0, f.of(t, conns)
		if t.On {
			on = 1
		}
		values[on] = append(values[on], v)
		if byPair[t.Pair] == nil {
			byPair[t.Pair] = &[2]float64{}
		}
		byPair[t.Pair][on] = v
	}
	r.Off, r.On = median(values[0]), median(values[1])
	var ratios []float64
	for _, p := range byPair {
		if p[0] > 0 && p[1] > 0 {
			ratios = append(ratios, p[1]/p[0])
		}
	}
	if r.Pairs = len(ratios); r.Pairs > 0 {
		r.Ratio, r.Min, r.Max = median(ratios), slices.Min(ratios), slices.Max(ratios)
	}
	noise, samples := tuningNoise(f, turns, conns)
	r.Noise = noise
	r.Verdict = r.verdict(samples)
	return r
}

// tuningNoise is by how much a figure differs between turns of the same settings behind one another, the median, and of
// how many such pairs.
func tuningNoise(f tuningFigure, turns []TuningTurn, conns int) (noise float64, samples int) {
	var logs []float64
	for i := 1; i < len(turns); i++ {
		a, b := &turns[i-1], &turns[i]
		same := !a.On && !b.On || a.On && b.On && a.Group == b.Group
		if x, y := f.of(a, conns), f.of(b, conns); same && x > 0 && y > 0 {
			logs = append(logs, math.Abs(math.Log(y/x)))
		}
	}
	if len(logs) == 0 {
		return 0, 0
	}
	return math.Exp(median(logs)), len(logs)
}

func (r *TuningRow) verdict(noiseSamples int) Verdict {
	if r.Pairs < tuningLeast || noiseSamples < tuningLeast {
		return VerdictFew
	}
	least := r.Noise * r.Noise // twice, of ratios
	better, worse := r.Max < 1 && r.Ratio < 1/least, r.Min > 1 && r.Ratio > least
	if r.More {
		better, worse = worse, better
	}
	switch {
	case better:
		return VerdictGain
	case worse:
		return VerdictLoss
	}
	return VerdictNone
}

// TuningMark is what is known of one setting.
type TuningMark struct {
	// Group is what it was measured with; "" if it was not.
	Group   string  `json:"group,omitempty"`
	Verdict Verdict `json:"verdict"`
	// Changes are its knobs, as a turn turned them; Why is why there are none, or what the wall bounds.
	Changes []TuningChange `json:"changes,omitempty"`
	Why     string         `json:"why,omitempty"`
	// Figures are the verdicts by figure.
	Figures map[string]Verdict `json:"figures,omitempty"`
}

// TuningMarks are those of all settings of a profile, by the catalog's key.
type TuningMarks map[string]TuningMark

// settle makes rows, marks and bars of the turns.
func (r *TuningResult) settle(groups []tuningGroup, plan *tuning.Plan) {
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
	}
	r.Rows = tuningRows(names, r.Turns, r.Conns)
	for i := range r.Turns {
		if r.Turns[i].Gathered > tuningGathered {
			r.Gathered++
		}
	}
	r.Settings = TuningMarks{}
	for _, s := range catalog.All() {
		if s.Of(r.Profile) {
			r.Settings[s.Key] = r.mark(s.Key, groups, plan)
		}
	}
	if !r.Each {
		r.Bars = tuningBars(r.Rows, r.Gathered > 0)
	}
}

// mark is a setting's.
func (r *TuningResult) mark(key string, groups []tuningGroup, plan *tuning.Plan) (m TuningMark) {
	if slices.Contains(tuningAdvice(), key) {
		return TuningMark{Verdict: VerdictAdvice, Why: "no turn has it"}
	}
	for _, g := range groups {
		if !slices.Contains(g.settings, key) {
			continue
		}
		for i := range r.Turns {
			if t := &r.Turns[i]; t.On && t.Group == g.name && m.Changes == nil {
				m.Changes = changesBy(t.Changed, key)
			}
		}
		if m.Changes == nil || allLeft(m.Changes) {
			break
		}
		m.Group = g.name
		m.Figures, m.Verdict = r.verdicts(g.name)
	}
	bounds, isWall := tuningWalls()[key]
	switch {
	case isWall && r.Wall != nil && r.Wall.Setting == key && r.Wall.Moved:
		return TuningMark{Verdict: VerdictWallMoved, Changes: m.Changes, Why: bounds}
	case isWall:
		return TuningMark{Verdict: VerdictWall, Changes: m.Changes, Why: bounds}
	case m.Verdict != "":
		return m
	case len(m.Changes) > 0:
		m.Verdict, m.Why = VerdictNotHere, m.Changes[0].Note
		return m
	}
	m.Verdict, m.Why = untouched(plan, key)
	return m
}

func changesBy(all []TuningChange, key string) (some []TuningChange) {
	for _, c := range all {
		if c.Setting == key {
			some = append(some, c)
		}
	}
	return some
}

// allLeft reports whether none was turned.
func allLeft(changes []TuningChange) bool {
	return !slices.ContainsFunc(changes, func(c TuningChange) bool { return c.Note == "" })
}

// verdicts are those of a group by figure, and what they come to.
func (r *TuningResult) verdicts(group string) (by map[string]Verdict, whole Verdict) {
	by = map[string]Verdict{}
	seen := map[Verdict]bool{}
	for _, row := range r.Rows {
		if row.Group == group {
			by[row.Figure] = row.Verdict
			seen[row.Verdict] = true
		}
	}
	switch {
	case seen[VerdictGain] && seen[VerdictLoss]:
		whole = VerdictMixed
	case seen[VerdictGain]:
		whole = VerdictGain
	case seen[VerdictLoss]:
		whole = VerdictLoss
	case seen[VerdictNone]:
		whole = VerdictNone
	default:
		whole = VerdictFew
	}
	return by, whole
}

// untouched is why a setting was in no turn.
func untouched(plan *tuning.Plan, key string) (Verdict, string) {
	verdict, why := VerdictNotHere, "there is nothing here that it is for"
	for _, item := range plan.Items {
		if item.Setting != key {
			continue
		}
		switch item.Status {
		case tuning.Change:
			return VerdictUnmeasured, "its group was not asked for"
		case tuning.Same:
			return VerdictAsIs, item.Is
		case tuning.Advice:
			verdict, why = VerdictAdvice, item.Command
		default:
			verdict, why = VerdictNotHere, item.Why
		}
	}
	return verdict, why
}

// tuningBars hold a profile's medians against doing nothing. The verdict is beside them: within the noise, that they are
// met or not says nothing.
func tuningBars(rows []TuningRow, gathered bool) (bars []Bar) {
	for _, f := range tuningFigures() {
		i := slices.IndexFunc(rows, func(r TuningRow) bool { return r.Figure == f.name })
		if f.bar == "" || i < 0 {
			continue
		}
		row := rows[i]
		b := Bar{Name: f.bar + ", on / off", Bar: 1, Unit: "x", AtLeast: f.more}
		b.Note = fmt.Sprintf("%s; %.3f to %.3f in %d pairs, noise %s", row.Verdict, row.Min, row.Max, row.Pairs, row.noise())
		if gathered && strings.Contains(f.name, "cpu") {
			b.Note += "; some turns were late: their messages gathered"
		}
		if row.Pairs == 0 {
			b.Skipped = "no pair has both figures"
		}
		bars = append(bars, b.judge(row.Ratio))
	}
	return bars
}

// knobs are what was turned, to be read.
func (m TuningMark) knobs() string {
	var all []string
	for _, c := range m.Changes {
		text := c.From + " -> " + c.To
		if c.Note != "" {
			text = c.To + ", left as it is"
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, "; ")
}
