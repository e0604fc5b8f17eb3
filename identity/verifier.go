package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// MaxLifetime is the longest life any token may have, by whoever it was minted.
const MaxLifetime = 15 * time.Minute

// maxLeeway bounds how far ahead of ours the clock of an issuer may be.
const maxLeeway = time.Minute

// audience is what precedes the name of the one broker a token is for.
const audience = "isocore:"

// A KeySet is all the keys of one issuer.
type KeySet = jws.KeySet

// ParseKeySet reads a JWK Set (RFC 7517). One unfit key refuses all of it.
func ParseKeySet(doc []byte) (*KeySet, error) { return jws.ParseKeySet(doc) }

// Standing says who may act now. The registry implements it.
type Standing interface {
	// Check returns nil if tenant, partner, principal and issuer are all in good
	// standing and belong together. Otherwise the error's Reason says which it
	// is: Suspended, Unauthenticated for what is unknown, gone or somebody
	// else's, Unavailable if it cannot be known. It is asked before every
	// operation: it must not wait and should not allocate.
	Check(t tenant.ID, partner, principal [16]byte, issuer string) error

	// Changed returns a channel that is closed at the next change of anything
	// that Check, [Config.Issuers] or [Config.Providers] would answer, of whoever
	// was there before: an enrolment need not close it.
	Changed() <-chan struct{}
}

// A Config is what a [Verifier] needs. Every field is required but Leeway, and
// Providers with what goes beside.
type Config struct {
	TrustDomain string // our own iss without https://, and aud of a Txn-Token

	// Issuers returns the keys of the issuer whose iss is exactly this, and nil
	// for every other: ours and those of the Providers. It is asked on every use
	// and must not wait. A change is announced by Standing.
	Issuers func(issuer string) *KeySet

	// Providers returns the identity provider whose iss is exactly this, and nil
	// for every other. Like Issuers, which has its keys, it is asked on every use
	// and must not wait. A nil func knows none.
	Providers func(issuer string) *Provider

	// Enrol returns who subject of issuer is in a tenant, and assigns an id the
	// first time. It may ask the registry. Required beside Providers.
	Enrol func(ctx context.Context, t tenant.ID, issuer, subject string) (partner, principal [16]byte, err error)

	// Renew is called when a provider's token names a key that is not in its set:
	// the set may be old, or not there yet. It returns nil if there may be another
	// one now. It bounds itself: how often it fetches, and how long it takes.
	// Required beside Providers.
	Renew func(ctx context.Context, issuer string) error

	Standing    Standing
	MaxLifetime time.Duration // of a token of ours; at most [MaxLifetime]
	Leeway      time.Duration // by which iat and nbf may be in the future, and nothing else
	Now         func() time.Time
	CacheSize   int // tokens whose signature is remembered: 64 to 1<<20
}

// A Verifier makes a [Principal] of a token, and nobody else does. It is safe
// for concurrent use.
type Verifier struct {
	c      Config
	issuer string // iss of our own tokens
	cache  *cache
}

// New returns the verifier that c describes, or everything that c lacks.
func New(c Config) (*Verifier, error) {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("identity: "+format, args...))
		}
	}
	want(visible(c.TrustDomain, maxText), "TrustDomain is missing or not a name")
	want(c.Issuers != nil, "Issuers is missing")
	want(c.Providers == nil || c.Enrol != nil, "Enrol is missing beside Providers")
	want(c.Providers == nil || c.Renew != nil, "Renew is missing beside Providers")
	want(c.Standing != nil, "Standing is missing")
	want(c.MaxLifetime > 0 && c.MaxLifetime <= MaxLifetime, "MaxLifetime is %v, not over 0 and up to %v", c.MaxLifetime, MaxLifetime)
	want(c.Leeway >= 0 && c.Leeway <= maxLeeway, "Leeway is %v, not 0 to %v", c.Leeway, maxLeeway)
	want(c.Now != nil, "Now is missing")
	want(c.CacheSize >= minCache && c.CacheSize <= maxCache, "CacheSize is %d, not %d to %d", c.CacheSize, minCache, maxCache)
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return &Verifier{c, scheme + c.TrustDomain, newCache(c.CacheSize)}, nil
}

// Verify returns whom token speaks for at broker, which decides what kind of
// token it has to be: at [Edge] a provider's, at [Exchange] a Txn-Token, and
// everywhere else a store token for this very broker. To the client all ways
// of not being one are the same: [refusal.Unauthenticated], whether the issuer,
// the signature, the type, the audience or the tenant is wrong.
func (v *Verifier) Verify(ctx context.Context, broker string, token secret.Text) (Principal, error) {
	if token.Len() > jws.MaxSize {
		return Principal{}, v.refuse(errors.New("the token is too large"))
	}
	id := digest(token.Reveal())
	found := v.cache.get(id)
	if found != nil && v.current(found) {
		p, err := v.judge(found, broker)
		if refusal.Of(err) != refusal.Unauthenticated || !v.forgotten(found, broker) {
			return p, err
		}
	}
	if err := ctx.Err(); err != nil {
		return Principal{}, refusal.New(refusal.TooLong, "identity: %w", err)
	}
	fresh, err := v.read(ctx, broker, token.Reveal())
	if err != nil {
		if _, said := errors.AsType[*refusal.Error](err); said {
			return Principal{}, err
		}
		return Principal{}, v.refuse(err)
	}
	fresh.p.token = id
	p, err := v.judge(fresh, broker)
	if err == nil {
		v.cache.put(id, fresh)
	}
	return p, err
}

// verified is what a signature proves for as long as the key set that it was
// checked with stays the same, and the registration of the provider if it is
// one's: what the token says, and nothing of whether that is good enough.
// [Verifier.judge] says so, every time.
type verified struct {
	p        Principal
	kind     kind
	keys     [sha256.Size]byte // digest of the key set
	audience string            // of a store token
	issued   time.Time
	begins   time.Time     // nbf of a provider's token, zero if it has none
	most     time.Duration // how long it may live
}

// read verifies the signature and parses the claims of the one kind of token
// that is good at this door. The key set is chosen by iss before kid is looked
// at: an issuer's key signs for that issuer only, whatever others call theirs.
func (v *Verifier) read(ctx context.Context, broker, token string) (*verified, error) {
	switch kindAt(broker) {
	case storeToken:
		return v.readStore(token)
	case providerToken:
		return v.readForeign(ctx, token)
	case txnToken:
		keys := v.c.Issuers(v.issuer)
		_, s, key, err := readTxn(keys, v.issuer, v.c.TrustDomain, token)
		if err != nil {
			return nil, err
		}
		return v.ours(s, keys, key), nil
	default:
		return nil, errors.New("no door")
	}
}

func (v *Verifier) readStore(token string) (*verified, error) {
	t, err := jws.Parse(token)
	if err != nil {
		return nil, err
	}
	if claimed, err := t.ClaimedIssuer(); err != nil || claimed != v.issuer {
		return nil, errors.Join(fmt.Errorf("issuer %.100q is not ours", claimed), err)
	}
	keys := v.c.Issuers(v.issuer)
	payload, key, err := keys.Verify(t)
	if err != nil {
		return nil, err
	}
	if t.Typ() != storeType {
		return nil, fmt.Errorf("typ is %.40q", t.Typ())
	}
	s, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	return v.ours(s, keys, key), nil
}

// ours is what a token of ours says, and the key it says so by.
func (v *Verifier) ours(s statement, keys *KeySet, key jws.Key) *verified {
	s.principal.key = key.Thumb()
	return &verified{
		p: s.principal, kind: s.principal.kind, keys: keys.Digest(), audience: s.audience, issued: s.issued, most: v.c.MaxLifetime,
	}
}

// current reports whether f was read with the keys and the registration that
// its issuer has now.
func (v *Verifier) current(f *verified) bool {
	keys := v.c.Issuers(f.p.signer)
	if keys == nil || keys.Digest() != f.keys {
		return false
	}
	if f.kind != providerToken {
		return true
	}
	q := v.provider(f.p.signer)
	return q != nil && q.keeps(&f.p)
}

// forgotten reports whether standing has nobody of the id that who f is was
// enrolled under. They may have another by now, as the people of a provider do
// that was removed and added again; a token of ours has its id in it.
func (v *Verifier) forgotten(f *verified, broker string) bool {
	if f.kind != providerToken || f.kind != kindAt(broker) {
		return false
	}
	return refusal.Of(v.c.Standing.Check(f.p.tenant, f.p.partner, f.p.id, f.p.issuer)) == refusal.Unauthenticated
}

// judge decides whether what the token says is enough, here and now.
func (v *Verifier) judge(f *verified, broker string) (Principal, error) {
	if f.kind == 0 || f.kind != kindAt(broker) {
		return Principal{}, v.refuse(fmt.Errorf("a token of another kind than is good at %.40q", broker))
	}
	if f.kind == storeToken {
		if name, ok := strings.CutPrefix(f.audience, audience); !ok || name != broker {
			return Principal{}, v.refuse(fmt.Errorf("aud is %.100q, this is %.40q", f.audience, broker))
		}
	}
	now := v.c.Now()
	if err := v.due(f, now); err != nil {
		return Principal{}, v.refuse(err)
	}
	if err := v.live(&f.p, now); err != nil {
		return Principal{}, err
	}
	return f.p, nil
}

// due refuses what begins later and what lives too long. That it is over is
// not asked here.
func (v *Verifier) due(f *verified, now time.Time) error {
	return due(f.issued, f.begins, f.p.expires, f.most, now.Add(v.c.Leeway))
}

func due(issued, begins, expires time.Time, most time.Duration, latest time.Time) error {
	if issued.After(latest) || begins.After(latest) {
		return fmt.Errorf("issued in the future: %v, good from %v", issued, begins)
	}
	if life := expires.Sub(issued); life <= 0 || life > most {
		return fmt.Errorf("a lifetime of %v", life)
	}
	return nil
}

// Live returns nil as long as p may act, and otherwise why not. It is asked
// before every operation and remembers nothing: what it said a moment ago is
// worth nothing now. Standing comes before expiry: who is suspended is told so
// even with a token that is over, for some go on past its end with what they
// had begun, and nobody goes on past a suspension.
func (v *Verifier) Live(p Principal) error { return v.live(&p, v.c.Now()) }

func (v *Verifier) live(p *Principal, now time.Time) error {
	if p.IsZero() {
		return v.refuse(errors.New("nobody"))
	}
	if err := v.home(p); err != nil {
		return v.refuse(err)
	}
	if !v.c.Issuers(p.signer).Holds(p.key) {
		return v.refuse(fmt.Errorf("issuer %.100q no longer has the key", p.signer))
	}
	err := v.c.Standing.Check(p.tenant, p.partner, p.id, p.issuer)
	if err == nil && !now.Before(p.expires) {
		return v.expired(p)
	}
	if err == nil {
		return nil
	}
	switch r := refusal.Of(err); r {
	case refusal.Suspended, refusal.Unauthenticated, refusal.Unavailable:
		return refusal.New(r, "identity: %s: tenant %s: %w", v.c.TrustDomain, p.tenant, err)
	default:
		return refusal.New(refusal.Unavailable, "identity: %s: tenant %s: standing unknown: %w", v.c.TrustDomain, p.tenant, err)
	}
}

// home refuses whom their identity provider may no longer speak for, whichever
// token they show. Who shows the provider's own token is held to the very
// registration it was read under: with another one it has to be read again.
func (v *Verifier) home(p *Principal) error {
	if p.issuer == v.issuer {
		return nil
	}
	q := v.provider(p.issuer)
	if q == nil {
		return fmt.Errorf("no provider %.100q", p.issuer)
	}
	if !q.speaksFor(p.tenant) {
		return fmt.Errorf("provider %.100q no longer speaks for tenant %s", p.issuer, p.tenant)
	}
	if p.kind == providerToken && !q.keeps(p) {
		return fmt.Errorf("provider %.100q has another registration", p.issuer)
	}
	return nil
}

// expired says that the token of p was good.
func (v *Verifier) expired(p *Principal) error {
	return refusal.New(refusal.Expired, "identity: %s: expired at %v", v.c.TrustDomain, p.expires)
}

// Watch returns a channel that is closed when something changed that
// [Verifier.Live] depends on, time excepted: ask Live again then, for time
// there is [Principal.Expires]. Take the channel before asking Live, so that
// no change falls between.
func (v *Verifier) Watch() <-chan struct{} { return v.c.Standing.Changed() }

// refuse gives the client no word about why.
func (v *Verifier) refuse(why error) error {
	return refusal.New(refusal.Unauthenticated, "identity: %s: %w", v.c.TrustDomain, why)
}
