package admin

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/limit"
)

// A street is a listener that hands out one end of pipes, as addresses.
type street struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (s *street) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *street) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *street) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7900} }

// passer is a connection that comes from an address.
type passer struct {
	net.Conn
	at netip.AddrPort
}

func (p passer) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(p.at) }

func (s *street) dial(addr string) net.Conn {
	client, server := net.Pipe()
	s.conns <- passer{server, netip.AddrPortFrom(netip.MustParseAddr(addr), 40000)}
	return client
}

// ask returns the status of one request from addr, and 0 if it is not let in.
func (s *street) ask(addr, method, path string) int {
	c := s.dial(addr)
	defer c.Close() //nolint:errcheck // a pipe
	if _, err := io.WriteString(c, method+" "+path+" HTTP/1.1\r\nHost: 127.0.0.1:7900\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close() //nolint:errcheck // a pipe
	return resp.StatusCode
}

// public serves the public port within a bubble until the test calls stop.
func public(t *testing.T, token http.Handler) (s *street, stop func()) {
	t.Helper()
	l, err := limit.New(limit.Config{
		Connections: 1, Sessions: 1, Rate: 1, Burst: 1, Queue: 1, RecordBytes: 1,
		Strangers: 1024, StrangersPerNet: 256, Tenants: 1, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	s = &street{conns: make(chan net.Conn), closed: make(chan struct{})}
	p := Public{Ready: func() error { return nil }, Token: token, Log: slog.New(slog.DiscardHandler), Arrive: l.Arrive}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx, s) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Idle strangers have the places of their own network, for a second, and no
// others.
func TestIdleStrangersBlockTheirOwnNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := public(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
		defer stop()
		begin := time.Now()
		for range 600 {
			c := s.dial("127.0.0.1")
			defer c.Close() //nolint:errcheck // a pipe
		}
		synctest.Wait()
		if got := s.ask("127.0.0.2", "GET", ReadyPath); got != 0 {
			t.Errorf("a full network is told %d", got)
		}
		if got := s.ask("127.1.0.1", "GET", ReadyPath); got != http.StatusOK {
			t.Errorf("readiness: %d", got)
		}
		if got := s.ask("127.1.0.1", "POST", TokenPath); got != http.StatusTeapot {
			t.Errorf("the token endpoint: %d", got)
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("another network waited %v", waited)
		}
		time.Sleep(publicHead + time.Millisecond)
		synctest.Wait()
		if got := s.ask("127.0.0.2", "GET", ReadyPath); got != http.StatusOK {
			t.Errorf("after the second of the idle: %d", got)
		}
	})
}

// Whoever waits for tokens keeps nobody from the documents, and no other
// network from tokens.
func TestTokensStarveNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stuck atomic.Int64
		free := make(chan struct{})
		s, stop := public(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.RemoteAddr, "192.0.2.") {
				stuck.Add(1)
				<-free
			}
			w.WriteHeader(http.StatusTeapot)
		}))
		defer stop()
		var asking sync.WaitGroup
		told := make(chan int, 300)
		for range 200 {
			asking.Go(func() { told <- s.ask("192.0.2.1", "POST", TokenPath) })
		}
		synctest.Wait()
		if n := stuck.Load(); n != tokensPerNet {
			t.Errorf("%d wait for tokens", n)
		}
		if len(told) != 200-tokensPerNet {
			t.Errorf("%d were told to come again", len(told))
		}
		for range len(told) {
			if got := <-told; got != http.StatusTooManyRequests {
				t.Errorf("one too many is told %d", got)
			}
		}
		if got := s.ask("192.0.2.9", "GET", HealthPath); got != http.StatusOK {
			t.Errorf("a document: %d", got)
		}
		if got := s.ask("198.51.100.1", "POST", TokenPath); got != http.StatusTeapot {
			t.Errorf("another network's token: %d", got)
		}
		close(free)
		asking.Wait()
		if got := s.ask("192.0.2.9", "POST", TokenPath); got != http.StatusTeapot {
			t.Errorf("when places are free: %d", got)
		}
	})
}
