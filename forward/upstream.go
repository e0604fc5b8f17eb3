package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// maxAnswerHead bounds the head of an answer.
const maxAnswerHead = 64 << 10

// A stock is an [Upstream] over the standard library's transport, which keeps
// its connections by host: each tenant is a host of its own to it.
type stock struct {
	c         UpstreamConfig
	transport *http.Transport

	mu     sync.Mutex // guards what follows
	open   int        // connections
	lent   int        // of them, in use
	each   map[tenant.ID]int
	closed bool
}

// NewUpstream returns an upstream reached by the standard library's transport,
// which reads answers less strictly than [NewDirect]: see the package.
func NewUpstream(c UpstreamConfig) (Upstream, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	u := &stock{c: c, each: make(map[tenant.ID]int)}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	u.transport = &http.Transport{
		DialContext:            u.dial,
		Protocols:              &http1,
		DisableCompression:     true,
		MaxIdleConns:           c.Max,
		MaxIdleConnsPerHost:    c.Each,
		MaxConnsPerHost:        c.Each,
		IdleConnTimeout:        c.Idle,
		ResponseHeaderTimeout:  c.Header,
		MaxResponseHeaderBytes: maxAnswerHead,
		WriteBufferSize:        bufferSize,
		ReadBufferSize:         bufferSize,
	}
	return u, nil
}

// A counter is a connection that is counted while it is open, and that may
// not stall a write.
type counter struct {
	net.Conn
	idle time.Duration
	once sync.Once
	gone func()
}

func (c *counter) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *counter) Close() error {
	c.once.Do(c.gone)
	return c.Conn.Close()
}

// dial connects to the one address there is, whatever host the transport takes
// it for.
func (u *stock) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if !u.reserve() {
		u.transport.CloseIdleConnections()
		if !u.reserve() {
			return nil, refusal.New(refusal.TooMany, "forward: %d connections to %s", u.c.Max, u.c.Address)
		}
	}
	conn, _, err := u.c.connect(ctx)
	if err != nil {
		u.free()
		return nil, err
	}
	return &counter{Conn: conn, idle: u.c.Idle, gone: u.free}, nil
}

func (u *stock) reserve() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open >= u.c.Max {
		return false
	}
	u.open++
	return true
}

func (u *stock) free() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open--
}

// take counts a request of t, which will use a connection.
func (u *stock) take(t tenant.ID) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.closed:
		return refusal.New(refusal.Draining, "forward: the upstream %s is closed", u.c.Address)
	case u.each[t] >= u.c.Each:
		return refusal.New(refusal.TooMany, "forward: tenant %s has %d requests at %s", t, u.c.Each, u.c.Address)
	case u.lent >= u.c.Max:
		return refusal.New(refusal.TooMany, "forward: %d requests at %s", u.c.Max, u.c.Address)
	}
	u.lent++
	u.each[t]++
	return nil
}

// giveBack is the inverse of take.
func (u *stock) giveBack(t tenant.ID) {
	u.mu.Lock()
	u.lent--
	if u.each[t]--; u.each[t] <= 0 {
		delete(u.each, t)
	}
	closed := u.closed
	u.mu.Unlock()
	if closed {
		u.transport.CloseIdleConnections()
	}
}

// Close implements [Upstream].
func (u *stock) Close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.transport.CloseIdleConnections()
}

// Do implements [Upstream].
func (u *stock) Do(ctx context.Context, s scope.Scope, r *http.Request) (*http.Response, error) {
	to, err := target(s, r)
	if err != nil {
		return nil, err
	}
	t := s.Tenant()
	if err := u.take(t); err != nil {
		return nil, err
	}
	giveBack := sync.OnceFunc(func() { u.giveBack(t) })
	inner, cancel := context.WithCancelCause(ctx)
	resp, err := u.transport.RoundTrip(u.request(inner, t, to, r))
	if err == nil {
		if err = unambiguous(r, resp); err != nil {
			resp.Body.Close() //nolint:errcheck // nobody will read it
		}
	}
	if err != nil {
		cancel(nil)
		giveBack()
		return nil, failed(ctx, err)
	}
	b := &stockBody{ReadCloser: resp.Body, ctx: inner, outer: ctx, idle: u.c.Idle, cancel: cancel, done: giveBack}
	switch w, isPipe := resp.Body.(io.ReadWriteCloser); {
	case resp.Body == http.NoBody:
		b.end()
	case resp.StatusCode == http.StatusSwitchingProtocols && isPipe:
		stop := context.AfterFunc(ctx, func() { w.Close() }) //nolint:errcheck // it is being cut
		b.done = func() { stop(); giveBack() }
		resp.Body = &stockPipe{ReadWriteCloser: w, body: b}
	default:
		b.timer = time.AfterFunc(u.c.Idle, func() { cancel(errPaused) })
		b.timer.Stop() // it runs while somebody waits
		resp.Body = b
	}
	return resp, nil
}

// unambiguous refuses of an answer what [NewDirect] refuses, as far as the transport
// shows it.
func unambiguous(r *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusSwitchingProtocols && r.Header.Get("Upgrade") == "" {
		return errUnasked
	}
	if resp.StatusCode < 100 || resp.StatusCode > 599 {
		return fmt.Errorf("%w: status %d", errAnswer, resp.StatusCode)
	}
	for name, values := range resp.Header {
		if h1.IsAlias(name) {
			return fmt.Errorf("%w: %.50q", errAnswer, name)
		}
		for _, value := range values {
			if !h1.ValidField(name, value) {
				return fmt.Errorf("%w: %.50q", errAnswer, name)
			}
		}
	}
	return nil
}

// request returns r as the transport is to send it: to the host that the
// tenant is to it, and without anything of its own.
func (u *stock) request(ctx context.Context, t tenant.ID, to string, r *http.Request) *http.Request {
	r = r.WithContext(ctx)
	r.URL = &url.URL{Scheme: "http", Host: "t" + t.String() + ".upstream", Opaque: to}
	r.RequestURI, r.Trailer, r.TransferEncoding = "", nil, nil
	r.ContentLength = length(r)
	if r.ContentLength == 0 {
		r.Body = http.NoBody
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header = maps.Clone(r.Header)
		if r.Header == nil {
			r.Header = make(http.Header)
		}
		r.Header["User-Agent"] = nil
	}
	return r
}

// A stockBody is a body that may not pause, and gives back what it uses.
type stockBody struct {
	io.ReadCloser
	ctx, outer context.Context
	idle       time.Duration
	timer      *time.Timer
	cancel     context.CancelCauseFunc
	done       func()
}

func (b *stockBody) end() {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.done()
	b.cancel(nil)
}

func (b *stockBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	switch {
	case errors.Is(err, io.EOF):
		b.end()
	case err != nil && errors.Is(context.Cause(b.ctx), errPaused):
		return n, refusal.New(refusal.TooLong, "%w", errPaused)
	case err != nil:
		return n, failed(b.outer, err)
	}
	return n, err
}

func (b *stockBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// A stockPipe is an upgraded connection.
type stockPipe struct {
	io.ReadWriteCloser
	body *stockBody
}

// CloseWrite ends one direction, where the connection can.
func (p *stockPipe) CloseWrite() error {
	if c, ok := p.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (p *stockPipe) Close() error {
	err := p.ReadWriteCloser.Close()
	p.body.end()
	return err
}
