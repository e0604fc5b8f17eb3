package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// Bounds of a connection.
const (
	handshakeTime = 10 * time.Second
	headTime      = 10 * time.Second
	idleTime      = 75 * time.Second
	strangerTime  = 15 * time.Second // the whole life of a connection on which nobody is known
	headBytes     = 32 << 10
	headFields    = 128
	chunkBytes    = 16 << 20
	bodyBytes     = 1 << 40 // of any route; each has its own bound within
)

// A guard lets a server see only requests that can be read in one way.
type guard func(net.Conn) net.Conn

// guarded is the guard of every connection.
var guarded guard = func(c net.Conn) net.Conn {
	return h1.Guard(c, h1.Limits{Head: headBytes, Time: headTime, Fields: headFields, Body: bodyBytes, Chunk: chunkBytes})
}

// A visitor is one connection, on which requests of anybody may come.
type visitor struct {
	*serving
	guest   *accept.Guest
	proto   string // http or https
	sni     string // the name asked for in the TLS handshake
	guarded net.Conn
	running sync.WaitGroup // requests
	begun   atomic.Bool    // there has been a request
	friend  atomic.Bool    // a good token has been shown

	mu    sync.Mutex // guards what follows
	owner tenant.ID  // who asked last
	busy  []asking   // who is being answered
}

// asking is how many requests of one tenant are being answered.
type asking struct {
	owner tenant.ID
	n     int
}

// host serves one connection until it ends.
func (s *serving) host(ctx context.Context, guest *accept.Guest) error {
	v := &visitor{serving: s, guest: guest, proto: "http"}
	over := newSole()
	late := time.AfterFunc(strangerTime, func() {
		if !v.friend.Load() {
			guest.Close() //nolint:errcheck // a stranger, whatever it has asked
		}
	})
	defer late.Stop()
	conn, err := v.secure(ctx, over)
	if err != nil { // a stranger gets no line of the node's log
		s.gate.Counter.Refused(Name, guest.Addr.Addr(), refusal.Of(err))
		s.Log.DebugContext(ctx, "stranger refused", "remote", guest.Addr, "err", err)
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		if !v.begun.Load() {
			guest.Close() //nolint:errcheck // nobody waits for an answer
		}
	})
	defer stop()
	defer v.leave()
	if secure, ok := conn.(*tls.Conn); ok && secure.ConnectionState().NegotiatedProtocol == protoH2 {
		err = v.serveH2(ctx, secure, over)
	} else {
		err = v.serveH1(ctx, conn, over)
	}
	v.running.Wait()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// server returns what HTTP of any version is served by.
func (v *visitor) server(ctx context.Context) *http.Server {
	return &http.Server{
		Handler: v, ReadHeaderTimeout: headTime, IdleTimeout: idleTime, MaxHeaderBytes: 2 * headBytes, ErrorLog: v.noise,
		DisableGeneralOptionsHandler: true, // which answers "*" without asking who it is
		BaseContext:                  func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
}

// serveH1 serves HTTP/1.1, behind the guard.
func (v *visitor) serveH1(ctx context.Context, conn net.Conn, over *sole) error {
	v.guarded = guarded(conn)
	over.conn = lasting{v.guarded, over}
	server := v.server(ctx)
	server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	stop := context.AfterFunc(ctx, func() { server.SetKeepAlivesEnabled(false) })
	defer stop()
	return server.Serve(over)
}

// secure returns the connection as HTTP is spoken on it: behind TLS, if there
// is a certificate.
func (v *visitor) secure(ctx context.Context, over *sole) (net.Conn, error) {
	if v.TLS == nil {
		return v.guest.Conn, nil
	}
	config := v.TLS.Clone()
	config.NextProtos = []string{protoH2, protoH1}
	conn := tls.Server(ending{v.guest.Conn, over}, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, refusal.New(refusal.TooLong, "edge: TLS: %w", err)
		}
		return nil, refusal.New(refusal.Malformed, "edge: TLS: %w", err)
	}
	v.proto, v.sni = "https", conn.ConnectionState().ServerName
	return conn, nil
}

// known counts a request of the tenant whose good token was shown: the place
// among strangers is given back. The connection is one of each tenant's who
// has a request on it, and of the last one's until another comes.
func (v *visitor) known(t tenant.ID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.asking(t)
	if at < 0 && v.owner != t {
		if err := v.guests.take(t, 1); err != nil {
			return err
		}
	}
	if at < 0 {
		at = len(v.busy)
		v.busy = append(v.busy, asking{owner: t})
	}
	v.busy[at].n++
	if was := v.owner; was != t {
		v.owner = t
		v.part(was)
	}
	v.friend.Store(true)
	v.guest.Known()
	return nil
}

// done says that a request of t is over.
func (v *visitor) done(t tenant.ID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.asking(t)
	if v.busy[at].n--; v.busy[at].n == 0 {
		v.busy = slices.Delete(v.busy, at, at+1)
		v.part(t)
	}
}

// asking returns where t is in busy, or -1.
func (v *visitor) asking(t tenant.ID) int {
	return slices.IndexFunc(v.busy, func(a asking) bool { return a.owner == t })
}

// part gives back the connection if it is none of t's any more.
func (v *visitor) part(t tenant.ID) {
	if !t.IsZero() && t != v.owner && v.asking(t) < 0 {
		v.guests.give(t, 1)
	}
}

// leave gives back what the connection held, once nobody is being answered.
func (v *visitor) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.owner
	v.owner = tenant.ID{}
	v.part(was)
}

// A sole is a listener with one connection. It says that it is closed when
// that is.
type sole struct {
	conn  net.Conn
	given atomic.Bool
	over  chan struct{}
	once  sync.Once
}

func newSole() *sole { return &sole{over: make(chan struct{})} }

// end says that the connection is closed.
func (s *sole) end() { s.once.Do(func() { close(s.over) }) }

// Accept implements [net.Listener].
func (s *sole) Accept() (net.Conn, error) {
	if s.given.CompareAndSwap(false, true) {
		return s.conn, nil
	}
	<-s.over
	return nil, net.ErrClosed
}

// Close implements [net.Listener].
func (*sole) Close() error { return nil }

// Addr implements [net.Listener].
func (s *sole) Addr() net.Addr { return s.conn.LocalAddr() }

// lasting is the connection of a sole.
type lasting struct {
	net.Conn
	sole *sole
}

// Close implements [net.Conn].
func (l lasting) Close() error {
	defer l.sole.end()
	if err := l.Conn.Close(); err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	return nil
}

// CloseWrite ends what is written, so that a client reads the last answer
// before the end.
func (l lasting) CloseWrite() error {
	if c, ok := l.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
