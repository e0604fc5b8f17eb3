package prove_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/prove"
)

func TestProvider(t *testing.T) {
	p, err := prove.NewProvider("https://prover.invalid", "app", "http")
	if err != nil {
		t.Fatal(err)
	}
	p.Values["id"] = `org "x"`
	set, err := jws.ParsePublished(p.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	good := p.Good("id", time.Minute)
	token, err := p.Token(good)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jws.ParseForeign(token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	payload, _, err := set.Verify(parsed)
	if err != nil || parsed.Typ() != prove.ProviderType {
		t.Fatal(err)
	}
	var said struct {
		Iss, Aud, Sub string
		Org           string `json:"org_id"`
		Iat, Exp      int64
	}
	if err := json.Unmarshal(payload, &said); err != nil || said.Org != `org "x"` || said.Exp-said.Iat != 60 || said.Aud != "app" || said.Iss != p.Issuer {
		t.Errorf("%s, %v", payload, err)
	}
	good.Org, good.More, good.Head = "", `,"x":1`, `,"y":[]`
	header, claims := good.Texts()
	if strings.Contains(claims, "org_id") || !strings.HasSuffix(claims, `,"x":1}`) || !strings.HasSuffix(header, `,"y":[]}`) {
		t.Errorf("%s %s", header, claims)
	}
	other, err := prove.NewProvider(p.Issuer, p.Audience)
	if err != nil {
		t.Fatal(err)
	}
	if token, err = other.Token(good); err != nil {
		t.Fatal(err)
	}
	if parsed, err = jws.ParseForeign(strings.Replace(token.Reveal(), prove.Base64(header), prove.Base64(strings.Replace(header, `,"y":[]`, "", 1)), 1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := set.Verify(parsed); err == nil {
		t.Error("another provider's key signs for this one")
	}
}

func TestFit(t *testing.T) {
	lacking, having := probe("lacking"), probe("having")
	lacking.Lacks = func(*prove.Target) string { return "no such thing" }
	having.Lacks = func(*prove.Target) string { return "" }
	some, left := prove.Fit(&prove.Target{}, []prove.Probe{probe("plain"), lacking, having})
	var names []string
	for _, p := range some {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"plain", "having"}) || !slices.Equal(left, []string{"lacking: no such thing"}) {
		t.Errorf("%q, %q", names, left)
	}
}
