// Package traceview shows on a terminal what tracers count while they do: bars, percentiles, and what tracing
// itself costs. It knows readings alone, and asks for one an interval.
package traceview

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/term"
)

// Source is what is looked at: so many tracers, by their numbers from 0. Its methods are called from any goroutine.
type Source interface {
	// Names are the tracers'.
	Names() []string
	// Read is what a tracer has counted since it was opened or reset.
	Read(tracer int) (Reading, error)
	// Reset has a tracer count anew.
	Reset(tracer int) error
}

// Reading is what a tracer has counted.
type Reading struct {
	// Question is what it answers, Of what it looks at.
	Question, Of string
	// At is when it was read, Seconds for how long it had counted.
	At         time.Time
	Seconds    float64
	Histograms []Histogram
	// Lines are what is no histogram, as it is to be shown.
	Lines []string
	// Cost is what tracing takes, in a line.
	Cost string
}

// Histogram is durations: Summary says their percentiles.
type Histogram struct {
	Name, Summary string
	Buckets       []Bucket
}

// Bucket counts the durations that Label says.
type Bucket struct {
	Label string
	Count uint64
}

// Model is the view. Make it with [New].
type Model struct {
	source        Source
	interval      time.Duration
	names         []string
	shown         int
	paused        bool
	width, height int
	readings      []*Reading // nil: not read yet
	err           error
}

// Size of a terminal that does not say its own.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

// New shows the first tracer of a source, and reads an interval's after the other.
func New(source Source, interval time.Duration) *Model {
	names := source.Names()
	return &Model{source: source, interval: interval, names: names, width: defaultWidth, height: defaultHeight, readings: make([]*Reading, len(names))}
}

// Err is why the view ended; nil if somebody ended it.
func (m *Model) Err() error { return m.err }

// IsTerminal reports whether a view can be shown there, or keys are read there.
func IsTerminal(file any) bool {
	f, ok := file.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// Run shows a view on a terminal until q is pressed, ctx ends, or a reading fails.
func Run(ctx context.Context, source Source, interval time.Duration, in io.Reader, out io.Writer) error {
	if !IsTerminal(in) {
		in = nil // nobody presses keys there
	}
	return run(ctx, New(source, interval), tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(os.Environ()))
}

func run(ctx context.Context, m *Model, opts ...tea.ProgramOption) error {
	_, err := tea.NewProgram(m, append(opts, tea.WithContext(ctx), tea.WithoutSignalHandler())...).Run()
	if ctx.Err() != nil || errors.Is(err, tea.ErrInterrupted) {
		err = nil
	}
	return errors.Join(m.Err(), err)
}

// Messages of the model to itself.
type (
	due  struct{}
	read struct {
		tracer  int
		reading Reading
		err     error
	}
)

// Init implements [tea.Model].
func (m *Model) Init() tea.Cmd { return m.read(m.shown) }

// read reads a tracer beside the loop of the view.
func (m *Model) read(tracer int) tea.Cmd {
	return func() tea.Msg {
		r, err := m.source.Read(tracer)
		return read{tracer, r, err}
	}
}

// reset has a tracer count anew, and reads it.
func (m *Model) reset(tracer int) tea.Cmd {
	return func() tea.Msg {
		if err := m.source.Reset(tracer); err != nil {
			return read{tracer: tracer, err: err}
		}
		return m.read(tracer)()
	}
}

// Update implements [tea.Model].
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		if msg.Width > 0 && msg.Height > 0 { // else it does not know
			m.width, m.height = msg.Width, msg.Height
		}
	case due:
		if m.paused {
			return m, m.wait()
		}
		return m, tea.Batch(m.read(m.shown), m.wait())
	case read:
		if msg.err != nil {
			m.err = msg.err
			return m, tea.Quit
		}
		first := m.isFirst()
		m.readings[msg.tracer] = &msg.reading
		if first {
			return m, m.wait()
		}
	case tea.KeyPressMsg:
		return m, m.press(msg.String())
	}
	return m, nil
}

// isFirst reports whether nothing was read yet.
func (m *Model) isFirst() bool {
	for _, r := range m.readings {
		if r != nil {
			return false
		}
	}
	return true
}

func (m *Model) wait() tea.Cmd {
	return tea.Tick(m.interval, func(time.Time) tea.Msg { return due{} })
}

func (m *Model) press(key string) tea.Cmd {
	switch key {
	case "q", "esc", "ctrl+c":
		return tea.Quit
	case "p", "space":
		m.paused = !m.paused
	case "r":
		return m.reset(m.shown)
	case "tab", "right":
		return m.show((m.shown + 1) % len(m.names))
	case "shift+tab", "left":
		return m.show((m.shown + len(m.names) - 1) % len(m.names))
	default:
		if len(key) == 1 && key[0] >= '1' && int(key[0]-'1') < len(m.names) {
			return m.show(int(key[0] - '1'))
		}
	}
	return nil
}

// show shows another tracer, as it is now.
func (m *Model) show(tracer int) tea.Cmd {
	m.shown = tracer
	if m.paused && m.readings[tracer] != nil {
		return nil
	}
	return m.read(tracer)
}

// View implements [tea.Model].
func (m *Model) View() tea.View {
	v := tea.NewView(m.text())
	v.AltScreen = true
	v.WindowTitle = "weir trace " + m.names[m.shown]
	return v
}

// text is the screen: no line is wider, and there are no more of them than it has.
func (m *Model) text() string {
	lines := m.head()
	foot := m.foot()
	body := m.body()
	if room := max(m.height-len(lines)-len(foot), 1); len(body) > room {
		left := len(body) - room + 1
		body = append(body[:room-1:room-1], fmt.Sprintf("... and %d more lines: make the window higher", left))
	}
	lines = append(append(lines, body...), foot...)
	for i, line := range lines {
		lines[i] = cut(strings.TrimRight(line, " "), m.width)
	}
	return strings.Join(lines, "\n")
}

// cut is what of a line has room.
func cut(line string, width int) string {
	if runes := []rune(line); len(runes) > width {
		return string(runes[:max(width, 0)])
	}
	return line
}

func (m *Model) head() []string {
	tabs := make([]string, len(m.names))
	for i, name := range m.names {
		if tabs[i] = fmt.Sprintf(" %d %s ", i+1, name); i == m.shown {
			tabs[i] = fmt.Sprintf("[%d %s]", i+1, name)
		}
	}
	r := m.readings[m.shown]
	if r == nil {
		return []string{strings.Join(tabs, ""), "reads", ""}
	}
	state := fmt.Sprintf("%s, %.1f s to %s", r.Of, r.Seconds, r.At.Format(time.TimeOnly))
	if m.paused {
		state += ", paused"
	}
	return []string{strings.Join(tabs, ""), r.Question, state, ""}
}

func (m *Model) foot() []string {
	keys := "q quit   p pause   r reset"
	if m.paused {
		keys = "q quit   p go on   r reset"
	}
	if len(m.names) > 1 {
		keys += fmt.Sprintf("   tab, 1 to %d another tracer", len(m.names))
	}
	cost := ""
	if r := m.readings[m.shown]; r != nil {
		cost = r.Cost
	}
	return []string{"", cost, keys}
}

func (m *Model) body() (lines []string) {
	r := m.readings[m.shown]
	if r == nil {
		return nil
	}
	for i := range r.Histograms {
		lines = append(lines, r.Histograms[i].lines(m.width)...)
	}
	return append(lines, r.Lines...)
}

// Columns of a line of a histogram beside its bar.
const (
	labelColumns = 22
	countColumns = 10
	leastBar     = 4
)

// lines are the histogram as bars, the longest as wide as there is room.
func (h *Histogram) lines(width int) (lines []string) {
	lines = append(lines, h.Name+": "+h.Summary)
	most := uint64(0)
	for _, b := range h.Buckets {
		most = max(most, b.Count)
	}
	room := max(width-labelColumns-countColumns-1, leastBar)
	for _, b := range h.Buckets {
		lines = append(lines, fmt.Sprintf("%-*s%*d %s", labelColumns, b.Label, countColumns, b.Count, bar(b.Count, most, room)))
	}
	return lines
}

// eighths are of a column.
var eighths = [8]string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}

// bar is count of most, in so many columns, to an eighth of one. Who is there is seen.
func bar(count, most uint64, columns int) string {
	if count == 0 || most == 0 {
		return ""
	}
	n := max(int(float64(count)/float64(most)*float64(8*columns)), 1)
	return strings.Repeat("█", n/8) + eighths[n%8]
}
