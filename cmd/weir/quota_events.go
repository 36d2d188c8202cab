package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"weir/internal/pcapng"
)

type quotaEventsCmd struct {
	adminFlags
	PerSecond int    `help:"Packets shown at most, of each reason and CPU a second (1 to 255)." default:"10"`
	Write     string `help:"Write them to a pcapng file, each with its reason as a comment." placeholder:"FILE" type:"path"`
	Count     int    `help:"Stop after so many; 0: at Ctrl-C." default:"0"`
	JSON      bool   `help:"Print JSON." name:"json"`
}

// Help is printed below the flags.
func (*quotaEventsCmd) Help() string {
	return `Examples:
  weir quota events
  weir quota events --json --count 100 | jq -r .reason | sort | uniq -c
  weir quota events --write drops.pcapng --per-second 255      (open it with Wireshark)`
}

// Run streams.
func (c *quotaEventsCmd) Run(ctx context.Context, a *app) (err error) {
	body, err := c.stream(ctx, "/api/quota/events?per_second="+strconv.Itoa(c.PerSecond))
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was read
	show, finish, err := c.sink(a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, finish()) }()
	lines := bufio.NewScanner(body)
	for n := 0; lines.Scan(); {
		var e quotaEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		if err := show(e, lines.Bytes()); err != nil {
			return err
		}
		if n++; n == c.Count {
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return errors.New("the weir at " + c.Admin + " ended the events: it has stopped, or somebody else reads them")
}

// sink is what becomes of an event, and what is to be done at the end.
func (c *quotaEventsCmd) sink(a *app) (show func(e quotaEvent, raw []byte) error, finish func() error, err error) {
	if c.Write == "" {
		return func(e quotaEvent, raw []byte) error { return c.print(a.stdout, e, raw) }, func() error { return nil }, nil
	}
	f, err := os.Create(c.Write)
	if err != nil {
		return nil, nil, fmt.Errorf("write a capture: %w", err)
	}
	var w *pcapng.Writer
	show = func(e quotaEvent, _ []byte) (err error) {
		if w == nil {
			if w, err = pcapng.NewWriter(f, "weir "+version(), []pcapng.Interface{{Name: e.Interface, SnapLen: 128}}); err != nil {
				return err
			}
		}
		return w.WritePacket(pcapng.Packet{Time: e.At, Data: e.Data, Length: e.Length, Comment: e.Reason + ": " + e.Means, Unsampled: e.Missed})
	}
	finish = func() error {
		var errs []error
		if w != nil {
			errs = append(errs, w.Finish())
		}
		return errors.Join(append(errs, f.Close())...)
	}
	return show, finish, nil
}

func (c *quotaEventsCmd) print(out io.Writer, e quotaEvent, raw []byte) error {
	if c.JSON {
		_, err := fmt.Fprintf(out, "%s\n", raw)
		return err
	}
	what := "dropped"
	if !e.Dropped {
		what = "would drop"
	}
	_, err := fmt.Fprintf(out, "%s %s %s -> %s %d bytes: %s: %s", e.At.Format("15:04:05.000000"), what, orUnknown(e.From), orUnknown(e.To), e.Length, e.Reason, e.Means)
	if err == nil && e.Missed > 0 {
		_, err = fmt.Fprintf(out, " (%d more since the last one shown)", e.Missed)
	}
	if err == nil {
		_, err = fmt.Fprintln(out)
	}
	return err
}

func orUnknown(s string) string {
	if s == "" {
		return "?"
	}
	return s
}

// stream opens an endless answer of the admin API.
func (f *adminFlags) stream(ctx context.Context, path string) (io.ReadCloser, error) {
	res, err := f.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if res.Header.Get("Content-Type") == "application/x-ndjson" {
		return res.Body, nil
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	if err := f.reply(res, new(json.RawMessage)); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s does not answer with events: %s", f.Admin, res.Status)
}
