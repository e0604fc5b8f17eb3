package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

func TestContract(t *testing.T) {
	start := func(t *testing.T, limits limit.Config, change ...func(*Config)) *brokertest.Target {
		limits.Sessions = limits.Connections
		f := newFixtureWith(t, limits, change...)
		return &brokertest.Target{
			World: f.World,
			Dial: func(ctx context.Context, token secret.Text) (brokertest.Client, error) {
				return f.enter(ctx, t, token)
			},
			Stop: func() { f.stop() }, Busy: func() int { return int(f.App.busy.Load()) }, Logged: f.Logged.String,
		}
	}
	codes := map[refusal.Reason]string{}
	for r, status := range statuses {
		codes[r] = strconv.Itoa(status)
	}
	brokertest.Run(t, brokertest.Harness{
		Start: func(t *testing.T, limits limit.Config) *brokertest.Target { return start(t, limits) },
		Down: func(t *testing.T, limits limit.Config) *brokertest.Target {
			return start(t, limits, func(c *Config) { c.Routes[0].Upstream = upstream(t, "127.0.0.1:1") })
		},
		Code: func(err error) (code, text string, ok bool) {
			e, ok := errors.AsType[*heard](err)
			if !ok {
				return "", "", false
			}
			return strconv.Itoa(e.Status), e.Title, true
		},
		Codes: codes, Login: "401", Requests: true,
	})
}

// A heard is a problem as a client hears it.
type heard struct {
	problem
	raw string
}

func (h *heard) Error() string { return h.raw }

// asks are the words for what the contract asks for.
var asks = map[brokertest.Ask][2]string{
	brokertest.Read:      {"GET", "/read"},
	brokertest.Write:     {"POST", "/write"},
	brokertest.Slow:      {"GET", "/slow"},
	brokertest.Big:       {"GET", "/big"},
	brokertest.Denied:    {"TRACE", "/read"},
	brokertest.Unlisted:  {"FROBNICATE", "/read"},
	brokertest.TooLarge:  {"GET", "/" + strings.Repeat("x", headBytes)},
	brokertest.Malformed: {"GET", "//read"},
	brokertest.Begin:     {"GET", "/read"},
	brokertest.End:       {"GET", "/read"},
}

// A teller is a client on one connection, as the contract wants one.
type teller struct {
	*wire
	sent []string // methods that wait for their answers
}

func (f *fixture) enter(ctx context.Context, t testing.TB, token secret.Text) (brokertest.Client, error) {
	w := f.dial(t, token)
	c := &teller{wire: w}
	_, err := c.Ask(ctx, brokertest.Read)
	return c, err
}

func (c *teller) Send(_ context.Context, what brokertest.Ask) error {
	request := c.head(asks[what][0], "app.test", asks[what][1])
	if c.token.IsZero() {
		request = asks[what][0] + " " + asks[what][1] + " HTTP/1.1\r\nHost: app.test\r\n"
	}
	c.sent = append(c.sent, asks[what][0])
	_, err := io.WriteString(c, request+"\r\n")
	return err
}

func (c *teller) Answer(context.Context) (string, error) {
	method := c.sent[0]
	c.sent = c.sent[1:]
	resp, body, err := c.answer(method)
	if err != nil {
		return "", err
	}
	if resp.StatusCode < 400 {
		return body, nil
	}
	h := &heard{raw: resp.Status + " " + body + fmt.Sprint(resp.Header)}
	if err := json.Unmarshal([]byte(body), &h.problem); err != nil || h.Status != resp.StatusCode {
		return "", fmt.Errorf("%w: %s", err, h.raw)
	}
	return "", h
}

func (c *teller) Ask(ctx context.Context, what brokertest.Ask) (string, error) {
	if err := c.Send(ctx, what); err != nil {
		return "", err
	}
	return c.Answer(ctx)
}

func (c *teller) Pipeline(ctx context.Context, what ...brokertest.Ask) (answers []string, errs []error) {
	for _, what := range what {
		if err := c.Send(ctx, what); err != nil {
			errs = append(errs, err)
		}
	}
	for range what {
		answer, err := c.Answer(ctx)
		answers, errs = append(answers, answer), append(errs, err)
	}
	return answers, errs
}

// Wait asks until it is told why not: who asks for nothing hears nothing.
func (c *teller) Wait(ctx context.Context) error {
	for {
		if len(c.sent) == 0 {
			if err := c.Send(ctx, brokertest.Read); err != nil {
				return err
			}
		}
		if _, err := c.Answer(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *teller) Hang() { _ = c.Close() }
