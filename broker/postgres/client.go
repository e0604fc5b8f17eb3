package postgres

import (
	"bufio"
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
)

// Bounds of one connection.
const (
	maxMessage = 16 << 20 // of a message after login
	maxUnit    = 32 << 20 // of the messages of one unit
	maxUnread  = 32 << 20 // read from the client and not taken yet
	maxReady   = 32       // units admitted and not sent
	maxTurns   = 64       // units sent and not answered
)

// A client is one connection whose token was verified. Three goroutines serve
// it: one reads its messages, one admits and sends them, one gives it the
// answers.
type client struct {
	conduit *patient
	in      *pgwire.Reader
	out     *bufio.Writer // the answers' while they run
	session *broker.Session
	conn    *forward.Conn
	backend *backend
	drain   <-chan struct{} // closed when the node is going away
	token   context.Context // ends with the token, and says why
	grace   time.Duration   // what a statement may take beyond that
	cancel  func(context.Context, pgwire.BackendKeyData) error

	inbox  inbox
	unread *semaphore.Weighted
	build  builder
	ready  []admitted
	weight int // of ready
	turns  chan turn
	synced chan group
	midway atomic.Bool // something was sent that no ReadyForQuery has answered
}

// A message is one of the client's, with its size.
type message struct {
	m    pgwire.FrontendMessage
	size int64
}

// An admitted is a unit that may be sent.
type admitted struct {
	pass *broker.Pass[*request]
	turn turn
}

// A turn is a unit that was sent.
type turn struct {
	*forward.Turn
	req    *request
	caught bool // somebody waits until it is answered
}

// A group is how a group of messages ended, or stands.
type group struct {
	status pgwire.TxStatus
	failed bool
}

// errBye is how a client that says goodbye ends.
var errBye = errors.New("postgres: the client said goodbye")

// errGone is how a client ends that goes without a word.
var errGone = errors.New("postgres: the client hung up")

// serve answers the client until one side ends it, and returns why. Whatever
// was admitted has its outcome recorded by then, and nothing of it goes on.
func (c *client) serve(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	c.inbox.arrived = make(chan struct{}, 1)
	c.unread = semaphore.NewWeighted(maxUnread)
	c.turns = make(chan turn, maxTurns)
	c.synced = make(chan group, 1)
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		c.kill(context.Cause(ctx))
	})
	defer context.AfterFunc(c.token, func() { c.last(ctx, end) })()
	var answering, reading sync.WaitGroup
	fail := func(err error) {
		if err != nil {
			end(err)
		}
	}
	reading.Go(func() { fail(c.read(ctx)) })
	answering.Go(func() { fail(c.answer(ctx, fail)) })
	err := c.loop(ctx)
	if c.midway.Load() || !errors.Is(err, errBye) {
		end(err)
	}
	aerr := c.abandon(ctx)
	close(c.turns)
	answering.Wait()
	if !stop() { // else the store is in step, and the pool says goodbye to it
		<-killed
		err = context.Cause(ctx)
	}
	end(errBye)
	c.conduit.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a closed connection ends the reader as well
	reading.Wait()
	return errors.Join(err, aerr)
}

// last ends a client that the end of its token finds in a statement, if it is
// not over in time: one whose answer nobody takes would hold its place.
func (c *client) last(ctx context.Context, end context.CancelCauseFunc) {
	over := time.NewTimer(c.grace)
	defer over.Stop()
	select {
	case <-over.C:
		end(context.Cause(c.token))
	case <-ctx.Done():
	}
}

// kill gives the connections up and stops what the backend is running. It
// would notice by itself within [checkInterval].
func (c *client) kill(why error) {
	c.conduit.hurry()
	first := c.conn.Err() == nil
	c.conn.Destroy(why)
	if first && c.midway.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), cancelTime)
		defer cancel()
		_ = c.cancel(ctx, c.backend.key)
	}
}

// read takes the client's messages off the wire. It returns nil after a
// Terminate, which the loop meets in its turn.
func (c *client) read(ctx context.Context) error {
	for {
		t, p, err := c.in.ReadMessage(maxMessage)
		if err != nil {
			return gone(err)
		}
		f, err := pgwire.ParseFrontend(t)
		if err != nil {
			return err
		}
		m, err := pgwire.DecodeFrontend(f, p)
		if err != nil {
			return err
		}
		size := int64(len(p)) + 64
		if err := c.unread.Acquire(ctx, size); err != nil {
			return err
		}
		c.inbox.put(message{m, size})
		if _, bye := m.(pgwire.Terminate); bye {
			return nil
		}
	}
}

// gone tells a connection that ended from one that says something wrong, or
// nothing for too long.
func gone(err error) error {
	switch {
	case err == nil || refusal.Of(err) != refusal.Internal:
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refusal.New(refusal.TooLong, "postgres: %w", err)
	default:
		return errors.Join(errGone, err)
	}
}

// An inbox holds the messages that were read and not taken. What bounds it is
// their size.
type inbox struct {
	arrived chan struct{} // has room for one: something was put

	mu    sync.Mutex // guards what follows
	queue []message
}

func (i *inbox) put(m message) {
	i.mu.Lock()
	i.queue = append(i.queue, m)
	i.mu.Unlock()
	select {
	case i.arrived <- struct{}{}:
	default:
	}
}

// take returns the next message, if there is one.
func (i *inbox) take() (message, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.queue) == 0 {
		return message{}, false
	}
	m := i.queue[0]
	i.queue[0] = message{}
	if i.queue = i.queue[1:]; len(i.queue) == 0 {
		i.queue = nil
	}
	return m, true
}

// loop takes the messages in order.
func (c *client) loop(ctx context.Context) error {
	for {
		m, ok := c.inbox.take()
		if !ok {
			if err := c.dispatch(ctx); err != nil {
				return err
			}
			if err := c.wait(ctx); err != nil {
				return err
			}
			continue
		}
		c.unread.Release(m.size)
		if err := c.take(ctx, m.m); err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
}

// wait waits for a message, or for a reason to stop: between two transactions
// or, where the token is over, between two statements.
func (c *client) wait(ctx context.Context) error {
	drain, over := c.drain, c.token.Done()
	if c.midway.Load() {
		over = nil // [client.last] sees to it
	}
	if tx := &c.build.tx; tx.block || len(tx.held) > 0 || tx.begun || c.build.u != nil {
		drain = nil
	}
	select {
	case <-c.inbox.arrived:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-over:
		return context.Cause(c.token)
	case <-drain:
		return refusal.New(refusal.Draining, "postgres: the node is going away")
	}
}

// answer gives the client its answers, in turn, and records what came of each.
// It takes every turn, also after it failed, which it says at once.
func (c *client) answer(ctx context.Context, fail func(error)) error {
	a := &answers{out: c.out}
	var waiting outcomes
	var failed error
	for t := range c.turns {
		var results []audit.Result
		err := t.Hear(ctx, func(store *bufio.Reader) (err error) {
			results, err = a.read(store, t.req)
			return err
		})
		waiting.add(t, results)
		ends := t.req.ends()
		t.req.heard()
		g := group{a.status, a.failed}
		if ends && err == nil {
			err = waiting.settle(ctx, g)
			a.failed = false
		}
		if err != nil && failed == nil {
			failed = err
			c.conn.Destroy(err)
		}
		if failed == nil && (ends || t.caught) {
			failed = a.flush()
			c.synced <- g
		}
		if failed == nil && len(c.turns) == 0 {
			failed = a.flush()
		}
		fail(failed)
	}
	return errors.Join(failed, waiting.abandon(ctx, a.failed))
}
