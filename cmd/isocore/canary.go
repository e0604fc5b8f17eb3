package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/broker/edge"
	"github.com/isocore/isocore/broker/exchange"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A ground is where a run of prove has its tenants. Only one run is on it at a
// time, see [client.alone]: whatever stands there before is a killed run's.
type ground struct {
	*client
	at       string // of the PostgreSQL broker; "" if there is none
	database string

	providers []*prove.Provider   // made for the run
	mu        sync.Mutex          // guards what follows
	shown     map[string]repeated // tokens of theirs
}

// canaryPrefix begins the names of tenants that are made for a run.
const canaryPrefix = string(admin.Home) + "/" + admin.Provers

// clearTime is how long it may take to end the tenants of a run.
const clearTime = 30 * time.Second

// alone takes the place of the one run there may be, until release or the end
// of the process.
func (c *client) alone() (release func(), err error) {
	path := c.beside("prove.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(hint(errors.New("another isocore prove runs here"), "wait for it: two would meet each other's canaries"), f.Close())
	}
	return func() { f.Close() }, nil //nolint:errcheck // nothing was written
}

// tenant makes a tenant for one run.
func (g *ground) tenant(ctx context.Context, side string) (prove.Tenant, error) {
	path := canaryPrefix + strings.ToLower(rand.Text()[:8]) + "-" + side
	t, err := call[admin.Tenant](ctx, g.client, http.MethodPost, "/v1/tenants", admin.NewTenant{Path: path})
	if err != nil {
		return prove.Tenant{}, err
	}
	return prove.Tenant{
		Name: path, ID: t.ID, Canary: "canary " + rand.Text(),
		Token: func(ctx context.Context, broker string, reach ...string) (secret.Text, error) {
			return g.good(ctx, t, broker, "5m", reach...)
		},
		Flawed: func(ctx context.Context, broker string, f prove.Flaw) (secret.Text, error) {
			if broker == edge.Name {
				return g.spoiled(t, f)
			}
			return g.flawed(ctx, t, broker, f)
		},
		Suspend: func(ctx context.Context) error { return g.move(ctx, path, "suspended") },
		Resume:  func(ctx context.Context) error { return g.move(ctx, path, "active") },
	}, nil
}

func (g *ground) token(ctx context.Context, path, broker, ttl string, reach ...string) (secret.Text, error) {
	asked := grant{tenant: path, broker: broker, reach: reach, ttl: ttl, sub: "prover"}
	t, err := asked.mint(ctx, g.client)
	return secret.New(t.Token), err
}

func (g *ground) move(ctx context.Context, path, state string) error {
	_, err := call[admin.Tenant](ctx, g.client, http.MethodPatch, "/v1/tenants/"+path, admin.StateChange{State: state})
	return err
}

// clear ends every tenant on the ground, and its rows before, and who spoke for
// them. Their logs stay, as every log does.
func (g *ground) clear(ctx context.Context) error {
	if err := g.silence(ctx); err != nil {
		return err
	}
	all, err := call[[]admin.Tenant](ctx, g.client, http.MethodGet, "/v1/tenants?partner="+string(admin.Home), nil)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range all {
		if !strings.HasPrefix(t.Path, canaryPrefix) {
			continue
		}
		if err := g.end(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("end %s: %w", t.Path, err))
		}
	}
	return errors.Join(errs...)
}

func (g *ground) end(ctx context.Context, t admin.Tenant) error {
	if t.State != "active" {
		if err := g.move(ctx, t.Path, "active"); err != nil {
			return err
		}
	}
	if err := g.wipe(ctx, t.Path); err != nil {
		return err
	}
	if err := g.move(ctx, t.Path, "suspended"); err != nil {
		return err
	}
	_, err := call[admin.Tenant](ctx, g.client, http.MethodDelete, "/v1/tenants/"+t.Path, nil)
	return err
}

// wipe deletes the canaries of a tenant, as it would itself.
func (g *ground) wipe(ctx context.Context, path string) error {
	if g.at == "" {
		return nil // without a store there are none
	}
	token, err := g.token(ctx, path, "postgres", "1m", identity.PGRead, identity.PGWrite)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, g.at, g.database, token)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // what it did is committed
	_, err = conn.Exec(ctx, "DELETE FROM app.isocore_canary")
	return err
}

// dial connects to the broker at an address of this machine, with a token.
func dial(ctx context.Context, at, database string, token secret.Text) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("sslmode=prefer user=tenant")
	if err != nil {
		return nil, err
	}
	if c.Host, c.Port, err = hostPort(at); err != nil {
		return nil, err
	}
	c.Database, c.Password = database, token.Reveal()
	for _, f := range c.Fallbacks {
		f.Host, f.Port = c.Host, c.Port
	}
	return pgx.ConnectConfig(ctx, c)
}

// expiry is when a token of one second is over.
const expiry = 1500 * time.Millisecond

// flawed returns a token of ours that must not be taken.
func (g *ground) flawed(ctx context.Context, t admin.Tenant, broker string, f prove.Flaw) (secret.Text, error) {
	switch f {
	case prove.Forged:
		good, err := g.good(ctx, t, broker, "5m", identity.PGRead)
		if err != nil {
			return good, err
		}
		return forge(good)
	case prove.Expired:
		token, err := g.good(ctx, t, broker, "1s", identity.PGRead)
		if err != nil {
			return secret.Text{}, err
		}
		over := time.NewTimer(expiry)
		defer over.Stop()
		select {
		case <-over.C:
			return token, nil
		case <-ctx.Done():
			return secret.Text{}, ctx.Err()
		}
	case prove.Elsewhere:
		return g.token(ctx, t.Path, "not-"+broker, "5m", identity.PGRead)
	case prove.Stranger:
		if broker == exchange.Name {
			return g.foreign(ctx, t)
		}
		return stranger(t.Path, broker)
	default:
		return secret.Text{}, prove.Skip("no %v token can be made", f)
	}
}

// forge signs a good token anew, with a key of nobody's.
func forge(good secret.Text) (secret.Text, error) {
	signed := good.Reveal()[:strings.LastIndexByte(good.Reveal(), '.')]
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return secret.Text{}, err
	}
	return secret.New(signed + "." + rawURL(ed25519.Sign(key, []byte(signed)))), nil
}

// stranger mints a token as an issuer that nobody has listed would.
func stranger(path, broker string) (secret.Text, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return secret.Text{}, err
	}
	m, err := identity.NewMinter("https://stranger.invalid", key, time.Now)
	if err != nil {
		return secret.Text{}, err
	}
	return m.Mint(identity.Grant{
		Tenant: tenant.New(), Partner: tenant.New().UUID(), Principal: tenant.New().UUID(), Subject: path, ClientID: "prover",
		Broker: broker, Reach: []string{identity.PGRead, identity.PGWrite}, TTL: time.Minute,
	})
}

func rawURL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
