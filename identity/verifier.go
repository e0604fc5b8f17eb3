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

// typ is the media type of an access token (RFC 9068), the one token that is
// presented as a password or an API key.
const typ = "at+jwt"

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
	// that Check or [Config.Issuers] would answer.
	Changed() <-chan struct{}
}

// A Config is what a [Verifier] needs. Every field but Leeway is required.
type Config struct {
	TrustDomain string // names this deployment in what the operator reads

	// Issuers returns the keys of the issuer whose iss is exactly this, and nil
	// for every other. It is asked on every use and must not wait. A change is
	// announced by Standing.
	Issuers func(issuer string) *KeySet

	Standing    Standing
	MaxLifetime time.Duration // of a token; at most [MaxLifetime]
	Leeway      time.Duration // by which iat may be in the future, and nothing else
	Now         func() time.Time
	CacheSize   int // tokens whose signature is remembered: 64 to 1<<20
}

// A Verifier makes a [Principal] of a token, and nobody else does. It is safe
// for concurrent use.
type Verifier struct {
	c     Config
	cache *cache
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
	want(c.Standing != nil, "Standing is missing")
	want(c.MaxLifetime > 0 && c.MaxLifetime <= MaxLifetime, "MaxLifetime is %v, not over 0 and up to %v", c.MaxLifetime, MaxLifetime)
	want(c.Leeway >= 0 && c.Leeway <= maxLeeway, "Leeway is %v, not 0 to %v", c.Leeway, maxLeeway)
	want(c.Now != nil, "Now is missing")
	want(c.CacheSize >= minCache && c.CacheSize <= maxCache, "CacheSize is %d, not %d to %d", c.CacheSize, minCache, maxCache)
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return &Verifier{c, newCache(c.CacheSize)}, nil
}

// Verify returns whom token speaks for at broker. To the client all ways of
// not being a token of ours are one: [refusal.Unauthenticated], whether the
// issuer, the signature, the type or the audience is wrong.
func (v *Verifier) Verify(ctx context.Context, broker string, token secret.Text) (Principal, error) {
	if token.Len() > jws.MaxSize {
		return Principal{}, v.refuse(errors.New("the token is too large"))
	}
	id := digest(token.Reveal())
	found := v.cache.get(id)
	if found != nil && v.current(found) {
		return v.judge(found, broker)
	}
	if err := ctx.Err(); err != nil {
		return Principal{}, refusal.New(refusal.TooLong, "identity: %w", err)
	}
	fresh, err := v.read(token.Reveal(), id)
	if err != nil {
		return Principal{}, v.refuse(err)
	}
	p, err := v.judge(fresh, broker)
	if err == nil {
		v.cache.put(id, fresh)
	}
	return p, err
}

// verified is what a signature proves for as long as the key set that it was
// checked with stays the same: what the token says, and nothing of whether
// that is good enough. [Verifier.judge] says so, every time.
type verified struct {
	p        Principal
	keys     [sha256.Size]byte // digest of the key set
	typ      string
	audience string
	issued   time.Time
}

// read verifies the signature and parses the claims. The key set is chosen by
// iss before kid is looked at: an issuer's key signs for that issuer only,
// whatever others call theirs.
func (v *Verifier) read(token string, id [sha256.Size]byte) (*verified, error) {
	t, err := jws.Parse(token)
	if err != nil {
		return nil, err
	}
	issuer, err := t.ClaimedIssuer()
	if err != nil {
		return nil, err
	}
	keys := v.c.Issuers(issuer)
	if keys == nil {
		return nil, fmt.Errorf("no issuer %.100q", issuer)
	}
	payload, key, err := keys.Verify(t)
	if err != nil {
		return nil, fmt.Errorf("issuer %.100q: %w", issuer, err)
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, fmt.Errorf("issuer %.100q: %w", issuer, err)
	}
	p := c.principal
	p.token, p.key = id, key.Thumb()
	return &verified{p: p, keys: keys.Digest(), typ: t.Typ(), audience: c.audience, issued: c.issued}, nil
}

// current reports whether the signature of f was checked with the keys that
// its issuer has now.
func (v *Verifier) current(f *verified) bool {
	keys := v.c.Issuers(f.p.issuer)
	return keys != nil && keys.Digest() == f.keys
}

// judge decides whether what the token says is enough, here and now.
func (v *Verifier) judge(f *verified, broker string) (Principal, error) {
	if f.typ != typ {
		return Principal{}, v.refuse(fmt.Errorf("typ is %.40q", f.typ))
	}
	if name, ok := strings.CutPrefix(f.audience, audience); !ok || broker == "" || name != broker {
		return Principal{}, v.refuse(fmt.Errorf("aud is %.100q, this is %.40q", f.audience, broker))
	}
	if f.issued.After(v.c.Now().Add(v.c.Leeway)) {
		return Principal{}, v.refuse(fmt.Errorf("issued in the future: %v", f.issued))
	}
	if life := f.p.expires.Sub(f.issued); life <= 0 || life > v.c.MaxLifetime {
		return Principal{}, v.refuse(fmt.Errorf("a lifetime of %v", life))
	}
	if err := v.Live(f.p); err != nil {
		return Principal{}, err
	}
	return f.p, nil
}

// Live returns nil as long as p may act, and otherwise why not. It is asked
// before every operation and remembers nothing: what it said a moment ago is
// worth nothing now. Standing comes before expiry: who is suspended is told so
// even with a token that is over, for some go on past its end with what they
// had begun, and nobody goes on past a suspension.
func (v *Verifier) Live(p Principal) error {
	if p.IsZero() {
		return v.refuse(errors.New("nobody"))
	}
	if !v.c.Issuers(p.issuer).Holds(p.key) {
		return v.refuse(fmt.Errorf("issuer %.100q no longer has the key", p.issuer))
	}
	err := v.c.Standing.Check(p.tenant, p.partner, p.id, p.issuer)
	if err == nil && !v.c.Now().Before(p.expires) {
		return refusal.New(refusal.Expired, "identity: %s: expired at %v", v.c.TrustDomain, p.expires)
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

// Watch returns a channel that is closed when something changed that
// [Verifier.Live] depends on, time excepted: ask Live again then, for time
// there is [Principal.Expires]. Take the channel before asking Live, so that
// no change falls between.
func (v *Verifier) Watch() <-chan struct{} { return v.c.Standing.Changed() }

// refuse gives the client no word about why.
func (v *Verifier) refuse(why error) error {
	return refusal.New(refusal.Unauthenticated, "identity: %s: %w", v.c.TrustDomain, why)
}
