package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strconv"
	"strings"

	"weir/gateway"
	"weir/gateway/upstream"
	"weir/gateway/way"

	"github.com/goccy/go-yaml/ast"
)

func (d *planDecoder) upstream(name string) keys {
	d.plan.Upstreams = append(d.plan.Upstreams, gateway.Upstream{Pool: upstream.Config{Name: name}})
	u := last(d.plan.Upstreams)
	how := &tlsKeys{}
	path := "upstreams." + name + "."
	setTLS := func(set func(string) error) func(ast.Node) error {
		read := scalarKey(set)
		return func(n ast.Node) (err error) {
			if err = read(n); err == nil {
				u.How.TLS, err = how.config()
			}
			return err
		}
	}
	return keys{
		"servers":           d.servers(&u.Pool),
		"balance":           scalarKey(parsedOf(&u.Pool.Balance, upstream.ParseBalance)),
		"hash_balance":      scalarKey(intOf(&u.Pool.HashBalanceFactor, 100, 10_000)),
		"max_conns":         scalarKey(intOf(&u.Pool.MaxConns, 0, 1<<20)),
		"slow_start":        scalarKey(durationOf(&u.Pool.SlowStart)),
		"panic_percent":     scalarKey(intOf(&u.Pool.PanicPercent, 1, 100)),
		"resolve":           scalarKey(durationOf(&u.Pool.Resolve)),
		"protocol":          scalarKey(parsedOf(&u.How.Protocol, way.ParseProtocol)),
		"tls":               setTLS(boolOf(&how.on)),
		"tls_server_name":   setTLS(textOf(&how.serverName)),
		"tls_ca":            setTLS(textOf(&how.ca)),
		"connect_timeout":   scalarKey(durationOf(&u.How.ConnectTimeout)),
		"answer_timeout":    scalarKey(durationOf(&u.How.AnswerTimeout)),
		"idle_conns":        scalarKey(intOf(&u.How.IdleConns, 0, 65536)),
		"idle_conn_timeout": scalarKey(durationOf(&u.How.IdleTimeout)),
		"health":            d.below(path+"health.", healthKeys(&u.Pool.Health)),
		"ejection":          d.below(path+"ejection.", ejectionKeys(&u.Pool.Ejection)),
		"retries":           d.below(path+"retries.", retriesKeys(&u.Pool.Retries)),
	}
}

func healthKeys(h *upstream.Health) keys {
	return keys{
		"path": scalarKey(textOf(&h.Path)), "host": scalarKey(textOf(&h.Host)),
		"interval": scalarKey(durationOf(&h.Interval)), "timeout": scalarKey(durationOf(&h.Timeout)),
		"rise": scalarKey(intOf(&h.Rise, 1, 100)), "fall": scalarKey(intOf(&h.Fall, 1, 100)),
		"expect": scalarKey(statusesOf(&h.ExpectMin, &h.ExpectMax)),
	}
}

func ejectionKeys(e *upstream.Ejection) keys {
	return keys{
		"gateway_errors": scalarKey(intOf(&e.ConsecutiveGateway, -1, 10_000)), "errors": scalarKey(intOf(&e.Consecutive5xx, 0, 10_000)),
		"interval": scalarKey(durationOf(&e.Interval)), "base": scalarKey(durationOf(&e.Base)), "max": scalarKey(durationOf(&e.Max)),
		"max_percent": scalarKey(intOf(&e.MaxPercent, 1, 100)), "stdev_factor": scalarKey(intOf(&e.StdevFactor, -1, 10_000)),
	}
}

func retriesKeys(r *upstream.Retries) keys {
	return keys{
		"attempts": scalarKey(intOf(&r.Attempts, 1, 10)), "budget_percent": scalarKey(intOf(&r.BudgetPercent, -1, 1000)),
		"min_per_second": scalarKey(intOf(&r.MinPerSecond, -1, 1<<20)), "window": scalarKey(durationOf(&r.Window)),
	}
}

// below reads a mapping in a mapping.
func (d *planDecoder) below(path string, known keys) func(ast.Node) error {
	return func(n ast.Node) error {
		d.mapping(path, n, known)
		return nil
	}
}

// servers reads "host:port" or "host:port weight".
func (d *planDecoder) servers(p *upstream.Config) func(ast.Node) error {
	return listKey(func(v string) error {
		address, weight, weighted := strings.Cut(v, " ")
		s := upstream.ServerConfig{Address: address}
		if weighted {
			n, err := strconv.Atoi(strings.TrimSpace(weight))
			if err != nil || n < 1 {
				return fmt.Errorf("has %q: want host:port, or host:port and a weight, such as 10.0.0.5:8080 2", v)
			}
			s.Weight = n
		}
		p.Servers = append(p.Servers, s)
		return nil
	})
}

// tlsKeys are how servers are spoken to over TLS.
type tlsKeys struct {
	on             bool
	serverName, ca string
}

func (k *tlsKeys) config() (*tls.Config, error) {
	if !k.on && k.serverName == "" && k.ca == "" {
		return nil, nil //nolint:nilnil // without TLS
	}
	c := &tls.Config{ServerName: k.serverName, MinVersion: tls.VersionTLS12}
	if k.ca != "" {
		text, err := readFile(k.ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("is %q: want a file of certificates, PEM", k.ca)
		}
	}
	return c, nil
}
