package admin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/tenant"
)

// A giver is an identity provider of a test, whose keys are given.
type giver struct {
	*testing.T
	url string
	key *ecdsa.PrivateKey
}

func newGiver(t *testing.T, url string) *giver {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &giver{t, url, key}
}

// jwks returns the key of g as it is published.
func (g *giver) jwks() string {
	g.Helper()
	key, err := jws.NewKey("k1", &g.key.PublicKey)
	if err != nil {
		g.Fatal(err)
	}
	keys, err := jws.NewKeySet(key)
	if err != nil {
		g.Fatal(err)
	}
	doc, err := keys.JWKS()
	if err != nil {
		g.Fatal(err)
	}
	return string(doc)
}

// token returns a token of an organisation.
func (g *giver) token(org string) string {
	g.Helper()
	claims, err := json.Marshal(map[string]any{
		"iss": g.url, "aud": "app", "sub": "ada", "org_id": org, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	if err != nil {
		g.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(`{"alg":"ES256","kid":"k1","typ":"JWT"}`)) + "." + b64(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, g.key, digest[:])
	if err != nil {
		g.Fatal(err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + b64(signature[:])
}

// body returns what POST /v1/issuers takes of g, with members changed; one
// that becomes nil is left out.
func (g *giver) body(change map[string]any) string {
	g.Helper()
	o := map[string]any{
		"url": g.url, "preset": "generic", "audiences": []string{"app"}, "tenant_at": "/org_id", "reach": []string{"http", "pg:read"},
		"lifetime": "1h", "jwks": json.RawMessage(g.jwks()),
	}
	maps.Copy(o, change)
	maps.DeleteFunc(o, func(_ string, v any) bool { return v == nil })
	b, err := json.Marshal(o)
	if err != nil {
		g.Fatal(err)
	}
	return string(b)
}

// add registers g and returns where the API has it.
func (d *desk) add(g *giver) string {
	d.Helper()
	var is Issuer
	if err := json.Unmarshal([]byte(d.want(200, g.url, "POST", "/v1/issuers", g.body(nil))), &is); err != nil {
		d.Fatal(err)
	}
	if is.ID == "" || is.Shape != "scalar" || is.SubjectAt != "/sub" || is.Lifetime != "1h0m0s" || len(is.Types) == 0 || is.Tenants == nil {
		d.Errorf("%+v", is)
	}
	return "/v1/issuers/" + is.ID
}

func (d *desk) tenant(path string) tenant.ID {
	d.Helper()
	var made Tenant
	if err := json.Unmarshal([]byte(d.want(200, "active", "POST", "/v1/tenants", `{"path":"`+path+`"}`)), &made); err != nil {
		d.Fatal(err)
	}
	id, err := tenant.Parse(made.ID)
	if err != nil {
		d.Fatal(err)
	}
	return id
}

// A provider's life, from its registration to its removal, and what the edge
// makes of its tokens meanwhile.
func TestIssuers(t *testing.T) {
	d := newDesk(t)
	acme, other := d.tenant("acme"), d.tenant("other")
	g := newGiver(t, "https://idp.test")
	at := d.add(g)
	test := func(status int, word, org string) {
		t.Helper()
		d.want(status, word, "POST", at+"/test", `{"token":"`+g.token(org)+`"}`)
	}
	test(401, `\"org_1\" is bound to none`, "org_1")
	d.want(200, `"home/acme"`, "PUT", at+"/tenants?value=org_1", `{"tenant":"acme"}`)
	d.want(200, `"home/other"`, "PUT", at+"/tenants?value=org_2%2F%2B", `{"tenant":"home/other"}`)
	test(200, `"path":"home/acme"`, "org_1")
	test(200, other.String(), "org_2/+")
	test(200, `"scope":"http pg:read"`, "org_1")
	test(401, `\"org_2\" is bound to none`, "org_2")
	d.want(200, acme.String(), "GET", at, "")
	d.want(200, g.url, "GET", "/v1/issuers", "")

	second := newGiver(t, "https://second.test")
	d.want(401, "the token is good, and of https://idp.test", "POST", d.add(second)+"/test", `{"token":"`+g.token("org_1")+`"}`)
	d.want(401, "no provider", "POST", at+"/test", `{"token":"`+newGiver(t, "https://third.test").token("org_1")+`"}`)

	old := g.token("org_1")
	g.key = newGiver(t, g.url).key
	test(401, "", "org_1")
	d.want(200, g.url, "PUT", at+"/keys", g.jwks())
	test(200, "acme", "org_1")
	d.want(401, "", "POST", at+"/test", `{"token":"`+old+`"}`)

	d.want(200, "home/other", "DELETE", at+"/tenants?value=org_1", "")
	test(401, `\"org_1\" is bound to none`, "org_1")
	d.want(200, g.url, "DELETE", at, "")
	d.want(404, "no identity provider", "GET", at, "")
	d.want(404, "no identity provider", "POST", at+"/test", `{"token":"x"}`)

	want := []string{
		"tenant create ok", "issuer bind ", "issuer bind ok", "issuer keys ok", "issuer unbind ", "issuer unbind ok",
	}
	if got := d.told(acme); !slices.Equal(got, want) {
		t.Errorf("acme's log: %q, want %q", got, want)
	}
	want = []string{"tenant create ok", "issuer bind ", "issuer bind ok", "issuer keys ok", "issuer remove ok"}
	if got := d.told(other); !slices.Equal(got, want) {
		t.Errorf("other's log: %q, want %q", got, want)
	}
	ours := d.told(tenant.ID{})
	for _, w := range []string{"issuer add ", "issuer add ok", "issuer bind ok", "issuer keys ", "issuer unbind ok", "issuer remove ", "issuer remove ok"} {
		if !slices.Contains(ours, w) {
			t.Errorf("the operator's log has no %q: %q", w, ours)
		}
	}
	for _, r := range d.Records(t, tenant.ID{}) {
		if strings.HasPrefix(r.Operation, "issuer") && (r.Class != audit.ClassIssuer || r.Kind != audit.Admin || !slices.ContainsFunc(r.Resources, func(s string) bool { return strings.HasPrefix(s, "https://") })) {
			t.Errorf("%+v", r)
		}
	}
}

func TestIssuersAreRefused(t *testing.T) {
	d := newDesk(t)
	g := newGiver(t, "https://idp.test")
	d.add(g)
	fresh := newGiver(t, "https://fresh.test")
	for name, c := range map[string]struct {
		status int
		word   string
		change map[string]any
	}{
		"there":                  {403, "remove it first", map[string]any{"url": g.url}},
		"our own":                {403, "own issuer", map[string]any{"url": "https://isocore.test"}},
		"http":                   {400, "https", map[string]any{"url": "http://fresh.test"}},
		"no URL":                 {400, "URL", map[string]any{"url": nil}},
		"no audience":            {400, "Audiences", map[string]any{"audiences": nil}},
		"an empty audience":      {400, "Audiences", map[string]any{"audiences": []string{""}}},
		"no reach":               {400, "Reach", map[string]any{"reach": nil}},
		"no lifetime":            {400, "lives up to", map[string]any{"lifetime": nil}},
		"two days":               {400, "lives up to", map[string]any{"lifetime": "48h"}},
		"no such preset":         {400, "there is no preset", map[string]any{"preset": "ping"}},
		"not the preset's":       {400, "looks like https://{domain}/", map[string]any{"preset": "auth0", "jwks": nil}},
		"without a preset":       {400, "Types", map[string]any{"preset": nil}},
		"no tenant claim":        {400, "TenantAt", map[string]any{"tenant_at": nil}},
		"no keys":                {400, "keys", map[string]any{"jwks": nil}},
		"null keys":              {400, "", map[string]any{"jwks": json.RawMessage("null")}},
		"keys and where":         {400, "either given or published", map[string]any{"jwks_uri": "https://fresh.test/keys"}},
		"keys over http":         {400, "https URL", map[string]any{"jwks": nil, "jwks_uri": "http://fresh.test/keys"}},
		"an authority for given": {400, "fetched", map[string]any{"ca": "x"}},
		"private for given":      {400, "fetched", map[string]any{"private": true}},
		"a bad authority":        {400, "PEM", map[string]any{"jwks": nil, "jwks_uri": "https://fresh.test/keys", "ca": "x"}},
		"keys on loopback":       {400, "could not be fetched", map[string]any{"jwks": nil, "jwks_uri": "https://127.0.0.1/keys"}},
		"keys at the metadata":   {400, "could not be fetched", map[string]any{"jwks": nil, "jwks_uri": "https://169.254.169.254/keys"}},
		"keys at no port":        {400, "could not be fetched", map[string]any{"jwks": nil, "jwks_uri": "https://fresh.test:0/keys"}},
		"an e-mail address":      {400, "use /sub", map[string]any{"subject_at": "/email"}},
		"a login name":           {400, "use /sub", map[string]any{"subject_at": "/upn"}},
		"a preferred name":       {400, "use /sub", map[string]any{"subject_at": "/preferred_username"}},
		"a name":                 {400, "use /sub", map[string]any{"subject_at": "/profile/Name"}},
		"a renamed address":      {400, "use /sub", map[string]any{"subject_at": "/https:~1~1app.test~1email"}},
		"HS256":                  {400, "Algorithms", map[string]any{"algorithms": []string{"HS256"}}},
		"a shared secret":        {400, "", map[string]any{"jwks": json.RawMessage(`{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"x"}]}`)}},
		"a weak key":             {400, "", map[string]any{"jwks": json.RawMessage(`{"keys":[{"kty":"RSA","kid":"x","n":"` + strings.Repeat("A", 170) + `","e":"AQAB"}]}`)}},
		"unknown":                {400, "", map[string]any{"frob": 1}},
		"too large":              {413, "", map[string]any{"ca": strings.Repeat("x", maxIssuer)}},
	} {
		t.Run(name, func(t *testing.T) {
			d.want(c.status, c.word, "POST", "/v1/issuers", fresh.body(c.change))
		})
	}
	if got := d.want(200, "", "GET", "/v1/issuers", ""); strings.Count(got, `"url"`) != 1 {
		t.Error(got)
	}
}

// Calls about a provider that are refused leave it as it is.
func TestIssuersStayAsTheyAre(t *testing.T) {
	d := newDesk(t)
	d.tenant("acme")
	d.tenant("other")
	g := newGiver(t, "https://idp.test")
	at := d.add(g)
	d.want(200, "acme", "PUT", at+"/tenants?value=org_1", `{"tenant":"acme"}`)
	none := "/v1/issuers/" + strings.Repeat("1", 32)
	for _, x := range []struct {
		status             int
		word               string
		method, path, body string
	}{
		{404, "", "GET", none, ""},
		{404, "", "DELETE", none, ""},
		{404, "", "PUT", none + "/keys", g.jwks()},
		{404, "", "PUT", none + "/tenants?value=x", `{"tenant":"acme"}`},
		{404, "", "DELETE", none + "/tenants?value=x", ``},
		{404, "", "POST", none + "/test", `{"token":"x"}`},
		{400, "", "GET", "/v1/issuers/https:", ""},
		{400, "", "PUT", at + "/keys", `{`},
		{400, "", "PUT", at + "/keys", `{"keys":[]}`},
		{400, "", "PUT", at + "/keys", `[]`},
		{400, "", "PUT", at + "/tenants", `{"tenant":"acme"}`},
		{400, "", "PUT", at + "/tenants?value=", `{"tenant":"acme"}`},
		{400, "", "PUT", at + "/tenants?value=a&value=b", `{"tenant":"acme"}`},
		{400, "", "PUT", at + "/tenants?value=a%20b", `{"tenant":"acme"}`},
		{400, "", "PUT", at + "/tenants?value=%ff%00", `{"tenant":"acme"}`},
		{400, "", "PUT", at + "/tenants?value=" + strings.Repeat("x", 129), `{"tenant":"acme"}`},
		{400, "", "PUT", at + "/tenants?value=org_2", `{"tenant":"No"}`},
		{400, "", "PUT", at + "/tenants?value=org_2", `{}`},
		{404, "no tenant", "PUT", at + "/tenants?value=org_2", `{"tenant":"none"}`},
		{404, "no tenant", "PUT", at + "/tenants?value=org_2", `{"tenant":"foreign/acme"}`},
		{403, "unbind it first", "PUT", at + "/tenants?value=org_1", `{"tenant":"other"}`},
		{404, "", "DELETE", at + "/tenants?value=org_2", ``},
		{404, "", "DELETE", at + "/tenants?value=%00", ``},
		{400, "", "POST", at + "/test", `{}x`},
		{401, "", "POST", at + "/test", `{"token":""}`},
		{404, "", "PATCH", at, `{}`},
	} {
		d.want(x.status, x.word, x.method, x.path, x.body)
	}
	if got := d.want(200, "", "GET", "/v1/issuers", ""); strings.Count(got, `"url"`) != 1 || strings.Count(got, `"value"`) != 1 {
		t.Error(got)
	}
	const consumers = "9188040d-6c67-4c5b-b112-36a304b66dad"
	entra := newGiver(t, "https://login.microsoftonline.com/"+consumers+"/v2.0")
	var is Issuer
	if err := json.Unmarshal([]byte(d.want(200, "/discovery/v2.0/keys", "POST", "/v1/issuers", entra.body(map[string]any{"preset": "entra", "jwks": nil}))), &is); err != nil {
		t.Fatal(err)
	}
	d.want(403, "nobody's tenant", "PUT", fmt.Sprintf("/v1/issuers/%s/tenants?value=%s", is.ID, url.QueryEscape(consumers)), `{"tenant":"acme"}`)
}

// What cannot be recorded of identity providers is not done either.
func TestUnrecordedIssuers(t *testing.T) {
	d := newDesk(t)
	d.tenant("acme")
	g := newGiver(t, "https://idp.test")
	at := d.add(g)
	d.want(200, "acme", "PUT", at+"/tenants?value=org_1", `{"tenant":"acme"}`)
	before := d.want(200, "", "GET", "/v1/issuers", "")
	d.Commits.Fail(brokertest.ErrDisk)
	for _, x := range [][3]string{
		{"POST", "/v1/issuers", newGiver(t, "https://second.test").body(nil)},
		{"PUT", at + "/keys", newGiver(t, g.url).jwks()},
		{"PUT", at + "/tenants?value=org_2", `{"tenant":"acme"}`},
		{"DELETE", at + "/tenants?value=org_1", ""},
		{"DELETE", at, ""},
	} {
		d.want(503, `"reason":"Unrecorded"`, x[0], x[1], x[2])
	}
	if after := d.want(200, "", "GET", "/v1/issuers", ""); after != before || !strings.Contains(after, "org_1") {
		t.Errorf("%s\nwas %s", after, before)
	}
}
