package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
)

// keys are one of each kind, drawn once: RSA is slow to draw.
var keys = sync.OnceValue(func() (k struct {
	ed  ed25519.PrivateKey
	ec  *ecdsa.PrivateKey
	rs  *rsa.PrivateKey
	set *KeySet
},
) {
	var err [6]error
	_, k.ed, err[0] = ed25519.GenerateKey(nil)
	k.ec, err[1] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.rs, err[2] = rsa.GenerateKey(rand.Reader, 2048)
	ed, e := NewKey("k-ed", k.ed.Public())
	err[3] = e
	ec, e := NewKey("k-ec", k.ec.Public())
	err[4] = e
	rs, e := NewKey("k-rs", k.rs.Public())
	err[5] = e
	for _, e := range err {
		if e != nil {
			panic(e)
		}
	}
	if k.set, e = NewKeySet(ed, ec, rs); e != nil {
		panic(e)
	}
	return k
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func compact(header, payload string, sign func(string) []byte) string {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return signed + "." + b64(sign(signed))
}

func signEd(s string) []byte { return ed25519.Sign(keys().ed, []byte(s)) }

func signEC(s string) []byte {
	digest := sha256.Sum256([]byte(s))
	r, v, err := ecdsa.Sign(rand.Reader, keys().ec, digest[:])
	if err != nil {
		panic(err)
	}
	return slices.Concat(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32)))
}

func signRS(s string) []byte {
	digest := sha256.Sum256([]byte(s))
	b, err := rsa.SignPKCS1v15(nil, keys().rs, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return b
}

func verify(token string) ([]byte, error) {
	t, err := Parse(token)
	if err != nil {
		return nil, err
	}
	payload, _, err := keys().set.Verify(t)
	return payload, err
}

const (
	edHeader = `{"alg":"EdDSA","kid":"k-ed","typ":"t"}`
	ecHeader = `{"alg":"ES256","kid":"k-ec","typ":"t"}`
	rsHeader = `{"alg":"RS256","kid":"k-rs","typ":"t"}`
	payload  = `{"iss":"i","n":1}`
)

func TestVerifyAccepts(t *testing.T) {
	ec := compact(ecHeader, payload, signEC)
	for name, token := range map[string]string{
		"EdDSA":               compact(edHeader, payload, signEd),
		"Ed25519":             compact(`{"alg":"Ed25519","kid":"k-ed","typ":"t"}`, payload, signEd),
		"ES256":               ec,
		"ES256, the twin":     twin(ec),
		"RS256":               compact(rsHeader, payload, signRS),
		"spaced as RFC 7515":  compact("{\"typ\":\"t\",\r\n \"alg\":\"EdDSA\",\"kid\":\"k-ed\"}", payload, signEd),
		"escaped member name": compact(`{"\u0061lg":"EdDSA","kid":"k-ed","typ":"t"}`, payload, signEd),
	} {
		got, err := verify(token)
		if err != nil || string(got) != payload {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// twin returns the token with the other signature that fits: (r, n-s).
func twin(token string) string {
	i := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	if err != nil {
		panic(err)
	}
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s)
	s.FillBytes(sig[32:])
	return token[:i+1] + b64(sig)
}

// fixed ignores what is to be signed.
func fixed(sig []byte) func(string) []byte { return func(string) []byte { return sig } }

func TestVerifyRefuses(t *testing.T) {
	n := elliptic.P256().Params().N.Bytes()
	one, zero := append(make([]byte, 31), 1), make([]byte, 32)
	der := func(s string) []byte {
		digest := sha256.Sum256([]byte(s))
		b, err := ecdsa.SignASN1(rand.Reader, keys().ec, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := compact(edHeader, payload, signEd)
	tokens := map[string]string{
		"another key": compact(edHeader, payload, func(s string) []byte {
			_, other, err := ed25519.GenerateKey(nil)
			if err != nil {
				t.Fatal(err)
			}
			return ed25519.Sign(other, []byte(s))
		}),
		"EdDSA, S+L":      plusL(good),
		"EdDSA, long":     good + "AA",
		"EdDSA, 63 bytes": compact(edHeader, payload, func(s string) []byte { return signEd(s)[:63] }),
		"EdDSA, zeros":    compact(edHeader, payload, fixed(make([]byte, 64))),
		"ES256, r=s=0":    compact(ecHeader, payload, fixed(make([]byte, 64))),
		"ES256, r=0":      compact(ecHeader, payload, fixed(slices.Concat(zero, one))),
		"ES256, s=0":      compact(ecHeader, payload, fixed(slices.Concat(one, zero))),
		"ES256, r=n":      compact(ecHeader, payload, fixed(slices.Concat(n, one))),
		"ES256, s=n":      compact(ecHeader, payload, fixed(slices.Concat(one, n))),
		"ES256, r=s=n":    compact(ecHeader, payload, fixed(slices.Concat(n, n))),
		"ES256, DER":      compact(ecHeader, payload, der),
		"ES256, a zero before s": compact(ecHeader, payload, func(s string) []byte {
			sig := signEC(s)
			return slices.Concat(sig[:32], []byte{0}, sig[32:])
		}),
		"ES256 as Ed25519": compact(`{"alg":"Ed25519","kid":"k-ec","typ":"t"}`, payload, signEC),
		"RS256, one byte":  compact(rsHeader, payload, fixed([]byte{1})),
		"RS256, a byte on": compact(rsHeader, payload, func(s string) []byte { return append([]byte{0}, signRS(s)...) }),
		"no signature":     good[:strings.LastIndexByte(good, '.')+1],
		"an empty payload": compact(edHeader, "", signEd),
		"nothing":          "", "dots": "..", "many dots": strings.Repeat(".", 100000), "four parts": good + ".AA",
		"a header over its limit":  compact(`{"alg":"EdDSA","kid":"k-ed","typ":"t"`+strings.Repeat(" ", 1000)+`}`, payload, signEd),
		"a token over its limit":   compact(edHeader, `{"iss":"`+strings.Repeat("x", MaxSize)+`"}`, signEd),
		"a dot of another script":  strings.Replace(good, ".", "\u3002", 1),
		"padding":                  good + "==",
		"a space before":           " " + good,
		"a line break after":       good + "\n",
		"a line break inside":      good[:len(good)-5] + "\r\n" + good[len(good)-5:],
		"the alphabet of RFC 4648": strings.NewReplacer("-", "+", "_", "/").Replace(compact(edHeader, `{"x":"`+strings.Repeat("\u07ff?", 9)+`"}`, signEd)),
	}
	for alg, sign := range map[string]func(string) []byte{
		"none": fixed([]byte{0}), "nOnE": fixed([]byte{0}), "eddsa": signEd, "HS256": signEd, "ES256": signEd, "RS256": signEd,
		"ES256K": signEd, "Ed448": signEd, "EdDSA ": signEd, "": signEd,
	} {
		tokens["alg "+alg] = compact(`{"alg":"`+alg+`","kid":"k-ed","typ":"t"}`, payload, sign)
	}
	for _, alg := range []string{"PS256", "RS384", "RS512", "EdDSA", "ES256", "HS256", "RSA-OAEP"} {
		tokens["alg of an RSA key: "+alg] = compact(`{"alg":"`+alg+`","kid":"k-rs","typ":"t"}`, payload, signRS)
	}
	for _, h := range []string{
		`{"alg":"EdDSA","kid":"k-ed"}`, `{"alg":"EdDSA","typ":"t"}`, `{"kid":"k-ed","typ":"t"}`, `{}`, `[]`, `null`, `"x"`, ``,
		`{"alg":"EdDSA","kid":"k-ed","typ":""}`, `{"alg":"EdDSA","kid":"","typ":"t"}`, `{"alg":"EdDSA","kid":null,"typ":"t"}`,
		`{"alg":"EdDSA","kid":1,"typ":"t"}`, `{"alg":"EdDSA","kid":["k-ed"],"typ":"t"}`, `{"alg":["EdDSA"],"kid":"k-ed","typ":"t"}`,
		`{"alg":"none","alg":"EdDSA","kid":"k-ed","typ":"t"}`, `{"alg":"EdDSA","kid":"x","kid":"k-ed","typ":"t"}`,
		`{"ALG":"EdDSA","KID":"k-ed","TYP":"t"}`, `{"alg":"EdDSA","kid":"k-ed","typ":"t","ALG":"none"}`,
		"{\"alg\":\"EdDSA\",\"\u212aid\":\"k-ed\",\"typ\":\"t\"}", "{\"alg\":\"EdDSA\",\"kid\":\"k-ed\",\"typ\":\"\xff\"}",
		`{"alg":"EdDSA","kid":"k-ed","typ":"\ud800"}`, `{"alg":"EdDSA","kid":"k-ed","typ":"t"}{}`, `{"alg":"EdDSA","kid":"k-ed","typ":"t"}x`,
		"\ufeff" + edHeader, `{"alg":"EdDSA","kid":"k-ed","typ":"t",}`, `{"alg":"EdDSA","kid":"../k-ed","typ":"t"}`,
		`{"alg":"EdDSA","kid":"k-ed' or '1'='1","typ":"t"}`, `{"alg":"EdDSA","kid":"k-ed\u0000","typ":"t"}`, `{"alg":"EdDSA","kid":" k-ed","typ":"t"}`,
		`{"alg":"EdDSA","kid":"` + strings.Repeat("k", 300) + `","typ":"t"}`, `{"alg":"EdDSA","kid":"K-ED","typ":"t"}`, `{"alg":"EdDSA","kid":"k-ec","typ":"t"}`,
	} {
		tokens["header "+h] = compact(h, payload, signEd)
	}
	for _, m := range []string{
		`"crit":["x"],"x":1`, `"crit":[]`, `"crit":["exp"]`, `"b64":false`, `"b64":true`, `"b64":false,"crit":["b64"]`, `"zip":"DEF"`, `"cty":"JWT"`,
		`"jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"}`, `"jku":"https://x.test"`, `"x5u":"https://x.test"`, `"x5c":["AA"]`, `"x5t":"AA"`,
		`"x5t#S256":"AA"`, `"nonce":"x"`, `"iss":"i"`, `"p2c":1000000000`, `"enc":"A128GCM"`, `"":""`,
	} {
		tokens["header member "+m] = compact(edHeader[:len(edHeader)-1]+","+m+"}", payload, signEd)
	}
	for name, token := range tokens {
		if got, err := verify(token); err == nil {
			t.Errorf("%s: accepted, %q", name, got)
		}
	}
}

// What no key could have for a name is not looked up, but refused as a form.
func TestParseRefusesStrangeHeaders(t *testing.T) {
	for _, h := range []string{
		`{"alg":"EdDSA","kid":"a b","typ":"t"}`, `{"alg":"EdDSA","kid":"a\u0000","typ":"t"}`, `{"alg":"EdDSA","kid":"\u00e9","typ":"t"}`,
		`{"alg":"EdDSA","kid":"` + strings.Repeat("k", 257) + `","typ":"t"}`, `{"alg":"EdDSA","kid":"k","typ":"a b"}`,
		`{"alg":"EdDSA","kid":"k","typ":"` + strings.Repeat("t", 65) + `"}`, `{"alg":"Ed\nDSA","kid":"k","typ":"t"}`,
	} {
		if _, err := Parse(compact(h, payload, signEd)); err == nil {
			t.Errorf("%s: parsed", h)
		}
	}
	if _, err := Parse(compact(`{"alg":"EdDSA","kid":"`+strings.Repeat("k", 256)+`","typ":"`+strings.Repeat("t", 64)+`"}`, payload, signEd)); err != nil {
		t.Errorf("control: %v", err)
	}
}

// plusL adds the order of the group to S: the same signature to a verifier
// that does not look.
func plusL(token string) string {
	i := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	if err != nil {
		panic(err)
	}
	l, ok := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	if !ok {
		panic("no number")
	}
	slices.Reverse(sig[32:])
	l.Add(l, new(big.Int).SetBytes(sig[32:])).FillBytes(sig[32:])
	slices.Reverse(sig[32:])
	return token[:i+1] + b64(sig)
}

// A token has one spelling: whatever is changed in it, anywhere, refuses it.
func TestEveryChangeIsRefused(t *testing.T) {
	good := compact(edHeader, payload, signEd)
	if _, err := verify(good); err != nil {
		t.Fatal(err)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\x00\xff"
	for i := range len(good) {
		if _, err := verify(good[:i]); err == nil {
			t.Errorf("cut at %d: accepted", i)
		}
		if _, err := verify(good[:i] + good[i+1:]); err == nil {
			t.Errorf("without %d: accepted", i)
		}
		for _, c := range []byte(alphabet) {
			if c == good[i] {
				continue
			}
			if _, err := verify(good[:i] + string([]byte{c}) + good[i+1:]); err == nil {
				t.Errorf("%d is %q: accepted", i, c)
			}
		}
	}
	for i := range len(good) + 1 {
		for _, c := range []byte("A.=\n") {
			if _, err := verify(good[:i] + string([]byte{c}) + good[i:]); err == nil {
				t.Errorf("%q put in at %d: accepted", c, i)
			}
		}
	}
}

func TestSignIsVerified(t *testing.T) {
	signer, k, err := NewSigner(keys().ed)
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewKeySet(k)
	if err != nil {
		t.Fatal(err)
	}
	token, err := Sign(signer, "at+jwt", map[string]string{"iss": "https://i.test", "sub": "ü"})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(token)
	if err != nil || parsed.Typ() != "at+jwt" || parsed.header != (header{EdDSA, k.Thumbprint(), "at+jwt"}) {
		t.Fatalf("%+v, %v", parsed, err)
	}
	if issuer, err := parsed.ClaimedIssuer(); err != nil || issuer != "https://i.test" {
		t.Errorf("issuer %q, %v", issuer, err)
	}
	payload, by, err := set.Verify(parsed)
	if err != nil || string(payload) != `{"iss":"https://i.test","sub":"ü"}` || by.Thumb() != k.Thumb() || !set.Holds(by.Thumb()) {
		t.Errorf("%q by %v, %v", payload, by, err)
	}
	for name, f := range map[string]func() (string, error){
		"too large":       func() (string, error) { return Sign(signer, "t", map[string]string{"x": strings.Repeat("x", MaxSize)}) },
		"no typ":          func() (string, error) { return Sign(signer, "", map[string]string{}) },
		"not JSON":        func() (string, error) { return Sign(signer, "t", make(chan int)) },
		"the zero signer": func() (string, error) { return Sign(Signer{}, "t", map[string]string{}) },
	} {
		if token, err := f(); err == nil {
			t.Errorf("%s: signed %q", name, token)
		}
	}
}

func TestTheZeroVerifiesNothing(t *testing.T) {
	parsed, err := Parse(compact(edHeader, payload, signEd))
	if err != nil {
		t.Fatal(err)
	}
	var none *KeySet
	for name, set := range map[string]*KeySet{"nil": none, "empty": {}} {
		if _, _, err := set.Verify(parsed); err == nil || set.Holds([32]byte{}) {
			t.Errorf("%s key set: %v", name, err)
		}
	}
	if _, _, err := keys().set.Verify(Token{}); err == nil {
		t.Error("the zero token is verified")
	}
	if err := (Key{}).verify("", "", nil); err == nil {
		t.Error("the zero key verifies")
	}
}

func TestDecode(t *testing.T) {
	type claims struct {
		A string `json:"a"`
		D Date   `json:"d"`
	}
	deep := strings.Repeat(`{"x":`, 8)
	for doc, want := range map[string]bool{
		`{"a":"x","d":1}`: true, `{}`: true, " {\"d\" : 253402300799}\n": true, `{"d":0}`: false, `{"d":253402300800}`: false,
		`{"d":-1}`: false, `{"d":1.0}`: false, `{"d":1.5}`: false, `{"d":1e3}`: false, `{"d":1E3}`: false, `{"d":1e300}`: false, `{"d":"1"}`: false,
		`{"d":true}`: false, `{"d":null}`: false, `{"d":[1]}`: false, `{"d":{}}`: false, `{"d":9223372036854775808}`: false,
		`{"d":18446744073709551615}`: false, `{"d":-0}`: false, `{"d":01}`: false, `{"d":+1}`: false, `{"d":0x1}`: false,
		`{"a":"x","a":"x"}`: false, `{"A":"x"}`: false, `{"a":1}`: false, `{"a":null}`: false, `{"a":["x"]}`: false, "{\"a\":\"\xff\"}": false,
		`{"a":"\ud800"}`: false, `{"a":"x"}{}`: false, `{"a":"x"} x`: false, "\ufeff{}": false, `[]`: false, `"a"`: false, `null`: false, ``: false,
		`{"b":1}`: false, `{"a":"x"`: false, `{'a':'x'}`: false, `{"a":"x",}`: false, `{"a":NaN}`: false, "{\"a\":\"\n\"}": false,
		deep + `1` + strings.Repeat("}", 8): false,
	} {
		var c claims
		if err := Decode([]byte(doc), &c); (err == nil) != want {
			t.Errorf("Decode(%.60q): %v", doc, err)
		}
	}
	for doc, want := range map[string]bool{
		`{"b":1,"c":[{"d":"1"}]}`: true, `{"b":1,"b":1}`: false, `{"b":null}`: false, `{"b":{"c":1,"c":1}}`: false, "{\"\xff\":1}": false,
		`{"x":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + `}`: true, `{"x":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`: false,
		`{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`: false,
		`{"x":[` + strings.Repeat("1,", 63) + `1]}`:                             true, `{"x":[` + strings.Repeat("1,", 64) + `1]}`: false,
		members(64): true, members(65): false, members(10000): false, `{"x":` + members(65) + `}`: false,
	} {
		var c claims
		if err := DecodeOpen([]byte(doc), &c); (err == nil) != want {
			t.Errorf("DecodeOpen(%.60q): %v", doc, err)
		}
	}
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"m` + big.NewInt(int64(i)).String() + `":1`)
	}
	return "{" + b.String()[1:] + "}"
}
