package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/audit/segment"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/broker/edge"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// An edgeSettings says what of an edge runs.
type edgeSettings struct {
	upstream  string
	transport string // direct or stock
	identity  string // on, or off: proxying only
	audit     string // on, or off: records are discarded
	reuse     time.Duration
	dir       string // for the audit trail
	profile   string // where a CPU profile goes; "": none is made
}

// parseEdge reads the arguments of serve-edge.
func parseEdge(args []string) (edgeSettings, error) {
	var s edgeSettings
	flags := flag.NewFlagSet("serve-edge", flag.ContinueOnError)
	flags.StringVar(&s.upstream, "upstream", "", "address of the application")
	flags.StringVar(&s.transport, "transport", "stock", "stock or direct")
	flags.StringVar(&s.identity, "identity", "on", "on or off")
	flags.StringVar(&s.audit, "audit", "off", "on or off")
	flags.DurationVar(&s.reuse, "reuse", 0, "for how long a Txn-Token serves")
	flags.StringVar(&s.dir, "dir", "", "folder of the audit trail")
	flags.StringVar(&s.profile, "profile", "", "file for a CPU profile")
	return s, flags.Parse(args)
}

// edgeHost is the name of the application.
const edgeHost = "app.bench.test"

// serveEdge is the edge that is measured, as a node would assemble it, or what
// is left of it without identity.
func serveEdge(ctx context.Context, args []string, ready func(place) error) (err error) {
	s, err := parseEdge(args)
	if err != nil {
		return err
	}
	if s.profile != "" {
		f, err := os.Create(s.profile)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // a profile that is cut is no profile
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	who, err := newPerson()
	if err != nil {
		return err
	}
	up, err := s.upstreamOf()
	if err != nil {
		return err
	}
	defer up.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	at := place{Address: ln.Addr().String(), Host: edgeHost}
	if s.identity == "off" {
		p, err := who.verifier.Verify(ctx, identity.Edge, who.token)
		if err != nil {
			return err
		}
		return serveHTTP(ctx, guarded{ln}, plain(up, scope.Of(p)), func() error { return ready(at) })
	}
	at.Token = who.token.Reveal()
	gate, done, err := s.gate(ctx, who)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	b, err := s.broker(who, up)
	if err != nil {
		return err
	}
	if err := ready(at); err != nil {
		return err
	}
	return b.Serve(ctx, ln, gate)
}

// upstreamOf returns the way to the application.
func (s edgeSettings) upstreamOf() (forward.Upstream, error) {
	c := forward.UpstreamConfig{Address: s.upstream, Max: 256, Each: 256, Dial: 5 * time.Second, Header: 30 * time.Second, Idle: time.Minute}
	if s.transport == "direct" {
		return forward.NewDirect(c)
	}
	return forward.NewUpstream(c)
}

// broker returns the edge, with one route.
func (s edgeSettings) broker(who *person, up forward.Upstream) (*edge.Broker, error) {
	quiet := slog.New(slog.DiscardHandler)
	limiter, err := unlimited()
	if err != nil {
		return nil, err
	}
	return edge.New(edge.Config{
		Routes: []edge.Route{{
			Name: "app", Host: edgeHost, Path: "/", Upstream: up, Reach: []string{identity.HTTP}, Reuse: s.reuse, MaxBody: 1 << 20,
		}},
		Minter: who.minter, Paths: who.path, Door: accept.Door{Limiter: limiter, Log: quiet, Grace: time.Second},
		Log: quiet, Now: time.Now, Sessions: 1024,
	})
}

// gate returns what the broker shares with others on a node.
func (s edgeSettings) gate(ctx context.Context, who *person) (*broker.Gate, func() error, error) {
	limiter, err := unlimited()
	if err != nil {
		return nil, nil, err
	}
	g := &broker.Gate{Verifier: who.verifier, Limiter: limiter, Log: noLog{}, Counter: nobody{}, Now: time.Now}
	done := func() error { return nil }
	if s.audit == "on" {
		log, err := openTrail(ctx, s.dir)
		if err != nil {
			return nil, nil, err
		}
		g.Log, done = log, func() error { return log.Close(context.WithoutCancel(ctx)) }
	}
	return g, done, g.Check()
}

// unlimited returns limits that are counted as always, and never reached.
func unlimited() (*limit.Limiter, error) {
	return limit.New(limit.Config{
		Connections: 1 << 20, Sessions: 1 << 20, Rate: 1e9, Burst: 1 << 30, Queue: 1 << 20, RecordBytes: 1 << 50,
		Strangers: 1024, StrangersPerNet: 1024, Tenants: 1024, Now: time.Now,
	})
}

// noLog is an audit trail that is off.
type noLog struct{}

func (noLog) Append(...audit.Record) (*audit.Receipt, error) { return nil, nil }

// oneKey is the key of every log.
type oneKey [32]byte

func (k oneKey) Current(tenant.ID) (uint32, [32]byte, error) { return 1, k, nil }
func (k oneKey) At(tenant.ID, uint32) ([32]byte, error)      { return k, nil }

// openTrail opens an audit trail as a node has by default.
func openTrail(ctx context.Context, dir string) (*audit.Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	const origin = edgeHost + "/audit"
	secret, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	commits, err := segment.Open(filepath.Join(dir, "log"), 0)
	if err != nil {
		return nil, err
	}
	var key oneKey
	rand.Read(key[:]) //nolint:errcheck // it never fails
	log, err := audit.Open(ctx, audit.Config{
		Commit: commits, Keys: key, Signer: signer, Origin: origin, Dir: dir, Interval: time.Millisecond, Queue: 4096,
		Deadline: 5 * time.Second, MinFree: 0.001, Epoch: time.Second, Now: time.Now,
	})
	if err != nil {
		return nil, errors.Join(err, commits.Close())
	}
	return log, nil
}

// guarded frames what its connections read as the edge does.
type guarded struct{ net.Listener }

func (g guarded) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return h1.Guard(c, h1.Limits{Head: 32 << 10, Fields: 128, Body: 1 << 20, Chunk: 1 << 20, Time: 10 * time.Second}), nil
}

// plain is proxying and nothing else: the same server, the same guard, the
// same way to the application, and nobody is asked who it is.
func plain(up forward.Upstream, s scope.Scope) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, err := up.Do(r.Context(), s, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer a.Body.Close() //nolint:errcheck // it was read
		for name, values := range a.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(a.StatusCode)
		if _, err := io.Copy(w, a.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}
