package edge

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// BenchmarkConfine is what the edge adds to a request that it only passes on:
// its session, its route, its headers and its Txn-Token.
func BenchmarkConfine(b *testing.B) {
	for name, reuse := range map[string]time.Duration{"a token each": 0, "a token again": maxReuse} {
		b.Run(name, func(b *testing.B) {
			w := brokertest.New(b, Name, brokertest.Limits())
			token := w.Token(w.A)
			all := newSessions(w.Gate, 8, time.Now)
			b.Cleanup(all.close)
			r, err := newRouter([]Route{{
				Name: "app", Host: "app.test", Path: "/", Reach: []string{"pg:read"}, MaxBody: 1, Upstream: quick(nil), Reuse: reuse, TTL: time.Minute,
			}})
			if err != nil {
				b.Fatal(err)
			}
			in := httptest.NewRequest("GET", "/read?a=1", nil)
			in.Host = "app.test"
			for _, h := range []string{"User-Agent", "Accept", "Accept-Encoding", "Cookie", "X-Forwarded-For", "Authorization"} {
				in.Header.Set(h, "something")
			}
			peer := netip.MustParseAddr("192.0.2.1")
			path := tenant.Path{Partner: "home", Name: "alpha"}
			var ids draws
			b.ReportAllocs()
			for b.Loop() {
				s, err := all.enter(b.Context(), token, peer)
				if err != nil {
					b.Fatal(err)
				}
				id, span := ids.draw()
				req := &request{in: in, body: noBody(), visit: visit{
					id: id, span: span, txn: id, peer: peer, proto: "https", host: in.Host, path: path, minter: w.Minter, tokens: &s.tokens, now: time.Now,
				}}
				req.op, req.fault = operation(in)
				if req.route, err = r.find("app.test", in.URL.Path, path); err != nil {
					b.Fatal(err)
				}
				if t, txn, ok := s.tokens.find(req.route, time.Now()); ok {
					req.visit.token, req.visit.txn = t, txn
				}
				if err := confine(req, 0, scope.Of(s.Scope().Principal())); err != nil {
					b.Fatal(err)
				}
				all.release(s)
			}
		})
	}
}

// BenchmarkOutgoing is the headers alone.
func BenchmarkOutgoing(b *testing.B) {
	h := http.Header{}
	for _, name := range []string{"User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Cookie", "X-Forwarded-For", "Authorization", "Content-Type", "Referer", "Origin"} {
		h.Set(name, "something")
	}
	b.ReportAllocs()
	for b.Loop() {
		outgoing(h, nil)
	}
}

// still is a client whose connection costs nothing.
type still struct {
	header http.Header
	code   int
}

func (s *still) Header() http.Header            { return s.header }
func (s *still) Write(b []byte) (int, error)    { return len(b), nil }
func (s *still) WriteHeader(code int)           { s.code = code }
func (*still) SetReadDeadline(time.Time) error  { return nil }
func (*still) SetWriteDeadline(time.Time) error { return nil }

// unlogged takes every record, and keeps none.
type unlogged struct{}

func (unlogged) Append(...audit.Record) (*audit.Receipt, error) { return nil, nil }

// BenchmarkExchange is all that the edge does of a request itself: without
// what net/http, the upstream and the audit trail take.
func BenchmarkExchange(b *testing.B) {
	w := brokertest.New(b, Name, brokertest.Limits())
	token := w.Token(w.A)
	gate := &broker.Gate{Verifier: w.Gate.Verifier, Limiter: w.Gate.Limiter, Log: unlogged{}, Counter: w.Counts, Now: time.Now}
	const body = `{"query":"which of my notes are about insulin?","limit":10}`
	up := quick(func(_ context.Context, r *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // it is in memory
		return &http.Response{
			StatusCode: http.StatusOK, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
			Header: http.Header{"Content-Type": {"application/json"}, "Content-Length": {"59"}, "Date": {"today"}, "Server": {"app"}},
		}, nil
	})
	quiet := slog.New(slog.DiscardHandler)
	edge, err := New(Config{
		Routes: []Route{{Name: "app", Host: "app.test", Path: "/", Reach: []string{identity.PGRead}, MaxBody: 1 << 20, Upstream: up, Reuse: maxReuse}},
		Minter: w.Minter, Paths: func(tenant.ID) (tenant.Path, bool) { return tenant.Path{Partner: "home", Name: "alpha"}, true },
		Door: accept.Door{Limiter: w.Limiter, Log: quiet}, Log: quiet, Now: time.Now, Sessions: 8,
	})
	if err != nil {
		b.Fatal(err)
	}
	s := edge.serving(b.Context(), gate)
	defer s.sessions.close()
	v := &visitor{serving: s, guest: guest(b), proto: "http"}
	in := httptest.NewRequest("POST", "/notes", nil)
	in.Host, in.ContentLength = "app.test", int64(len(body))
	in.Header = http.Header{"Authorization": {"Bearer " + token.Reveal()}, "Content-Type": {"application/json"}, "Content-Length": {"59"}}
	b.ReportAllocs()
	for b.Loop() {
		in.Body = io.NopCloser(strings.NewReader(body))
		to := &still{header: http.Header{}}
		v.ServeHTTP(to, in)
		if to.code != http.StatusOK {
			b.Fatal(to.code)
		}
	}
}

// guest returns somebody whom a door has let in.
func guest(b testing.TB) *accept.Guest {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	l, err := limit.New(brokertest.Limits())
	if err != nil {
		b.Fatal(err)
	}
	in := make(chan *accept.Guest)
	ctx, cancel := context.WithCancel(b.Context())
	b.Cleanup(cancel)
	go accept.Door{Limiter: l, Log: slog.New(slog.DiscardHandler)}.Serve(ctx, ln, func(ctx context.Context, g *accept.Guest) error { //nolint:errcheck // it ends with the benchmark
		in <- g
		<-ctx.Done()
		return nil
	})
	return <-in
}
