package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weir/gateway/policy"

	"github.com/goccy/go-yaml/ast"
)

func textOf(to *string) func(string) error {
	return func(v string) error { *to = v; return nil }
}

func textsOf(to *[]string) func(ast.Node) error {
	return listKey(func(v string) error { *to = append(*to, v); return nil })
}

func boolOf(to *bool) func(string) error {
	return func(v string) error {
		if v != "true" && v != "false" {
			return fmt.Errorf("is %q: want true or false", v)
		}
		*to = v == "true"
		return nil
	}
}

func intOf(to *int, least, most int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(strings.ReplaceAll(v, "_", ""))
		if err != nil || n < least || n > most {
			return fmt.Errorf("is %q: want a whole number, %d to %d", v, least, most)
		}
		*to = n
		return nil
	}
}

func durationOf(to *time.Duration) func(string) error {
	return func(v string) error {
		n, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("is %q: want a number with a unit (ms, s, m, h), such as 10s", v)
		}
		*to = n
		return nil
	}
}

func parsedOf[T any](to *T, parse func(string) (T, error)) func(string) error {
	return func(v string) (err error) { *to, err = parse(v); return err }
}

func headerOf(to *string) func(string) error {
	return func(v string) error {
		p, err := policy.ParseKeyPart("header:" + v)
		if err != nil {
			return fmt.Errorf("is %q: want the name of a header, such as X-Api-Key", v)
		}
		*to = p.Name
		return nil
	}
}

func prefixesOf(to *[]netip.Prefix) func(ast.Node) error {
	return listKey(func(v string) error {
		p, err := ParsePrefix(v)
		*to = append(*to, p)
		return err
	})
}

// statusesOf reads 200 or 200-399.
func statusesOf(least, most *int) func(string) error {
	return func(v string) error {
		from, to, ranged := strings.Cut(v, "-")
		if !ranged {
			to = from
		}
		for _, n := range []struct {
			text string
			at   *int
		}{{from, least}, {to, most}} {
			if err := intOf(n.at, 100, 599)(n.text); err != nil {
				return fmt.Errorf("is %q: want a status, or 200-399", v)
			}
		}
		return nil
	}
}
