package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A TokenRequest is what POST /v1/token takes.
type TokenRequest struct {
	Tenant string   `json:"tenant"`            // partner/name
	For    string   `json:"for"`               // the broker, e.g. postgres
	Reach  []string `json:"reach"`             // e.g. pg:read
	TTL    string   `json:"ttl"`               // with its unit, at most 15m
	Sub    string   `json:"subject,omitempty"` // who will use it; operator unless said

	// Token is an identity provider's, whose holder a Txn-Token is made for: with
	// for exchange, and for a tenant of the prover's.
	Token string `json:"token,omitempty"`
}

// A Token is one as the API gives it out.
type Token struct {
	Token   string    `json:"access_token"`
	Type    string    `json:"token_type"`
	Expires time.Time `json:"expires"`
	Seconds int       `json:"expires_in"`
	Scope   string    `json:"scope"`
}

// issueToken mints a token for a tenant that may act.
func (a *API) issueToken(r *request) (any, error) {
	var q TokenRequest
	if err := r.decode(&q); err != nil {
		return nil, err
	}
	g, path, err := q.grant()
	if err != nil {
		return nil, err
	}
	t, err := a.Registry.Tenant(r.Context(), path)
	if err == nil {
		err = a.mayAct(r.Context(), t)
	}
	if err != nil {
		return nil, err
	}
	token, err := a.mint(r.Context(), &q, g, t)
	if err != nil {
		return nil, err
	}
	scope := strings.Join(g.Reach, " ")
	err = a.record(r.Context(), r, change{
		class: audit.ClassToken, operation: "token issue", tenant: t.ID,
		resources: []string{path.String(), "for " + g.Broker}, detail: "subject " + g.Subject + ", scope " + scope + ", " + g.TTL.String(),
	})
	if err != nil {
		return nil, err // what was minted is forgotten
	}
	return Token{token.Reveal(), "Bearer", a.Now().Add(g.TTL).UTC().Truncate(time.Second), int(g.TTL.Seconds()), scope}, nil
}

// mint mints a store token for somebody of t, or what q asks for instead.
func (a *API) mint(ctx context.Context, q *TokenRequest, g identity.Grant, t registry.Tenant) (secret.Text, error) {
	if q.Token != "" || q.For == identity.Exchange {
		return a.mintTxn(ctx, q, g, t)
	}
	g.Tenant, g.Partner = t.ID, t.Partner
	var err error
	if g.Principal, err = a.Registry.Principal(ctx, t.ID, a.Minter.Issuer(), g.Subject); err != nil {
		return secret.Text{}, err
	}
	token, err := a.Minter.Mint(g)
	if err != nil {
		return secret.Text{}, refusal.New(refusal.Malformed, "%w", err)
	}
	return token, nil
}

// Provers begin the names of tenants that isocore prove makes for a run, and
// that go with it.
const Provers = "prove-"

// mintTxn mints a Txn-Token for the holder of a provider's token, as the edge
// would for a request of theirs. An operator is nobody's request: only the
// prover, which has to attack the exchange, gets one, and for its own tenants.
func (a *API) mintTxn(ctx context.Context, q *TokenRequest, g identity.Grant, t registry.Tenant) (secret.Text, error) {
	if q.For != identity.Exchange || q.Token == "" || t.Path.Partner != Home || !strings.HasPrefix(string(t.Path.Name), Provers) {
		return secret.Text{}, refusal.New(refusal.Denied, "admin: a Txn-Token is for the exchange, of a provider's token, for a tenant %s/%s*", Home, Provers)
	}
	p, err := a.Verifier.Verify(ctx, identity.Edge, secret.New(q.Token))
	if err != nil {
		return secret.Text{}, err
	}
	if p.Tenant() != t.ID {
		return secret.Text{}, refusal.New(refusal.Denied, "admin: the provider's token is not of %s", t.Path)
	}
	return a.Minter.Txn(p, identity.TxnGrant{Txn: rand.Text(), Workload: g.ClientID, Reach: g.Reach, TTL: g.TTL})
}

// grant returns what q asks for, but for whose it is.
func (q *TokenRequest) grant() (identity.Grant, tenant.Path, error) {
	path, err := parsePath(q.Tenant)
	if err != nil {
		return identity.Grant{}, path, err
	}
	ttl, err := time.ParseDuration(q.TTL)
	if err != nil || ttl <= 0 || ttl > identity.MaxLifetime {
		return identity.Grant{}, path, refusal.New(refusal.Malformed, "admin: a token lives up to %v, not %.20q", identity.MaxLifetime, q.TTL)
	}
	reach, err := identity.ParseReach(strings.Join(q.Reach, " "))
	if err != nil {
		return identity.Grant{}, path, refusal.New(refusal.Malformed, "%w", err)
	}
	return identity.Grant{Subject: cmp.Or(q.Sub, "operator"), ClientID: "isocore-cli", Broker: q.For, Reach: reach, TTL: ttl}, path, nil
}

// mayAct refuses a tenant that is not active, or whose partner is not.
func (a *API) mayAct(ctx context.Context, t registry.Tenant) error {
	if t.State != registry.Active {
		return refusal.Hinted(refusal.Suspended, "isocore tenant resume "+t.Path.String(), "admin: %s is %s", t.Path, t.State)
	}
	partners, err := a.Registry.Partners(ctx)
	if err != nil {
		return err
	}
	for _, p := range partners {
		if p.ID == t.Partner && p.State == registry.Active {
			return nil
		}
	}
	return refusal.Hinted(refusal.Suspended, "isocore partner resume "+string(t.Path.Partner), "admin: the partner %s is not active", t.Path.Partner)
}

// A Presented is what POST /v1/token/verify takes.
type Presented struct {
	Token string `json:"token"`
	For   string `json:"for"`
}

// A Verified is what a good token says.
type Verified struct {
	Tenant    string    `json:"tenant"`
	Principal string    `json:"principal"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Scope     string    `json:"scope"`
	Txn       string    `json:"txn"`
	Expires   time.Time `json:"expires"`
}

// verifyToken says what a token is worth at a broker, as the broker would.
func (a *API) verifyToken(r *request) (any, error) {
	var q Presented
	if err := r.decode(&q); err != nil {
		return nil, err
	}
	p, err := a.Verifier.Verify(r.Context(), q.For, secret.New(q.Token))
	if err != nil {
		return nil, err
	}
	return verified(p), nil
}

func verified(p identity.Principal) Verified {
	id := p.ID()
	return Verified{
		p.Tenant().String(), hex.EncodeToString(id[:]), p.Subject(), p.Issuer(), strings.Join(p.Reach(), " "), p.Txn(), p.Expires(),
	}
}
