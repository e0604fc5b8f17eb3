package accept_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/accept"
)

// A listener hands out one end of pipes, as the given addresses.
type listener struct {
	conns  chan net.Conn
	errs   chan error
	closed chan struct{}
	once   sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), errs: make(chan error), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case err := <-l.errs:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{} }

func (l *listener) dial(addr string) net.Conn {
	client, server := net.Pipe()
	l.conns <- from{server, addr}
	return client
}

type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr {
	a, err := netip.ParseAddrPort(f.addr)
	if err != nil {
		return &net.UnixAddr{Name: f.addr}
	}
	return net.TCPAddrFromAddrPort(a)
}

// places is a limiter with n places.
type places struct {
	mu   sync.Mutex
	free int
}

func (p *places) Arrive(netip.Addr) (func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free == 0 {
		return nil, errors.New("full")
	}
	p.free--
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.free++
	}, nil
}

func gone(c net.Conn) bool {
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}

// serve starts a door whose handler echoes until its guest goes.
func serve(t *testing.T, n int, grace time.Duration) (l *listener, p *places, stop func() error) {
	t.Helper()
	l, p = newListener(), &places{free: n}
	d := accept.Door{Limiter: p, Log: slog.New(slog.DiscardHandler), Grace: grace}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- d.Serve(ctx, l, func(_ context.Context, g *accept.Guest) error {
			_, err := io.Copy(g, g)
			return err
		})
	}()
	return l, p, func() error {
		cancel()
		return <-done
	}
}

func echo(t *testing.T, c net.Conn) {
	t.Helper()
	go c.Write([]byte("x")) //nolint:errcheck // the answer would miss
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestPlacesAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p, stop := serve(t, 2, time.Second)
		one, two := l.dial("192.0.2.1:1"), l.dial("192.0.2.1:2")
		echo(t, one)
		if three := l.dial("192.0.2.1:3"); !gone(three) {
			t.Error("a third of two is let in")
		}
		one.Close()
		synctest.Wait()
		four := l.dial("[2001:db8::1]:4")
		echo(t, four)
		echo(t, two)
		four.Close()
		two.Close()
		synctest.Wait()
		if p.free != 2 {
			t.Errorf("%d of 2 places are free", p.free)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestKnownFreesThePlaceOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newListener(), &places{free: 1}
		ctx, cancel := context.WithCancel(t.Context())
		d := accept.Door{Limiter: p, Log: slog.New(slog.DiscardHandler), Grace: time.Second}
		done := make(chan error, 1)
		go func() {
			done <- d.Serve(ctx, l, func(_ context.Context, g *accept.Guest) error {
				g.Known()
				g.Known()
				_, err := io.Copy(g, g)
				return err
			})
		}()
		one := l.dial("192.0.2.1:1")
		echo(t, one) // so it is known
		two := l.dial("192.0.2.1:2")
		echo(t, two)
		one.Close()
		two.Close()
		cancel()
		if err := <-done; err != nil || p.free != 1 {
			t.Errorf("%d places: %v", p.free, err)
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, stop := serve(t, 9, time.Minute)
		quick, slow := l.dial("192.0.2.1:1"), l.dial("192.0.2.1:2")
		echo(t, slow)
		begin := time.Now()
		go func() {
			time.Sleep(10 * time.Second)
			echo(t, quick) // a guest in progress goes on
			quick.Close()
		}()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("the door waited %v", took)
		}
		if !gone(slow) {
			t.Error("who outstays the grace is not cut")
		}
	})
}

func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, stop := serve(t, 9, time.Second)
		for range 5 {
			l.errs <- errors.New("out of descriptors")
		}
		c := l.dial("192.0.2.1:1")
		echo(t, c)
		c.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestClosedFromElsewhere(t *testing.T) {
	l, d := newListener(), accept.Door{Limiter: &places{}, Log: slog.New(slog.DiscardHandler)}
	l.Close()
	if err := d.Serve(t.Context(), l, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestIsLocal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := newListener()
		d := accept.Door{Limiter: &places{free: 99}, Log: slog.New(slog.NewTextHandler(&log, nil)), Grace: time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		local := make(chan bool)
		go d.Serve(ctx, l, func(_ context.Context, g *accept.Guest) error { //nolint:errcheck // of no interest
			local <- g.IsLocal()
			return errors.New("enough")
		})
		for addr, want := range map[string]bool{
			"127.0.0.1:1": true, "127.8.8.8:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true, "@": true,
			"192.0.2.1:1": false, "10.0.0.1:1": false, "[2001:db8::1]:1": false, "[::ffff:192.0.2.1]:1": false, "0.0.0.0:1": false,
		} {
			c := l.dial(addr)
			if got := <-local; got != want {
				t.Errorf("%s is local: %v", addr, got)
			}
			c.Close()
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !strings.Contains(log.String(), "enough") {
			t.Error("the operator does not hear why a connection ends")
		}
	})
}

// late hands out one connection as it is closed.
type late struct {
	net.Listener
	closed chan struct{}
	conn   net.Conn
}

func (l *late) Accept() (net.Conn, error) { <-l.closed; return l.conn, nil }
func (l *late) Close() error              { close(l.closed); return nil }

func TestWhoComesAsTheDoorCloses(t *testing.T) {
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := accept.Door{Limiter: &places{free: 9}, Log: slog.New(slog.DiscardHandler), Grace: time.Second}
	if err := d.Serve(ctx, &late{closed: make(chan struct{}), conn: ours}, nil); err != nil {
		t.Error(err)
	}
	if _, err := theirs.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("its connection is left open: %v", err)
	}
}
