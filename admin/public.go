package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/netutil"

	"github.com/isocore/isocore/refusal"
)

// Public is what anybody may ask a node over TCP: whether it lives, whether it
// is ready, where its tokens come from and the public keys to verify them; and
// the token endpoint, which goes through the rooms. It changes nothing, tells
// nothing of a tenant and has no other door to the API.
type Public struct {
	Issuer string
	JWKS   []byte
	Ready  func() error
	Token  http.Handler // POST /v1/token; nil: there is none
	Hosts  []string     // names it is called by, beside localhost and addresses
	TLS    *tls.Config  // nil: plain
	Log    *slog.Logger

	// Arrive lets connections of an address in, each network to its share of
	// the places; release may be called again. Nil: the first to come have all
	// the places there are.
	Arrive func(netip.Addr) (release func(), err error)
}

// The documents anybody may read, by their path. Whatever else answers without
// a token on this port is a fault.
const (
	HealthPath   = "/healthz"
	ReadyPath    = "/readyz"
	JWKSPath     = "/.well-known/jwks.json"
	MetadataPath = "/.well-known/oauth-authorization-server"
	TokenPath    = "/v1/token"
)

// PublicPaths are the documents anybody may read.
var PublicPaths = []string{HealthPath, ReadyPath, JWKSPath, MetadataPath}

// metadata is how others find the rest (RFC 8414).
type metadata struct {
	Issuer        string   `json:"issuer"`
	JWKSURI       string   `json:"jwks_uri"`
	TokenEndpoint string   `json:"token_endpoint,omitempty"`
	ResponseTypes []string `json:"response_types_supported"`
	GrantTypes    []string `json:"grant_types_supported"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
}

// metadata returns the document for whoever called the port by this name.
func (p Public) metadata(r *http.Request) ([]byte, error) {
	base := "http://" + r.Host
	if p.TLS != nil {
		base = "https://" + r.Host
	}
	m := metadata{
		Issuer: p.Issuer, JWKSURI: base + JWKSPath, ResponseTypes: []string{}, GrantTypes: []string{}, AuthMethods: []string{"none"},
	}
	if p.Token != nil {
		m.TokenEndpoint = base + TokenPath
		m.GrantTypes = append(m.GrantTypes, "urn:ietf:params:oauth:grant-type:token-exchange")
	}
	return json.Marshal(m)
}

const (
	// maxPublic bounds the connections of those who ask, all of whom are
	// strangers, where nothing else does: the rest waits in the kernel.
	maxPublic = 256

	publicHead = time.Second // for a handshake, and for a head: idle strangers keep no place
	publicBody = 5 * time.Second
)

// mux returns all that answers.
func (p Public) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+HealthPath, func(w http.ResponseWriter, _ *http.Request) { p.say(w, "text/plain", []byte("alive\n")) })
	mux.HandleFunc("GET "+ReadyPath, func(w http.ResponseWriter, _ *http.Request) {
		if err := p.Ready(); err != nil {
			http.Error(w, refusal.Of(err).Text(), http.StatusServiceUnavailable)
			return
		}
		p.say(w, "text/plain", []byte("ready\n"))
	})
	mux.HandleFunc("GET "+JWKSPath, func(w http.ResponseWriter, _ *http.Request) { p.say(w, "application/jwk-set+json", p.JWKS) })
	mux.HandleFunc("GET "+MetadataPath, func(w http.ResponseWriter, r *http.Request) {
		doc, err := p.metadata(r)
		if err != nil {
			http.Error(w, refusal.Internal.Text(), http.StatusInternalServerError)
			return
		}
		p.say(w, "application/json", doc)
	})
	if p.Token != nil {
		mux.Handle("POST "+TokenPath, &share{next: p.Token})
	}
	return mux
}

// Serve answers the connections of ln until ctx is done, a request each. It
// owns ln.
func (p Public) Serve(ctx context.Context, ln net.Listener) error {
	s := &http.Server{
		Handler:           p.hosts(ln.Addr(), p.mux()),
		ReadHeaderTimeout: publicHead,
		ReadTimeout:       publicBody,
		WriteTimeout:      publicBody,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(p.Log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * without asking
	}
	s.SetKeepAlivesEnabled(false)
	stop := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // it is being closed
	defer stop()
	ln = p.bounded(ln)
	if p.TLS != nil {
		ln = tls.NewListener(ln, p.TLS)
	}
	err := s.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// bounded returns ln with the bound of its connections.
func (p Public) bounded(ln net.Listener) net.Listener {
	if p.Arrive == nil {
		return netutil.LimitListener(ln, maxPublic)
	}
	return arrivals{ln, p.Arrive}
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
func (p Public) hosts(at net.Addr, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, err := net.SplitHostPort(r.Host)
		if err != nil {
			host, port = r.Host, ""
		}
		_, own, err := net.SplitHostPort(at.String())
		addr, aerr := netip.ParseAddr(host)
		known := host == "localhost" || aerr == nil && addr.IsValid() || slices.Contains(p.Hosts, host)
		if err != nil || !known || port != own {
			http.Error(w, refusal.Denied.Text(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
