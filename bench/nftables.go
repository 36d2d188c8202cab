package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// nftSetSize is as many clients as weir has slots for by default.
const nftSetSize = 1 << 18

// nftRules limit each client as weir does: an IPv4 address or an IPv6 /64, by a rate and a burst,
// at the earliest hook there is. A client that is not seen for a minute is forgotten; when the
// set is full, whoever is not in it passes.
func nftRules(device string, quota int) string {
	return fmt.Sprintf(`table netdev weir {
	counter over_limit { }
	set clients4 { type ipv4_addr; size %[3]d; flags dynamic,timeout; timeout 1m; }
	set clients6 { type ipv6_addr; size %[3]d; flags dynamic,timeout; timeout 1m; }
	chain ingress {
		type filter hook ingress device "%[1]s" priority -500; policy accept;
		update @clients4 { ip saddr limit rate over %[2]d/second burst %[2]d packets } counter name over_limit drop
		update @clients6 { ip6 saddr and ffff:ffff:ffff:ffff:: limit rate over %[2]d/second burst %[2]d packets } counter name over_limit drop
	}
}
`, device, quota, nftSetSize)
}

// nft runs nft(8) in the edge's namespace.
func (l *Lab) nft(ctx context.Context, rules string, args ...string) (out []byte, err error) {
	err = l.Edge.Do(func() error {
		cmd := exec.CommandContext(ctx, "nft", args...)
		cmd.Stdin = strings.NewReader(rules)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err = cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("run nft: %w: install nftables, or leave the setting out with --only", err)
		}
		if err != nil {
			return fmt.Errorf("run nft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
		}
		return nil
	})
	return out, err
}

// limitByNFTables has nftables limit the edge's clients.
func (l *Lab) limitByNFTables(ctx context.Context, quota int) error {
	_, err := l.nft(ctx, nftRules(LabEdgeEnd, quota), "-f", "-")
	return err
}

// droppedByNFTables are the packets dropped so far, by counter.
func (l *Lab) droppedByNFTables(ctx context.Context) (map[string]uint64, error) {
	out, err := l.nft(ctx, "", "-j", "list", "counters", "table", "netdev", "weir")
	if err != nil {
		return nil, err
	}
	return nftCounters(out)
}

// nftCounters reads `nft -j list counters`.
func nftCounters(list []byte) (map[string]uint64, error) {
	var listed struct {
		Nftables []struct {
			Counter *struct {
				Name    string
				Packets uint64
			}
		}
	}
	if err := json.Unmarshal(list, &listed); err != nil {
		return nil, fmt.Errorf("read counters of nft: %w", err)
	}
	counters := map[string]uint64{}
	for _, item := range listed.Nftables {
		if item.Counter != nil {
			counters[item.Counter.Name] = item.Counter.Packets
		}
	}
	return counters, nil
}
