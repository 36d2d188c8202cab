package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// wrkReport has wrk print what it measured as a line of JSON.
const wrkReport = `done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d,"max_us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
    e.connect, e.read, e.write, e.status, e.timeout))
end
`

// wrkFigures are those of wrk's report. Status counts answers of 400 and more, which are among the requests; the others are
// conns and requests that failed.
type wrkFigures struct {
	Requests uint64  `json:"requests"`
	Micros   float64 `json:"duration_us"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
	Max      float64 `json:"max_us"`
	Connect  uint64  `json:"connect"`
	Read     uint64  `json:"read"`
	Write    uint64  `json:"write"`
	Status   uint64  `json:"status"`
	Timeout  uint64  `json:"timeout"`
}

// parseWrk finds the report in what wrk printed.
func parseWrk(printed []byte) (f wrkFigures, err error) {
	for line := range bytes.Lines(printed) {
		if !bytes.HasPrefix(line, []byte("{")) {
			continue
		}
		if err := json.Unmarshal(line, &f); err != nil {
			return f, fmt.Errorf("read what wrk measured: %w", err)
		}
		if f.Micros <= 0 {
			return f, errors.New("read what wrk measured: it took no time")
		}
		return f, nil
	}
	return f, fmt.Errorf("wrk measured nothing: %s", lastLine(printed))
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// wrkTurn runs wrk.
func wrkTurn(ctx context.Context, dir, url string, conns, threads int, duration time.Duration) (f wrkFigures, err error) {
	program, err := lookProgram("wrk")
	if err != nil {
		return f, err
	}
	script := filepath.Join(dir, "report.lua")
	if err := os.WriteFile(script, []byte(wrkReport), 0o600); err != nil {
		return f, fmt.Errorf("write wrk's script: %w", err)
	}
	// wrk takes whole seconds alone.
	seconds := max(int(duration.Round(time.Second).Seconds()), 1)
	threads = min(threads, conns)
	args := []string{
		"-t" + strconv.Itoa(threads), "-c" + strconv.Itoa(conns), "-d" + strconv.Itoa(seconds) + "s", "--timeout", "30s", "-s", script, url,
	}
	printed, err := runToEnd(ctx, program, args, time.Duration(seconds)*time.Second+clientPatience)
	if err != nil {
		return f, err
	}
	return parseWrk(printed)
}

// clientPatience is what a client may take beside its turn: thousands of conns to open, and answers that are late.
const clientPatience = 45 * time.Second

// runToEnd runs a client and returns what it printed.
func runToEnd(ctx context.Context, program string, args []string, atMost time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	var out bytes.Buffer
	p, err := startProgram(program, args, nil, &out)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.Stop(time.Second)
		return nil, fmt.Errorf("%s was ended: %w", filepath.Base(program), ctx.Err())
	}
	if p.err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", filepath.Base(program), p.err, lastLine([]byte(p.stderr.String())))
	}
	return out.Bytes(), nil
}

// abFigures are those that ab prints. It knows milliseconds of percentiles.
type abFigures struct {
	Requests   uint64
	PerSecond  float64
	Failed     uint64
	Refused    uint64 // Non-2xx responses
	P50, P99   float64
	MaxMillis  float64
	KeptAlives uint64
}

// parseAB reads what ab printed.
func parseAB(printed []byte) (f abFigures, err error) {
	number := func(text string) (v float64) {
		fields := strings.Fields(text)
		if len(fields) == 0 {
			return 0
		}
		v, bad := strconv.ParseFloat(fields[0], 64)
		err = errors.Join(err, bad)
		return v
	}
	for line := range strings.Lines(string(printed)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok {
			switch name {
			case "Complete requests":
				f.Requests = uint64(number(value))
			case "Failed requests":
				f.Failed = uint64(number(value))
			case "Non-2xx responses":
				f.Refused = uint64(number(value))
			case "Keep-Alive requests":
				f.KeptAlives = uint64(number(value))
			case "Requests per second":
				f.PerSecond = number(value)
			}
			continue
		}
		percent, value, ok := strings.Cut(strings.TrimSpace(line), "%")
		if !ok {
			continue
		}
		switch percent {
		case "50":
			f.P50 = number(value)
		case "99":
			f.P99 = number(value)
		case "100":
			f.MaxMillis = number(value)
		}
	}
	if err == nil && f.PerSecond == 0 {
		err = fmt.Errorf("ab measured nothing: %s", lastLine(printed))
	}
	return f, err
}

// abTurn runs ab, for a time rather than a number of requests.
func abTurn(ctx context.Context, url string, conns int, duration time.Duration) (f abFigures, err error) {
	program, err := lookProgram("ab")
	if err != nil {
		return f, err
	}
	seconds := max(int(duration.Round(time.Second).Seconds()), 1)
	// -t sets a number of requests as well, which -n then raises. Lengths may differ: dates are in no body, but errors would be.
	args := []string{"-q", "-k", "-l", "-c", strconv.Itoa(conns), "-t", strconv.Itoa(seconds), "-n", "10000000", url}
	printed, err := runToEnd(ctx, program, args, time.Duration(seconds)*time.Second+clientPatience)
	if err != nil {
		return f, err
	}
	return parseAB(printed)
}
