package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/secret"
)

func TestContract(t *testing.T) {
	start := func(t *testing.T, limits limit.Config, change ...func(*Config)) *brokertest.Target {
		f := newFixtureWith(t, limits, append(change, func(c *Config) { c.Door.Grace = time.Second })...)
		return &brokertest.Target{
			World: f.World,
			Dial:  func(ctx context.Context, token secret.Text) (brokertest.Client, error) { return f.client(t, token) },
			Stop:  func() { f.stop() },
			Busy:  func() int { return f.backends(t) }, Logged: f.Logged.String,
			Secrets: []string{loginPassword, keeperPassword},
		}
	}
	brokertest.Run(t, brokertest.Harness{
		Start: func(t *testing.T, limits limit.Config) *brokertest.Target { return start(t, limits) },
		Down: func(t *testing.T, limits limit.Config) *brokertest.Target {
			return start(t, limits, func(c *Config) {
				d := c.Databases["app"]
				d.Store.Address = "/nowhere/.s.PGSQL.5432"
				c.Databases["app"] = d
			})
		},
		Code: func(err error) (code, text string, ok bool) {
			e, ok := errors.AsType[*heard](err)
			if !ok {
				return "", "", false
			}
			return e.code, e.message, true
		},
		Codes: states, Login: stateLogin,
	})
}

// backends returns how many processes serve the broker's tenants.
func (f *fixture) backends(t testing.TB) int {
	t.Helper()
	var n int
	err := f.Super.QueryRow(context.Background(),
		"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'isocore_login'").Scan(&n)
	f.must(t, err)
	return n
}

// A heard is an error as a client hears it.
type heard struct{ severity, code, message, hint string }

func (h *heard) Error() string {
	return h.severity + " " + h.code + ": " + h.message + " (" + h.hint + ")"
}

// asks are the words for what the contract asks for.
var asks = map[brokertest.Ask]pgwire.Message{
	brokertest.Read:      q("SELECT replace(tenant_id::text, '-', ''), title FROM doc ORDER BY id LIMIT 3"),
	brokertest.Write:     q("UPDATE doc SET body = 'written' WHERE id = 1"),
	brokertest.Slow:      q("SELECT count(*) FROM generate_series(1, 100000000000) i"),
	brokertest.Big:       q("SELECT repeat('x', 1000000) FROM generate_series(1, 100)"),
	brokertest.Denied:    q("TRUNCATE doc"),
	brokertest.Unlisted:  q("FROBNICATE doc"),
	brokertest.TooLarge:  q("SELECT '" + strings.Repeat("x", 2<<20) + "'"),
	brokertest.Malformed: pgwire.FrontendMessage(&pgwire.Password{}),
	brokertest.Begin:     q("BEGIN"),
	brokertest.End:       q("COMMIT"),
}

// A teller is a client in raw messages, as the contract wants one.
type teller struct{ w *wire }

func (f *fixture) client(t testing.TB, token secret.Text) (brokertest.Client, error) {
	conn, err := net.Dial("tcp", f.Addr)
	if err != nil {
		return nil, err
	}
	w := newWire(t, conn)
	if _, err := w.Write(encode(t, startup("user", "anybody", "database", "app"), &pgwire.Password{Password: token})); err != nil {
		return nil, err
	}
	c := &teller{w}
	if _, err := c.Answer(t.Context()); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *teller) Send(_ context.Context, what brokertest.Ask) error {
	p, err := asks[what].Encode(nil)
	if err != nil {
		return err
	}
	_, err = c.w.Write(p)
	return err
}

// Answer reads up to a ReadyForQuery, or the end.
func (c *teller) Answer(context.Context) (string, error) {
	var rows strings.Builder
	var failed error
	for {
		typ, body, err := c.w.in.ReadMessage(1 << 30)
		if err != nil {
			return rows.String(), errors.Join(failed, err)
		}
		m, err := pgwire.DecodeBackend(pgwire.Backend(typ), body)
		if err != nil {
			return "", err
		}
		switch m := m.(type) {
		case *pgwire.DataRow:
			for _, v := range m.Values {
				rows.Write(v[:min(len(v), 100)])
				rows.WriteByte(' ')
			}
		case *pgwire.ErrorResponse:
			failed = &heard{m.Value(pgwire.FieldSeverity), m.Value(pgwire.FieldSQLState), m.Value(pgwire.FieldMessage), m.Value(pgwire.FieldHint)}
		case *pgwire.ReadyForQuery:
			return rows.String(), failed
		}
	}
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

func (c *teller) Wait(ctx context.Context) error {
	for {
		if _, err := c.Answer(ctx); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && !isHeard(err) {
			return err
		}
	}
}

func isHeard(err error) bool {
	_, ok := errors.AsType[*heard](err)
	return ok
}

func (c *teller) Hang() { _ = c.w.Close() }
