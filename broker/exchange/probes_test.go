package exchange

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/identitytest"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

func TestEveryRowHasProbes(t *testing.T) {
	if err := prove.Check((*Exchange)(nil).Rows(), Probes()); err != nil {
		t.Error(err)
	}
	for _, gap := range Gaps() {
		if _, why, ok := strings.Cut(gap, ": "); !ok || why == "" {
			t.Errorf("gap %q has no reason", gap)
		}
	}
}

// A proving is a token endpoint, to be attacked.
type proving struct {
	*brokertest.World
	exchange *Exchange
	target   *prove.Target
	t        testing.TB
}

func newProving(t testing.TB) *proving {
	t.Helper()
	limits := brokertest.Limits()
	limits.Sessions = 1000
	p := &proving{World: brokertest.New(t, Name, limits), t: t}
	var err error
	p.exchange, err = New(Config{Minter: p.Minter, Brokers: []string{"postgres"}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p.target = &prove.Target{A: p.tenant("home/prove-a", p.A), B: p.tenant("home/prove-b", p.B)}
	p.TxnToken(p.A) // both are known from the beginning: to register one more is another registration
	p.TxnToken(p.B)
	p.serve(t)
	return p
}

// serve answers at an address of its own, until the end of the test.
func (p *proving) serve(t testing.TB) {
	s := httptest.NewServer(p.exchange.Handler(p.Gate))
	t.Cleanup(s.Close)
	p.target.Addr = map[string]string{Name: s.Listener.Addr().String(), "postgres": "nowhere", identity.Edge: "nowhere"}
}

func (p *proving) tenant(path string, id tenant.ID) prove.Tenant {
	other := identitytest.New(p.t)
	return prove.Tenant{
		Name: path, ID: id.String(), Canary: "canary-" + tenant.New().String(),
		Token: func(_ context.Context, door string, reach ...string) (secret.Text, error) {
			switch door {
			case Name:
				return p.TxnToken(id, reach...), nil
			case identity.Edge:
				return p.ProviderToken(id), nil
			default:
				g := p.Grant(id, reach...)
				g.Broker = door
				return p.Minter.Mint(g)
			}
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
				return other.TxnToken(id), nil
			default:
				return secret.Text{}, prove.Skip("no token is %v here", f)
			}
		},
		Suspend: func(context.Context) error { p.Standing.Suspend(id.UUID()); return nil },
		Resume:  func(context.Context) error { p.Standing.Resume(id.UUID()); return nil },
	}
}

// TestProbes attacks a real endpoint with everything there is.
func TestProbes(t *testing.T) {
	p := newProving(t)
	r := prove.Run(t.Context(), p.target, Probes(), prove.Options{Gaps: Gaps()})
	t.Log(r.Summary())
	for _, o := range r.Outcomes {
		if o.Status != prove.Held {
			t.Errorf("%s: %v: %s", o.Probe, o.Status, o.Why)
		}
	}
}
