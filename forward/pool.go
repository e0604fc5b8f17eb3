package forward

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// bufferSize is that of each direction of a store connection.
const bufferSize = 16 << 10

// A Pool lends connections to one store. Its first form keeps none: one
// connection a session, destroyed when it is given back, so that nothing of a
// tenant can meet the next. The fields are set before the first Get and not
// changed after.
type Pool struct {
	Dial func(context.Context) (net.Conn, error)
	Open func(context.Context, *bufio.ReadWriter) (Peer, error) // logs in
	Max  int                                                    // connections at once
	Each int                                                    // of them, lent to one tenant; less than Max, so that none can have all
	Wait time.Duration                                          // how long Get may wait for one of them

	once  sync.Once
	slots chan struct{}
	mu    sync.Mutex // guards what follows
	lent  map[tenant.ID]int
}

// take counts a connection as lent to t, unless t has all it may have.
func (p *Pool) take(t tenant.ID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lent[t] >= p.Each {
		return refusal.New(refusal.TooMany, "forward: tenant %s has %d connections to the store", t, p.Each)
	}
	if p.lent == nil {
		p.lent = make(map[tenant.ID]int)
	}
	p.lent[t]++
	return nil
}

// giveBack is the inverse of take.
func (p *Pool) giveBack(t tenant.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lent[t]--; p.lent[t] <= 0 {
		delete(p.lent, t)
	}
}

// Get returns a connection that is the tenant's of s and nobody else's. It is
// the only way to one.
func (p *Pool) Get(ctx context.Context, s scope.Scope) (*Conn, error) {
	p.once.Do(func() { p.slots = make(chan struct{}, p.Max) })
	if s.Tenant().IsZero() {
		return nil, refusal.New(refusal.Internal, "forward: a connection for nobody")
	}
	if err := p.take(s.Tenant()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.Wait)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		p.giveBack(s.Tenant())
		return nil, refusal.New(refusal.TooMany, "forward: all %d connections to the store are lent", p.Max)
	}
	c, err := p.open(ctx, s)
	if err != nil {
		<-p.slots
		p.giveBack(s.Tenant())
		return nil, refusal.New(refusal.Unavailable, "%w", err)
	}
	return c, nil
}

func (p *Pool) open(ctx context.Context, s scope.Scope) (*Conn, error) {
	nc, err := p.Dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // a closed connection fails as well
	c := &Conn{
		net: nc, in: bufio.NewReaderSize(nc, bufferSize), out: bufio.NewWriterSize(nc, bufferSize),
		owner: s.Tenant(), last: make(chan struct{}),
	}
	close(c.last)
	c.peer, err = p.Open(ctx, bufio.NewReadWriter(c.in, c.out))
	if err == nil {
		err = c.peer.Enter(ctx, s)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx) // its deadline is over and stays so
	}
	if err != nil {
		c.Destroy(err)
		return nil, err
	}
	return c, nil
}

// Put gives c back. It is destroyed: if it is in step it takes leave of the
// store first.
func (p *Pool) Put(ctx context.Context, c *Conn) {
	if c.idle() == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		c.Destroy(c.peer.Leave(ctx))
		cancel()
	}
	c.Destroy(nil)
	<-p.slots
	p.giveBack(c.owner)
}
