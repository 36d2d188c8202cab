package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"weir/ratelimit"
	"weir/ratelimit/kernel"
)

// field is a value of a class: how it is read from text, and emptied.
type field struct {
	set   func(text string) error
	clear func()
}

func fieldOf[T any](to *T, read func(string) (T, error)) field {
	return field{
		set: func(text string) (err error) {
			v, err := read(text)
			if err == nil {
				*to = v
			}
			return err
		},
		clear: func() {
			var zero T
			*to = zero
		},
	}
}

func rate(to *ratelimit.Rate) field { return fieldOf(to, ratelimit.ParseRate) }

func byteRate(to *ratelimit.ByteRate) field { return fieldOf(to, ratelimit.ParseByteRate) }

func count[T int | uint32 | uint64](to *T) field {
	return fieldOf(to, func(text string) (T, error) {
		n, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, 31)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("is %q: want a whole number of 1 or more", text)
		}
		return T(n), nil
	})
}

func bytes(to *uint64) field {
	return fieldOf(to, func(text string) (uint64, error) {
		n, err := parseSize(text)
		return uint64(n), err //nolint:gosec // parseSize refuses what is below 0
	})
}

func proof(none *bool) field {
	return fieldOf(none, func(text string) (bool, error) {
		if text != "none" && text != "required" {
			return false, fmt.Errorf("is %q: want required or none", text)
		}
		return text == "none", nil
	})
}

// classFields are a class's fields by name: its own below "", those of its parts below theirs.
func classFields(c *kernel.Class) map[string]map[string]field {
	own, u := quotaFields(&c.Client), &c.Unproved
	own["proof"] = proof(&c.NoProof)
	return map[string]map[string]field{
		"":          own,
		"aggregate": quotaFields(&c.Aggregate),
		"unproved": {
			"packets": rate(&u.Packets), "packets_burst": count(&u.PacketBurst),
			"bytes": byteRate(&u.Bytes), "bytes_burst": bytes(&u.ByteBurst),
			"syns": rate(&u.SYNs), "syns_burst": count(&u.SYNBurst),
		},
	}
}

func quotaFields(q *kernel.Quotas) map[string]field {
	return map[string]field{
		"packets": rate(&q.Packets), "packets_burst": count(&q.PacketBurst),
		"bytes": byteRate(&q.Bytes), "bytes_burst": bytes(&q.ByteBurst),
		"connections": rate(&q.Connections), "connections_burst": count(&q.ConnectionBurst),
		"concurrent":  count(&q.Concurrent),
		"ipv4_prefix": count(&q.IPv4Bits), "ipv6_prefix": count(&q.IPv6Bits),
	}
}

// SetQuotas sets keys of a class of a policy, such as packets: 100/s; an empty value is no quota.
// Keys of its aggregate and budget have those before them: unproved.syns. An error is all that is
// wrong, joined, and changes nothing.
func SetQuotas(p *kernel.Policy, class string, set map[string]string) error {
	if class == "" {
		class = kernel.Default
	}
	i := slices.IndexFunc(p.Classes, func(c kernel.Class) bool { return c.Name == class })
	if i < 0 {
		return fmt.Errorf("there is no class %q: name one of the policy's (weir quota show --policy)", class)
	}
	c := p.Classes[i]
	known := map[string]field{}
	for part, fields := range classFields(&c) {
		for name, f := range fields {
			known[strings.TrimPrefix(part+"."+name, ".")] = f
		}
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(set)) {
		text := set[key]
		f, ok := known[key]
		switch {
		case !ok:
			errs = append(errs, errors.New(key+" is not a key"+suggestion(key, slices.Sorted(maps.Keys(known)))))
		case text == "":
			f.clear()
		default:
			if err := f.set(text); err != nil {
				errs = append(errs, fmt.Errorf("%s %w", key, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	p.Classes = slices.Clone(p.Classes)
	p.Classes[i] = c
	return nil
}
