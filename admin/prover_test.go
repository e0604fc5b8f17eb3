package admin

import (
	"encoding/json"
	"testing"
)

// The prover gets Txn-Tokens, for its own tenants and nobody else's, and never
// more than the token of the provider it shows.
func TestTxnTokens(t *testing.T) {
	d := newDesk(t)
	d.tenant("acme")
	id := d.tenant("prove-a")
	d.tenant("prove-b")
	g := newGiver(t, "https://idp.test")
	at := d.add(g)
	d.want(200, "home/acme", "PUT", at+"/tenants?value=org_acme", `{"tenant":"acme"}`)
	d.want(200, "home/prove-a", "PUT", at+"/tenants?value=org_a", `{"tenant":"prove-a"}`)
	body := func(tenant, door, reach, token string) string {
		return `{"tenant":"` + tenant + `","for":"` + door + `","reach":["` + reach + `"],"ttl":"1m","token":"` + token + `"}`
	}
	var got Token
	if err := json.Unmarshal([]byte(d.want(200, "access_token", "POST", "/v1/token", body("prove-a", "exchange", "pg:read", g.token("org_a")))), &got); err != nil {
		t.Fatal(err)
	}
	var v Verified
	if err := json.Unmarshal([]byte(d.want(200, "subject", "POST", "/v1/token/verify", `{"token":"`+got.Token+`","for":"exchange"}`)), &v); err != nil {
		t.Fatal(err)
	}
	if v.Tenant != id.String() || v.Scope != "pg:read" || v.Issuer != g.url || v.Txn == "" {
		t.Errorf("%+v", v)
	}
	for _, c := range []struct {
		status int
		body   string
	}{
		{403, body("acme", "exchange", "pg:read", g.token("org_acme"))},
		{403, body("prove-b", "exchange", "pg:read", g.token("org_a"))},
		{403, body("prove-a", "exchange", "pg:read", "")},
		{403, body("prove-a", "postgres", "pg:read", g.token("org_a"))},
		{403, body("prove-a", "exchange", "pg:write", g.token("org_a"))},
		{401, body("prove-a", "exchange", "pg:read", g.token("org_none"))},
		{401, body("prove-a", "exchange", "pg:read", got.Token)},
	} {
		d.want(c.status, "reason", "POST", "/v1/token", c.body)
	}
}
