package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// An HTTP is a request that goes on as an HTTP request.
type HTTP interface {
	scope.Request
	// HTTP returns what is sent, as its rule left it. It fails if the rule that
	// should have confined it did not run.
	HTTP() (*http.Request, error)
}

// An Upstream is where HTTP requests go: one application or store. No
// connection of it ever serves two tenants.
type Upstream interface {
	// Do sends r for the tenant of s and returns the head of the answer; its
	// body is read as it comes, and has to be closed. An answer with status 101
	// has a body that is also written to.
	//
	// The method, target, Host and header of r are sent as they are, but for
	// the fields that say where the body ends. Nothing is added.
	Do(ctx context.Context, s scope.Scope, r *http.Request) (*http.Response, error)
	// Close closes what is idle, and what is not once it is.
	Close()
}

// An UpstreamConfig says where an [Upstream] is. Every field but TLS is required.
type UpstreamConfig struct {
	Address string        // host:port
	TLS     *tls.Config   // nil: plain HTTP
	Max     int           // connections at once
	Each    int           // of them, for one tenant
	Dial    time.Duration // to connect
	Header  time.Duration // from the request's end to the head of the answer
	Idle    time.Duration // that a connection is kept unused, and a body may pause
}

// check returns everything that is wrong with c.
func (c *UpstreamConfig) check() error {
	var errs []error
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("forward: "+what))
		}
	}
	host, port, err := net.SplitHostPort(c.Address)
	want(err == nil && host != "" && port != "", fmt.Sprintf("Address %q is not host:port", c.Address))
	want(c.Max > 0, "Max is not above 0")
	want(c.Each > 0 && c.Each <= c.Max, "Each is not 1 to Max")
	want(c.Dial > 0, "Dial is not above 0")
	want(c.Header > 0, "Header is not above 0")
	want(c.Idle > 0, "Idle is not above 0")
	return errors.Join(errs...)
}

// connect opens a connection. What is read and written is conn; raw is what
// it stands on, the same if there is no TLS.
func (c *UpstreamConfig) connect(ctx context.Context) (conn net.Conn, raw *net.TCPConn, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Dial)
	defer cancel()
	d := net.Dialer{KeepAlive: 30 * time.Second}
	nc, err := d.DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return nil, nil, refusal.New(refusal.Unavailable, "%w", err)
	}
	raw, ok := nc.(*net.TCPConn)
	if !ok {
		nc.Close() //nolint:errcheck // it was never used
		return nil, nil, refusal.New(refusal.Internal, "forward: %T is no TCP connection", nc)
	}
	if c.TLS == nil {
		return raw, raw, nil
	}
	t := c.TLS.Clone()
	if t.ServerName == "" {
		t.ServerName, _, _ = net.SplitHostPort(c.Address) // checked
	}
	t.NextProtos = []string{"http/1.1"}
	secure := tls.Client(raw, t)
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close() //nolint:errcheck // it was never used
		return nil, nil, refusal.New(refusal.Unavailable, "%w", err)
	}
	return secure, raw, nil
}

var (
	errNobody   = errors.New("forward: a request for nobody")
	errUnasked  = errors.New("forward: an upgrade that nobody asked for")
	errPaused   = errors.New("forward: the body pauses for too long")
	errNoTarget = errors.New("forward: the request has no target in origin form, or no host")
	errAnswer   = errors.New("forward: an answer that two readers could read in two ways")
	errSplits   = errors.New("forward: a header field that would be read as two")
)

// target returns what stands in the request line of r, if r can be sent.
func target(s scope.Scope, r *http.Request) (string, error) {
	t := r.RequestURI
	if t == "" && r.URL != nil {
		t = r.URL.RequestURI()
	}
	switch {
	case s.Tenant().IsZero():
		return "", refusal.New(refusal.Internal, "%w", errNobody)
	case !h1.ValidRequest(r.Method, t) || strings.HasPrefix(t, "//") || !h1.ValidHost(r.Host):
		return "", refusal.New(refusal.Internal, "%w", errNoTarget)
	}
	for name, values := range r.Header {
		for _, value := range values {
			if !h1.ValidField(name, value) {
				return "", refusal.New(refusal.Internal, "%w: %.50q", errSplits, name)
			}
		}
	}
	return t, nil
}

// length returns how long the body of r is, or -1 if that is not known.
func length(r *http.Request) int64 {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return 0
	case r.ContentLength > 0:
		return r.ContentLength
	default:
		return -1
	}
}

// failed returns err, which ended an exchange, as a refusal: for whoever ended
// ctx, if that is why, and for the application's being slow or not there.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if _, ok := errors.AsType[*refusal.Error](err); ok {
		return err
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return refusal.New(refusal.TooLong, "%w", err)
	}
	return refusal.New(refusal.Unavailable, "%w", err)
}

// RoundTrip sends one admitted request to u and returns the answer, whose
// decision is durable by then. The outcome is recorded when the body ends or
// is closed: the end of the body waits until the outcome is taken by the
// trail. Whatever it returns, the outcome of p is recorded.
func RoundTrip[R HTTP](ctx context.Context, u Upstream, p *broker.Pass[R]) (*http.Response, error) {
	start := time.Now()
	req, err := p.Take(ctx)
	if err != nil {
		return nil, abandon(ctx, p, err)
	}
	r, err := req.HTTP()
	if err != nil {
		return nil, abandon(ctx, p, refusal.New(refusal.Internal, "%w", err))
	}
	s := &settlement{ctx: ctx, pass: p, start: start}
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &counted{ReadCloser: r.Body, n: &s.in}
	}
	resp, err := u.Do(ctx, p.Scope(), r)
	if err != nil {
		return nil, errors.Join(err, s.settle(outcomeOf(ctx)))
	}
	s.code, s.length, s.body = resp.StatusCode, resp.ContentLength, resp.Body
	if err := p.Recorded(ctx); err != nil {
		resp.Body.Close() //nolint:errcheck // nobody is to see the answer
		return nil, errors.Join(err, s.settle(audit.StatusAbandoned))
	}
	switch w, isPipe := resp.Body.(io.ReadWriteCloser); {
	case resp.Body == http.NoBody: // the head is the end
		if err := s.end(); err != nil {
			return nil, err
		}
	case resp.StatusCode == http.StatusSwitchingProtocols && isPipe:
		resp.Body = &pipe{settlement: s, w: w}
	default:
		resp.Body = s
	}
	return resp, nil
}

// outcomeOf returns what became of a request that got no answer: it failed,
// unless who asked has gone.
func outcomeOf(ctx context.Context) string {
	if ctx.Err() != nil {
		return audit.StatusAbandoned
	}
	return audit.StatusFailed
}

// A settlement is the body of an answer whose end is the outcome of a pass.
type settlement struct {
	ctx    context.Context // of the request, for the record outlives nothing else
	pass   closer
	start  time.Time
	code   int
	length int64 // of the body, or -1
	body   io.ReadCloser
	in     atomic.Int64 // bytes the request's body had
	out    atomic.Int64 // bytes of the answer's body that were read
	once   sync.Once
	err    error // of the record
}

// settle records the outcome. Only the first call does; all return its error.
func (s *settlement) settle(status string) error {
	s.once.Do(func() {
		r := audit.Result{
			Status: status, BytesIn: s.in.Load(), BytesOut: s.out.Load(), Micros: time.Since(s.start).Microseconds(),
		}
		if s.code != 0 {
			r.Code = strconv.Itoa(s.code)
		}
		_, s.err = s.pass.Close(s.ctx, r)
	})
	return s.err
}

// end records that the answer is whole.
func (s *settlement) end() error {
	if s.code >= http.StatusInternalServerError {
		return s.settle(audit.StatusFailed)
	}
	return s.settle(audit.StatusOK)
}

// Read implements [io.Reader]. The last bytes of a body whose length is known
// are its end already: they wait for the outcome as well.
func (s *settlement) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	whole := s.out.Add(int64(n)) == s.length
	switch {
	case errors.Is(err, io.EOF) && (whole || s.length < 0), err == nil && whole && n > 0:
		if err := s.end(); err != nil {
			return 0, err
		}
	case err != nil:
		if rerr := s.settle(outcomeOf(s.ctx)); rerr != nil {
			return 0, errors.Join(rerr, err)
		}
		if errors.Is(err, io.EOF) {
			return n, io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// Close implements [io.Closer]. A body that was not read to its end is
// abandoned.
func (s *settlement) Close() error {
	err := s.body.Close()
	return errors.Join(s.settle(audit.StatusAbandoned), err)
}

// A pipe is the body of an answer that grants an upgrade: its end is its Close,
// for either side may go on when the other has done.
type pipe struct {
	*settlement
	w io.Writer
}

// Read implements [io.Reader].
func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	p.out.Add(int64(n))
	return n, err
}

// Write implements [io.Writer].
func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.in.Add(int64(n))
	return n, err
}

// CloseWrite ends one direction, where the connection can.
func (p *pipe) CloseWrite() error {
	if c, ok := p.w.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements [io.Closer].
func (p *pipe) Close() error {
	err := p.body.Close()
	if p.ctx.Err() != nil {
		return errors.Join(p.settle(audit.StatusAbandoned), err)
	}
	return errors.Join(p.end(), err)
}

// A counted is the body of a request, counted.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}
