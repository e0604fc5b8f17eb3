package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// arsenal is an issuer with one key of each kind, and what a forger makes of
// them. The numbers of the rows are those of a comparison of libraries.
type arsenal struct {
	*world
	ec *ecdsa.PrivateKey
	rs *rsa.PrivateKey
}

// rsaKey is one for all tests: a new one takes as long as most of them.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newArsenal(t testing.TB) *arsenal {
	t.Helper()
	a := &arsenal{world: newWorld(t)}
	var err error
	if a.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if a.rs, err = rsaKey(); err != nil {
		t.Fatal(err)
	}
	a.sets[issuer] = keySet(t, map[string]any{"k": a.key.Public(), "ec": a.ec.Public(), "rs": a.rs.Public()})
	return a
}

func (a *arsenal) signEC(b []byte) []byte {
	digest := sha256.Sum256(b)
	r, s, err := ecdsa.Sign(rand.Reader, a.ec, digest[:])
	if err != nil {
		panic(err)
	}
	return slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32)))
}

func (a *arsenal) signECTwin(b []byte) []byte {
	sig := a.signEC(b)
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
	return sig
}

func (a *arsenal) signDER(b []byte) []byte {
	digest := sha256.Sum256(b)
	sig, err := ecdsa.SignASN1(rand.Reader, a.ec, digest[:])
	if err != nil {
		panic(err)
	}
	return sig
}

func (a *arsenal) signRS(b []byte) []byte {
	digest := sha256.Sum256(b)
	sig, err := rsa.SignPKCS1v15(nil, a.rs, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return sig
}

func (a *arsenal) signPS(b []byte) []byte {
	digest := sha256.Sum256(b)
	sig, err := rsa.SignPSS(rand.Reader, a.rs, crypto.SHA256, digest[:], nil)
	if err != nil {
		panic(err)
	}
	return sig
}

func fixed(sig []byte) func([]byte) []byte { return func([]byte) []byte { return sig } }

const (
	ecHeader = `{"alg":"ES256","kid":"ec","typ":"at+jwt"}`
	rsHeader = `{"alg":"RS256","kid":"rs","typ":"at+jwt"}`
)

func TestControls(t *testing.T) {
	a := newArsenal(t)
	for name, token := range map[string]secret.Text{
		"00 EdDSA":                 a.token(),
		"00 ES256":                 compact(ecHeader, claims(), a.signEC),
		"00 RS256":                 compact(rsHeader, claims(), a.signRS),
		"00 Ed25519":               compact(`{"alg":"Ed25519","kid":"k","typ":"at+jwt"}`, claims(), a.sign),
		"04 ES256, the twin (n-s)": compact(ecHeader, claims(), a.signECTwin),
		"12 iat within the leeway": a.token(member{"iat", "1800000005"}),
		"12 the longest lifetime":  a.token(member{"exp", "1800000900"}),
		"act, four deep":           a.token(member{"act", nested(4)}),
		"sub_id":                   a.token(member{"sub", `"` + idU + `"`}, member{"sub_id", `{"format":"iss_sub","iss":"` + issuer + `","sub":"alice"}`}),
	} {
		p, err := a.verify(t, token)
		if err != nil || p.Tenant().String() != idT {
			t.Errorf("%s: %v, %v", name, p.Tenant(), err)
		}
	}
}

func nested(n int) string {
	return strings.Repeat(`{"sub":"a","act":`, n-1) + `{"sub":"a"` + strings.Repeat("}", n)
}

// Every token here is signed by the real key of the issuer unless its name
// says forged: a hit would be ambiguity, not forgery.
func TestHostileTokens(t *testing.T) {
	a := newArsenal(t)
	tokens := map[string]secret.Text{}
	for _, rows := range []map[string]secret.Text{a.forged(t), a.headers(), a.bodies(), a.spellings()} {
		for name, token := range rows {
			if _, twice := tokens[name]; twice {
				t.Fatalf("two rows %s", name)
			}
			tokens[name] = token
		}
	}
	for name, token := range tokens {
		_, err := a.verify(t, token)
		refused(t, name, err, refusal.Unauthenticated)
	}
	if a.standing.asked != 0 || a.Cached() != 0 {
		t.Errorf("standing was asked %d times, %d are cached", a.standing.asked, a.Cached())
	}
	t.Logf("%d hostile tokens", len(tokens))
}

func (a *arsenal) forged(t *testing.T) map[string]secret.Text {
	n := elliptic.P256().Params().N.Bytes()
	one, zero := append(make([]byte, 31), 1), make([]byte, 32)
	rows := map[string]secret.Text{
		"01 none, no signature": secret.New(b64([]byte(`{"alg":"none","kid":"k","typ":"at+jwt"}`)) + "." + b64([]byte(claims())) + "."),
		"03 r=s=0":              compact(ecHeader, claims(), fixed(make([]byte, 64))),
		"03 r=0":                compact(ecHeader, claims(), fixed(slices.Concat(zero, one))),
		"03 s=0":                compact(ecHeader, claims(), fixed(slices.Concat(one, zero))),
		"03 r=n":                compact(ecHeader, claims(), fixed(slices.Concat(n, one))),
		"03 s=n":                compact(ecHeader, claims(), fixed(slices.Concat(one, n))),
		"03 zeros for EdDSA":    compact(header, claims(), fixed(make([]byte, 64))),
		"03 the identity for R": compact(header, claims(), fixed(append(slices.Concat([]byte{1}, make([]byte, 31)), zero...))),
		"03 empty signature":    compact(ecHeader, claims(), fixed(nil)),
	}
	for _, alg := range []string{"none", "nOnE", "NONE", "", " ", "eddsa", "HS256", "Ed448", "ES256K"} {
		rows["01 alg "+alg] = compact(`{"alg":"`+alg+`","kid":"k","typ":"at+jwt"}`, claims(), fixed([]byte{0}))
	}
	stranger := newKey(t)
	public, err := x509.MarshalPKIXPublicKey(stranger.Public())
	if err != nil {
		t.Fatal(err)
	}
	theirs := &world{key: stranger}
	rows["05 embedded jwk"] = compact(`{"alg":"EdDSA","kid":"k","typ":"at+jwt","jwk":{"kty":"OKP","crv":"Ed25519","x":"`+b64(public[12:])+`"}}`, claims(), theirs.sign)
	for _, m := range []string{"jku", "x5u", "x5c", "x5t", "x5t#S256"} {
		rows["06 "+m] = compact(`{"alg":"EdDSA","kid":"k","typ":"at+jwt","`+m+`":"https://attacker.test"}`, claims(), theirs.sign)
	}
	for kid, key := range map[string]crypto.PublicKey{"k": a.key.Public(), "ec": a.ec.Public(), "rs": a.rs.Public()} {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		for form, shared := range map[string][]byte{"DER": der, "PEM": text, "PEM, cut": text[:len(text)-1], "raw": der[len(der)-32:], "empty": {}} {
			mac := func(b []byte) []byte {
				h := hmac.New(sha256.New, shared)
				h.Write(b)
				return h.Sum(nil)
			}
			rows["02 HS256, "+kid+", "+form] = compact(`{"alg":"HS256","kid":"`+kid+`","typ":"at+jwt"}`, claims(), mac)
		}
	}
	return rows
}

// h is a header with one more member, or several.
func (a *arsenal) h(extra string) secret.Text {
	return compact(header[:len(header)-1]+","+extra+"}", claims(), a.sign)
}

func (a *arsenal) headers() map[string]secret.Text {
	rows := map[string]secret.Text{
		"04 DER":               compact(ecHeader, claims(), a.signDER),
		"07 crit unknown":      a.h(`"crit":["x"],"x":1`),
		"07 crit empty":        a.h(`"crit":[]`),
		"07 crit twice":        a.h(`"crit":["x"],"crit":["x"]`),
		"07 crit of ours":      a.h(`"crit":["typ"]`),
		"08 b64":               a.h(`"b64":false`),
		"08 b64 and crit":      a.h(`"b64":false,"crit":["b64"]`),
		"08 b64 true":          a.h(`"b64":true`),
		"09 alg none, EdDSA":   compact(`{"alg":"none","alg":"EdDSA","kid":"k","typ":"at+jwt"}`, claims(), a.sign),
		"09 typ JWT, at+jwt":   compact(`{"alg":"EdDSA","kid":"k","typ":"JWT","typ":"at+jwt"}`, claims(), a.sign),
		"10 ALG and KID":       compact(`{"ALG":"EdDSA","KID":"k","typ":"at+jwt"}`, claims(), a.sign),
		"10 the Kelvin sign":   compact("{\"alg\":\"EdDSA\",\"\u212aid\":\"k\",\"typ\":\"at+jwt\"}", claims(), a.sign),
		"14 cty":               a.h(`"cty":"JWT"`),
		"16 p2c":               a.h(`"p2c":1000000000`),
		"23 PS256":             compact(`{"alg":"PS256","kid":"rs","typ":"at+jwt"}`, claims(), a.signPS),
		"23 PSS as RS256":      compact(rsHeader, claims(), a.signPS),
		"23 RS384":             compact(`{"alg":"RS384","kid":"rs","typ":"at+jwt"}`, claims(), a.signRS),
		"23 rs, EdDSA":         compact(`{"alg":"EdDSA","kid":"rs","typ":"at+jwt"}`, claims(), a.sign),
		"23 ec, RS256":         compact(`{"alg":"RS256","kid":"ec","typ":"at+jwt"}`, claims(), a.signRS),
		"23 k, ES256":          compact(`{"alg":"ES256","kid":"k","typ":"at+jwt"}`, claims(), a.signEC),
		"24 no kid":            compact(`{"alg":"EdDSA","typ":"at+jwt"}`, claims(), a.sign),
		"24 kid a number":      compact(`{"alg":"EdDSA","kid":1,"typ":"at+jwt"}`, claims(), a.sign),
		"24 kid a list":        compact(`{"alg":"EdDSA","kid":["k"],"typ":"at+jwt"}`, claims(), a.sign),
		"24 kid twice":         compact(`{"alg":"EdDSA","kid":"x","kid":"k","typ":"at+jwt"}`, claims(), a.sign),
		"24 kid a path":        compact(`{"alg":"EdDSA","kid":"../k","typ":"at+jwt"}`, claims(), a.sign),
		"24 kid SQL":           compact(`{"alg":"EdDSA","kid":"' or 1=1--","typ":"at+jwt"}`, claims(), a.sign),
		"24 kid NUL":           compact(`{"alg":"EdDSA","kid":"k\u0000","typ":"at+jwt"}`, claims(), a.sign),
		"24 kid of 10 KB":      compact(`{"alg":"EdDSA","kid":"`+strings.Repeat("k", 10<<10)+`","typ":"at+jwt"}`, claims(), a.sign),
		"24 zip":               a.h(`"zip":"DEF"`),
		"a header that is []":  compact(`[]`, claims(), a.sign),
		"a header with a null": a.h(`"x":null`),
	}
	for _, typ := range []string{
		"", "JWT", "jwt", "at+JWT", "AT+JWT", "application/at+jwt", "at+jwt ", "at+jwt;v=1", "logout+jwt", "dpop+jwt", "secevent+jwt",
		"txntoken+jwt", "entity-statement+jwt", "token-introspection+jwt", "JOSE", "at", "at-jwt",
	} {
		rows["13 typ "+typ] = compact(`{"alg":"EdDSA","kid":"k","typ":"`+typ+`"}`, claims(), a.sign)
	}
	rows["13 no typ"] = compact(`{"alg":"EdDSA","kid":"k"}`, claims(), a.sign)
	rows["13 typ a list"] = compact(`{"alg":"EdDSA","kid":"k","typ":["at+jwt"]}`, claims(), a.sign)
	return rows
}

func (a *arsenal) bodies() map[string]secret.Text {
	rows := map[string]secret.Text{
		"09 tenant twice":      a.token(member{"+tenant", `"` + idOther + `"`}),
		"09 iss twice":         a.token(member{"+iss", `"https://evil.test"`}),
		"10 TENANT alone":      a.token(member{"tenant", ""}, member{"TENANT", `"` + idT + `"`}),
		"10 TENANT beside":     a.token(member{"TENANT", `"` + idOther + `"`}),
		"10 a long s":          a.token(member{"sub", ""}, member{"\u017fub", `"alice"`}),
		"10 EXP":               a.token(member{"exp", "1799999999"}, member{"iat", "1799999900"}, member{"EXP", "1800000300"}),
		"12 nbf":               a.token(member{"nbf", "1800003600"}),
		"12 iat in a year":     a.token(member{"iat", "1831536000"}, member{"exp", "1831536300"}),
		"12 iat over leeway":   a.token(member{"iat", "1800000006"}),
		"12 fifty years":       a.token(member{"exp", "3376800000"}),
		"12 a second too long": a.token(member{"exp", "1800000901"}),
		"12 exp before iat":    a.token(member{"iat", "1800000004"}, member{"exp", "1800000003"}),
		"12 exp is iat":        a.token(member{"iat", "1800000004"}, member{"exp", "1800000004"}),
		"19 invalid UTF-8":     a.token(member{"sub", "\"alice\xff\""}),
		"19 lone surrogate":    a.token(member{"sub", `"alice\ud800"`}),
		"21 deep":              a.token(member{"act", strings.Repeat(`[`, 20000)}),
		"21 five actors":       a.token(member{"act", nested(5)}),
		"21 nine deep":         a.token(member{"act", nested(8)}),
		"21 10,000 claims":     compact(header, claims()[:len(claims())-1]+strings.Repeat(`,"x":1`, 10000)+"}", a.sign),
		"22 trailing JSON":     compact(header, claims()+"{}", a.sign),
		"22 trailing text":     compact(header, claims()+"x", a.sign),
		"22 trailing NUL":      compact(header, claims()+"\x00", a.sign),
		"22 BOM":               compact(header, "\ufeff"+claims(), a.sign),
		"22 a list":            compact(header, "["+claims()+"]", a.sign),
		"22 a string":          compact(header, `"x"`, a.sign),
		"22 nothing":           compact(header, "", a.sign),
		"an unknown claim":     a.token(member{"admin", "true"}),
		"cnf":                  a.token(member{"cnf", `{"jkt":"x"}`}),
	}
	for _, v := range []string{
		"1e300", "9223372036854775808", "18446744073709551615", "253402300800", "1e19", `"1800000300"`, "null", "-1", "0", "true", "1800000300.5", "1800000300.0",
		"1.8000003e9", "[1800000300]", "{}", "", "-1800000300", "01800000300",
	} {
		rows["11 exp="+v] = a.token(member{"exp", v})
		rows["11 iat="+v] = a.token(member{"iat", v})
	}
	who := `"iss":"` + issuer + `","sub":"alice"`
	for _, v := range []string{
		"null", "1", `"alice"`, "[]", "{}", `{` + who + `}`, `{"format":"opaque",` + who + `}`, `{"format":"iss_sub",` + who + `,"x":1}`, `{"format":"iss_sub",` + who + `}`,
		`{"format":"iss_sub","iss":"https://nobody.test","sub":"alice"}`, `{"format":"iss_sub","iss":"","sub":"alice"}`, `{"format":"iss_sub","iss":"` + issuer + `","sub":"a\n"}`,
	} {
		rows["18 sub_id="+v] = a.token(member{"sub_id", v}) // sub is not the principal
	}
	for _, v := range []string{
		"", "null", "1", "true", `""`, "[]", `["isocore:postgres"]`, `["x","isocore:postgres"]`, `{"isocore:postgres":1}`, `"postgres"`, `"isocore:"`, `"isocore"`,
		`"isocore:Postgres"`, `"ISOCORE:postgres"`, `"isocore:postgres "`, `" isocore:postgres"`, `"isocore:postgres2"`, `"isocore:postgre"`, `"isocore:qdrant"`, `"isocore:postgres/"`,
		`"isocore:postgres isocore:qdrant"`, `"isocore.test"`, `"*"`,
	} {
		rows["18 aud="+v] = a.token(member{"aud", v})
	}
	for _, v := range []string{
		"", "null", "1", `""`, `["` + issuer + `"]`, `"https://issuer.test/"`, `"HTTPS://issuer.test"`, `"https://ISSUER.test"`, `"https://issuer.test:443"`,
		`"https://issuer.test@evil.test"`, `"https://evil@issuer.test"`, `"https://issuer%2etest"`, `"https://issuer.test "`, `"https://i\u0455suer.test"`, `"https://issuer.test\u0000"`, `"issuer.test"`,
	} {
		rows["18 iss="+v] = a.token(member{"iss", v})
	}
	for _, name := range []string{"tenant", "partner", "principal"} {
		for _, v := range []string{
			"", "null", "1", "9007199254740993", "true", "{}", `["` + idT + `"]`, `{"id":"` + idT + `"}`, `""`, `"*"`, `".."`, `"/"`, `"A\u0000"`,
			`"` + idT + `\u0000"`, `"` + strings.ToUpper(idT) + `"`, `"` + idT[1:] + `"`, `"` + idT + `0"`, `" ` + idT[1:] + `"`, `"` + strings.Repeat("0", 32) + `"`,
			`"\uff10` + idT[1:] + `"`, `"` + idT + `\u200d"`, `"\u202e` + idT + `"`, `"01234567-89ab-cdef-0123-456789abcdef"`, `"` + strings.Repeat("e\u0301", 16) + `"`,
		} {
			rows["20 "+name+"="+v] = a.token(member{name, v})
		}
	}
	return rows
}

func (a *arsenal) spellings() map[string]secret.Text {
	good := a.token().Reveal()
	part := strings.Split(good, ".")
	protected, payload, signature := part[0], part[1], part[2]
	rows := map[string]string{
		"08 raw payload":         protected + "." + claims() + "." + signature,
		"15 general":             `{"payload":"` + payload + `","signatures":[{"protected":"` + protected + `","signature":"` + signature + `"}]}`,
		"15 flat":                `{"payload":"` + payload + `","protected":"` + protected + `","signature":"` + signature + `"}`,
		"15 unprotected header":  `{"payload":"` + payload + `","header":{"alg":"EdDSA"},"signature":"` + signature + `"}`,
		"16 five parts":          protected + ".." + payload + "." + signature + ".AA",
		"16 four parts":          good + ".",
		"16 two parts":           protected + "." + payload,
		"16 one part":            protected,
		"16 a megabyte of dots":  strings.Repeat(".", 1<<20),
		"16 a megabyte":          strings.Repeat("a", 1<<20),
		"16 no header":           "." + payload + "." + signature,
		"16 no payload":          protected + ".." + signature,
		"17 padding":             good + "==",
		"17 line break":          good[:len(good)-9] + "\n" + good[len(good)-9:],
		"17 CR in the payload":   protected + "." + payload[:8] + "\r\n" + payload[8:] + "." + signature,
		"17 trailing bits":       good[:len(good)-1] + next(good[len(good)-1]),
		"17 a space before":      " " + good,
		"17 a space after":       good + " ",
		"17 a line break after":  good + "\n",
		"17 NUL after":           good + "\x00",
		"17 another dot":         protected + "\u3002" + payload + "." + signature,
		"17 Bearer":              "Bearer " + good,
		"17 quoted":              `"` + good + `"`,
		"17 short by one":        good[:len(good)-1],
		"17 another's signature": strings.Join(strings.Split(a.token(member{"jti", `"j2"`}).Reveal(), ".")[:2], ".") + "." + signature,
	}
	secrets := map[string]secret.Text{}
	for name, s := range rows {
		secrets[name] = secret.New(s)
	}
	return secrets
}

// next returns the next letter of the alphabet: after 64 bytes the last letter
// has four bits that nobody reads, and all of them are zero.
func next(c byte) string { return string([]byte{c + 1}) }

// Expiry is told apart, but only to the one who held a good token.
func TestExpired(t *testing.T) {
	w := newWorld(t)
	for exp, want := range map[string]bool{"1799999999": false, "1800000000": false, "1800000001": true} {
		_, err := w.verify(t, w.token(member{"iat", "1799999990"}, member{"exp", exp}))
		if want && err != nil {
			t.Errorf("exp %s: %v", exp, err)
		}
		if !want {
			refused(t, "exp "+exp, err, refusal.Expired)
		}
	}
}

func TestClaimsAreBounded(t *testing.T) {
	w := newWorld(t)
	for name, values := range map[string][]string{
		"sub":       {"", "null", `""`, "1", `["x"]`, `"` + strings.Repeat("x", 257) + `"`, `"a\u0000"`, `"a\nb"`, `"a\u202eb"`, `"a\u200db"`, `"a\u2028b"`, `"\ufffd"`},
		"client_id": {"", "null", `""`, "1", `"` + strings.Repeat("x", 257) + `"`, `"a\u0007"`},
		"jti":       {"", "null", `""`, "1", `"` + strings.Repeat("x", 129) + `"`, `"a b"`, `"\u00e9"`},
		"txn":       {"", "null", `""`, "1", `"` + strings.Repeat("x", 129) + `"`, `"a b"`, `"a\n"`},
		"scope": {
			"", "null", `""`, "1", `["pg:read"]`, `" "`, `" pg:read"`, `"pg:read "`, `"pg:read  pg:write"`, `"pg:read pg:read"`, `"PG:read"`, `"pg:*"`, `"pg:read\tpg:write"`,
			`"` + strings.Repeat("x", 41) + `"`, `"a b c d e f g h i j k l m n o p q"`, `"pg\u0000"`, `"p\u0261:read"`,
		},
		"act": {
			"null", "1", `"bob"`, `[]`, `{}`, `{"sub":""}`, `{"sub":1}`, `{"sub":null}`, `{"sub":"a","iss":1}`, `{"sub":"a","client_id":"x"}`, `{"sub":"a b"}`, `{"iss":"x"}`,
			`{"sub":"a","iss":"x y"}`, `{"sub":"a","sub":"b"}`, `{"sub":"a","act":null}`, `{"sub":"a","act":{}}`, `{"sub":"` + strings.Repeat("x", 257) + `"}`, `{"SUB":"a"}`,
		},
	} {
		for _, v := range values {
			_, err := w.verify(t, w.token(member{name, v}))
			refused(t, name+"="+v, err, refusal.Unauthenticated)
		}
		if name == "act" {
			continue
		}
		_, err := w.verify(t, w.token(member{"+" + name, `"x"`}))
		refused(t, name+" twice", err, refusal.Unauthenticated)
	}
	for _, control := range []member{
		{"sub", `"` + strings.Repeat("x", 256) + `"`}, {"sub", `"Zo\u00eb | a b"`}, {"scope", `"a b c d e f g h i j k l m n o p"`}, {"txn", `"` + strings.Repeat("x", 128) + `"`},
	} {
		if _, err := w.verify(t, w.token(control)); err != nil {
			t.Errorf("%s=%s: %v", control.name, control.value, err)
		}
	}
}

func TestParseReach(t *testing.T) {
	words, err := identity.ParseReach("pg:write pg:read")
	if err != nil || !slices.Equal(words, []string{identity.PGRead, identity.PGWrite}) {
		t.Errorf("%v, %v", words, err)
	}
	var long []string
	for i := range 14 {
		long = append(long, strings.Repeat(string(rune('a'+i)), 36))
	}
	for n, want := range map[int]bool{13: true, 14: false} {
		if _, err := identity.ParseReach(strings.Join(long[:n], " ")); (err == nil) != want {
			t.Errorf("%d bytes: %v", 37*n-1, err)
		}
	}
}
