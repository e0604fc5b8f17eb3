// Package exchange is the broker that turns a Txn-Token into a token for one
// store (RFC 8693), and only ever narrows.
//
// A workload holds the Txn-Token of the request it works on, which opens
// nothing by itself. Here it gets, in exchange, what it may present as a
// password at one broker: for the same person of the same tenant, with the
// same txn, with no more reach and no more life than the Txn-Token has. The
// minting is the store of this broker: it takes a Pass like any other.
package exchange

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
)

// Name is that of the broker: at the verifier's door, in records and metrics.
const Name = identity.Exchange

// A Minter makes store tokens. [identity.Minter] is one.
type Minter interface {
	Narrow(p identity.Principal, n identity.Narrowing) (secret.Text, error)
}

// A Config is what the exchange needs. Every field is required.
type Config struct {
	Minter  Minter
	Brokers []string // those that run here, and that a token can be had for
	Now     func() time.Time
	Log     *slog.Logger
}

// An Exchange answers token requests.
type Exchange struct{ c Config }

// New returns the exchange that c describes, or everything that is wrong with c.
func New(c Config) (*Exchange, error) {
	errs := table.Check()
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("exchange: "+what))
		}
	}
	want(c.Minter != nil, "minter is missing")
	want(len(c.Brokers) > 0, "no broker to have a token for")
	want(c.Now != nil && c.Log != nil, "clock or log is missing")
	for _, name := range c.Brokers {
		want(table[row(name)].Verdict == scope.Confine, "no row for tokens of "+name)
	}
	c.Brokers = slices.Clone(c.Brokers)
	return &Exchange{c}, errors.Join(errs...)
}

// Rows returns the posture of the exchange.
func (*Exchange) Rows() []scope.Row { return table.Rows(Name) }

// Handler returns the token endpoint. It takes every request for one, whatever
// its method and path: where it is mounted is not its business.
func (x *Exchange) Handler(g *broker.Gate) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := x.serve(r.Context(), g, w, r)
		if err != nil {
			x.refuse(w, r, err)
			return
		}
		x.say(w, r, http.StatusOK, a)
	})
}

// serve takes one request through the rooms.
func (x *Exchange) serve(ctx context.Context, g *broker.Gate, w http.ResponseWriter, r *http.Request) (*answer, error) {
	peer := remote(r)
	f, err := read(w, r)
	if err != nil {
		g.Counter.Refused(Name, peer.Addr(), refusal.Of(err))
		return nil, err
	}
	s, err := g.Once(ctx, Name, peer, f.subject)
	if err != nil {
		return nil, err
	}
	a, err := x.exchange(ctx, s, f)
	if lerr := s.Leave(ctx, err); lerr != nil && err == nil {
		return nil, lerr
	}
	return a, err
}

// exchange mints for s what f asks for.
func (x *Exchange) exchange(ctx context.Context, s *broker.Session, f *form) (*answer, error) {
	pass, err := broker.Admit(ctx, s, table, x.request(f))
	if err != nil {
		return nil, err
	}
	var a *answer
	p := s.Scope().Principal()
	err = forward.Local(ctx, pass, func(_ context.Context, q *request) (audit.Result, error) {
		var err error
		if a, err = x.mint(p, q); err != nil {
			return audit.Result{Status: audit.StatusFailed, Code: refusal.Of(err).String()}, err
		}
		return audit.Result{Status: audit.StatusOK}, nil
	})
	if err != nil {
		return nil, err // what was minted stays here
	}
	return a, nil
}

// mint makes the token, as long as p has left and no longer than any token.
func (x *Exchange) mint(p identity.Principal, q *request) (*answer, error) {
	if q.granted == nil {
		return nil, refusal.New(refusal.Internal, "exchange: the rule did not run")
	}
	life := min(p.Expires().Sub(x.c.Now()), identity.MaxLifetime).Truncate(time.Second)
	if life < time.Second {
		return nil, refusal.New(refusal.Expired, "exchange: %v left", life)
	}
	token, err := x.c.Minter.Narrow(p, identity.Narrowing{Broker: q.broker, Reach: q.granted, TTL: life})
	if err != nil {
		return nil, err
	}
	return newAnswer(token, q.granted, life), nil
}

// remote returns who asks, or the zero AddrPort over a unix socket.
func remote(r *http.Request) netip.AddrPort {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
