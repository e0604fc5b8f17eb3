// Package accept is room 1: connections arrive, bounded, timed and drained.
package accept

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A Door lets connections in. Every field is required.
type Door struct {
	// Limiter bounds the connections of one address that have shown no token.
	Limiter interface {
		Arrive(netip.Addr) (release func(), err error)
	}
	Log *slog.Logger
	// Grace is how long the connections in progress may go on once the door
	// closes, before they are cut.
	Grace time.Duration
}

// A Guest is a connection that was let in.
type Guest struct {
	net.Conn
	Addr netip.AddrPort // where it comes from; the zero AddrPort for a unix socket
	once sync.Once
	free func()
}

// Known gives back the place of one that has shown no token. Handlers call it
// when the guest has shown a good one; it is called again when the guest goes.
func (g *Guest) Known() { g.once.Do(g.free) }

// Serve calls handle on each connection of ln until ctx is done, then waits
// for those in progress, at most the grace. It owns ln and every connection.
func (d Door) Serve(ctx context.Context, ln net.Listener, handle func(context.Context, *Guest) error) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() }) //nolint:errcheck // it is being closed
	defer stop()
	cut, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var guests sync.WaitGroup
	defer d.drain(&guests, cancel)
	for {
		c, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close() //nolint:errcheck // it came as the door closed
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // out of descriptors, or the client has gone: not ours to die of
			d.Log.WarnContext(ctx, "accept failed", "err", err)
			pause(ctx)
			continue
		}
		addr := remote(c)
		free, err := d.Limiter.Arrive(addr.Addr())
		if err != nil {
			c.Close() //nolint:errcheck // it was not let in
			continue
		}
		guests.Go(func() { d.host(ctx, cut, &Guest{Conn: c, Addr: addr, free: free}, handle) })
	}
}

func (d Door) host(ctx, cut context.Context, g *Guest, handle func(context.Context, *Guest) error) {
	defer g.Known()
	defer g.Close()                                      //nolint:errcheck // it is over
	stop := context.AfterFunc(cut, func() { g.Close() }) //nolint:errcheck // it is being cut
	defer stop()
	if err := handle(ctx, g); err != nil {
		d.Log.InfoContext(ctx, "connection ended", "remote", g.Addr, "err", err)
	}
}

// drain waits for the guests, and cuts those that outstay the grace.
func (d Door) drain(guests *sync.WaitGroup, cut context.CancelFunc) {
	late := time.AfterFunc(d.Grace, cut)
	defer late.Stop()
	guests.Wait()
}

// pause waits a moment, so that a failing accept does not spin.
func pause(ctx context.Context) {
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func remote(c net.Conn) netip.AddrPort {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// IsLocal reports whether g comes from this machine: over a unix socket or
// loopback. It decides whether a secret may cross without TLS, and nothing else.
func (g *Guest) IsLocal() bool {
	return !g.Addr.IsValid() || g.Addr.Addr().IsLoopback()
}
