// Package admin is the operator's door: an HTTP API over a unix socket, which
// the command line speaks.
//
// Whoever may open the socket is the operator: it is of mode 0600, and the
// peer's uid is compared as well. Every change is recorded in the operator's
// log and in the log of the tenant it touches, before it is made and, with what
// came of it, before it is answered; what cannot be recorded is not done.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/audit/bundle"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// Home is the partner of tenants that are named without one.
const Home tenant.Name = "home"

// A Keyring makes and destroys tenants' keys.
type Keyring interface {
	Create(ctx context.Context, t tenant.ID, purpose string) error
	Destroy(ctx context.Context, t tenant.ID) error
}

// Purpose names the key that a tenant's audit records are sealed with.
const Purpose = "audit"

// A Config is what the API acts on. Every field is required.
type Config struct {
	Registry *registry.Registry
	Keyring  Keyring
	Minter   *identity.Minter
	Verifier *identity.Verifier
	Log      *audit.Log
	Policy   *bundle.Policy // what exports carry: the log's key and the witnesses'
	Signer   note.Signer    // the log's key
	Rows     func() []scope.Row
	Grade    func() string            // what the store's own lock is worth
	Doors    func() map[string]string // where clients are answered, by name
	Routes   func() []Route           // the applications behind the edge
	Ready    func() error             // nil while the node can answer clients
	Now      func() time.Time
	Logger   *slog.Logger
}

// An API answers the operator.
type API struct {
	Config
	mux *http.ServeMux
}

// Bounds of a request.
const (
	maxBody    = 64 << 10
	maxIssuer  = 400 << 10 // with its keys and its authority
	maxReport  = 900 << 10 // of prove: a signed note holds a million bytes
	maxHeader  = 16 << 10
	headerTime = 5 * time.Second
)

// New returns the API of c.
func New(c Config) *API {
	a := &API{Config: c, mux: http.NewServeMux()}
	for pattern, h := range map[string]func(*request) (any, error){
		"GET /v1/tenants":                     a.tenants,
		"POST /v1/tenants":                    a.createTenant,
		"GET /v1/tenants/{partner}/{name}":    a.showTenant,
		"PATCH /v1/tenants/{partner}/{name}":  a.changeTenant,
		"DELETE /v1/tenants/{partner}/{name}": a.deleteTenant,
		"GET /v1/partners":                    a.partners,
		"POST /v1/partners":                   a.createPartner,
		"PATCH /v1/partners/{name}":           a.changePartner,
		"GET /v1/issuers":                     a.issuers,
		"POST /v1/issuers":                    a.addIssuer,
		"GET /v1/issuers/{id}":                a.showIssuer,
		"DELETE /v1/issuers/{id}":             a.removeIssuer,
		"PUT /v1/issuers/{id}/keys":           a.setIssuerKeys,
		"PUT /v1/issuers/{id}/tenants":        a.bindTenant,
		"DELETE /v1/issuers/{id}/tenants":     a.unbindTenant,
		"POST /v1/issuers/{id}/test":          a.testIssuer,
		"POST /v1/token":                      a.issueToken,
		"POST /v1/token/verify":               a.verifyToken,
		"GET /v1/audit/records":               a.records,
		"POST /v1/audit/exports":              a.export,
		"GET /v1/routes":                      a.routes,
		"GET /v1/posture":                     a.posture,
		"POST /v1/prove/reports":              a.signReport,
		"GET /v1/endpoints":                   a.endpoints,
		"GET /readyz":                         a.ready,
		"/":                                   unlisted,
	} {
		a.mux.HandleFunc(pattern, a.handler(h))
	}
	return a
}

// Serve answers the connections of ln, a unix socket, until ctx is done. It
// owns ln.
func (a *API) Serve(ctx context.Context, ln net.Listener) error {
	s := &http.Server{
		Handler:           a.mux,
		ReadHeaderTimeout: headerTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(a.Logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
	}
	stop := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // it is being closed
	defer stop()
	err := s.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// A request is one call of the operator's.
type request struct {
	*http.Request
	peer string // who calls, as the records say it
}

// A stream answers by itself: what it is given goes to the client.
type stream func(w http.ResponseWriter) error

// A Problem is a failure as the client reads it (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// statuses gives every Reason its HTTP status.
var statuses = map[refusal.Reason]int{
	refusal.Internal:        http.StatusInternalServerError,
	refusal.Unauthenticated: http.StatusUnauthorized,
	refusal.Expired:         http.StatusUnauthorized,
	refusal.Suspended:       http.StatusForbidden,
	refusal.Narrow:          http.StatusForbidden,
	refusal.Denied:          http.StatusForbidden,
	refusal.Unlisted:        http.StatusNotFound,
	refusal.NotFound:        http.StatusNotFound,
	refusal.Malformed:       http.StatusBadRequest,
	refusal.TooLarge:        http.StatusRequestEntityTooLarge,
	refusal.TooMany:         http.StatusTooManyRequests,
	refusal.TooFast:         http.StatusTooManyRequests,
	refusal.OverBudget:      http.StatusTooManyRequests,
	refusal.TooLong:         http.StatusGatewayTimeout,
	refusal.Unrecorded:      http.StatusServiceUnavailable,
	refusal.Unavailable:     http.StatusServiceUnavailable,
	refusal.Draining:        http.StatusServiceUnavailable,
}

// problem returns err as the operator reads it: the whole chain, which is told
// to nobody else.
func problem(err error) *Problem {
	reason := refusal.Of(err)
	return &Problem{"about:blank", reason.Text(), statuses[reason], reason.String(), err.Error(), refusal.HintOf(err)}
}

// handler makes one place that answers, for functions that return.
func (a *API) handler(h func(*request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := a.answer(h, w, r)
		if s, ok := answer.(stream); ok && err == nil {
			if err := s(w); err != nil {
				a.Logger.WarnContext(r.Context(), "answer cut", "path", r.URL.Path, "err", err)
				panic(http.ErrAbortHandler) // the client must not take it for whole
			}
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			p := problem(err)
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(p.Status)
			answer = p
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			a.Logger.WarnContext(r.Context(), "answer cut", "path", r.URL.Path, "err", err)
		}
	}
}

// answer asks h, if it is the operator who calls.
func (a *API) answer(h func(*request) (any, error), w http.ResponseWriter, r *http.Request) (any, error) {
	peer, ok := peerOf(r.Context())
	if !ok {
		return nil, refusal.New(refusal.Unauthenticated, "admin: another account's process is at the socket")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxReport)
	return h(&request{r, peer})
}

// unlisted answers whatever the API does not have.
func unlisted(r *request) (any, error) {
	return nil, refusal.New(refusal.Unlisted, "admin: there is no %s %.100q", r.Method, r.URL.Path)
}

// decode reads the body of r, strictly: no unknown, doubled or misspelt names
// and nothing behind.
func (r *request) decode(into any) error { return r.decodeUpTo(maxBody, into) }

// decodeUpTo is decode of a body with at most limit bytes.
func (r *request) decodeUpTo(limit int64, into any) error {
	r.Body = http.MaxBytesReader(nil, r.Body, limit)
	if err := jsonv2.UnmarshalRead(r.Body, into, jsonv2.RejectUnknownMembers(true)); err != nil {
		reason := refusal.Malformed
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			reason = refusal.TooLarge
		}
		return refusal.New(reason, "admin: body: %w", err)
	}
	return nil
}

// query returns what the URL of r asks, and refuses what is not known or said
// twice.
func (r *request) query(known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refusal.New(refusal.Malformed, "admin: query: %w", err)
	}
	for name, values := range q {
		if !slices.Contains(known, name) || len(values) != 1 {
			return nil, refusal.New(refusal.Malformed, "admin: %.40q is not asked here, or twice", name)
		}
	}
	return q, nil
}

// ready says whether clients are answered.
func (a *API) ready(*request) (any, error) {
	if err := a.Ready(); err != nil {
		return nil, err
	}
	return map[string]bool{"ready": true}, nil
}

// endpoints returns where clients are answered.
func (a *API) endpoints(*request) (any, error) { return a.Doors(), nil }

// A Route is an application behind the edge, as clients meet it.
type Route struct {
	Name     string   `json:"name"`
	Host     string   `json:"host"`
	Path     string   `json:"path"`
	Partner  string   `json:"partner,omitempty"` // the one it serves; "": all
	Upstream string   `json:"upstream"`
	Reach    []string `json:"reach"`
}

// routes returns the applications behind the edge.
func (a *API) routes(*request) (any, error) { return a.Routes(), nil }

// A Posture is what the node lets through, and what its store's own lock is
// worth.
type Posture struct {
	Grade string `json:"grade"`
	Rows  []Row  `json:"rows"`
}

// A Row is a line of a broker's table.
type Row struct {
	Broker  string `json:"broker"`
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Effect  string `json:"effect"`
	Needs   string `json:"needs,omitempty"`
	Why     string `json:"why"`
}

// posture returns every row of every table.
func (a *API) posture(*request) (any, error) {
	p := Posture{Grade: a.Grade(), Rows: []Row{}}
	for _, r := range a.Rows() {
		p.Rows = append(p.Rows, Row{r.Broker, r.Name, r.Verdict.String(), r.Effect.String(), r.Needs, r.Why})
	}
	return p, nil
}
