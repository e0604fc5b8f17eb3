// Package forward is room 4: the only one that dials a store. It takes a Pass
// and no bytes, and gives answers in their turn.
//
// Of HTTP there are two paths. [NewDirect] reads answers by the rules that the
// edge has for requests. [NewUpstream] is the standard library's transport,
// which cannot be made as strict: it takes a Content-Length beside chunks and
// drops it, repeated Content-Lengths that agree, lines that end in LF alone,
// extensions of chunks and trailers, and none of that can be seen behind it. What can be
// seen is refused: a status that is none, another spelling of a field that
// frames, a value with a control byte. What an application adds by such means
// reaches nobody but its own tenant, whose connection it is.
package forward

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// A Peer is the protocol's side of one connection to a store. It sees no
// request.
type Peer interface {
	// Enter makes the connection the tenant's.
	Enter(context.Context, scope.Scope) error
	// Leave makes it nobody's, provably; an error destroys it.
	Leave(context.Context) error
}

// A Wire is a request that can be written to a stream.
type Wire interface {
	scope.Request
	// Encode appends the request, as its rule left it, to dst. It fails if
	// the rule that should have confined it did not run.
	Encode(dst []byte) ([]byte, error)
}

var (
	errForeign     = errors.New("forward: the connection was lent to another tenant than the pass's")
	errGone        = errors.New("forward: the connection was destroyed")
	errOutstanding = errors.New("forward: an answer is outstanding, or one came that nobody asked for")
)

// keepBuffer is the largest buffer a connection keeps between two requests.
const keepBuffer = 64 << 10

// A Conn is one connection to a store, lent to one tenant. Nobody outside
// this package reads or writes it. One goroutine sends; another may answer.
type Conn struct {
	peer   Peer
	net    net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	owner  tenant.ID
	dst    []byte        // sent, and not flushed; kept for its capacity
	slow   time.Duration // what the store may take for one operation; zero is [slowTime]
	last   chan struct{} // closed when the newest turn is done
	mu     sync.Mutex    // guards what follows
	turns  int           // sent, and not yet answered
	owed   int           // the operations of these
	broken error         // why it was destroyed
}

// Peer returns the protocol's side of c.
func (c *Conn) Peer() Peer { return c.peer }

// Destroy closes c for good and says why. It may be called at any time and
// more than once; a store connection that was cancelled, failed or lost step
// is never used again.
func (c *Conn) Destroy(why error) {
	c.mu.Lock()
	first := c.broken == nil
	if first {
		c.broken = errors.Join(errGone, why)
	}
	c.mu.Unlock()
	if first {
		c.net.Close() //nolint:errcheck // it is gone either way
	}
}

// Err returns why c was destroyed, or nil.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// slowTime is what a store may take for one operation, unless [Conn.Limit]
// says otherwise.
const slowTime = time.Minute

// Limit sets what the store may take for one operation: a store that reads
// nothing for longer than everything it owes may take is given up. It is for
// the goroutine that sends.
func (c *Conn) Limit(slow time.Duration) { c.slow = slow }

// Buffered returns how many bytes wait for a [Conn.Flush].
func (c *Conn) Buffered() int { return len(c.dst) }

// Flush sends what is buffered. It may block until the store, which does not
// read while somebody must take its answers, has been heard: whoever answers
// must have every turn that was sent by then.
func (c *Conn) Flush() error {
	c.mu.Lock()
	wait := cmp.Or(c.slow, slowTime) * time.Duration(c.owed+1)
	c.mu.Unlock()
	err := c.net.SetWriteDeadline(time.Now().Add(wait))
	if err == nil {
		_, err = c.out.Write(c.dst)
	}
	if err == nil {
		err = c.out.Flush()
	}
	if err == nil {
		err = c.net.SetWriteDeadline(time.Time{}) // taking leave may come much later
	}
	if c.dst = c.dst[:0]; cap(c.dst) > keepBuffer {
		c.dst = nil
	}
	if err != nil {
		c.Destroy(err)
		return refusal.New(refusal.Unavailable, "%w", err)
	}
	return nil
}

// A Turn is the place of one answer.
type Turn struct {
	conn   *Conn
	before chan struct{} // closed when the turn before is done
	done   chan struct{}
	sent   time.Time
	took   time.Duration // from sent to the end of the answer
	pass   closer
	ops    int // how many operations it is of
}

// A closer is what a Turn needs of its Pass, whatever the request.
type closer interface {
	Recorded(context.Context) error
	Free()
	Close(context.Context, ...audit.Result) (*audit.Receipt, error)
}

// Send writes one admitted request into the buffer of c; [Conn.Flush] sends
// it, and Send never waits for the store. If the request may write, its decision is durable before a byte is. It
// fails, and destroys c, if c was lent to another tenant than p's. Whatever it
// returns, the outcome of p is recorded: here, or by [Turn.Answer].
func Send[R Wire](ctx context.Context, c *Conn, p *broker.Pass[R]) (*Turn, error) {
	if c.owner != p.Scope().Tenant() || c.owner.IsZero() {
		c.Destroy(errForeign)
		return nil, abandon(ctx, p, refusal.New(refusal.Internal, "%w", errForeign))
	}
	req, err := p.Take(ctx)
	if err != nil {
		return nil, abandon(ctx, p, err)
	}
	if err := c.Err(); err != nil {
		return nil, abandon(ctx, p, refusal.New(refusal.Unavailable, "%w", err))
	}
	dst, err := req.Encode(c.dst)
	if err != nil {
		c.Destroy(err)
		return nil, abandon(ctx, p, refusal.New(refusal.Internal, "%w", err))
	}
	c.dst = dst
	t := &Turn{conn: c, before: c.last, done: make(chan struct{}), sent: time.Now(), pass: p, ops: len(req.Operations())}
	c.last = t.done
	c.mu.Lock()
	c.turns++
	c.owed += t.ops
	c.mu.Unlock()
	return t, nil
}

// abandon records that nothing was sent, and returns err beside whatever
// stopped that.
func abandon(ctx context.Context, p closer, err error) error {
	_, cerr := p.Close(ctx)
	return errors.Join(err, cerr)
}

// Answer runs read when the turns before t are done and the decision of t is
// durable; read's results, one an operation, are recorded. It destroys the
// connection on any error. It, or [Turn.Hear] and then [Turn.Settle], must be
// called exactly once on every turn.
func (t *Turn) Answer(ctx context.Context, read func(store *bufio.Reader) ([]audit.Result, error)) error {
	var rs []audit.Result
	err := t.hear(ctx, func(store *bufio.Reader) (err error) {
		rs, err = read(store)
		return err
	})
	return errors.Join(err, t.Settle(ctx, rs...))
}

// Hear is [Turn.Answer] for an operation whose outcome depends on answers that
// are still to come, as that of a statement does on the end of its transaction.
// What the operation reserved of its tenant's limits is given back.
func (t *Turn) Hear(ctx context.Context, read func(store *bufio.Reader) error) error {
	defer t.pass.Free()
	return t.hear(ctx, read)
}

func (t *Turn) hear(ctx context.Context, read func(store *bufio.Reader) error) error {
	defer close(t.done)
	<-t.before
	err := t.pass.Recorded(context.WithoutCancel(ctx))
	if err == nil {
		err = read(t.conn.in)
	}
	t.took = time.Since(t.sent)
	t.conn.mu.Lock()
	t.conn.turns--
	t.conn.owed -= t.ops
	t.conn.mu.Unlock()
	if err != nil {
		t.conn.Destroy(err)
	}
	return err
}

// Settle records the outcome of a turn that was heard: one result an
// operation, those missing being abandoned.
func (t *Turn) Settle(ctx context.Context, rs ...audit.Result) error {
	for i := range rs {
		rs[i].Micros = t.took.Microseconds()
	}
	_, err := t.pass.Close(ctx, rs...)
	if err != nil {
		t.conn.Destroy(err)
	}
	return err
}

// idle reports whether c is in step: nothing sent is unanswered, and nothing
// unasked for has arrived.
func (c *Conn) idle() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.broken != nil:
		return c.broken
	case c.turns > 0 || len(c.dst) > 0 || c.out.Buffered() > 0 || c.in.Buffered() > 0:
		return errOutstanding
	}
	return c.silent()
}

// silent reports whether no byte is waiting in the socket: it must time out.
func (c *Conn) silent() error {
	if err := c.net.SetReadDeadline(time.Now().Add(time.Microsecond)); err != nil {
		return err
	}
	_, err := c.in.Peek(1)
	if err == nil {
		return errOutstanding
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		return errors.Join(io.ErrUnexpectedEOF, err)
	}
	return c.net.SetReadDeadline(time.Time{})
}
