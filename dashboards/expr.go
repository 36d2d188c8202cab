package dashboards

import (
	"fmt"
	"strings"
)

// chosen are the matchers of what is chosen at the top of a dashboard.
const chosen = `job=~"$job", instance=~"$instance"`

// series is a metric of the chosen instances, with further matchers.
func series(metric string, matchers ...string) string {
	return metric + "{" + strings.Join(append([]string{chosen}, matchers...), ", ") + "}"
}

// rate is a counter's, per second, over what Grafana takes for the time range and the scrape interval.
func rate(metric string, matchers ...string) string {
	return "rate(" + series(metric, matchers...) + "[$__rate_interval])"
}

// sumBy adds an expression up; by is a list of labels, or empty.
func sumBy(by, expr string) string {
	if by == "" {
		return "sum(" + expr + ")"
	}
	return "sum by (" + by + ") (" + expr + ")"
}

// quantile is that of a histogram, by labels or of all: of its classic buckets, or where a server stores native ones alone, of those.
func quantile(q float64, by, metric string, matchers ...string) string {
	return quantileOf(q, by, rate(metric+"_bucket", matchers...), rate(metric, matchers...))
}

func quantileOf(q float64, by, classic, native string) string {
	le := "le"
	if by != "" {
		le = by + ", le"
	}
	return fmt.Sprintf("histogram_quantile(%v, %s) or histogram_quantile(%v, %s)", q, sumBy(le, classic), q, sumBy(by, native))
}

// share is a part of a whole, 0 to 1; 0 of nothing.
func share(part, whole string) string {
	return part + " / clamp_min(" + whole + ", 1e-9)"
}
