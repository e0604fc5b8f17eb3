package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/tenant"
)

// The doors that take something else than a store token: a [Verifier] chooses
// the kind of token by the door, never by what the token says of itself.
const (
	Edge     = "edge"     // takes what an identity provider issues
	Exchange = "exchange" // takes a Txn-Token, as the subject of an exchange
)

// A Shape is what the tenant claim of a provider looks like.
type Shape string

// The shapes there are. Whatever holds another number of tenants than one is
// refused.
const (
	Scalar      Shape = "scalar"       // "acme"
	SingleArray Shape = "single-array" // ["acme"]
	SingleKey   Shape = "single-key"   // {"acme": ...}
)

// A Provider is an identity provider as the operator registered it: whose
// tokens are believed at the edge, and whom they may speak for. It does not
// change: another registration is another Provider. Only [NewProvider] makes
// one that speaks for anybody.
type Provider struct {
	Issuer      string        // exactly what its tokens have as iss: an https URL
	Audiences   []string      // one of them has to be in aud; never empty
	Parties     []string      // azp and client_id have to be among them; empty: any, and aud may not be missing
	Types       []string      // what typ may be; "" stands for none at all; never empty
	Algorithms  []string      // of EdDSA, Ed25519, ES256 and RS256; never empty
	TenantAt    string        // JSON Pointer (RFC 6901) to the tenant claim
	Shape       Shape         // of the tenant claim
	SubjectAt   string        // JSON Pointer to who it is, /sub unless another never-reused id is better
	Reach       []string      // the most that its people reach
	MaxLifetime time.Duration // of its tokens: over 0, at most [MaxProviderLifetime]
	Tenants     map[string]tenant.ID
	Digest      [32]byte // of all the above: two Providers have the same one exactly when they are the same

	tenantAt, subjectAt pointer
	policy              [32]byte               // digest of all but Tenants
	speaks              map[tenant.ID]struct{} // the values of Tenants
}

// MaxProviderLifetime is the longest life a provider's token may have.
const MaxProviderLifetime = 24 * time.Hour

// Limits of a registration.
const (
	maxListed = 64  // audiences, parties and types
	maxValue  = 128 // bytes of what a provider calls a tenant
)

var algorithms = []string{jws.EdDSA, jws.Ed25519, jws.ES256, jws.RS256}

// foreignTypes are what a provider signs for other ends than to be shown at a
// door: a registration that lists one is a mistake (RFC 8725, 3.11).
var foreignTypes = []string{txnType, "logout+jwt", "dpop+jwt", "secevent+jwt", "entity-statement+jwt", "token-introspection+jwt"}

// NewProvider returns p with its Digest, or everything that is wrong with p.
// It keeps nothing of p that the caller can change.
func NewProvider(p Provider) (*Provider, error) {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("identity: provider: "+format, args...))
		}
	}
	var errT, errS error
	p.tenantAt, errT = parsePointer(p.TenantAt)
	p.subjectAt, errS = parsePointer(p.SubjectAt)
	reach, errR := ParseReach(strings.Join(p.Reach, " "))
	want(isIssuer(p.Issuer), "Issuer %.100q is not an https URL with a host and neither user, query nor fragment", p.Issuer)
	want(len(p.Audiences) > 0 && listed(p.Audiences, isAudience), "Audiences are 1 to %d, printable and short", maxListed)
	want(listed(p.Parties, isAudience), "Parties are up to %d, printable and short", maxListed)
	want(len(p.Types) > 0 && listed(p.Types, isType), "Types are 1 to %d media types, none of them of a token for another end", maxListed)
	want(len(p.Algorithms) > 0 && listed(p.Algorithms, isAlgorithm), "Algorithms are some of %v", algorithms)
	want(errT == nil, "TenantAt: %w", errT)
	want(errS == nil, "SubjectAt: %w", errS)
	want(p.Shape == Scalar || p.Shape == SingleArray || p.Shape == SingleKey, "Shape is %.40q", p.Shape)
	want(errR == nil && len(reach) == len(p.Reach), "Reach: %w", errReach)
	want(p.MaxLifetime > 0 && p.MaxLifetime <= MaxProviderLifetime, "MaxLifetime is %v, not over 0 and up to %v", p.MaxLifetime, MaxProviderLifetime)
	for _, value := range slices.Sorted(maps.Keys(p.Tenants)) {
		want(visible(value, maxValue), "Tenants: %.150q is not 1 to %d bytes of visible ASCII", value, maxValue)
		want(!p.Tenants[value].IsZero(), "Tenants: %.150q is nobody", value)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	p.Audiences, p.Parties, p.Types = slices.Clone(p.Audiences), slices.Clone(p.Parties), slices.Clone(p.Types)
	p.Algorithms, p.Reach, p.Tenants = slices.Clone(p.Algorithms), reach, maps.Clone(p.Tenants)
	p.speaks = make(map[tenant.ID]struct{}, len(p.Tenants))
	for _, id := range p.Tenants {
		p.speaks[id] = struct{}{}
	}
	p.policy, p.Digest = p.digests()
	return &p, nil
}

// keeps reports whether who showed a token of p is still whom p would make of
// it: nothing of the registration changed but the bindings of others.
func (p *Provider) keeps(who *Principal) bool {
	id, bound := p.Tenants[who.value]
	return bound && id == who.tenant && p.policy == who.policy
}

// speaksFor reports whether p is bound to a tenant, by whatever value.
func (p *Provider) speaksFor(id tenant.ID) bool {
	_, ok := p.speaks[id]
	return ok
}

// digests hashes every field with its length before it, so that no two
// registrations are the same bytes: all but Tenants, and all.
func (p *Provider) digests() (policy, all [sha256.Size]byte) {
	h := sha256.New()
	put(h, p.Issuer, p.TenantAt, string(p.Shape), p.SubjectAt, p.MaxLifetime.String())
	for _, list := range [][]string{p.Audiences, p.Parties, p.Types, p.Algorithms, p.Reach} {
		size(h, len(list))
		put(h, list...)
	}
	policy = [sha256.Size]byte(h.Sum(nil))
	size(h, len(p.Tenants))
	for _, value := range slices.Sorted(maps.Keys(p.Tenants)) {
		put(h, value, p.Tenants[value].String())
	}
	return policy, [sha256.Size]byte(h.Sum(nil))
}

func put(h hash.Hash, texts ...string) {
	for _, s := range texts {
		size(h, len(s))
		h.Write([]byte(s)) //nolint:errcheck // a hash returns no error
	}
}

func size(h hash.Hash, n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:]) //nolint:errcheck // a hash returns no error
}

func listed(list []string, ok func(string) bool) bool {
	return len(list) <= maxListed && !slices.ContainsFunc(list, func(s string) bool { return !ok(s) })
}

func isAudience(s string) bool { return printable(s, maxText) }

func isType(s string) bool {
	return s == "" || visible(s, 64) && !slices.Contains(foreignTypes, strings.TrimPrefix(strings.ToLower(s), "application/"))
}

func isAlgorithm(s string) bool { return slices.Contains(algorithms, s) }

// isIssuer reports whether s is what OpenID Connect Discovery, 3 lets an
// issuer be.
func isIssuer(s string) bool {
	u, err := url.Parse(s)
	return err == nil && visible(s, maxText) && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && u.Opaque == "" &&
		!strings.ContainsAny(s, "?#")
}
