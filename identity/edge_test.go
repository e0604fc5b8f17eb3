package identity_test

import (
	"crypto/ed25519"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

const (
	idp      = "https://idp.test/"
	idA      = "a123456789abcdef0123456789abcdef"
	idB      = "b123456789abcdef0123456789abcdef"
	edHeader = `{"alg":"EdDSA","kid":"k","typ":"JWT"}`
)

// registration is what the tests begin with: tenant A is "A" in org_id.
func registration() identity.Provider {
	return identity.Provider{
		Issuer: idp, Audiences: []string{"https://app.test", "second"}, Types: []string{"JWT", "at+jwt"},
		Algorithms: []string{"EdDSA", "Ed25519", "ES256", "RS256"}, TenantAt: "/org_id", Shape: identity.Scalar, SubjectAt: "/sub",
		Reach: []string{identity.PGRead, identity.HTTP}, MaxLifetime: time.Hour,
		Tenants: map[string]tenant.ID{"A": mustID(idA), "B": mustID(idB)},
	}
}

// edge is an arsenal whose keys are an identity provider's, in front of a
// minter with a key of its own.
type edge struct {
	*arsenal
	m *identity.Minter
}

func newEdge(t testing.TB) *edge {
	t.Helper()
	e := &edge{arsenal: newArsenal(t)}
	e.sets[idp] = e.sets[issuer]
	var err error
	if e.m, err = identity.NewMinter(issuer, newKey(t), func() time.Time { return e.now }); err != nil {
		t.Fatal(err)
	}
	e.sets[issuer] = e.m.Keys()
	e.register(t, func(*identity.Provider) {})
	return e
}

// register registers the provider, changed.
func (e *edge) register(t testing.TB, change func(*identity.Provider)) *identity.Provider {
	t.Helper()
	r := registration()
	change(&r)
	p, err := identity.NewProvider(r)
	if err != nil {
		t.Fatal(err)
	}
	e.providers[p.Issuer] = p
	return p
}

// foreign are good claims of the provider, changed as those of [claims].
func foreign(changes ...member) string {
	return object([]member{
		{"iss", `"` + idp + `"`},
		{"sub", `"alice"`},
		{"aud", `"https://app.test"`},
		{"azp", `"spa"`},
		{"exp", `1800000300`},
		{"iat", `1800000000`},
		{"org_id", `"A"`},
		{"email", `"alice@B"`},
	}, changes)
}

func (e *edge) issue(changes ...member) secret.Text {
	return compact(edHeader, foreign(changes...), e.sign)
}

func (e *edge) enter(t testing.TB, token secret.Text) (identity.Principal, error) {
	t.Helper()
	return e.Verify(t.Context(), identity.Edge, token)
}

func (e *edge) must(t testing.TB, door string, token secret.Text) identity.Principal {
	t.Helper()
	p, err := e.Verify(t.Context(), door, token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAProvidersToken(t *testing.T) {
	e := newEdge(t)
	token := e.issue(member{"act", `{"sub":"bob","x":1,"act":{"iss":"https://other.test","sub":"carol"}}`}, member{"client_id", `"spa2"`})
	for _, pass := range []string{"fresh", "cached"} {
		p := e.must(t, identity.Edge, token)
		if p.Tenant().String() != idA || p.Partner() != mustID(idP).UUID() || p.ID() == [16]byte{} || p.Subject() != "alice" || p.Issuer() != idp ||
			p.Client() != "spa" || p.Txn() != "" || !p.Expires().Equal(time.Unix(1_800_000_300, 0)) || p.Token() == [32]byte{} {
			t.Errorf("%s: %+v", pass, p)
		}
		if !slices.Equal(p.Reach(), []string{"http", "pg:read"}) || !slices.Equal(p.Actors(), []string{"bob", "https://other.test carol"}) {
			t.Errorf("%s: reach %v, actors %v", pass, p.Reach(), p.Actors())
		}
	}
	if len(e.enrolled) != 1 || e.enrolled[0] != idp+" alice "+idA || e.renewed != 0 || e.Cached() != 1 || e.standing.issuer != idp {
		t.Errorf("enrolled %v, renewed %d, cached %d, standing of %s", e.enrolled, e.renewed, e.Cached(), e.standing.issuer)
	}
}

// Two providers may name their keys, their people and their tenants alike.
func TestTwoProvidersAreTwo(t *testing.T) {
	e := newEdge(t)
	const other = "https://other.test"
	theirs := newKey(t)
	e.sets[other] = keySet(t, map[string]any{"k": theirs.Public()})
	e.register(t, func(p *identity.Provider) {
		p.Issuer = other
		p.Tenants = map[string]tenant.ID{"A": mustID(idB)}
	})
	sign := func(b []byte) []byte { return ed25519.Sign(theirs, b) }
	a := e.must(t, identity.Edge, e.issue())
	b := e.must(t, identity.Edge, compact(edHeader, foreign(member{"iss", `"` + other + `"`}), sign))
	if a.Subject() != b.Subject() || a.Tenant().String() != idA || b.Tenant().String() != idB || a.ID() == b.ID() || a.Issuer() == b.Issuer() {
		t.Errorf("%+v and %+v", a, b)
	}
	_, err := e.enter(t, compact(edHeader, foreign(), sign))
	refused(t, "their key, our provider's iss", err, refusal.Unauthenticated)
	_, err = e.enter(t, e.issue(member{"iss", `"` + other + `"`}))
	refused(t, "our provider's key, their iss", err, refusal.Unauthenticated)
}

// Every claim that a registration says something about, good and bad.
func TestProviderClaims(t *testing.T) {
	parties := func(p *identity.Provider) { p.Parties = []string{"spa", "cli"} }
	same := func(*identity.Provider) {}
	for _, c := range []struct {
		name    string
		policy  func(*identity.Provider)
		changes []member
		want    string // the tenant, or why not
	}{
		{"aud, the second", same, []member{{"aud", `"second"`}}, idA},
		{"aud of a list", same, []member{{"aud", `["x","second"]`}}, idA},
		{"aud of 16", same, []member{{"aud", `["second"` + strings.Repeat(`,"x"`, 15) + `]`}}, idA},
		{"aud of 17", same, []member{{"aud", `["second"` + strings.Repeat(`,"x"`, 16) + `]`}}, "Unauthenticated"},
		{"aud empty list", same, []member{{"aud", `[]`}}, "Unauthenticated"},
		{"aud list in a list", same, []member{{"aud", `[["second"]]`}}, "Unauthenticated"},
		{"aud list with a number", same, []member{{"aud", `["second",1]`}}, "Unauthenticated"},
		{"aud a prefix", same, []member{{"aud", `"secon"`}}, "Unauthenticated"},
		{"aud another case", same, []member{{"aud", `"Second"`}}, "Unauthenticated"},
		{"aud a number", same, []member{{"aud", `1`}}, "Unauthenticated"},
		{"aud an object", same, []member{{"aud", `{"second":1}`}}, "Unauthenticated"},
		{"aud null", parties, []member{{"aud", `null`}, {"client_id", `"spa"`}}, "Unauthenticated"},
		{"no aud", same, []member{{"aud", ""}, {"client_id", `"spa"`}}, "Unauthenticated"},
		{"no aud, a party", parties, []member{{"aud", ""}, {"azp", ""}, {"client_id", `"spa"`}}, idA},
		{"no aud, azp alone", parties, []member{{"aud", ""}}, "Unauthenticated"},
		{"no aud, no party", parties, []member{{"aud", ""}, {"azp", ""}, {"client_id", `"evil"`}}, "Unauthenticated"},
		{"another aud, a party", parties, []member{{"aud", `"x"`}, {"client_id", `"spa"`}}, "Unauthenticated"},
		{"a party", parties, []member{{"azp", `"cli"`}}, idA},
		{"another party", parties, []member{{"azp", `"evil"`}}, "Unauthenticated"},
		{"two parties", parties, []member{{"client_id", `"evil"`}}, "Unauthenticated"},
		{"neither party", parties, []member{{"azp", ""}}, "Unauthenticated"},
		{"party a list", parties, []member{{"azp", `["spa"]`}}, "Unauthenticated"},
		{"no party asked", same, []member{{"azp", ""}}, idA},
		{"nbf now", same, []member{{"nbf", `1800000000`}}, idA},
		{"nbf within leeway", same, []member{{"nbf", `1800000005`}}, idA},
		{"nbf over leeway", same, []member{{"nbf", `1800000006`}}, "Unauthenticated"},
		{"nbf after exp", same, []member{{"nbf", `1800000301`}}, "Unauthenticated"},
		{"nbf after exp, both due", same, []member{{"iat", `1799999999`}, {"exp", `1800000002`}, {"nbf", `1800000004`}}, "Unauthenticated"},
		{"nbf a text", same, []member{{"nbf", `"1800000000"`}}, "Unauthenticated"},
		{"nbf negative", same, []member{{"nbf", `-1`}}, "Unauthenticated"},
		{"nbf a fraction", same, []member{{"nbf", `1799999999.999999999999`}}, idA},
		{"no iat", same, []member{{"iat", ""}}, "Unauthenticated"},
		{"iat within leeway", same, []member{{"iat", `1800000005`}}, idA},
		{"iat over leeway", same, []member{{"iat", `1800000005.1`}}, "Unauthenticated"},
		{"an hour", same, []member{{"exp", `1800003600`}}, idA},
		{"an hour and a bit", same, []member{{"exp", `1800003600.000000001`}}, "Unauthenticated"},
		{"over", same, []member{{"iat", `1799999000`}, {"exp", `1800000000`}}, "Expired"},
		{"over, for another audience", same, []member{{"iat", `1799999000`}, {"exp", `1800000000`}, {"aud", `"x"`}}, "Unauthenticated"},
		{"over, of no tenant", same, []member{{"iat", `1799999000`}, {"exp", `1800000000`}, {"org_id", `"C"`}}, "Unauthenticated"},
		{"bound to a key", same, []member{{"cnf", `{"jkt":"x"}`}}, "Unauthenticated"},
		{"bound to nothing", same, []member{{"cnf", `{}`}}, "Unauthenticated"},
		{"a logout token", same, []member{{"events", `{"http://schemas.openid.net/event/backchannel-logout":{}}`}}, "Unauthenticated"},
		{"events of nothing", same, []member{{"events", `null`}}, "Unauthenticated"},
		{"nulls nobody asks for", same, []member{{"middle_name", `null`}, {"app", `{"x":[null]}`}}, idA},
		{"a group more than 64", same, []member{{"groups", `["g"` + strings.Repeat(`,"g"`, 64) + `]`}}, idA},
		{"1024 groups", same, []member{{"groups", `[1` + strings.Repeat(`,1`, 1023) + `]`}}, idA},
		{"1025 groups", same, []member{{"groups", `[1` + strings.Repeat(`,1`, 1024) + `]`}}, "Unauthenticated"},
		{"a null beside the tenant", func(p *identity.Provider) { p.TenantAt = "/app/org" }, []member{{"app", `{"org":"B","x":null}`}}, idB},
		{"a null in the tenant", func(p *identity.Provider) { p.Shape = identity.SingleKey }, []member{{"org_id", `{"A":{"x":null}}`}}, "Unauthenticated"},
		{"a tenant of a null", func(p *identity.Provider) { p.Shape = identity.SingleKey }, []member{{"org_id", `{"A":null}`}}, "Unauthenticated"},
		{"a tenant of an object", func(p *identity.Provider) { p.Shape = identity.SingleKey }, []member{{"org_id", `{"A":{"x":1}}`}}, idA},
		{"tenant null", same, []member{{"org_id", `null`}}, "Unauthenticated"},
		{"iss null", same, []member{{"iss", `null`}}, "Unauthenticated"},
		{"sub null", same, []member{{"sub", `null`}}, "Unauthenticated"},
		{"exp null", same, []member{{"exp", `null`}}, "Unauthenticated"},
		{"iat null", same, []member{{"iat", `null`}}, "Unauthenticated"},
		{"nbf null", same, []member{{"nbf", `null`}}, "Unauthenticated"},
		{"azp null", same, []member{{"azp", `null`}}, "Unauthenticated"},
		{"client_id null", same, []member{{"client_id", `null`}}, "Unauthenticated"},
		{"cnf null", same, []member{{"cnf", `null`}}, "Unauthenticated"},
		{"act null", same, []member{{"act", `null`}}, "Unauthenticated"},
		{"act with a null", same, []member{{"act", `{"sub":"bob","act":null}`}}, "Unauthenticated"},
		{"a second name among nulls", same, []member{{"x", `{"y":null,"y":null}`}}, "Unauthenticated"},
		{"act, four deep", same, []member{{"act", nested(4)}}, idA},
		{"act, five deep", same, []member{{"act", nested(5)}}, "Unauthenticated"},
		{"act a text", same, []member{{"act", `"bob"`}}, "Unauthenticated"},
		{"act of nobody", same, []member{{"act", `{}`}}, "Unauthenticated"},
		{"act with a space", same, []member{{"act", `{"sub":"a b"}`}}, "Unauthenticated"},
		{"no sub", same, []member{{"sub", ""}}, "Unauthenticated"},
		{"sub a number", same, []member{{"sub", `1`}}, "Unauthenticated"},
		{"sub empty", same, []member{{"sub", `""`}}, "Unauthenticated"},
		{"sub of 255", same, []member{{"sub", `"` + strings.Repeat("x", 255) + `"`}}, idA},
		{"sub of 256", same, []member{{"sub", `"` + strings.Repeat("x", 256) + `"`}}, "Unauthenticated"},
		{"sub with a line", same, []member{{"sub", `"a\nb"`}}, "Unauthenticated"},
		{"sub in Greek", same, []member{{"sub", `"αλίκη"`}}, idA},
		{"subject elsewhere", func(p *identity.Provider) { p.SubjectAt = "/user/id" }, []member{{"user", `{"id":"u1"}`}}, idA},
		{"subject nowhere", func(p *identity.Provider) { p.SubjectAt = "/user/id" }, []member{{"user", `"u1"`}}, "Unauthenticated"},
		{"a third tenant", same, []member{{"org_id", `"C"`}}, "Unauthenticated"},
		{"another case", same, []member{{"org_id", `"a"`}}, "Unauthenticated"},
		{"a second tenant", same, []member{{"org_id", `"B"`}}, idB},
		{"the e-mail is not looked at", same, []member{{"org_id", ""}}, "Unauthenticated"},
	} {
		e := newEdgeOf(t)
		e.register(t, c.policy)
		token := e.issue(c.changes...)
		p, err := e.enter(t, token)
		if err == nil && p.Tenant().String() != c.want || err != nil && refusal.Of(err).String() != c.want {
			t.Errorf("%s: %v, %v", c.name, p.Tenant(), err)
		}
		if err != nil && (len(e.enrolled) != 0 || e.Cached() != 0 || e.renewed != 0 || e.standing.asked != 0) {
			t.Errorf("%s: enrolled %v, cached %d, renewed %d, standing asked %d times", c.name, e.enrolled, e.Cached(), e.renewed, e.standing.asked)
		}
	}
}

// newEdgeOf is [newEdge] without the keys that take long to make.
func newEdgeOf(t testing.TB) *edge {
	t.Helper()
	e := &edge{arsenal: &arsenal{world: newWorld(t)}}
	e.sets[idp] = e.sets[issuer]
	var err error
	if e.m, err = identity.NewMinter(issuer, newKey(t), func() time.Time { return e.now }); err != nil {
		t.Fatal(err)
	}
	e.sets[issuer] = e.m.Keys()
	e.register(t, func(*identity.Provider) {})
	return e
}

// The tenant claim in each shape: one spelling of one tenant, or nothing.
func TestTenantClaims(t *testing.T) {
	values := []string{"A", "a", "A:b", "A_b", "Ab", "urn:x/y~z", "*", "..", "/", strings.Repeat("x", 128)}
	at := map[identity.Shape]func(string) string{
		identity.Scalar:      func(v string) string { return v },
		identity.SingleArray: func(v string) string { return "[" + v + "]" },
		identity.SingleKey:   func(v string) string { return "{" + v + ":{}}" },
	}
	for shape, in := range at {
		for _, pointer := range []string{"/org_id", "/urn:zitadel:iam:user.id", "/https:~1~1stytch.com~1organization/id", "/a~0b/c~01"} {
			e := newEdgeOf(t)
			bound := map[string]tenant.ID{}
			for _, v := range values {
				bound[v] = tenant.New()
			}
			e.register(t, func(p *identity.Provider) { p.Shape, p.TenantAt, p.Tenants = shape, pointer, bound })
			for value, id := range bound {
				p, err := e.enter(t, e.issue(member{"org_id", ""}, nest(pointer, in(`"`+value+`"`))))
				if err != nil || p.Tenant() != id {
					t.Errorf("%s at %s: %q is %v, %v", shape, pointer, value, p.Tenant(), err)
				}
			}
			for _, v := range []string{
				`"A "`, `" A"`, `"A\u0000"`, `"\u0000A"`, `"Ａ"`, `"A\u200d"`, `"\u202eA"`, `"é"`, `"e\u0301"`, `"А"`, `""`, `"` + strings.Repeat("x", 129) + `"`, `"A\n"`,
				`"a:b"`, `"AB"`, `"A,B"`, `"A B"`,
			} {
				_, err := e.enter(t, e.issue(member{"org_id", ""}, nest(pointer, in(v))))
				refused(t, string(shape)+" at "+pointer+": "+v, err, refusal.Unauthenticated)
			}
			for _, v := range []string{`null`, `1`, `9007199254740993`, `true`, `{}`, `[]`, `["A","B"]`, `["A","A"]`, `{"A":1,"B":2}`, `[["A"]]`, `[null]`, `[1]`, `{"A":1,"A":2}`} {
				_, err := e.enter(t, e.issue(member{"org_id", ""}, nest(pointer, v)))
				refused(t, string(shape)+" at "+pointer+": "+v, err, refusal.Unauthenticated)
			}
			for other, spell := range at {
				if other == shape {
					continue
				}
				_, err := e.enter(t, e.issue(member{"org_id", ""}, nest(pointer, spell(`"A"`))))
				refused(t, string(shape)+" at "+pointer+" as "+string(other), err, refusal.Unauthenticated)
			}
		}
	}
}

// nest returns the claim that has value at a pointer.
func nest(pointer, value string) member {
	names := strings.Split(pointer, "/")[1:]
	for i := range names {
		names[i] = strings.ReplaceAll(strings.ReplaceAll(names[i], "~1", "/"), "~0", "~")
	}
	for _, name := range slices.Backward(names[1:]) {
		value = `{"` + name + `":` + value + `}`
	}
	return member{names[0], value}
}

// Renew is asked for an unknown key and nothing else, once; what it brings is
// used at once.
func TestRenew(t *testing.T) {
	e := newEdge(t)
	next := newKey(t)
	other := func(b []byte) []byte { return ed25519.Sign(next, b) }
	nextHeader := `{"alg":"EdDSA","kid":"next","typ":"JWT"}`
	for name, token := range map[string]secret.Text{
		"a bad signature":      compact(edHeader, foreign(), other),
		"another alg":          compact(`{"alg":"RS256","kid":"next","typ":"logout+jwt"}`, foreign(), other),
		"an unknown issuer":    compact(nextHeader, foreign(member{"iss", `"https://nobody.test"`}), other),
		"our issuer":           compact(nextHeader, foreign(member{"iss", `"` + issuer + `"`}), other),
		"the key's other type": compact(`{"alg":"ES256","kid":"k","typ":"JWT"}`, foreign(), e.signEC),
	} {
		_, err := e.enter(t, token)
		refused(t, name, err, refusal.Unauthenticated)
		if e.renewed != 0 {
			t.Fatalf("%s: asked for newer keys", name)
		}
	}
	_, err := e.enter(t, compact(nextHeader, foreign(), other))
	refused(t, "a key that nobody has", err, refusal.Unauthenticated)
	if e.renewed != 1 {
		t.Fatalf("asked %d times", e.renewed)
	}
	e.renew = func(string) error { return refusal.New(refusal.Unavailable, "too soon") }
	_, err = e.enter(t, compact(nextHeader, foreign(), other))
	refused(t, "not renewed", err, refusal.Unauthenticated)
	e.renew = func(url string) error {
		e.sets[url] = keySet(t, map[string]any{"next": next.Public()})
		return nil
	}
	e.must(t, identity.Edge, compact(nextHeader, foreign(), other))
	delete(e.sets, idp)
	e.must(t, identity.Edge, compact(nextHeader, foreign(), other))
	if e.renewed != 4 {
		t.Errorf("asked %d times", e.renewed)
	}
	_, err = e.Verify(t.Context(), "postgres", compact(`{"alg":"EdDSA","kid":"nobody","typ":"at+jwt"}`, claims(), other))
	refused(t, "a store token of an unknown key", err, refusal.Unauthenticated)
	if e.renewed != 4 {
		t.Error("asked for newer keys of ours")
	}
}

// Who cannot be enrolled hears what the registry said.
func TestEnrolmentFails(t *testing.T) {
	e := newEdgeOf(t)
	for err, want := range map[error]refusal.Reason{
		refusal.New(refusal.Suspended, "x"): refusal.Suspended, refusal.New(refusal.Unavailable, "x"): refusal.Unavailable,
		refusal.New(refusal.Unauthenticated, "x"): refusal.Unauthenticated, errors.New("x"): refusal.Internal,
	} {
		e.refusal = err
		_, got := e.enter(t, e.issue())
		refused(t, err.Error(), got, want)
	}
	if e.Cached() != 0 || e.standing.asked != 0 {
		t.Errorf("%d cached, standing asked %d times", e.Cached(), e.standing.asked)
	}
}

// A provider that was not made by NewProvider speaks for nobody.
func TestARawProviderIsNone(t *testing.T) {
	e := newEdgeOf(t)
	raw := registration()
	e.providers[idp] = &raw
	_, err := e.enter(t, e.issue())
	refused(t, "raw", err, refusal.Unauthenticated)
	if len(e.enrolled) != 0 {
		t.Error("enrolled")
	}
}

func TestListsOfAlgorithmsAndTypes(t *testing.T) {
	e := newEdge(t)
	sign := map[string]func([]byte) []byte{"EdDSA": e.sign, "Ed25519": e.sign, "ES256": e.signEC, "RS256": e.signRS}
	kid := map[string]string{"EdDSA": "k", "Ed25519": "k", "ES256": "ec", "RS256": "rs"}
	for listed := range sign {
		e.register(t, func(p *identity.Provider) { p.Algorithms = []string{listed} })
		for alg := range maps.Keys(sign) {
			_, err := e.enter(t, compact(`{"alg":"`+alg+`","kid":"`+kid[alg]+`","typ":"JWT"}`, foreign(), sign[alg]))
			if (err == nil) != (alg == listed) {
				t.Errorf("%s where %s is listed: %v", alg, listed, err)
			}
		}
	}
	for listed, good := range map[string]string{"JWT": `"JWT"`, "at+jwt": `"at+jwt"`, "application/at+jwt": `"application/at+jwt"`} {
		e.register(t, func(p *identity.Provider) { p.Types = []string{listed} })
		for _, typ := range []string{`"JWT"`, `"jwt"`, `"at+jwt"`, `"AT+JWT"`, `"application/at+jwt"`, `"logout+jwt"`} {
			_, err := e.enter(t, compact(`{"alg":"EdDSA","kid":"k","typ":`+typ+`}`, foreign(), e.sign))
			if (err == nil) != (typ == good) {
				t.Errorf("%s where %s is listed: %v", typ, listed, err)
			}
		}
		_, err := e.enter(t, compact(`{"alg":"EdDSA","kid":"k"}`, foreign(), e.sign))
		refused(t, "no typ where "+listed+" is listed", err, refusal.Unauthenticated)
	}
	e.register(t, func(p *identity.Provider) { p.Types = []string{""} })
	if _, err := e.enter(t, compact(`{"alg":"EdDSA","kid":"k"}`, foreign(), e.sign)); err != nil {
		t.Errorf("no typ where none is listed: %v", err)
	}
	_, err := e.enter(t, e.issue())
	refused(t, "a typ where none is listed", err, refusal.Unauthenticated)
}
