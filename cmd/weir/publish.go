package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// adminFlags are the flags of commands that talk to a running weir.
type adminFlags struct {
	Admin  string `help:"Admin address of the running weir." default:"http://127.0.0.1:8001" env:"WEIR_ADMIN_URL" placeholder:"URL"`
	APIKey string `help:"Its API key." name:"api-key" env:"WEIR_ADMIN_API_KEY" placeholder:"KEY"`

	bearer string // a token, of the commands that go by one
}

// call sends a request to the admin API and decodes its result.
func (f *adminFlags) call(ctx context.Context, method, path string, body, result any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	res, err := f.send(ctx, method, path, text)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	return f.reply(res, result)
}

// send sends a request to the admin API. The answer's body is the caller's to close.
func (f *adminFlags) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(f.Admin, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, &usageError{fmt.Errorf("--admin %s: %w", f.Admin, err)}
	}
	req.Header.Set("X-API-Key", f.APIKey)
	if f.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+f.bearer)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no weir answers at %s: start one with weir serve, or name its address with --admin: %w", f.Admin, err)
	}
	return res, nil
}

// reply decodes the result of an answer, or is the error that it says.
func (f *adminFlags) reply(res *http.Response, result any) error {
	answer, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", f.Admin, err)
	}
	var reply struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer, &reply); err != nil {
		return fmt.Errorf("%s does not answer like a weir: %s %.100q", f.Admin, res.Status, answer)
	}
	if reply.Error != nil {
		return errors.New(reply.Error.Message)
	}
	return json.Unmarshal(reply.Result, result)
}

type publishCmd struct {
	adminFlags
	Token string `help:"Token of who may publish to it, in place of the API key." env:"WEIR_TOKEN" placeholder:"JWT"`
	Topic string `arg:"" help:"Topic to publish to."`
	Data  string `arg:"" optional:"" default:"-" help:"Payload; - publishes each line of the standard input."`
	Key   string `help:"What the event is about: of a topic in mode latest slow subscribers are sent the newest of each key."`
	JSON  bool   `help:"Print positions as JSON." name:"json"`
}

// Help is printed below the flags.
func (*publishCmd) Help() string {
	return `Examples:
  weir publish news hello
  weir publish ticks 1.0917 --key EURUSD
  tail -f prices.log | weir publish ticks.EURUSD -
  WEIR_TOKEN=$(cat token) weir publish news hello    as its topics.publish allows`
}

// Run publishes.
func (c *publishCmd) Run(ctx context.Context, a *app) error {
	c.bearer = c.Token
	if c.Data != "-" {
		return c.one(ctx, a, []byte(c.Data))
	}
	lines := bufio.NewScanner(a.stdin)
	lines.Buffer(nil, 8<<20)
	for n := 1; lines.Scan(); n++ {
		if err := c.one(ctx, a, lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the standard input: %w", err)
	}
	return nil
}

func (c *publishCmd) one(ctx context.Context, a *app, data []byte) error {
	var at struct {
		Offset uint64 `json:"offset"`
		Epoch  string `json:"epoch"`
	}
	body := map[string]any{"channel": c.Topic, "b64data": data, "key": c.Key}
	if err := c.call(ctx, http.MethodPost, "/api/publish", body, &at); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(at)
	}
	_, err := fmt.Fprintf(a.stdout, "%s:%d\n", at.Epoch, at.Offset)
	return err
}
