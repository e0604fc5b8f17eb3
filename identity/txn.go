package identity

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// txnClaims is a Txn-Token as it travels
// (draft-ietf-oauth-transaction-tokens-10, 9). A claim that is not here
// refuses the token.
type txnClaims struct {
	Issuer   string     `json:"iss"`
	Audience string     `json:"aud"` // the trust domain
	Issued   jws.Date   `json:"iat"`
	Expires  jws.Date   `json:"exp"`
	Txn      string     `json:"txn"`
	Subject  string     `json:"sub"` // the principal: two providers may use one sub, and the draft wants one that is unique in the trust domain
	Person   person     `json:"sub_id"`
	Scope    string     `json:"scope"`
	Workload string     `json:"req_wl"`
	Act      *actor     `json:"act,omitzero"`
	Context  txnCtx     `json:"tctx"`
	Request  requestCtx `json:"rctx"`
}

// txnCtx is what stays the same along the transaction.
type txnCtx struct {
	Tenant    string `json:"tenant"`
	Partner   string `json:"partner"`
	Principal string `json:"principal"`
}

// requestCtx is where the transaction began.
type requestCtx struct {
	Peer   string `json:"req_ip,omitzero"`
	Issuer string `json:"iss"`   // of the token that was presented
	Token  string `json:"token"` // the first 16 bytes of its SHA-256
}

// A TxnGrant is what a Txn-Token will say beside whom it is for.
type TxnGrant struct {
	Txn      string        // one id through every hop
	Workload string        // req_wl: the application it is handed to
	Reach    []string      // what of the principal's own it passes on
	Peer     string        // rctx.req_ip: the address the request came from, "" if it has none
	TTL      time.Duration // whole seconds, over 0 and up to [MaxLifetime]
}

// Txn returns the Txn-Token (draft-ietf-oauth-transaction-tokens) by which the
// request of p travels on. It never reaches further than p does, nor lasts
// longer; its txn is p's own if p has one.
func (m *Minter) Txn(p Principal, g TxnGrant) (secret.Text, error) {
	if g.TTL < time.Second || g.TTL > MaxLifetime || g.TTL%time.Second != 0 {
		return secret.Text{}, fmt.Errorf("identity: txn: a lifetime of %v, not whole seconds up to %v", g.TTL, MaxLifetime)
	}
	if p.txn != "" && p.txn != g.Txn {
		return secret.Text{}, fmt.Errorf("identity: txn: %.40q would become %.40q", p.txn, g.Txn)
	}
	now := m.now()
	scope, ttl, err := narrow(p, g.Reach, g.TTL, now)
	if err != nil {
		return secret.Text{}, err
	}
	presented := p.Token()
	c := txnClaims{
		Issuer: m.issuer, Audience: m.domain, Issued: jws.Date(now.Unix()), Expires: jws.Date(now.Unix() + int64(ttl/time.Second)),
		Txn: g.Txn, Subject: hex.EncodeToString(p.id[:]), Person: person{personFormat, p.issuer, p.subject}, Scope: scope, Workload: g.Workload,
		Act:     act(p.actors, p.issuer, m.issuer),
		Context: txnCtx{p.tenant.String(), hex.EncodeToString(p.partner[:]), hex.EncodeToString(p.id[:])},
		Request: requestCtx{g.Peer, p.issuer, hex.EncodeToString(presented[:16])},
	}
	if _, err := c.parse(); err != nil {
		return secret.Text{}, fmt.Errorf("identity: txn: %w", err)
	}
	token, err := jws.Sign(m.signer, txnType, c)
	if err != nil {
		return secret.Text{}, fmt.Errorf("identity: txn: %w", err)
	}
	return secret.New(token), nil
}

// narrow returns reach as a scope and how long what p asks for may last, in
// whole seconds: no further and no longer than p.
func narrow(p Principal, reach []string, ttl time.Duration, now time.Time) (string, time.Duration, error) {
	if p.IsZero() {
		return "", 0, refusal.New(refusal.Unauthenticated, "identity: nobody")
	}
	ttl = min(ttl, p.expires.Sub(now)).Truncate(time.Second)
	if ttl < time.Second {
		return "", 0, refusal.New(refusal.Expired, "identity: expired at %v", p.expires)
	}
	for _, want := range reach {
		if !p.Has(want) {
			return "", 0, refusal.New(refusal.Narrow, "identity: %.40q is not among %v", want, p.reach)
		}
	}
	words, err := ParseReach(strings.Join(reach, " "))
	if err != nil || len(words) != len(reach) {
		return "", 0, refusal.New(refusal.Narrow, "identity: %.200q: %w", reach, errReach)
	}
	return strings.Join(words, " "), ttl, nil
}

// A Txn is what an application reads in a Txn-Token it was handed. It is no
// [Principal]: an application opens no door with it.
type Txn struct {
	Tenant    tenant.ID
	Principal [16]byte
	Subject   string // what Issuer calls them
	Issuer    string // the identity provider
	Txn       string // one id through every hop
	Workload  string // the application it was handed to
	Peer      string // where the request came from, "" if it is not known
	Reach     []string
	Expires   time.Time
}

// ReadTxn verifies a Txn-Token with the keys that issuer publishes for a trust
// domain. It asks no registry: it says what was so when the token was minted,
// which is minutes ago at most. Its errors have a Reason; [jws.ErrNoKey] is in
// the chain of one that newer keys may mend.
func ReadTxn(keys *KeySet, issuer, domain string, token secret.Text, now time.Time) (Txn, error) {
	c, s, _, err := readTxn(keys, issuer, domain, token.Reveal())
	if err == nil {
		err = due(s.issued, time.Time{}, s.principal.expires, MaxLifetime, now.Add(maxLeeway))
	}
	if err != nil {
		return Txn{}, refusal.New(refusal.Unauthenticated, "identity: txn: %w", err)
	}
	p := s.principal
	if !now.Before(p.expires) {
		return Txn{}, refusal.New(refusal.Expired, "identity: txn: expired at %v", p.expires)
	}
	return Txn{
		Tenant: p.tenant, Principal: p.id, Subject: p.subject, Issuer: p.issuer, Txn: p.txn, Workload: p.client, Peer: c.Request.Peer,
		Reach: slices.Clone(p.reach), Expires: p.expires,
	}, nil
}

// readTxn verifies all of a Txn-Token but its dates.
func readTxn(keys *KeySet, issuer, domain, token string) (txnClaims, statement, jws.Key, error) {
	fail := func(err error) (txnClaims, statement, jws.Key, error) {
		return txnClaims{}, statement{}, jws.Key{}, err
	}
	t, err := jws.Parse(token)
	if err != nil {
		return fail(err)
	}
	if claimed, err := t.ClaimedIssuer(); err != nil || claimed != issuer {
		return fail(errors.Join(fmt.Errorf("issuer %.100q is not ours", claimed), err))
	}
	payload, key, err := keys.Verify(t)
	if err != nil {
		return fail(err)
	}
	if t.Typ() != txnType {
		return fail(fmt.Errorf("typ is %.40q", t.Typ()))
	}
	var c txnClaims
	if err := jws.Decode(payload, &c); err != nil {
		return fail(fmt.Errorf("claims: %w", err))
	}
	s, err := c.parse()
	if err != nil {
		return fail(err)
	}
	if c.Audience != domain || domain == "" {
		return fail(fmt.Errorf("aud is %.100q", c.Audience))
	}
	return c, s, key, nil
}

// parse checks that every claim is there and well-formed, as [claims.parse]
// does.
func (c txnClaims) parse() (statement, error) {
	if !visible(c.Issuer, maxText) || !visible(c.Audience, maxText) || !visible(c.Txn, maxID) || !printable(c.Workload, maxText) {
		return statement{}, errors.New("claims: iss, aud, txn and req_wl are required, printable and short")
	}
	if c.Expires == 0 || c.Issued == 0 {
		return statement{}, errors.New("claims: exp and iat are required")
	}
	if c.Subject != c.Context.Principal || c.Request.Issuer != c.Person.Issuer {
		return statement{}, errors.New("claims: sub is not the principal of tctx, or sub_id not of the issuer of rctx")
	}
	t, errT := tenant.Parse(c.Context.Tenant)
	partner, errP := parseID(c.Context.Partner)
	id, errI := parseID(c.Context.Principal)
	_, errD := parseID(c.Request.Token)
	reach, errR := ParseReach(c.Scope)
	actors, errA := c.Act.chain(c.Person.Issuer, c.Issuer)
	var errQ error
	if c.Request.Peer != "" {
		_, errQ = netip.ParseAddr(c.Request.Peer)
	}
	if err := errors.Join(c.Person.parse(), errT, errP, errI, errD, errR, errA, errQ); err != nil {
		return statement{}, fmt.Errorf("claims: %w", err)
	}
	return statement{
		principal: Principal{
			kind: txnToken, tenant: t, partner: partner, id: id, subject: c.Person.Subject, issuer: c.Person.Issuer, signer: c.Issuer,
			txn: c.Txn, client: c.Workload, actors: actors, reach: reach, expires: time.Unix(int64(c.Expires), 0),
		},
		audience: c.Audience,
		issued:   time.Unix(int64(c.Issued), 0),
	}, nil
}
