package admin

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/preset"
	"github.com/isocore/isocore/identity/published"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A NewIssuer is an identity provider as POST /v1/issuers takes it. What the
// preset knows may be left out; without one everything is said.
type NewIssuer struct {
	URL        string          `json:"url"`
	Preset     string          `json:"preset,omitempty"`
	Audiences  []string        `json:"audiences"`
	Parties    []string        `json:"parties,omitempty"`
	Types      []string        `json:"types,omitempty"`
	Algorithms []string        `json:"algorithms,omitempty"`
	TenantAt   string          `json:"tenant_at,omitempty"`
	Shape      string          `json:"shape,omitempty"`
	SubjectAt  string          `json:"subject_at,omitempty"`
	Reach      []string        `json:"reach"`
	Lifetime   string          `json:"lifetime"` // with its unit, at most 24h
	JWKS       json.RawMessage `json:"jwks,omitempty"`
	JWKSURI    string          `json:"jwks_uri,omitempty"` // instead of jwks
	CA         string          `json:"ca,omitempty"`       // certificates in PEM, with jwks_uri
	Private    bool            `json:"private,omitempty"`  // jwks_uri may be at a private address
}

// An Issuer is an identity provider as the API shows it.
type Issuer struct {
	ID string `json:"id"`
	NewIssuer
	Tenants []Binding `json:"tenants"`
}

// A Binding is what a provider calls a tenant.
type Binding struct {
	Value  string `json:"value"`
	Tenant string `json:"tenant"` // partner/name
	ID     string `json:"id"`
	State  string `json:"state"`
}

// A Bound is what PUT /v1/issuers/{id}/tenants takes.
type Bound struct {
	Tenant string `json:"tenant"` // partner/name
}

// A Shown is what POST /v1/issuers/{id}/test takes.
type Shown struct {
	Token string `json:"token"`
}

// A Tested is what a token means at the edge.
type Tested struct {
	Verified
	Path string `json:"path"` // of the tenant
}

func showIssuer(g registry.Registration) Issuer {
	shown := Issuer{
		ID: hex.EncodeToString(g.ID[:]),
		NewIssuer: NewIssuer{
			URL: g.URL, Preset: g.Preset, Audiences: g.Audiences, Parties: g.Parties, Types: g.Types, Algorithms: g.Algorithms,
			TenantAt: g.TenantAt, Shape: string(g.Shape), SubjectAt: g.SubjectAt, Reach: g.Reach, Lifetime: g.Lifetime.String(),
			JWKS: g.Keys, JWKSURI: g.JWKSURI, CA: g.CA, Private: g.Private,
		},
		Tenants: []Binding{},
	}
	for _, b := range g.Bindings {
		shown.Tenants = append(shown.Tenants, Binding{b.Value, b.Path.String(), b.Tenant.String(), string(b.State)})
	}
	return shown
}

func (a *API) issuers(r *request) (any, error) {
	all, err := a.Registry.Registrations(r.Context())
	if err != nil {
		return nil, err
	}
	shown := []Issuer{}
	for _, g := range all {
		shown = append(shown, showIssuer(g))
	}
	return shown, nil
}

// registration returns the provider that the URL of r names.
func (a *API) registration(r *request) (registry.Registration, error) {
	id, err := tenant.Parse(r.PathValue("id")) // ids are all spelled alike
	if err != nil {
		return registry.Registration{}, refusal.New(refusal.Malformed, "admin: an id is 32 hexadecimal digits, not %.50q", r.PathValue("id"))
	}
	all, err := a.Registry.Registrations(r.Context())
	if err != nil {
		return registry.Registration{}, err
	}
	for _, g := range all {
		if g.ID == id.UUID() {
			return g, nil
		}
	}
	return registry.Registration{}, refusal.New(refusal.NotFound, "admin: there is no identity provider %s", id)
}

func (a *API) showIssuer(r *request) (any, error) {
	g, err := a.registration(r)
	if err != nil {
		return nil, err
	}
	return showIssuer(g), nil
}

// addIssuer has tokens of a provider believed. They are nobody's until a value
// of their tenant claim is bound.
func (a *API) addIssuer(r *request) (any, error) {
	var n NewIssuer
	if err := r.decodeUpTo(maxIssuer, &n); err != nil {
		return nil, err
	}
	g, err := n.registration()
	if err == nil {
		err = g.Check()
	}
	if err == nil {
		err = sound(g)
	}
	if err != nil {
		return nil, err
	}
	keys := "keys given"
	if g.JWKSURI != "" {
		keys = "keys from " + g.JWKSURI
	}
	err = a.do(r.Context(), r, change{
		class: audit.ClassIssuer, operation: "issuer add", resources: []string{g.URL},
		detail: fmt.Sprintf("audience %s; reach %s; %s", strings.Join(g.Audiences, " "), strings.Join(g.Reach, " "), keys),
	}, func() (err error) {
		g.Issuer, err = a.Registry.AddProvider(r.Context(), g)
		return err
	})
	if err != nil {
		return nil, err
	}
	return showIssuer(g), nil
}

// mutable are claims that a person, or an administrator of a directory that is
// not the application's, may change to what somebody else was called before.
var mutable = []string{"email", "mail", "upn", "preferred_username", "unique_name", "username", "nickname", "name", "phone_number"}

// sound reports what would make g a provider whose keys cannot be fetched, or
// whose people are taken for each other.
func sound(g registry.Registration) error {
	if g.JWKSURI != "" {
		s := published.Source{Issuer: g.URL, URI: g.JWKSURI, CA: g.CA, Private: g.Private}
		if err := s.Check(); err != nil {
			return refusal.New(refusal.Malformed, "admin: keys could not be fetched from %.100q: %w", g.JWKSURI, err)
		}
	}
	claim := strings.NewReplacer("~1", "/", "~0", "~").Replace(strings.ToLower(g.SubjectAt))
	claim = claim[strings.LastIndexByte(claim, '/')+1:]
	if slices.Contains(mutable, claim) {
		return refusal.New(refusal.Malformed, "admin: what %.100q holds changes hands, and whoever has it next would be taken for the one before: use /sub, or /oid of Entra", g.SubjectAt)
	}
	return nil
}

// registration returns what n describes, with what its preset knows.
func (n *NewIssuer) registration() (registry.Registration, error) {
	lifetime, err := time.ParseDuration(n.Lifetime)
	if err != nil || lifetime <= 0 || lifetime > identity.MaxProviderLifetime {
		return registry.Registration{}, refusal.New(refusal.Malformed, "admin: a provider's token lives up to %v, not %.20q", identity.MaxProviderLifetime, n.Lifetime)
	}
	g := registry.Registration{
		Issuer: registry.Issuer{URL: n.URL}, Preset: n.Preset, Audiences: n.Audiences, Parties: n.Parties, Types: n.Types, Algorithms: n.Algorithms,
		TenantAt: n.TenantAt, Shape: identity.Shape(n.Shape), SubjectAt: n.SubjectAt, Reach: n.Reach, Lifetime: lifetime,
		Keys: n.JWKS, JWKSURI: n.JWKSURI, CA: n.CA, Private: n.Private,
	}
	if n.Preset == "" {
		return g, nil
	}
	return g, fill(&g)
}

// fill puts what the preset of g knows in the place of what g does not say.
func fill(g *registry.Registration) error {
	p, ok := preset.Lookup(g.Preset)
	if !ok {
		return refusal.New(refusal.Malformed, "admin: there is no preset %.40q, but %s", g.Preset, strings.Join(preset.Names(), ", "))
	}
	keysAt, err := p.Resolve(g.URL)
	if err != nil {
		return refusal.New(refusal.Malformed, "%w", err)
	}
	if len(g.Types) == 0 {
		g.Types = p.Types
	}
	if len(g.Algorithms) == 0 {
		g.Algorithms = p.Algorithms
	}
	for _, x := range []struct {
		said  *string
		known string
	}{{&g.TenantAt, p.TenantAt}, {(*string)(&g.Shape), string(p.Shape)}, {&g.SubjectAt, p.SubjectAt}} {
		if *x.said == "" {
			*x.said = x.known
		}
	}
	if g.Keys == nil && g.JWKSURI == "" {
		g.JWKSURI = keysAt
	}
	return nil
}

// removeIssuer believes no token of a provider any more, and ends who came
// with one.
func (a *API) removeIssuer(r *request) (any, error) {
	g, err := a.registration(r)
	if err != nil {
		return nil, err
	}
	c := change{class: audit.ClassIssuer, operation: "issuer remove", resources: []string{g.URL}}
	err = a.doAll(r.Context(), r, c, touched(g), func() error { return a.Registry.RemoveIssuer(r.Context(), g.URL) })
	if err != nil {
		return nil, err
	}
	return showIssuer(g), nil
}

// touched returns the tenants that a provider speaks for, each once.
func touched(g registry.Registration) (ids []tenant.ID) {
	for _, b := range g.Bindings {
		if b.State != registry.Gone && !slices.Contains(ids, b.Tenant) {
			ids = append(ids, b.Tenant)
		}
	}
	return ids
}

// setIssuerKeys replaces keys that are given: the body is the JWK Set.
func (a *API) setIssuerKeys(r *request) (any, error) {
	g, err := a.registration(r)
	if err != nil {
		return nil, err
	}
	var doc json.RawMessage
	if err := r.decodeUpTo(maxIssuer, &doc); err != nil {
		return nil, err
	}
	c := change{class: audit.ClassIssuer, operation: "issuer keys", resources: []string{g.URL}}
	err = a.doAll(r.Context(), r, c, touched(g), func() error { return a.Registry.SetProviderKeys(r.Context(), g.URL, doc) })
	if err != nil {
		return nil, err
	}
	return a.showIssuer(r)
}

// bindTenant has a value of a provider's tenant claim stand for a tenant.
func (a *API) bindTenant(r *request) (any, error) {
	g, value, err := a.valueOf(r)
	if err != nil {
		return nil, err
	}
	var b Bound
	if err := r.decode(&b); err != nil {
		return nil, err
	}
	path, err := parsePath(b.Tenant)
	if err != nil {
		return nil, err
	}
	t, err := a.Registry.Tenant(r.Context(), path)
	if err != nil {
		return nil, err
	}
	if p, _ := preset.Lookup(g.Preset); slices.Contains(p.Never, value) {
		return nil, refusal.New(refusal.Denied, "admin: %q of %s is nobody's tenant", value, g.Preset)
	}
	c := change{class: audit.ClassIssuer, operation: "issuer bind", tenant: t.ID, resources: []string{g.URL, fmt.Sprintf("value %.150q", value)}}
	if err := a.do(r.Context(), r, c, func() error { return a.Registry.BindTenant(r.Context(), g.URL, value, path) }); err != nil {
		return nil, err
	}
	return a.showIssuer(r)
}

// unbindTenant has a value of a provider's tenant claim stand for nobody.
func (a *API) unbindTenant(r *request) (any, error) {
	g, value, err := a.valueOf(r)
	if err != nil {
		return nil, err
	}
	c := change{class: audit.ClassIssuer, operation: "issuer unbind", resources: []string{g.URL, fmt.Sprintf("value %.150q", value)}}
	for _, b := range g.Bindings {
		if b.Value == value && b.State != registry.Gone {
			c.tenant = b.Tenant
		}
	}
	if err := a.do(r.Context(), r, c, func() error { return a.Registry.UnbindTenant(r.Context(), g.URL, value) }); err != nil {
		return nil, err
	}
	return a.showIssuer(r)
}

// valueOf returns the provider and the value that the URL of r names.
func (a *API) valueOf(r *request) (registry.Registration, string, error) {
	q, err := r.query("value")
	if err != nil {
		return registry.Registration{}, "", err
	}
	g, err := a.registration(r)
	return g, q.Get("value"), err
}

// testIssuer says what the edge would say of a provider's token, in the
// operator's words.
func (a *API) testIssuer(r *request) (any, error) {
	g, err := a.registration(r)
	if err != nil {
		return nil, err
	}
	var s Shown
	if err := r.decode(&s); err != nil {
		return nil, err
	}
	p, err := a.Verifier.Verify(r.Context(), identity.Edge, secret.New(s.Token))
	if err != nil {
		return nil, err
	}
	if p.Issuer() != g.URL {
		return nil, refusal.New(refusal.Unauthenticated, "admin: the token is good, and of %s, not %s", p.Issuer(), g.URL)
	}
	path, _ := a.Registry.TenantPath(p.Tenant())
	return Tested{verified(p), path.String()}, nil
}
