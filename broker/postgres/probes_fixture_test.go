package postgres

import (
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A proving is a sealed deployment with the canary table, to be attacked.
type proving struct {
	*brokertest.World
	super  *pgx.Conn
	broker *Broker
	addr   string
	target *prove.Target
	stop   func() error
}

const canarySchema = "CREATE SCHEMA app AUTHORIZATION app_owner; SET ROLE app_owner; " + CanaryTable + "; RESET ROLE"

func newProving(t testing.TB) *proving {
	t.Helper()
	p := &proving{World: brokertest.New(t, Name, brokertest.Limits())}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	database, server := localtest.Database(t), localtest.Postgres(t)
	p.super = localtest.Super(t, database)
	login, keeper := secret.New("login-of-a-test"), secret.New("keeper-of-a-test")
	o := protect.Options{Schemas: []string{"app"}, LoginPassword: login, KeeperPassword: keeper}
	must(protect.Install(t.Context(), p.super, o))
	_, err := p.super.Exec(t.Context(), canarySchema)
	must(err)
	_, _, err = protect.Apply(t.Context(), p.super, o)
	must(err)
	must(protect.Seal(t.Context(), p.super))
	p.broker, err = New(Config{
		Databases: map[string]Database{"app": {
			Store: Store{Address: server.Address(), Database: database, Password: login, Statement: 30 * time.Second},
			Keeper: func(ctx context.Context) (*pgx.Conn, error) {
				return pgx.Connect(ctx, server.DSN(protect.Keeper, keeper, database).Reveal())
			},
		}},
		Slots: 32,
		Door:  accept.Door{Limiter: p.Limiter, Log: slog.New(slog.DiscardHandler), Grace: 5 * time.Second},
		Log:   slog.New(slog.DiscardHandler),
		Now:   time.Now,
	})
	must(err)
	must(p.start("127.0.0.1:0"))
	t.Cleanup(func() { must(p.stop()) })
	p.target = &prove.Target{
		Addr: map[string]string{Name: p.addr}, Database: "app", Grade: Sealed,
		A: p.tenant(t, "a", p.A), B: p.tenant(t, "b", p.B),
	}
	return p
}

// start serves at addr until stop, and returns when the door is open.
func (p *proving) start(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	p.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.broker.Serve(ctx, ln, p.Gate) }()
	p.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	a, err := knock(context.Background(), &prove.Target{Addr: map[string]string{Name: p.addr}})
	if err != nil {
		return err
	}
	defer a.conn.Close() //nolint:errcheck // it was there to wait
	if err := a.say(pgwire.SSLRequest{}); err != nil {
		return err
	}
	_, err = io.ReadFull(a.conn, make([]byte, 1))
	return err
}

func (p *proving) tenant(t testing.TB, name string, id tenant.ID) prove.Tenant {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := identity.NewMinter("https://stranger.test", key, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return prove.Tenant{
		Name: name, ID: id.String(), Canary: "canary-" + name + "-" + tenant.New().String(),
		Token: func(_ context.Context, broker string, reach ...string) (secret.Text, error) {
			g := p.Grant(id, reach...)
			g.Broker = broker
			return p.Minter.Mint(g)
		},
		Flawed: func(_ context.Context, _ string, f prove.Flaw) (secret.Text, error) {
			switch f {
			case prove.Forged:
				return p.Forged(id), nil
			case prove.Expired:
				return p.Expired(id), nil
			case prove.Elsewhere:
				return p.WrongAudience(id), nil
			case prove.Stranger:
				return stranger.Mint(p.Grant(id))
			default:
				return secret.Text{}, prove.Skip("no token is %v here", f)
			}
		},
		Suspend: func(context.Context) error { p.Standing.Suspend(id.UUID()); return nil },
		Resume:  func(context.Context) error { p.Standing.Resume(id.UUID()); return nil },
	}
}
