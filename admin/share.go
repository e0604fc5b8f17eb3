package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/isocore/isocore/refusal"
)

// arrivals is a listener whose connections are let in, or not, by where they
// come from.
type arrivals struct {
	net.Listener
	arrive func(netip.Addr) (release func(), err error)
}

// Accept returns the next connection that is let in. The others are closed,
// and told nothing.
func (a arrivals) Accept() (net.Conn, error) {
	for {
		c, err := a.Listener.Accept()
		if err != nil {
			return nil, err
		}
		release, err := a.arrive(from(c.RemoteAddr().String()))
		if err == nil {
			return &arrived{c, release}, nil
		}
		c.Close() //nolint:errcheck // it was not let in
	}
}

// arrived is a connection that was let in. Its release may be called again.
type arrived struct {
	net.Conn
	release func()
}

// Close gives the place of c back.
func (c *arrived) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// from returns the address in what net calls a remote address; without one,
// as on a unix socket, that is the zero Addr.
func from(remote string) netip.Addr {
	a, _ := netip.ParseAddrPort(remote)
	return a.Addr().Unmap().WithZone("")
}

// tokensPerNet bounds the token requests at once from one /24 or /48: a
// network that waits for tokens can still read the documents.
const tokensPerNet = 128

// A share holds each network to its share of one handler.
type share struct {
	next http.Handler

	mu    sync.Mutex // guards what follows
	byNet map[netip.Prefix]int
}

func (s *share) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := network(from(r.RemoteAddr))
	if !s.take(at) {
		busy(w)
		return
	}
	defer s.leave(at)
	s.next.ServeHTTP(w, r)
}

// busy says what the token endpoint says of too many (RFC 6749, 5.2).
func busy(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "1")
	w.WriteHeader(http.StatusTooManyRequests)
	fmt.Fprintf(w, "{\"error\":\"temporarily_unavailable\",\"error_description\":%q,\"reason\":%q}\n", //nolint:errcheck // it is told as far as it listens
		refusal.TooMany.Text(), refusal.TooMany.String())
}

func (s *share) take(at netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byNet[at] >= tokensPerNet {
		return false
	}
	if s.byNet == nil {
		s.byNet = map[netip.Prefix]int{}
	}
	s.byNet[at]++
	return true
}

func (s *share) leave(at netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byNet[at]--; s.byNet[at] == 0 {
		delete(s.byNet, at)
	}
}

// network returns the /24 or /48 that addr is in, as the limits of strangers
// have it.
func network(addr netip.Addr) netip.Prefix {
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	p, _ := addr.Prefix(bits) // an address without a network is in the zero one
	return p
}
