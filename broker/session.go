package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A Session is one verified token at one broker: not one connection, which
// may see several. It is safe for concurrent use.
type Session struct {
	gate    *Gate
	broker  string
	peer    netip.AddrPort
	id      string
	p       identity.Principal
	release func()
	once    bool // its beginning was not recorded, so its end is not
	left    sync.Once
}

// recordTimeout bounds how long a record that nobody waits for may take.
const recordTimeout = 5 * time.Second

// Enter makes a session of token, presented to broker by peer. That it began
// is durable on return. A token that does not verify is counted, not
// recorded: a flood must not fill the trail.
func (g *Gate) Enter(ctx context.Context, broker string, peer netip.AddrPort, token secret.Text) (*Session, error) {
	return g.enter(ctx, broker, peer, token, g.Limiter.Connect)
}

// Visit is [Gate.Enter] for a token that owns no connection, as those over
// HTTP, where many requests of one token come over any connection: it takes
// one of its tenant's sessions, not of its connections.
func (g *Gate) Visit(ctx context.Context, broker string, peer netip.AddrPort, token secret.Text) (*Session, error) {
	return g.enter(ctx, broker, peer, token, g.Limiter.Visit)
}

func (g *Gate) enter(ctx context.Context, broker string, peer netip.AddrPort, token secret.Text, take func(identity.Principal) (func(), error)) (*Session, error) {
	s, err := g.begin(ctx, broker, peer, token, take)
	if err != nil {
		return nil, err
	}
	if err := s.entry(ctx, audit.ClassSessionBegun, nil); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// Once makes a session for a single request, whose own records say all there
// is to say of it: that it began and ended is not recorded beside. [Session.Leave]
// has to be called all the same.
func (g *Gate) Once(ctx context.Context, broker string, peer netip.AddrPort, token secret.Text) (*Session, error) {
	s, err := g.begin(ctx, broker, peer, token, g.Limiter.Visit)
	if err != nil {
		return nil, err
	}
	s.once = true
	return s, nil
}

// begin verifies token and takes a place for its session.
func (g *Gate) begin(ctx context.Context, broker string, peer netip.AddrPort, token secret.Text, take func(identity.Principal) (func(), error)) (*Session, error) {
	p, err := g.Verifier.Verify(ctx, broker, token)
	if err != nil {
		g.Counter.Refused(broker, peer.Addr(), refusal.Of(err))
		return nil, err
	}
	var id [16]byte
	rand.Read(id[:]) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	s := &Session{gate: g, broker: broker, peer: peer, id: hex.EncodeToString(id[:]), p: p}
	if s.release, err = take(p); err != nil {
		return nil, s.refuse(ctx, err)
	}
	return s, nil
}

// Leave ends s and records why. It may be called more than once; the first
// counts.
func (s *Session) Leave(ctx context.Context, why error) error {
	var err error
	s.left.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer cancel()
		if !s.once {
			err = s.entry(ctx, audit.ClassSessionEnded, why)
		}
		s.release()
	})
	return err
}

// ID returns what the records call s.
func (s *Session) ID() string { return s.id }

// Scope returns what s may touch.
func (s *Session) Scope() scope.Scope { return scope.Of(s.p) }

// Context returns a context that ends, with the refusal as its cause, when
// the Principal does. It goes on in spite of the reasons in except: an answer
// in progress may be finished after its token's expiry, say, where the next
// [Admit] will refuse.
func (s *Session) Context(parent context.Context, except ...refusal.Reason) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			changed := s.gate.Verifier.Watch()
			err := s.gate.Verifier.Live(s.p)
			if err != nil && !slices.Contains(except, refusal.Of(err)) {
				cancel(err)
				return
			}
			over := time.NewTimer(max(s.p.Expires().Sub(s.gate.Now()), time.Second))
			select {
			case <-changed:
			case <-over.C:
			case <-ctx.Done():
				over.Stop()
				return
			}
			over.Stop()
		}
	}()
	return ctx, func() {
		cancel(context.Canceled)
		<-watched
	}
}

// refuse records that a verified principal was not let in, and returns err,
// or Unrecorded.
func (s *Session) refuse(ctx context.Context, err error) error {
	if omitted, record := s.gate.recorded(s.p.Tenant()); !record {
		return err
	} else if rerr := s.entryOmitting(ctx, audit.ClassSessionRefused, err, omitted); rerr != nil {
		return rerr
	}
	return err
}

func (s *Session) entry(ctx context.Context, class audit.Class, why error) error {
	return s.entryOmitting(ctx, class, why, 0)
}

// entryOmitting records the beginning or end of s twice: whole, in the
// tenant's log, and without the person in the operator's.
func (s *Session) entryOmitting(ctx context.Context, class audit.Class, why error, omitted int64) error {
	r := s.record(audit.Entry)
	r.Class = class
	r.Result.Rows = omitted
	if why != nil {
		r.Detail = why.Error()
	}
	if e, ok := errors.AsType[*refusal.Error](why); ok {
		r.Reason = e.Reason.String()
	}
	o := r
	o.Log, o.Subject, o.Issuer, o.Actors = tenant.ID{}, "", "", nil
	o.Resources = []string{s.p.Tenant().String()}
	mine, err := s.gate.Log.Append(r)
	if err != nil {
		return refusal.New(refusal.Unrecorded, "%w", err)
	}
	ours, err := s.gate.Log.Append(o)
	if err != nil {
		return refusal.New(refusal.Unrecorded, "%w", err)
	}
	for _, receipt := range []*audit.Receipt{mine, ours} {
		if _, err := receipt.Wait(ctx); err != nil {
			return refusal.New(refusal.Unrecorded, "%w", err)
		}
	}
	return nil
}

// record returns what every record of s has in common.
func (s *Session) record(kind audit.Kind) audit.Record {
	return audit.Record{
		Log:     s.p.Tenant(),
		Kind:    kind,
		Time:    s.gate.Now(),
		Subject: s.p.Subject(),
		Issuer:  s.p.Issuer(),
		Txn:     s.p.Txn(),
		Actors:  s.p.Actors(),
		Peer:    s.peer.String(),
		Session: s.id,
		Broker:  s.broker,
	}
}
