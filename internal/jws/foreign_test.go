package jws

import (
	"errors"
	"strings"
	"testing"
)

// A provider's header may say less and more than ours; each is a token of
// [ParseForeign], and none is one of [Parse].
func TestParseForeignAccepts(t *testing.T) {
	hash := strings.Repeat("A", 43)
	for header, typ := range map[string]string{
		`{"alg":"EdDSA","kid":"k-ed"}`:                                          "",
		`{"alg":"EdDSA","kid":"k-ed","x5t":"` + hash[:27] + `"}`:                "",
		`{"typ":"JWT","alg":"EdDSA","kid":"k-ed","x5t":"AA"}`:                   "JWT",
		`{"typ":"JWT","alg":"EdDSA","kid":"k-ed","cat":"cl_B7d4PD111AAA"}`:      "JWT",
		`{"typ":"at+jwt","alg":"EdDSA","kid":"k-ed","x5t#S256":"` + hash + `"}`: "at+jwt",
		`{"alg":"EdDSA","x5t":"AA","x5t#S256":"AA","kid":"k-ed"}`:               "",
	} {
		token := compact(header, payload, signEd)
		parsed, err := ParseForeign(token)
		if err != nil {
			t.Errorf("%s: %v", header, err)
			continue
		}
		got, k, err := keys().set.Verify(parsed)
		if err != nil || string(got) != payload || k.ID() != "k-ed" || parsed.Typ() != typ {
			t.Errorf("%s: %q by %q, typ %q, %v", header, got, k.ID(), parsed.Typ(), err)
		}
		if _, err := Parse(token); err == nil {
			t.Errorf("%s: Parse took it", header)
		}
	}
	for _, token := range []string{
		compact(edHeader, payload, signEd), compact(ecHeader, payload, signEC), compact(rsHeader, payload, signRS),
		compact(`{"alg":"Ed25519","kid":"k-ed","typ":"t"}`, payload, signEd), twin(compact(ecHeader, payload, signEC)),
	} {
		parsed, err := ParseForeign(token)
		if err != nil {
			t.Errorf("%s: %v", token, err)
			continue
		}
		if _, _, err := keys().set.Verify(parsed); err != nil {
			t.Errorf("%s: %v", token, err)
		}
	}
}

// RFC 7515 allows an empty payload. It has no claims, so that nothing but the
// claims' own reader has to refuse it.
func TestAnEmptyPayloadHasNoClaims(t *testing.T) {
	token := compact(edHeader, "", signEd)
	if _, err := Parse(token); err == nil {
		t.Error("Parse took it")
	}
	parsed, err := ParseForeign(token)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := keys().set.Verify(parsed)
	if err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	var claims struct{}
	for name, err := range map[string]error{"Decode": Decode(got, &claims), "DecodeOpen": DecodeOpen(got, &claims)} {
		if err == nil {
			t.Errorf("%s: claims", name)
		}
	}
	if issuer, err := parsed.ClaimedIssuer(); err == nil {
		t.Errorf("issuer %q", issuer)
	}
}

// A token that names no key is verified only where there is no choice.
func TestVerifyWithoutKid(t *testing.T) {
	one, err := NewKeySet(keys().set.keys["k-ed"])
	if err != nil {
		t.Fatal(err)
	}
	another, err := NewKeySet(keys().set.keys["k-ec"])
	if err != nil {
		t.Fatal(err)
	}
	unnamed, err := ParsePublished([]byte(`{"keys":[` + strings.Replace(mustJWK(t, "k-ed"), `"kid":"k-ed",`, "", 1) + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	bare, named := `{"alg":"EdDSA"}`, `{"alg":"EdDSA","kid":"k-ed"}`
	for _, c := range []struct {
		name, header string
		set          *KeySet
		want         bool
	}{
		{"the only key", bare, one, true},
		{"the only key, which has no name", bare, unnamed, true},
		{"its newer name", `{"alg":"Ed25519"}`, unnamed, true},
		{"the only key, named", named, one, true},
		{"a name, and a key without one", named, unnamed, false},
		{"another name", `{"alg":"EdDSA","kid":"x"}`, one, false},
		{"the only key, of another kind", bare, another, false},
		{"the only key, and another algorithm", `{"alg":"ES256"}`, one, false},
		{"none", `{"alg":"none"}`, one, false},
		{"three keys", bare, keys().set, false},
		{"no keys", bare, &KeySet{}, false},
		{"no set", bare, nil, false},
	} {
		parsed, err := ParseForeign(compact(c.header, payload, signEd))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if _, _, err := c.set.Verify(parsed); (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// A map is walked in any order: what is chosen at random is right at times.
	for range 20 {
		for alg, sign := range map[string]func(string) []byte{"EdDSA": signEd, "ES256": signEC, "RS256": signRS} {
			parsed, err := ParseForeign(compact(`{"alg":"`+alg+`"}`, payload, sign))
			if err != nil {
				t.Fatal(err)
			}
			if _, k, err := keys().set.Verify(parsed); err == nil {
				t.Fatalf("%s was chosen of three", k.ID())
			}
		}
	}
	if _, _, err := one.Verify(Token{}); err == nil {
		t.Error("the zero token is verified")
	}
}

// Only a name that the set does not have is a reason to ask the issuer again:
// whoever forges a signature could else make us ask.
func TestErrNoKey(t *testing.T) {
	for header, want := range map[string]bool{
		`{"alg":"EdDSA","kid":"new"}`:  true,
		`{"alg":"EdDSA","kid":"k-ed"}`: false,
		`{"alg":"EdDSA","kid":"k-ec"}`: false,
		`{"alg":"EdDSA"}`:              false,
		`{"alg":"none","kid":"k-ed"}`:  false,
	} {
		parsed, err := ParseForeign(compact(header, payload, fixed(make([]byte, 64))))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := keys().set.Verify(parsed); err == nil || errors.Is(err, ErrNoKey) != want {
			t.Errorf("%s: %v", header, err)
		}
	}
}
