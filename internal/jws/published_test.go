package jws

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// mustJWK returns the key named kid of the fixed set as one of a document.
func mustJWK(t testing.TB, kid string) string {
	t.Helper()
	set, err := NewKeySet(keys().set.keys[kid])
	if err != nil {
		t.Fatal(err)
	}
	doc, err := set.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(doc), `{"keys":[`), `]}`)
}

func jwkSet(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

// wide returns a key on a curve that is not ours.
func wide(t testing.TB, curve elliptic.Curve, extra string) string {
	t.Helper()
	k, err := ecdsa.ParseRawPrivateKey(curve, append(make([]byte, (curve.Params().BitSize+7)/8-1), 7))
	if err != nil {
		t.Fatal(err)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := (len(point) - 1) / 2
	return fmt.Sprintf(`{"kty":"EC","crv":%q,"x":%q,"y":%q%s}`, curve.Params().Name, b64(point[1:1+half]), b64(point[1+half:]), extra)
}

// What providers publish, as their documents are laid out; the keys are ours.
func TestParsePublishedOfProviders(t *testing.T) {
	n := keys().rs.N
	rs := func(format string) string { return fmt.Sprintf(format, b64(n.Bytes())) }
	for name, c := range map[string]struct {
		doc  []byte
		want []string
	}{
		"Keycloak": {jwkSet(
			rs(`{"kid":"enc","kty":"RSA","alg":"RSA-OAEP","use":"enc","x5c":["MIIC+A=="],"x5t":"AA","x5t#S256":"AA","n":%q,"e":"AQAB"}`),
			rs(`{"kid":"sig","kty":"RSA","alg":"RS256","use":"sig","x5c":["MIIC+A=="],"x5t":"AA","x5t#S256":"AA","n":%q,"e":"AQAB"}`),
		), []string{"sig"}},
		"Entra": {jwkSet(
			rs(`{"kty":"RSA","use":"sig","kid":"one","x5t":"one","n":%q,"e":"AQAB","x5c":["MIIC+A=="],"cloud_instance_name":"x","issuer":"https://login.test/{tenantid}/v2.0"}`),
			rs(`{"kty":"RSA","use":"sig","kid":"two","x5t":"two","n":%q,"e":"AQAB","x5c":["MIIC+A=="],"issuer":"https://login.test/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"}`),
		), []string{"one", "two"}},
		"Auth0":  {jwkSet(rs(`{"kty":"RSA","use":"sig","n":%q,"e":"AQAB","kid":"a","x5t":"AA","x5c":["MIIC+A=="],"alg":"RS256"}`)), []string{"a"}},
		"Google": {jwkSet(rs(`{"alg":"RS256","kty":"RSA","n":%q,"kid":"g","use":"sig","e":"AQAB"}`)), []string{"g"}},
		"one of each, and those of a later year": {jwkSet(
			mustJWK(t, "k-ed"), mustJWK(t, "k-ec"), mustJWK(t, "k-rs"), wide(t, elliptic.P384(), `,"kid":"p384","alg":"ES384"`),
			wide(t, elliptic.P521(), `,"kid":"p521"`), `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA","kid":"k1","alg":"ES256K"}`,
			`{"kty":"OKP","crv":"Ed448","x":"AA","kid":"448","alg":"EdDSA"}`, `{"kty":"OKP","crv":"X25519","x":"AA","kid":"x","alg":"ECDH-ES"}`,
			`{"kty":"AKP","alg":"ML-DSA-65","pub":"AA","kid":"pq"}`, `{"kty":"RSA2","x":7}`, rs(`{"kty":"RSA","alg":"PS256","n":%q,"e":"AQAB","kid":"ps"}`),
			rs(`{"kty":"RSA","alg":"RS512","n":%q,"e":"AQAB"}`), rs(`{"kty":"RSA","key_ops":["encrypt","wrapKey"],"n":%q,"e":"AQAB","kid":"ops"}`),
		), []string{"k-ec", "k-ed", "k-rs"}},
	} {
		set, err := ParsePublished(c.doc)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, k := range sortedKeys(set) {
			got = append(got, k.ID())
		}
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func sortedKeys(s *KeySet) []Key {
	doc, err := s.JWKS()
	if err != nil {
		panic(err)
	}
	var d struct {
		Keys []struct{ Kid string }
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		panic(err)
	}
	keys := make([]Key, 0, len(d.Keys))
	for _, k := range d.Keys {
		keys = append(keys, s.keys[k.Kid])
	}
	return keys
}

// A key that is passed over changes nothing beside a good one; alone it leaves
// no key.
func TestParsePublishedPassesOver(t *testing.T) {
	good := mustJWK(t, "k-ed")
	want, err := ParsePublished(jwkSet(good))
	if err != nil {
		t.Fatal(err)
	}
	rsa := func(extra string) string { return fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"%s}`, rfcN, extra) }
	ec := keys().set.keys["k-ec"].material()
	p256 := func(extra string) string {
		return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q%s}`, ec.X, ec.Y, extra)
	}
	for _, doc := range []string{
		ed(`,"use":"enc"`), ed(`,"use":"SIG"`), ed(`,"use":""`), ed(`,"key_ops":["sign"]`), ed(`,"key_ops":[]`), ed(`,"use":"sig","key_ops":["encrypt"]`),
		ed(`,"use":"enc","key_ops":["verify"]`), ed(`,"alg":"X"`), ed(`,"alg":"eddsa"`),
		rsa(`,"alg":"RS384"`), rsa(`,"alg":"RS512"`), rsa(`,"alg":"PS256"`), rsa(`,"alg":"PS512"`), rsa(`,"alg":"RSA-OAEP"`), rsa(`,"alg":"RSA-OAEP-256"`), rsa(`,"alg":"RSA1_5"`),
		rsa(`,"alg":"RSA-OAEP","use":"sig"`), rsa(`,"use":"enc"`), rsa(`,"use":"enc","kid":"r"`),
		p256(`,"alg":"ECDH-ES+A128KW"`), p256(`,"use":"enc","alg":"ECDH-ES"`), p256(`,"key_ops":["deriveKey"]`), p256(`,"alg":"ES224"`), p256(`,"alg":"ES521"`),
		wide(t, elliptic.P384(), ""), wide(t, elliptic.P384(), `,"alg":"ES384","use":"sig"`), wide(t, elliptic.P521(), `,"alg":"ES512"`),
		`{"kty":"EC","crv":"secp256k1","alg":"ES256K"}`, `{"kty":"EC","crv":"BP-256","alg":"ESB256"}`, `{"kty":"OKP","crv":"Ed448","alg":"EdDSA"}`, `{"kty":"OKP","crv":"X448","alg":"ECDH-ES"}`,
		`{"kty":"AKP"}`, `{"kty":"rsa"}`,
	} {
		got, err := ParsePublished(jwkSet(good, doc))
		if err != nil || got.Digest() != want.Digest() {
			t.Errorf("beside a good one: %s: %v", doc, err)
		}
		if _, err := ParsePublished(jwkSet(doc)); err == nil {
			t.Errorf("alone: %s: a key set", doc)
		}
	}
}

func TestParsePublishedRefusesTheWholeDocument(t *testing.T) {
	good := mustJWK(t, "k-ed")
	ec := keys().set.keys["k-ec"].material()
	p256 := func(y, extra string) string {
		return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q%s}`, ec.X, y, extra)
	}
	rsa := func(n, e, extra string) string {
		return fmt.Sprintf(`{"kty":"RSA","kid":"r","n":%q,"e":%q%s}`, n, e, extra)
	}
	number := func(n int64) string { return b64(big.NewInt(n).Bytes()) }
	enc := `,"use":"enc","alg":"RSA-OAEP"`
	many := func(n int) []byte { return jwkSet(good + strings.Repeat(`,{"kty":"AKP"}`, n-1)) }
	off := strings.Replace(wide(t, elliptic.P384(), ""), `"y":"`, `"y":"AAAA`, 1)
	for _, doc := range []string{
		// symmetric and private
		`{"kty":"oct","kid":"o"}`, `{"kty":"oct","k":"AAAA","use":"enc"}`, ed(`,"k":"AA"`), ed(`,"d":"AA"`), ed(`,"d":""`), rsa(rfcN, "AQAB", enc+`,"p":"AA"`), rsa(rfcN, "AQAB", `,"oth":[]`),
		`{"kty":"AKP","alg":"ML-DSA-44","priv":"AA"}`, wide(t, elliptic.P384(), `,"d":"AA"`), `{"kty":"X","k":"AA"}`,
		// weak, for whatever it is
		rsa(rfcN[:170], "AQAB", ""), rsa(rfcN[:170], "AQAB", enc), rsa(rfcN, number(1), ""), rsa(rfcN, number(1), enc), rsa(rfcN, number(65538), ""), rsa(rfcN, number(3), ""),
		rsa(rfcN, number(1<<31+1), ""), rsa(rfcN, number(1<<40+1), ""), rsa(b64(bytes.Repeat([]byte{255}, 1025)), "AQAB", ""), rsa(rfcN[:len(rfcN)-2]+"gg", "AQAB", ""),
		rsa(rocaModulus(t), "AQAB", ""), rsa(rocaModulus(t), "AQAB", enc),
		`{"kty":"OKP","crv":"Ed25519","x":"` + b64([]byte(smallOrder[3])) + `"}`, `{"kty":"OKP","crv":"Ed25519","use":"enc","x":"` + b64([]byte(smallOrder[1])) + `"}`,
		// not on the curve, not in the one spelling
		p256(ec.X, ""), p256(ec.X, `,"use":"enc"`), p256("AA", ""), p256("", ""), off, `{"kty":"EC","crv":"P-521"}`, p256(ec.Y, `,"n":"AA"`), rsa("AA"+rfcN, "AQAB", ""), rsa(rfcN, "AAEAAQ", ""),
		rsa(rfcN+"=", "AQAB", ""), ed(`,"y":"AA"`), rsa(rfcN, "AQAB", `,"crv":"P-256"`), `{"kty":"RSA"}`, `{"kty":"OKP","crv":"Ed25519"}`,
		// an algorithm that is not its key's
		ed(`,"alg":"ES256"`), ed(`,"alg":"HS256"`), ed(`,"alg":"none"`), ed(`,"alg":"Ed448"`), ed(`,"alg":"ES256","use":"enc"`), p256(ec.Y, `,"alg":"ES384"`), p256(ec.Y, `,"alg":"EdDSA"`),
		rsa(rfcN, "AQAB", `,"alg":"ES256"`), rsa(rfcN, "AQAB", `,"alg":"HS256"`), wide(t, elliptic.P384(), `,"alg":"ES256"`), `{"kty":"EC","crv":"secp256k1","alg":"ES256"}`,
		`{"kty":"OKP","crv":"X25519","alg":"EdDSA"}`, `{"kty":"AKP","alg":"RS256"}`, `{"kty":"EC","crv":"P-256K","alg":"ES256K"}`,
		// names
		mustJWK(t, "k-ed"), `{"kty":"AKP","kid":"k-ed"}`, rsa(rfcN, "AQAB", enc+`,"kid":"k-ed"`), `{"kty":"AKP","kid":""}`, `{"kty":"AKP","kid":"a b"}`, `{"kty":"AKP","kid":7}`,
		`{"kty":"AKP","kid":"` + strings.Repeat("k", 257) + `"}`, p256(ec.Y, ""),
		// forms
		`7`, `"k"`, `[]`, `{}`, `null`, `{"kty":7}`, `{"kty":""}`, `{"kty":"AKP","kty":"AKP"}`, `{"kty":"AKP","alg":7}`, `{"kty":"AKP","alg":null}`, `{"kty":"AKP","use":["sig"]}`,
		`{"kty":"AKP","key_ops":"verify"}`, ed(`,"key_ops":["verify","verify"]`), `{"kty":"AKP","x":` + strings.Repeat("[", 6) + strings.Repeat("]", 6) + `}`, "{\"kty\":\"AKP\",\"x\":\"\xff\"}",
	} {
		if _, err := ParsePublished(jwkSet(good, doc)); err == nil {
			t.Errorf("%.200s: a key set", doc)
		}
	}
	for _, doc := range []string{
		``, `{}`, `[]`, `null`, `<html>`, `{"keys":[]}`, `{"keys":{}}`, `{"KEYS":[` + good + `]}`, `{"keys":[` + good + `],"keys":[]}`, `{"keys":[` + good + `]}{}`, "\ufeff" + `{"keys":[` + good + `]}`,
		string(jwkSet(good)) + "\x00", `{"keys":[` + good + `]` + strings.Repeat(" ", maxDocument) + `}`, string(many(101)),
	} {
		if _, err := ParsePublished([]byte(doc)); err == nil {
			t.Errorf("%.80s: a key set", doc)
		}
	}
	if _, err := ParsePublished(many(100)); err != nil {
		t.Errorf("control: %v", err)
	}
}

// A key without a name is a key set only where it is the only one to verify.
func TestParsePublishedWithoutKid(t *testing.T) {
	bare := strings.Replace(mustJWK(t, "k-ed"), `"kid":"k-ed",`, "", 1)
	other := strings.Replace(mustJWK(t, "k-ec"), `"kid":"k-ec",`, "", 1)
	for _, c := range []struct {
		doc  []byte
		want bool
	}{
		{jwkSet(bare), true},
		{jwkSet(bare, `{"kty":"AKP"}`, `{"kty":"AKP"}`), true},
		{jwkSet(bare, `{"kty":"AKP","kid":"a"}`), true},
		{jwkSet(mustJWK(t, "k-ec"), `{"kty":"AKP"}`), true},
		{jwkSet(bare, mustJWK(t, "k-ec")), false},
		{jwkSet(mustJWK(t, "k-ec"), bare), false},
		{jwkSet(bare, other), false},
		{jwkSet(bare, bare), false},
	} {
		set, err := ParsePublished(c.doc)
		if (err == nil) != c.want {
			t.Errorf("%s: %v", c.doc, err)
		}
		if _, err := ParseKeySet(c.doc); err == nil {
			t.Errorf("%s: a set of ours", c.doc)
		}
		if err != nil {
			continue
		}
		for _, k := range set.keys {
			if _, err := NewKeySet(k, keys().set.keys["k-rs"]); (err == nil) != (k.id != "") {
				t.Errorf("%q beside another: %v", k.id, err)
			}
		}
	}
	if k, err := NewKey("", keys().ed.Public()); err == nil {
		t.Errorf("%v", k)
	}
}

// rocaModulus is the one of Wycheproof.
func rocaModulus(t testing.TB) string {
	t.Helper()
	for _, g := range load(t, "json_web_crypto_test.json", 83) {
		if g.Comment != "jws_rsa_roca_key" {
			continue
		}
		var k struct {
			N string `json:"n"`
		}
		if err := json.Unmarshal(g.Public, &k); err != nil {
			t.Fatal(err)
		}
		return k.N
	}
	t.Fatal("no ROCA key")
	return ""
}

func TestROCA(t *testing.T) {
	marked, err := unbase64(rocaModulus(t))
	if err != nil {
		t.Fatal(err)
	}
	sound, err := unbase64(rfcN)
	if err != nil {
		t.Fatal(err)
	}
	n := new(big.Int).SetBytes(marked)
	if !roca(n) {
		t.Error("the mark is not seen")
	}
	if roca(n.Add(n, big.NewInt(2))) || roca(new(big.Int).SetBytes(sound)) || roca(keys().rs.N) {
		t.Error("a mark that is not there")
	}
	// Exhaustive where it is small: the powers of 65537 modulo p are a subgroup.
	for _, p := range rocaPrimes {
		powers := make(map[int64]bool)
		for n := range p {
			powers[n] = isPower(n, 65537%p, p)
		}
		if powers[0] || !powers[1] || !powers[65537%p] {
			t.Errorf("modulo %d: %v", p, powers)
		}
		for a := range p {
			for b := range p {
				if powers[a] && powers[b] && !powers[a*b%p] {
					t.Errorf("modulo %d: %d and %d and not their product", p, a, b)
				}
			}
		}
	}
}
