package postgres

import (
	"context"
	"errors"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// take acts on one message.
func (c *client) take(ctx context.Context, m pgwire.FrontendMessage) error {
	if _, bye := m.(pgwire.Terminate); bye {
		return errBye
	}
	_, sync := m.(pgwire.Sync)
	if c.build.skipping && !sync {
		return nil
	}
	if u := c.build.u; u != nil && !sync && (u.executed || u.size() > maxUnit/2) {
		if err := c.admit(ctx, c.build.take()); err != nil || c.build.skipping {
			return err
		}
	}
	if c.build.took(); c.build.skipping && !sync {
		return nil
	}
	return c.add(ctx, m)
}

// add puts one message into its unit, and admits the unit that it ends.
func (c *client) add(ctx context.Context, m pgwire.FrontendMessage) error {
	b := &c.build
	switch m := m.(type) {
	case *pgwire.Parse:
		b.parse(m)
	case *pgwire.Bind:
		b.bind(m)
	case *pgwire.Describe:
		b.describe(m)
	case *pgwire.Close:
		b.close(m)
	case *pgwire.Execute:
		b.execute(m)
	case pgwire.Flush:
		b.flush()
		return c.admit(ctx, b.take())
	case pgwire.Sync:
		return c.sync(ctx)
	case *pgwire.Query:
		return c.simple(ctx, func() error { return c.query(ctx, m) })
	case pgwire.FunctionCall:
		return c.simple(ctx, func() error {
			b.foreign("FunctionCall")
			return nil
		})
	case *pgwire.CopyData, pgwire.CopyDone, *pgwire.CopyFail:
		return nil // no COPY FROM is in progress: dropped, as the server drops them
	default:
		return refusal.New(refusal.Malformed, "postgres: %v after login", m.Type())
	}
	if b.u != nil && b.u.size() > maxUnit {
		return refusal.New(refusal.TooLarge, "postgres: a unit of more than %d bytes", maxUnit)
	}
	return nil
}

// simple runs a message that ends its own group. If messages of the extended
// protocol stand before it in the same group and one of them failed, the
// server drops it like any other up to the Sync; so that must be known first.
func (c *client) simple(ctx context.Context, run func() error) error {
	if err := c.admit(ctx, c.build.take()); err != nil {
		return err
	}
	if c.build.tx.begun {
		if _, err := c.catchUp(ctx); err != nil {
			return err
		}
	}
	if c.build.skipping {
		return nil
	}
	if err := run(); err != nil {
		return err
	}
	return c.sync(ctx)
}

// query admits the statements of a simple Query, all of them or none; but what
// follows a COMMIT or ROLLBACK in it is another transaction, and is admitted
// when that one is over.
func (c *client) query(ctx context.Context, m *pgwire.Query) error {
	b := &c.build
	for _, p := range b.query(m) {
		if b.late(p) {
			if err := c.admit(ctx, b.take()); err != nil {
				return err
			}
		}
		if b.skipping {
			return nil
		}
		b.simple(p)
	}
	return nil
}

// sync ends a group: everything up to here is admitted and sent, and nothing
// behind it is looked at before the store has said where it stands.
func (c *client) sync(ctx context.Context) error {
	c.build.sync()
	if err := c.admit(ctx, c.build.take()); err != nil {
		return err
	}
	if err := c.dispatch(ctx); err != nil {
		return err
	}
	g, err := c.caughtUp(ctx)
	if err != nil {
		return err
	}
	c.midway.Store(false)
	c.build.settle(g.status, g.failed)
	return nil
}

// catchUp waits until everything in the group so far is answered, and reports
// whether any of it failed, after which the store skips the rest.
func (c *client) catchUp(ctx context.Context) (failed bool, err error) {
	var s script
	s.say(pgwire.Flush{})
	req := &request{ops: []scope.Operation{{Name: "Flush", Class: uint16(audit.ClassStatement)}}, backend: c.backend, script: s}
	pass, err := broker.Admit(ctx, c.session, table, req)
	if err != nil {
		return false, err
	}
	c.ready = append(c.ready, admitted{pass, turn{req: req, caught: true}})
	if err := c.dispatch(ctx); err != nil {
		return false, err
	}
	g, err := c.caughtUp(ctx)
	c.build.skipping = c.build.skipping || g.failed
	c.build.unflushed = 0
	return g.failed, err
}

func (c *client) caughtUp(ctx context.Context) (group, error) {
	select {
	case g := <-c.synced:
		return g, nil
	case <-ctx.Done():
		return group{}, context.Cause(ctx)
	}
}

// admit passes u through the gate. What is refused fails in the store, in the
// unit's place.
func (c *client) admit(ctx context.Context, u *unit) error {
	if u == nil {
		return nil
	}
	req := u.request(c.backend)
	if len(req.enters) > 0 && u.before.begun {
		failed, err := c.catchUp(ctx)
		if err != nil || failed && !u.synced { // the store would skip it
			return err
		}
	}
	pass, err := broker.Admit(ctx, c.session, table, req)
	if err != nil && fatal[refusal.Of(err)] {
		return err
	}
	if err != nil {
		req = c.build.refuse(u, faultOf(err)).request(c.backend)
		if pass, err = broker.Admit(ctx, c.session, table, req); err != nil {
			return err
		}
	}
	c.ready = append(c.ready, admitted{pass, turn{req: req}})
	if c.weight += len(req.wire); c.weight > maxUnit || len(c.ready) >= maxReady {
		return c.dispatch(ctx)
	}
	return nil
}

// maxPiece is about how much is sent at once.
const maxPiece = 64 << 10

// dispatch sends what was admitted. Every turn is with the answers before a
// byte of it goes to the store: a store that cannot say its answers stops
// reading. There is room for the turns of one dispatch besides those that the
// store, for want of a Flush, keeps the answers of.
func (c *client) dispatch(ctx context.Context) error {
	if u := c.build.u; u != nil && u.executed {
		if err := c.admit(ctx, c.build.take()); err != nil {
			return err
		}
	}
	if len(c.ready) == 0 {
		return nil
	}
	c.midway.Store(true)
	var failed error
	for len(c.ready) > 0 && failed == nil {
		a := c.ready[0]
		c.ready = c.ready[1:]
		if a.turn.Turn, failed = forward.Send(ctx, c.conn, a.pass); failed == nil {
			a.turn.req.sent()
			c.turns <- a.turn // the answers take every turn, come what may
		}
		if c.conn.Buffered() > maxPiece {
			failed = errors.Join(failed, c.conn.Flush())
		}
	}
	c.weight = 0
	return errors.Join(failed, c.conn.Flush())
}

// abandon records that what was admitted and not sent was given up.
func (c *client) abandon(ctx context.Context) error {
	var errs []error
	for _, a := range c.ready {
		c.conn.Destroy(errGone)
		_, err := forward.Send(context.WithoutCancel(ctx), c.conn, a.pass)
		if refusal.Of(err) == refusal.Unrecorded {
			errs = append(errs, err)
		}
	}
	c.ready = nil
	return errors.Join(errs...)
}
