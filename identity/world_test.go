package identity_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

const (
	issuer  = "https://issuer.test"
	idT     = "0123456789abcdef0123456789abcdef"
	idOther = "f123456789abcdef0123456789abcdef"
	idP     = "1123456789abcdef0123456789abcdef"
	idU     = "2123456789abcdef0123456789abcdef"
)

var errStanding = errors.New("connection reset")

// standing answers what a test sets, of everyone, and keeps whose issuer it
// was asked about.
type standing struct {
	asked  int
	answer error
	issuer string
}

func (s *standing) Check(_ tenant.ID, _, _ [16]byte, issuer string) error {
	s.asked++
	s.issuer = issuer
	return s.answer
}

func (s *standing) Changed() <-chan struct{} { return nil }

// world is a verifier whose clock, keys and standing a test may change.
type world struct {
	*identity.Verifier
	now      time.Time
	sets     map[string]*identity.KeySet
	standing standing
	key      ed25519.PrivateKey

	providers map[string]*identity.Provider
	enrolled  []string           // issuer, subject and tenant of each call
	refusal   error              // what enrolling says
	renewed   int                // calls
	renew     func(string) error // nil says that there may be other keys
}

func (w *world) provider(s string) *identity.Provider { return w.providers[s] }

func (w *world) enrol(_ context.Context, id tenant.ID, issuer, subject string) (partner, principal [16]byte, err error) {
	w.enrolled = append(w.enrolled, issuer+" "+subject+" "+id.String())
	if w.refusal != nil {
		return partner, principal, w.refusal
	}
	return mustID(idP).UUID(), tenant.FromUUID([16]byte(sum(issuer, subject, id.String()))).UUID(), nil
}

func (w *world) ask(_ context.Context, issuer string) error {
	w.renewed++
	if w.renew == nil {
		return nil
	}
	return w.renew(issuer)
}

func sum(parts ...string) []byte {
	s := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return s[:16]
}

func mustID(s string) tenant.ID {
	id, err := tenant.Parse(s)
	if err != nil {
		panic(err)
	}
	return id
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: time.Unix(1_800_000_000, 0), key: newKey(t), providers: map[string]*identity.Provider{}}
	w.sets = map[string]*identity.KeySet{issuer: keySet(t, map[string]any{"k": w.key.Public()})}
	w.Verifier = w.verifier(t, 1024)
	return w
}

func (w *world) verifier(t testing.TB, cache int) *identity.Verifier {
	t.Helper()
	v, err := identity.New(identity.Config{
		TrustDomain: "issuer.test", Issuers: func(s string) *identity.KeySet { return w.sets[s] }, Standing: &w.standing,
		Providers: w.provider, Enrol: w.enrol, Renew: w.ask,
		MaxLifetime: 15 * time.Minute, Leeway: 5 * time.Second, Now: func() time.Time { return w.now }, CacheSize: cache,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keySet(t testing.TB, public map[string]any) *identity.KeySet {
	t.Helper()
	var keys []jws.Key
	for id, p := range public {
		k, err := jws.NewKey(id, p)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	set, err := jws.NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// member is one claim as raw JSON.
type member struct{ name, value string }

// claims returns good claims in a fixed order, changed by changes: an empty
// value leaves the claim out, a name that is not there is put at the end, and
// one that begins with + is put there even if it is.
func claims(changes ...member) string {
	all := []member{
		{"iss", `"` + issuer + `"`},
		{"sub", `"alice"`},
		{"aud", `"isocore:postgres"`},
		{"client_id", `"psql"`},
		{"exp", `1800000300`},
		{"iat", `1800000000`},
		{"jti", `"j1"`},
		{"txn", `"x1"`},
		{"scope", `"pg:read pg:write"`},
		{"tenant", `"` + idT + `"`},
		{"partner", `"` + idP + `"`},
		{"principal", `"` + idU + `"`},
	}
	return object(all, changes)
}

func object(all, changes []member) string {
	for _, c := range changes {
		name, again := strings.CutPrefix(c.name, "+")
		at := -1
		for i, m := range all {
			if m.name == name && !again {
				at = i
			}
		}
		if at < 0 {
			all = append(all, member{name, c.value})
			continue
		}
		all[at].value = c.value
	}
	var parts []string
	for _, m := range all {
		if m.value != "" {
			parts = append(parts, `"`+m.name+`":`+m.value)
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

const header = `{"alg":"EdDSA","kid":"k","typ":"at+jwt"}`

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func compact(header, payload string, sign func([]byte) []byte) secret.Text {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return secret.New(signed + "." + b64(sign([]byte(signed))))
}

func (w *world) sign(b []byte) []byte { return ed25519.Sign(w.key, b) }

func (w *world) token(changes ...member) secret.Text {
	return compact(header, claims(changes...), w.sign)
}

func (w *world) verify(t testing.TB, token secret.Text) (identity.Principal, error) {
	t.Helper()
	return w.Verify(t.Context(), "postgres", token)
}

// refused checks that err has this Reason and no word more for the client.
func refused(t testing.TB, what string, err error, want refusal.Reason) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", what)
		return
	}
	if refusal.Of(err) != want || refusal.HintOf(err) != "" {
		t.Errorf("%s: %v with hint %q, not %v", what, err, refusal.HintOf(err), want)
	}
}
