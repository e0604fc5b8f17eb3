package registry

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

const idp = "https://idp.test/"

// published returns a fresh key set as a provider publishes it.
func published(t testing.TB) []byte {
	t.Helper()
	private := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	key := must[jws.Key](t)(jws.NewKey("one", &private.PublicKey))
	return must[[]byte](t)(must[*jws.KeySet](t)(jws.NewKeySet(key)).JWKS())
}

// registration returns a good one, whose keys are given.
func registration(t testing.TB, url string) Registration {
	t.Helper()
	return Registration{
		Issuer: Issuer{URL: url}, Preset: "generic", Audiences: []string{"https://app.test"}, Types: []string{"at+jwt", "JWT"},
		Algorithms: []string{"ES256"}, TenantAt: "/org_id", Shape: identity.Scalar, SubjectAt: "/sub",
		Reach: []string{identity.HTTP, identity.PGRead}, Lifetime: time.Hour, Keys: published(t),
	}
}

// authority returns a certificate in PEM.
func authority(t testing.TB) string {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key))
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestProvidersAreKeptAsDescribed(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	g := registration(t, idp)
	g.ID = must[Issuer](t)(r.AddProvider(t.Context(), g)).ID
	fetched := registration(t, "https://other.test/realms/x")
	fetched.Keys, fetched.JWKSURI, fetched.CA, fetched.Private = nil, "https://10.0.0.1/keys?x=1", authority(t)+"\n"+authority(t)+"\n", true
	fetched.Parties = []string{"web", "cli"}
	fetched.ID = must[Issuer](t)(r.AddProvider(t.Context(), fetched)).ID
	all := must[[]Registration](t)(r.Registrations(t.Context()))
	if len(all) != 2 || !sameKeys(t, all[0].Keys, g.Keys) {
		t.Fatalf("%+v", all)
	}
	all[0].Keys, g.Keys = nil, nil
	for i, want := range []Registration{g, fetched} {
		want.Parties = append([]string{}, want.Parties...)
		if !reflect.DeepEqual(all[i], want) {
			t.Errorf("%+v\nwant %+v", all[i], want)
		}
	}
	p := r.Provider(idp)
	if p == nil || p.Issuer != idp || p.TenantAt != "/org_id" || p.MaxLifetime != time.Hour || len(p.Tenants) != 0 {
		t.Errorf("%+v", p)
	}
	if got := r.Published(); !reflect.DeepEqual(got, []Source{{fetched.URL, fetched.JWKSURI, fetched.CA, true}}) {
		t.Errorf("%+v", got)
	}
	if r.Keys(idp) == nil || r.Keys(fetched.URL) != nil {
		t.Error("keys that are given are here, and those that are published are not")
	}
	for _, url := range []string{iss, idp + "x", strings.TrimSuffix(idp, "/"), ""} {
		if r.Provider(url) != nil {
			t.Errorf("%q is a provider", url)
		}
	}
}

func sameKeys(t testing.TB, a, b []byte) bool {
	t.Helper()
	return must[*jws.KeySet](t)(jws.ParsePublished(a)).Digest() == must[*jws.KeySet](t)(jws.ParsePublished(b)).Digest()
}

func TestProvidersThatAreRefused(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	if _, err := r.AddProvider(t.Context(), registration(t, idp)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Registration)
		want   refusal.Reason
	}{
		"there":                {func(*Registration) {}, refusal.Denied},
		"our own":              {func(g *Registration) { g.URL = iss }, refusal.Denied},
		"http":                 {func(g *Registration) { g.URL = "http://x.test" }, refusal.Malformed},
		"no URL":               {func(g *Registration) { g.URL = "stytch.com/project" }, refusal.Malformed},
		"no host":              {func(g *Registration) { g.URL = "https:///x" }, refusal.Malformed},
		"a user":               {func(g *Registration) { g.URL = "https://u@x.test" }, refusal.Malformed},
		"long":                 {func(g *Registration) { g.URL = "https://x.test/" + strings.Repeat("x", 255) }, refusal.Malformed},
		"no audience":          {func(g *Registration) { g.Audiences = nil }, refusal.Malformed},
		"no type":              {func(g *Registration) { g.Types = nil }, refusal.Malformed},
		"no algorithm":         {func(g *Registration) { g.Algorithms = nil }, refusal.Malformed},
		"HS256":                {func(g *Registration) { g.Algorithms = []string{"HS256"} }, refusal.Malformed},
		"none":                 {func(g *Registration) { g.Algorithms = []string{"none"} }, refusal.Malformed},
		"a pointer":            {func(g *Registration) { g.TenantAt = "org_id" }, refusal.Malformed},
		"no pointer":           {func(g *Registration) { g.TenantAt = "" }, refusal.Malformed},
		"no subject":           {func(g *Registration) { g.SubjectAt = "" }, refusal.Malformed},
		"a shape":              {func(g *Registration) { g.Shape = "any" }, refusal.Malformed},
		"no reach":             {func(g *Registration) { g.Reach = nil }, refusal.Malformed},
		"no life":              {func(g *Registration) { g.Lifetime = 0 }, refusal.Malformed},
		"a long life":          {func(g *Registration) { g.Lifetime = 25 * time.Hour }, refusal.Malformed},
		"no keys":              {func(g *Registration) { g.Keys = nil }, refusal.Malformed},
		"keys twice":           {func(g *Registration) { g.JWKSURI = "https://x.test/keys" }, refusal.Malformed},
		"keys over http":       {func(g *Registration) { g.Keys, g.JWKSURI = nil, "http://x.test/keys" }, refusal.Malformed},
		"keys of a user":       {func(g *Registration) { g.Keys, g.JWKSURI = nil, "https://u:p@x.test/keys" }, refusal.Malformed},
		"an authority alone":   {func(g *Registration) { g.CA = authority(t) }, refusal.Malformed},
		"private alone":        {func(g *Registration) { g.Private = true }, refusal.Malformed},
		"no authority":         {func(g *Registration) { g.Keys, g.JWKSURI, g.CA = nil, "https://x.test/keys", "x" }, refusal.Malformed},
		"a key for authority":  {func(g *Registration) { g.Keys, g.JWKSURI, g.CA = nil, "https://x.test/keys", privatePEM(t) }, refusal.Malformed},
		"a broken certificate": {func(g *Registration) { g.Keys, g.JWKSURI, g.CA = nil, "https://x.test/keys", brokenPEM }, refusal.Malformed},
		"a large authority": {func(g *Registration) {
			g.Keys, g.JWKSURI, g.CA = nil, "https://x.test/keys", strings.Repeat("\n", maxCA+1)
		}, refusal.Malformed},
		"no document":       {func(g *Registration) { g.Keys = []byte("x") }, refusal.Malformed},
		"an empty document": {func(g *Registration) { g.Keys = []byte(`{"keys":[]}`) }, refusal.Malformed},
		"a secret":          {func(g *Registration) { g.Keys = []byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"x"}]}`) }, refusal.Malformed},
		"a weak key":        {func(g *Registration) { g.Keys = weak(t) }, refusal.Malformed},
		"bindings":          {func(g *Registration) { g.Bindings = []Binding{{Value: "x", Tenant: tenant.New()}} }, refusal.Malformed},
	} {
		g := registration(t, "https://x.test")
		if name == "there" {
			g = registration(t, idp)
		}
		c.change(&g)
		if _, err := r.AddProvider(t.Context(), g); reason(err) != c.want || c.want == refusal.Denied && name == "there" != errors.Is(err, ErrTaken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all := must[[]Registration](t)(r.Registrations(t.Context())); len(all) != 1 {
		t.Errorf("%d are there", len(all))
	}
	if _, err := r.SetIssuer(t.Context(), idp, minter(t).Keys()); reason(err) != refusal.Denied {
		t.Errorf("a provider became our own: %v", err)
	}
}

const brokenPEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

func privatePEM(t testing.TB) string {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))}))
}

// weak returns a set with an RSA key of 1024 bits.
func weak(t testing.TB) []byte {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), 1023)
	key := rsa.PublicKey{N: n.Add(n, big.NewInt(12345)), E: 65537}
	return fmt.Appendf(nil, `{"keys":[{"kty":"RSA","kid":"x","use":"sig","alg":"RS256","n":%q,"e":"AQAB"}]}`, base64.RawURLEncoding.EncodeToString(key.N.Bytes()))
}

func TestProviderKeysAreRotatedByFile(t *testing.T) {
	_, dsn := database(t)
	r := alone(t, config(dsn))
	settled(t, r)
	g := registration(t, idp)
	must[Issuer](t)(r.AddProvider(t.Context(), g))
	before, changed := r.Keys(idp), r.Changed()
	if err := r.SetProviderKeys(t.Context(), idp, g.Keys); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Error("setting what is set wakes everybody")
	default:
	}
	next := published(t)
	if err := r.SetProviderKeys(t.Context(), idp, next); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was woken")
	}
	if after := r.Keys(idp); after == nil || after.Digest() == before.Digest() || !sameKeys(t, next, must[[]Registration](t)(r.Registrations(t.Context()))[0].Keys) {
		t.Error("the former key is still believed")
	}
	fetched := registration(t, "https://fetched.test")
	fetched.Keys, fetched.JWKSURI = nil, "https://fetched.test/keys"
	must[Issuer](t)(r.AddProvider(t.Context(), fetched))
	for url, want := range map[string]refusal.Reason{iss: refusal.Denied, "https://fetched.test": refusal.Denied, "https://none.test": refusal.NotFound} {
		if err := r.SetProviderKeys(t.Context(), url, next); reason(err) != want {
			t.Errorf("%s: %v", url, err)
		}
	}
	if err := r.SetProviderKeys(t.Context(), idp, weak(t)); reason(err) != refusal.Malformed {
		t.Errorf("a weak key: %v", err)
	}
	if r.Keys(iss) == nil {
		t.Error("our own keys are gone")
	}
}

// A key set that did not change is not read again, whatever else does.
func TestProviderKeysAreReadOnce(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, idp)))
	old := r.view.Load()
	if next := must[*snapshot](t)(load(t.Context(), r.pool, old)); next.issuers[idp].keys != old.issuers[idp].keys {
		t.Error("read again")
	}
	if next := must[*snapshot](t)(load(t.Context(), r.pool, nil)); next.issuers[idp].keys == old.issuers[idp].keys {
		t.Error("the control: read once and for all")
	}
}

// One tenant's people take no place of another's.
func TestOneTenantHasABound(t *testing.T) {
	name, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a, b := enrol(t, r, "north/clinic"), enrol(t, r, "south/clinic")
	for _, s := range []string{
		"ALTER TABLE principal DISABLE TRIGGER USER",
		fmt.Sprintf(`INSERT INTO principal SELECT gen_random_uuid(), tenant, issuer, 'p' || n, changed + 1000 + n
			FROM principal, generate_series(1, %d) n WHERE tenant = '%s'`, maxCrowd-1, a.tenant.ID),
		"ALTER TABLE principal ENABLE TRIGGER USER",
		fmt.Sprintf("UPDATE standing_version SET n = n + 1001 + %d", maxCrowd),
	} {
		if _, err := localtest.Super(t, name).Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.refresh(t.Context(), r.pool); err != nil {
		t.Fatal(err)
	}
	_, err := r.Principal(t.Context(), a.tenant.ID, iss, "one more")
	if reason(err) != refusal.TooMany || refusal.HintOf(err) != "" || !strings.Contains(err.Error(), "removing the issuer") {
		t.Errorf("one too many: %v", err)
	}
	if id, err := r.Principal(t.Context(), a.tenant.ID, iss, "alice"); err != nil || id != a.principal {
		t.Errorf("who is there: %v", err)
	}
	if _, err := r.Principal(t.Context(), b.tenant.ID, iss, "one more"); err != nil {
		t.Errorf("somebody else's: %v", err)
	}
}

// Look-ups are asked before every operation.
func TestLookupsAllocateNothing(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a := enrol(t, r, "north/clinic")
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, idp)))
	bind(t, r, idp, "org_1", a.tenant.Path)
	partner, id, err := r.Enrol(t.Context(), a.tenant.ID, idp, "alice")
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"Provider":   func() { r.Provider(idp) },
		"Published":  func() { r.Published() },
		"TenantPath": func() { r.TenantPath(a.tenant.ID) },
		"Check":      func() { _ = r.Check(a.tenant.ID, partner, id, idp) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// What somebody writes by hand is believed only if it could have been written
// here, and what is unfit stands in nobody's way.
func TestUnfitRows(t *testing.T) {
	name, dsn := database(t)
	var log bytes.Buffer
	c := config(dsn)
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	r := open(t, c)
	settled(t, r)
	a := enrol(t, r, "north/clinic")
	const second = "https://second.test"
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, idp)))
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, second)))
	super := localtest.Super(t, name)
	for _, s := range []string{
		"UPDATE issuer SET algs = '{none}' WHERE url = $1", "UPDATE issuer SET algs = '{ES256}', jwks = '{}' WHERE url = $1",
	} {
		if _, err := super.Exec(t.Context(), s, idp); err != nil {
			t.Fatal(err)
		}
		if err := r.refresh(t.Context(), r.pool); err != nil {
			t.Fatal(err)
		}
		if r.Provider(idp) != nil || r.Keys(idp) != nil || r.Provider(second) == nil || a.check(r) != granted {
			t.Errorf("%s: believed, or in the way", s)
		}
	}
	r.Close()
	if !strings.Contains(log.String(), "row is unfit") {
		t.Errorf("the operator is not told: %s", log.String())
	}
	for s, code := range map[string]string{
		"UPDATE issuer SET provider = true WHERE NOT provider":                                 "23001",
		"UPDATE issuer SET provider = false":                                                   "23001",
		"UPDATE issuer SET audiences = '{}'":                                                   "23514",
		"UPDATE issuer SET jwks = NULL":                                                        "23514",
		"UPDATE issuer SET jwks_uri = 'https://x.test' WHERE NOT provider":                     "23514",
		"INSERT INTO issuer_tenant SELECT i.id, 'a b', t.id FROM issuer i, tenant t LIMIT 1":   "23514",
		"INSERT INTO issuer_tenant SELECT i.id, E'a\\n', t.id FROM issuer i, tenant t LIMIT 1": "23514",
		"TRUNCATE issuer_tenant":                                                               "23001",
	} {
		_, err := super.Exec(t.Context(), s)
		if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != code {
			t.Errorf("%s: %v", s, err)
		}
	}
}
