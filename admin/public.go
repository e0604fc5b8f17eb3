package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"golang.org/x/net/netutil"

	"github.com/isocore/isocore/refusal"
)

// Public is what anybody may ask a node over TCP: whether it lives, whether it
// is ready, and the public keys of its tokens. It changes nothing, tells
// nothing of a tenant and has no other door to the API.
type Public struct {
	JWKS  []byte
	Ready func() error
	Log   *slog.Logger
}

// maxPublic bounds the connections of those who ask, all of whom are
// strangers: the rest waits in the kernel, and costs no descriptor.
const maxPublic = 32

// Serve answers the connections of ln until ctx is done, a request each. It
// owns ln.
func (p Public) Serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { p.say(w, "text/plain", []byte("alive\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := p.Ready(); err != nil {
			http.Error(w, refusal.Of(err).Text(), http.StatusServiceUnavailable)
			return
		}
		p.say(w, "text/plain", []byte("ready\n"))
	})
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) { p.say(w, "application/jwk-set+json", p.JWKS) })
	s := &http.Server{
		Handler:           hosts(ln.Addr(), mux),
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       headerTime,
		WriteTimeout:      headerTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug),
	}
	s.SetKeepAlivesEnabled(false)
	stop := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // it is being closed
	defer stop()
	err := s.Serve(netutil.LimitListener(ln, maxPublic))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (p Public) say(w http.ResponseWriter, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	if _, err := w.Write(body); err != nil {
		p.Log.Debug("answer cut", "err", err)
	}
}

// hosts refuses a request that was meant for another name: a page of somebody
// else's whose name has come to point here (DNS rebinding).
func hosts(at net.Addr, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, err := net.SplitHostPort(r.Host)
		if err != nil {
			host, port = r.Host, ""
		}
		_, own, err := net.SplitHostPort(at.String())
		addr, aerr := netip.ParseAddr(host)
		known := host == "localhost" || aerr == nil && addr.IsValid()
		if err != nil || !known || port != own {
			http.Error(w, refusal.Denied.Text(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
