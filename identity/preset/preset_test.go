package preset

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

type object = map[string]any

// A sample is a token as a provider issues it.
type sample struct {
	issuer   string
	keysAt   string // what Resolve says
	tenantAt string // where the preset does not say
	audience string
	parties  []string
	header   object                    // beside alg and kid
	claims   func(value string) object // of the tenant with this value, beside iss, iat and exp
	value    string
	other    string // another tenant's
	subject  string
	refused  object // header members, as issued, for which internal/jws refuses the token
}

var samples = map[string]sample{
	"generic": {
		issuer: "https://id.example/tenant", tenantAt: "/org", audience: "app", header: object{"typ": "at+jwt"}, value: "acme", other: "ACME", subject: "u1",
		claims: func(v string) object { return object{"aud": "app", "sub": "u1", "org": v} },
	},
	"auth0": {
		issuer: "https://acme.eu.auth0.com/", keysAt: "https://acme.eu.auth0.com/.well-known/jwks.json", audience: "https://api.example",
		header: object{"typ": "JWT"}, value: "org_9ybsU1dN2dKfDkBi", other: "org_0ybsU1dN2dKfDkBi", subject: "auth0|5f7c8ec7c33c6c004bbafe82",
		claims: func(v string) object {
			return object{
				"aud": []string{"https://api.example", "https://acme.eu.auth0.com/userinfo"}, "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
				"azp": "my_client_id", "scope": "openid profile", "org_id": v, "org_name": "acme", "permissions": []string{"read:x"},
			}
		},
	},
	"entra": {
		issuer:   "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
		keysAt:   "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/discovery/v2.0/keys",
		audience: "6e74172b-be56-4843-9ff4-e66a39bb12e3", header: object{"typ": "JWT", "x5t": "nOo3ZDrODXEK1jKWhXslHR_KXEg"},
		value: "72f988bf-86f1-41af-91ab-2d7cd011db47", other: "72f988bf-86f1-41af-91ab-2d7cd011db48", subject: "690222be-ff1a-4d56-abd1-7e4f7d38e474",
		claims: func(v string) object {
			return object{
				"aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "ver": "2.0",
				"azp": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "azpacr": "0", "tid": v, "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
				"name": "Abe", "preferred_username": "abe@example.com", "scp": "access_as_user", "uti": "x", "rh": "0.x",
			}
		},
	},
	"keycloak": {
		issuer: "https://sso.example:8443/realms/main", keysAt: "https://sso.example:8443/realms/main/protocol/openid-connect/certs",
		audience: "app", header: object{"typ": "JWT"}, value: "acme", other: "globex", subject: "f1b2",
		claims: func(v string) object {
			return object{
				"aud": []string{"app", "account"}, "sub": "f1b2", "typ": "Bearer", "azp": "web", "organization": []string{v}, "sid": "s",
				"realm_access": object{"roles": []string{"user"}}, "scope": "openid organization:" + v,
			}
		},
	},
	"workos": {
		issuer: "https://api.workos.com/user_management/client_01HX", keysAt: "https://api.workos.com/sso/jwks/client_01HX", audience: "app",
		parties: []string{"client_01HX"}, header: object{"typ": "JWT"}, value: "org_01HRDMC6CM357W30QMHMQ96Q0S", other: "org_01HRDMC6CM357W30QMHMQ96Q0T", subject: "user_01H",
		claims: func(v string) object {
			return object{
				"sub": "user_01H", "sid": "session_01H", "org_id": v, "role": "member", "permissions": []string{"p"}, "client_id": "client_01HX",
				"act": object{"sub": "support@example.com"},
			}
		},
	},
	"clerk": {
		issuer: "https://clerk.acme.example", keysAt: "https://clerk.acme.example/.well-known/jwks.json", audience: "app",
		parties: []string{"https://acme.example"}, header: object{"typ": "JWT", "cat": "cl_B7d4PD111AAA"}, value: "org_2Uw", other: "org_2Ux", subject: "user_2Uw",
		claims: func(v string) object {
			return object{"aud": "app", "sub": "user_2Uw", "azp": "https://acme.example", "v": 2, "sid": "s", "o": object{"id": v, "slg": "acme", "rol": "admin"}, "fva": []int{5, -1}}
		},
	},
	"zitadel": {
		issuer: "https://acme.zitadel.cloud", keysAt: "https://acme.zitadel.cloud/oauth/v2/keys", audience: "69234237810729019", header: object{"typ": "JWT"},
		value: "9007199254740993", other: "9007199254740992", subject: "77776025198584418", // over 2^53, and apart
		claims: func(v string) object {
			return object{
				"aud": []string{"69234237810729019"}, "sub": "77776025198584418", "client_id": "69234237810729019", "jti": "j",
				"urn:zitadel:iam:user:resourceowner:id": v, "urn:zitadel:iam:user:resourceowner:name": "ACME",
				"urn:zitadel:iam:org:project:roles": object{"user": object{v: "acme.zitadel.cloud"}},
			}
		},
	},
	"okta": {
		issuer: "https://acme.okta.com/oauth2/aus1", keysAt: "https://acme.okta.com/oauth2/aus1/v1/keys", tenantAt: "/org_id", audience: "api://default",
		header: object{}, value: "acme", other: "globex", subject: "john.doe@example.com",
		claims: func(v string) object {
			return object{"ver": 1, "jti": "AT.x", "aud": "api://default", "cid": "0oa1", "uid": "00u1", "scp": []string{"openid"}, "sub": "john.doe@example.com", "org_id": v}
		},
	},
	"cognito": {
		issuer: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_aB3", keysAt: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_aB3/.well-known/jwks.json",
		audience: "1example23456789", parties: []string{"1example23456789"}, header: object{}, value: "acme", other: "globex", subject: "aaaaaaaa-bbbb",
		claims: func(v string) object {
			return object{"sub": "aaaaaaaa-bbbb", "client_id": "1example23456789", "token_use": "access", "scope": "openid", "custom:tenant_id": v, "username": "u"}
		},
	},
	"google": {
		issuer: "https://accounts.google.com", keysAt: "https://www.googleapis.com/oauth2/v3/certs", audience: "1.apps.googleusercontent.com",
		header: object{"typ": "JWT"}, value: "acme.example", other: "acme.exampl", subject: "110169484474386276334",
		claims: func(v string) object {
			return object{
				"aud": "1.apps.googleusercontent.com", "azp": "1.apps.googleusercontent.com", "sub": "110169484474386276334", "hd": v,
				"email": "a@globex.example", "email_verified": true,
			}
		},
	},
	"firebase": {
		issuer: "https://securetoken.google.com/acme-prod", audience: "acme-prod",
		keysAt: "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
		header: object{"typ": "JWT"}, value: "acme-x1y2z", other: "globex-x1y2z", subject: "uid1",
		claims: func(v string) object {
			return object{
				"aud": "acme-prod", "sub": "uid1", "user_id": "uid1", "auth_time": 1,
				"firebase": object{"identities": object{"email": []string{"a@b.example"}}, "sign_in_provider": "password", "tenant": v},
			}
		},
	},
	"stytch": {
		issuer: "https://login.acme.example", audience: "project-live-1", header: object{"typ": "JWT"}, value: "organization-live-1", other: "organization-live-2", subject: "member-live-1",
		claims: func(v string) object {
			return object{
				"aud": []string{"project-live-1"}, "sub": "member-live-1", "https://stytch.com/organization": object{"organization_id": v, "slug": "acme"},
				"https://stytch.com/session": object{"id": "session-live-1"},
			}
		},
	},
	"descope": {
		issuer: "https://api.descope.com/P2", audience: "P2", header: object{"typ": "JWT"}, value: "T2a", other: "T2b", subject: "U2",
		claims: func(v string) object {
			return object{"aud": []string{"P2"}, "sub": "U2", "dct": v, "tenants": object{"T2a": object{}, "T2b": object{}}}
		},
	},
	"kinde": {
		issuer: "https://acme.kinde.com", audience: "app", header: object{"typ": "JWT"}, value: "org_1", other: "org_2", subject: "kp_1",
		claims: func(v string) object { return object{"aud": []string{"app"}, "azp": "c", "sub": "kp_1", "org_code": v} },
	},
	"frontegg": {
		issuer: "https://acme.frontegg.com", audience: "app", header: object{"typ": "JWT"}, value: "t-1", other: "t-2", subject: "u-1",
		claims: func(v string) object {
			return object{"aud": "app", "sub": "u-1", "tenantId": v, "tenantIds": []string{"t-1", "t-2"}}
		},
	},
	"logto": {
		issuer: "https://acme.logto.app/oidc", audience: "https://api.example", header: object{"typ": "at+jwt"}, value: "o1", other: "o2", subject: "u1",
		claims: func(v string) object {
			return object{"aud": "https://api.example", "sub": "u1", "client_id": "c", "organization_id": v}
		},
	},
	"fusionauth": {
		issuer: "https://auth.acme.example", audience: "app", header: object{"typ": "JWT"}, value: "30663132-6464-6665-3032-326466613934", other: "40663132-6464-6665-3032-326466613934", subject: "u1",
		refused: object{"gty": []string{"authorization_code"}}, // before version 1.60
		claims: func(v string) object {
			return object{"aud": "app", "sub": "u1", "tid": v, "applicationId": "app", "roles": []string{}}
		},
	},
}

// An edge is a verifier that knows one provider and two of its tenants; a
// third value is bound to nobody.
type edge struct {
	*testing.T
	key      *rsa.PrivateKey
	verifier *identity.Verifier
	a, b     tenant.ID
}

// anyone is a registry where everybody stands well.
type anyone struct{}

func (anyone) Check(tenant.ID, [16]byte, [16]byte, string) error { return nil }

func (anyone) Changed() <-chan struct{} { return nil }

const third = "somebody-else"

func newEdge(t *testing.T, p Preset, s sample) *edge {
	t.Helper()
	e := &edge{T: t, a: tenant.New(), b: tenant.New()}
	var err error
	if e.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	key, err := jws.NewKey("k1", &e.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jws.NewKeySet(key)
	if err != nil {
		t.Fatal(err)
	}
	at := p.TenantAt
	if s.tenantAt != "" {
		at = s.tenantAt
	}
	provider, err := identity.NewProvider(identity.Provider{
		Issuer: s.issuer, Audiences: []string{s.audience}, Parties: s.parties, Types: p.Types, Algorithms: p.Algorithms, TenantAt: at, Shape: p.Shape,
		SubjectAt: p.SubjectAt, Reach: []string{identity.HTTP}, MaxLifetime: time.Hour, Tenants: map[string]tenant.ID{s.value: e.a, s.other: e.b},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.verifier, err = identity.New(identity.Config{
		TrustDomain: "isocore.test",
		Issuers: func(issuer string) *identity.KeySet {
			if issuer != s.issuer {
				return nil
			}
			return keys
		},
		Providers: func(issuer string) *identity.Provider {
			if issuer != s.issuer {
				return nil
			}
			return provider
		},
		Enrol: func(context.Context, tenant.ID, string, string) (partner, principal [16]byte, err error) {
			return tenant.New().UUID(), tenant.New().UUID(), nil
		},
		Renew: func(context.Context, string) error {
			return refusal.New(refusal.Unauthenticated, "there is no newer set")
		},
		Standing: anyone{}, MaxLifetime: identity.MaxLifetime, Now: time.Now, CacheSize: 64,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sign returns the token of header and claims.
func (e *edge) sign(header, claims object) secret.Text {
	e.Helper()
	part := func(o object) string {
		b, err := json.Marshal(o)
		if err != nil {
			e.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signed := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, e.key, crypto.SHA256, digest[:])
	if err != nil {
		e.Fatal(err)
	}
	return secret.New(signed + "." + base64.RawURLEncoding.EncodeToString(signature))
}

// token returns s's token of the tenant with this value, as change leaves it.
func (e *edge) token(s sample, value string, change func(header, claims object)) secret.Text {
	e.Helper()
	header, claims := maps.Clone(s.header), s.claims(value)
	header["alg"], header["kid"] = "RS256", "k1"
	claims["iss"], claims["iat"], claims["exp"] = s.issuer, time.Now().Unix(), time.Now().Add(5*time.Minute).Unix()
	change(header, claims)
	return e.sign(header, claims)
}

func asIssued(object, object) {}

// Every preset verifies a token as its provider issues it, in the tenant that
// its value is bound to and in no other.
func TestTokensLandInTheirTenant(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			s, ok := samples[name]
			if !ok {
				t.Fatal("no token shows what this preset is for")
			}
			p, _ := Lookup(name)
			e := newEdge(t, p, s)
			for value, want := range map[string]tenant.ID{s.value: e.a, s.other: e.b} {
				got, err := e.verifier.Verify(t.Context(), identity.Edge, e.token(s, value, asIssued))
				if err != nil {
					t.Errorf("%s: %v", value, err)
					continue
				}
				if got.Tenant() != want || got.Issuer() != s.issuer || got.Subject() != s.subject {
					t.Errorf("%s: %v of %s at %s", value, got.Tenant(), got.Subject(), got.Issuer())
				}
			}
			for why, change := range map[string]func(h, c object){
				"another audience":   func(_, c object) { c["aud"] = "another" },
				"another issuer":     func(_, c object) { c["iss"] = s.issuer + "x" },
				"a logout token":     func(h, _ object) { h["typ"] = "logout+jwt" },
				"a Txn-Token":        func(h, _ object) { h["typ"] = "txntoken+jwt" },
				"another algorithm":  func(h, _ object) { h["alg"] = "PS256" },
				"over an hour":       func(_, c object) { c["exp"] = time.Now().Add(2 * time.Hour).Unix() },
				"bound to a key":     func(_, c object) { c["cnf"] = object{"jkt": "x"} },
				"no subject":         func(_, c object) { delete(c, strings.TrimPrefix(p.SubjectAt, "/")) },
				"nobody's tenant":    func(_, c object) { maps.Copy(c, s.claims(third)) },
				"a tenant and a dot": func(_, c object) { maps.Copy(c, s.claims(s.value+".")) },
				"no tenant":          func(_, c object) { maps.Copy(c, s.claims("")) },
			} {
				if got, err := e.verifier.Verify(t.Context(), identity.Edge, e.token(s, s.value, change)); refusal.Of(err) != refusal.Unauthenticated {
					t.Errorf("%s: %v, %v", why, got.Tenant(), err)
				}
			}
			for name, member := range s.refused {
				token := e.token(s, s.value, func(h, _ object) { h[name] = member })
				if got, err := e.verifier.Verify(t.Context(), identity.Edge, token); refusal.Of(err) != refusal.Unauthenticated {
					t.Errorf("with %s in the header: %v, %v: take it out of refused, and out of the notes", name, got.Tenant(), err)
				}
			}
			for _, door := range []string{identity.Exchange, "postgres", ""} {
				if _, err := e.verifier.Verify(t.Context(), door, e.token(s, s.value, asIssued)); refusal.Of(err) != refusal.Unauthenticated {
					t.Errorf("at the door %q: %v", door, err)
				}
			}
		})
	}
	for name := range samples {
		if _, ok := Lookup(name); !ok {
			t.Errorf("a token of %s, which is no preset", name)
		}
	}
}

// What a preset's notes warn of is refused.
func TestTraps(t *testing.T) {
	for _, c := range []struct {
		preset, why string
		change      func(c object)
	}{
		{"keycloak", "two organizations", func(c object) { c["organization"] = []string{"acme", "globex"} }},
		{"keycloak", "no organization", func(c object) { c["organization"] = []string{} }},
		{"keycloak", "the shape of version 25", func(c object) { c["organization"] = object{"acme": object{}} }},
		{"clerk", "version 1", func(c object) { delete(c, "o"); c["org_id"] = "org_2Uw" }},
		{"clerk", "another origin", func(c object) { c["azp"] = "https://evil.example" }},
		{"clerk", "no audience", func(c object) { delete(c, "aud") }},
		{"workos", "another client", func(c object) { c["client_id"] = "client_02" }},
		{"workos", "neither audience nor client", func(c object) { delete(c, "client_id") }},
		{"cognito", "another client's access token", func(c object) { c["client_id"] = "2example23456789" }},
		{"google", "a consumer's account", func(c object) { delete(c, "hd") }},
		{"zitadel", "a number", func(c object) { c["urn:zitadel:iam:user:resourceowner:id"] = 9007199254740993 }},
		{"descope", "tenants alone", func(c object) { delete(c, "dct") }},
		{"frontegg", "tenantIds alone", func(c object) { delete(c, "tenantId") }},
		{"logto", "an organization token", func(c object) { c["aud"] = "urn:logto:organization:o1"; delete(c, "organization_id") }},
	} {
		s := samples[c.preset]
		p, _ := Lookup(c.preset)
		e := newEdge(t, p, s)
		token := e.token(s, s.value, func(_, claims object) { c.change(claims) })
		if got, err := e.verifier.Verify(t.Context(), identity.Edge, token); refusal.Of(err) != refusal.Unauthenticated {
			t.Errorf("%s, %s: %v, %v", c.preset, c.why, got.Tenant(), err)
		}
	}
	p, _ := Lookup("keycloak")
	s := samples["keycloak"]
	p.Shape = identity.SingleKey
	e := newEdge(t, p, s)
	for why, claim := range map[string]object{"25": {"acme": object{}}, "with an id": {"acme": object{"id": "42c3e46f"}}} {
		token := e.token(s, s.value, func(_, c object) { c["organization"] = claim })
		if got, err := e.verifier.Verify(t.Context(), identity.Edge, token); err != nil || got.Tenant() != e.a {
			t.Errorf("single-key, %s: %v", why, err)
		}
	}
}

func TestResolve(t *testing.T) {
	for name, s := range samples {
		p, _ := Lookup(name)
		if at, err := p.Resolve(s.issuer); err != nil || at != s.keysAt {
			t.Errorf("%s: %s, %v", name, at, err)
		}
	}
	for name, issuers := range map[string][]string{
		"auth0":    {"https://acme.eu.auth0.com", "https://acme.eu.auth0.com//", "http://acme.eu.auth0.com/", "https:///", "https://a/b/", "https://u@a/", "https://a/?x", "https://a/\n"},
		"entra":    {"https://login.microsoftonline.com/{tid}/v2.0", "https://sts.windows.net/x/", "https://login.microsoftonline.com/a/b/v2.0", "https://login.microsoftonline.com//v2.0"},
		"keycloak": {"https://sso.example/realms/", "https://sso.example/auth/realms/main", "https://sso.example/realms/main/"},
		"workos":   {"https://api.workos.com", "https://api.workos.com.evil/user_management/c"},
		"google":   {"accounts.google.com", "https://accounts.google.com/", "https://accounts-google.com"},
		"okta":     {"https://acme.okta.com", "https://acme.okta.com/oauth2", "https://acmeXokta.com/oauth2/x"},
		"clerk":    {"", "https://", "https://" + strings.Repeat("x", 129)},
	} {
		p, _ := Lookup(name)
		for _, issuer := range issuers {
			if at, err := p.Resolve(issuer); err == nil || !strings.Contains(err.Error(), p.Issuer) {
				t.Errorf("%s: %s resolves to %q, %v", name, issuer, at, err)
			}
		}
	}
}

// The table holds together, and what it gives out is nobody else's.
func TestTable(t *testing.T) {
	names := Names()
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(presets) {
		t.Errorf("%q", names)
	}
	for _, p := range presets {
		if p.Known == "" || len(p.Types) == 0 || len(p.Algorithms) == 0 || p.Shape == "" || p.SubjectAt == "" {
			t.Errorf("%s says too little", p.Name)
		}
		for _, name := range placeholder.FindAllString(p.JWKSURI, -1) {
			if !strings.Contains(p.Issuer, name) {
				t.Errorf("%s: nothing says what %s is", p.Name, name)
			}
		}
		if p.JWKSURI != "" && !strings.HasPrefix(p.JWKSURI, "https://") {
			t.Errorf("%s: keys at %s", p.Name, p.JWKSURI)
		}
	}
	a, _ := Lookup("entra")
	a.Types[0], a.Algorithms[0], a.Never[0], a.Notes[0] = "x", "x", "x", "x"
	if b, _ := Lookup("entra"); b.Types[0] != jwt || b.Algorithms[0] != rs256 || b.Never[0] != consumers || b.Notes[0] == "x" {
		t.Error("the table can be changed")
	}
	if p, ok := Lookup("Auth0"); ok {
		t.Errorf("%+v", p)
	}
}
