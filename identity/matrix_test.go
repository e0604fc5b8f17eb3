package identity_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// attack is a row of a comparison of libraries: a token that somebody shows at
// the edge, and what has to come of it.
type attack struct {
	name  string
	token secret.Text
	want  string // the tenant, or the Reason
}

const no = "Unauthenticated"

// All tokens from 07 on are signed by the provider's real key.
func (e *edge) attacks(t testing.TB) []attack {
	head := func(extra string) secret.Text {
		return compact(edHeader[:len(edHeader)-1]+","+extra+"}", foreign(), e.sign)
	}
	typ := func(s string) secret.Text {
		return compact(`{"alg":"EdDSA","kid":"k","typ":"`+s+`"}`, foreign(), e.sign)
	}
	exp := func(s string) secret.Text { return e.issue(member{"exp", s}) }
	alg := func(s string) secret.Text {
		return compact(`{"alg":"`+s+`","kid":"k","typ":"JWT"}`, foreign(), fixed([]byte{0}))
	}
	der, err := x509.MarshalPKIXPublicKey(e.rs.Public())
	if err != nil {
		t.Fatal(err)
	}
	hs := func(shared []byte) secret.Text {
		return compact(`{"alg":"HS256","kid":"rs","typ":"JWT"}`, foreign(), func(b []byte) []byte {
			h := hmac.New(sha256.New, shared)
			h.Write(b)
			return h.Sum(nil)
		})
	}
	ec := `{"alg":"ES256","kid":"ec","typ":"JWT"}`
	stranger := (&world{key: newKey(t)}).sign
	good := e.issue().Reveal()
	part := strings.Split(good, ".")
	body := `"payload":"` + part[1] + `","signature":"` + part[2] + `"`
	return []attack{
		{"00 control EdDSA", e.issue(), idA},
		{"00 control ES256", compact(ec, foreign(), e.signEC), idA},
		{"00 control alg Ed25519", compact(`{"alg":"Ed25519","kid":"k","typ":"JWT"}`, foreign(), e.sign), idA},
		{"01 alg none", secret.New(b64([]byte(`{"alg":"none","kid":"k","typ":"JWT"}`)) + "." + part[1] + "."), no},
		{"01 alg nOnE", alg("nOnE"), no},
		{"01 alg empty", alg(""), no},
		{"02 HS256 with the public key, DER", hs(der), no},
		{"02 HS256 with the public key, PEM", hs(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), no},
		{"02 HS256 with the public key, raw", hs(e.rs.N.Bytes()), no},
		{"03 psychic r=s=0", compact(ec, foreign(), fixed(make([]byte, 64))), no},
		{"03 empty signature", secret.New(b64([]byte(ec)) + "." + part[1] + "."), no},
		{"04 ES256 DER", compact(ec, foreign(), e.signDER), no},
		{"04 ES256 malleable (n-s)", compact(ec, foreign(), e.signECTwin), idA},
		{"05 embedded jwk", compact(`{"alg":"EdDSA","kid":"k","typ":"JWT","jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"}}`, foreign(), stranger), no},
		{"06 jku", compact(`{"alg":"EdDSA","kid":"k","typ":"JWT","jku":"https://attacker.test","x5u":"https://attacker.test"}`, foreign(), stranger), no},
		{"07 crit unknown", head(`"crit":["x"],"x":1`), no},
		{"07 crit empty", head(`"crit":[]`), no},
		{"08 b64=false, no crit", head(`"b64":false`), no},
		{"08 b64=false and crit", head(`"b64":false,"crit":["b64"]`), no},
		{"08 b64=false, raw payload", secret.New(part[0] + "." + foreign() + "." + part[2]), no},
		{"09 org_id A, B", e.issue(member{"+org_id", `"B"`}), no},
		{"09 iss evil, good", compact(edHeader, strings.Replace(foreign(), "{", `{"iss":"https://evil.test",`, 1), e.sign), no},
		{"09 alg none, EdDSA", compact(`{"alg":"none","alg":"EdDSA","kid":"k","typ":"JWT"}`, foreign(), e.sign), no},
		{"10 ORG_ID only", e.issue(member{"org_id", ""}, member{"ORG_ID", `"B"`}), no},
		{"10 org_id A, ORG_ID B", e.issue(member{"ORG_ID", `"B"`}), idA},
		{"10 a long s in sub", e.issue(member{"\u017fub", `"mallory"`}, member{"\u212a", `"x"`}), idA},
		{"10 EXP over exp", e.issue(member{"iat", "1799999000"}, member{"exp", "1799999999"}, member{"EXP", "1800000300"}), "Expired"},
		{"10 ALG and KID", compact(`{"ALG":"EdDSA","KID":"k","typ":"JWT"}`, foreign(), e.sign), no},
		{"11 exp=1e300", exp("1e300"), no},
		{"11 exp=2^63", exp("9223372036854775808"), no},
		{"11 exp=2^64-1", exp("18446744073709551615"), no},
		{"11 exp=253402300800", exp("253402300800"), no},
		{"11 exp=1e19", exp("1e19"), no},
		{"11 exp a text", exp(`"1800000300"`), no},
		{"11 exp=null", exp("null"), no},
		{"11 exp=-1", exp("-1"), no},
		{"11 exp=true", exp("true"), no},
		{"11 exp past", e.issue(member{"iat", "1799999000"}, member{"exp", "1799999999"}), "Expired"},
		{"11 exp a fraction", exp("1800000300.5"), idA},
		{"11 exp missing", exp(""), no},
		{"12 nbf in an hour", e.issue(member{"nbf", "1800003600"}), no},
		{"12 iat in a year", e.issue(member{"iat", "1831536000"}, member{"exp", "1831536300"}), no},
		{"12 fifty years", exp("3376800000"), no},
		{"13 typ logout+jwt", typ("logout+jwt"), no},
		{"13 typ dpop+jwt", typ("dpop+jwt"), no},
		{"13 typ secevent+jwt", typ("secevent+jwt"), no},
		{"13 typ txntoken+jwt", typ("txntoken+jwt"), no},
		{"14 cty JWT", head(`"cty":"JWT"`), no},
		{"15 JSON, general", secret.New(`{"payload":"` + part[1] + `","signatures":[{"protected":"` + part[0] + `","signature":"` + part[2] + `"}]}`), no},
		{"15 JSON, flat", secret.New(`{"protected":"` + part[0] + `",` + body + `}`), no},
		{"15 JSON, unprotected alg", secret.New(`{"header":{"alg":"EdDSA"},` + body + `}`), no},
		{"16 five parts", secret.New(part[0] + ".." + part[1] + "." + part[2] + ".AA"), no},
		{"16 a megabyte of dots", secret.New(strings.Repeat(".", 1<<20)), no},
		{"17 padding", secret.New(good + "=="), no},
		{"17 a line break", secret.New(good[:len(good)-9] + "\n" + good[len(good)-9:]), no},
		{"17 trailing bits", secret.New(good[:len(good)-1] + next(good[len(good)-1])), no},
		{"17 spaces around", secret.New(" " + good + " "), no},
		{"18 aud missing", e.issue(member{"aud", ""}), no},
		{"18 aud a list", e.issue(member{"aud", `["x","https://app.test"]`}), idA},
		{"18 iss with another slash", e.issue(member{"iss", `"` + idp + `/"`}), no},
		{"19 invalid UTF-8", e.issue(member{"org_id", "\"A\xff\""}), no},
		{"19 a lone surrogate", e.issue(member{"org_id", `"A\ud800"`}), no},
		{"20 tenant NUL", e.issue(member{"org_id", `"A\u0000"`}), no},
		{"20 tenant a list", e.issue(member{"org_id", `["A","B"]`}), no},
		{"20 tenant null", e.issue(member{"org_id", `null`}), no},
		{"21 20,000 deep", e.issue(member{"x", strings.Repeat("[", 20000)}), no},
		{"22 trailing JSON", compact(edHeader, foreign()+`{}`, e.sign), no},
		{"22 BOM", compact(edHeader, "\ufeff"+foreign(), e.sign), no},
		{"23 PS256 with the RS256 key", compact(`{"alg":"PS256","kid":"rs","typ":"JWT"}`, foreign(), e.signPS), no},
		{"23 kid of RSA, alg EdDSA", compact(`{"alg":"EdDSA","kid":"rs","typ":"JWT"}`, foreign(), e.sign), no},
		{"24 no kid", compact(`{"alg":"EdDSA","typ":"JWT"}`, foreign(), e.sign), no},
		{"24 kid a number", compact(`{"alg":"EdDSA","kid":1,"typ":"JWT"}`, foreign(), e.sign), no},
		{"24 zip", head(`"zip":"DEF"`), no},
	}
}

// Two of the rows differ from what some libraries do and are held to be right:
// (r, n-s) is the same signature to everybody, and a fraction is a NumericDate.
func TestHostileProviderTokens(t *testing.T) {
	e := newEdge(t)
	rows := e.attacks(t)
	if len(rows) != 73 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		p, err := e.enter(t, row.token)
		if err == nil && (p.Tenant().String() != row.want || p.Subject() != "alice") || err != nil && refusal.Of(err).String() != row.want {
			t.Errorf("%s: %v, %v, not %s", row.name, p.Tenant(), err, row.want)
		}
		if _, err := e.Verify(t.Context(), "postgres", row.token); err == nil || refusal.Of(err).String() != no {
			t.Errorf("%s, at a store: %v", row.name, err)
		}
		if _, err := e.Verify(t.Context(), identity.Exchange, row.token); err == nil || refusal.Of(err).String() != no {
			t.Errorf("%s, at the exchange: %v", row.name, err)
		}
	}
	for _, line := range e.enrolled {
		if line != idp+" alice "+idA {
			t.Errorf("enrolled %s", line)
		}
	}
}

// The rest of the list: headers and bodies that no row above has.
func TestMoreHostileProviderTokens(t *testing.T) {
	e := newEdge(t)
	rows := map[string]secret.Text{
		"RS384 on the RS256 key": compact(`{"alg":"RS384","kid":"rs","typ":"JWT"}`, foreign(), e.signRS),
		"PSS as RS256":           compact(`{"alg":"RS256","kid":"rs","typ":"JWT"}`, foreign(), e.signPS),
		"the enveloped kind":     compact(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":1000000000,"kid":"k","typ":"JWT"}`, foreign(), e.sign),
		"10,000 claims":          compact(edHeader, foreign()[:len(foreign())-1]+strings.Repeat(`,"x":1`, 10000)+"}", e.sign),
		"a list":                 compact(edHeader, "["+foreign()+"]", e.sign),
		"nothing":                compact(edHeader, "{}", e.sign),
		"dots that are not":      secret.New(strings.ReplaceAll(e.issue().Reveal(), ".", "\u3002")),
		"an empty text":          secret.New(""),
	}
	for _, v := range []string{`"https://IDP.test/"`, `"https://idp.test"`, `"https://idp.test:443/"`, `"https://x@idp.test/"`, `"https://idp.test/ "`, `"http://idp.test/"`, `"https://іdp.test/"`, `"https://idp.test/%2f"`, `["` + idp + `"]`, `null`, `1`, ``} {
		rows["iss="+v] = e.issue(member{"iss", v})
	}
	for _, kid := range []string{`"../k"`, `"' or 1=1--"`, `"k\u0000"`, `["k"]`, `""`, `"` + strings.Repeat("k", 10<<10) + `"`, `"x","kid":"k"`} {
		rows["kid="+kid] = compact(`{"alg":"EdDSA","kid":`+kid+`,"typ":"JWT"}`, foreign(), e.sign)
	}
	for _, v := range []string{"1800000300e0", "1.8000003e9", "1800000300.5e0", "0", "0.5", "[1800000300]", "{}", "false", "253402300799.99", "1e400", "01800000300"} {
		rows["exp="+v] = e.issue(member{"exp", v})
		rows["iat="+v] = e.issue(member{"iat", v})
	}
	for name, token := range rows {
		_, err := e.enter(t, token)
		refused(t, name, err, refusal.Unauthenticated)
	}
	if len(e.enrolled) != 0 || e.standing.asked != 0 || e.Cached() != 0 {
		t.Errorf("enrolled %v, standing asked %d times, %d cached", e.enrolled, e.standing.asked, e.Cached())
	}
}
