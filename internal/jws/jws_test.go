package jws

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// keys are one of each kind. They are the same in every run, so that a token
// which a fuzzer found stays one.
var keys = sync.OnceValue(func() (k struct {
	ed  ed25519.PrivateKey
	ec  *ecdsa.PrivateKey
	rs  *rsa.PrivateKey
	set *KeySet
},
) {
	var err [5]error
	k.ed = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{'d'}, ed25519.SeedSize))
	k.ec, err[0] = ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{'c'}, 32))
	k.rs, err[1] = fixedRSA()
	var ed, ec, rs Key
	ed, err[2] = NewKey("k-ed", k.ed.Public())
	ec, err[3] = NewKey("k-ec", k.ec.Public())
	rs, err[4] = NewKey("k-rs", k.rs.Public())
	if err := errors.Join(err[:]...); err != nil {
		panic(err)
	}
	var e error
	if k.set, e = NewKeySet(ed, ec, rs); e != nil {
		panic(e)
	}
	return k
})

// fixedRSA returns an RSA key of 2048 bits from two primes, each the first
// that follows 1024 bits drawn with a known seed.
func fixedRSA() (*rsa.PrivateKey, error) {
	prime := func(seed byte, offset int64) *big.Int {
		b := make([]byte, 128)
		_, _ = mathrand.NewChaCha8([32]byte{seed}).Read(b) // its error is always nil
		b[0] |= 0xc0
		n := new(big.Int).SetBytes(b)
		return n.Add(n.SetBit(n, 0, 0), big.NewInt(offset))
	}
	p, q, e, one := prime('p', 1195), prime('q', 129), big.NewInt(65537), big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	k := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: int(e.Int64())},
		D:         new(big.Int).ModInverse(e, phi),
		Primes:    []*big.Int{p, q},
	}
	k.Precompute()
	return k, k.Validate()
}

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

// What no key could have for a name is not looked up, but refused as a form.
func TestParseRefusesStrangeHeaders(t *testing.T) {
	for _, h := range []string{
		`{"alg":"EdDSA","kid":"k"}`, `{"alg":"EdDSA","typ":"t"}`, `{"alg":"EdDSA","kid":"k","typ":"t","x5t":"AA"}`,
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
		`{"b":1,"c":[{"d":"1"}]}`: true, `{"b":1,"b":1}`: false, `{"b":null}`: true, `{"a":"x","b":[{"c":null}]}`: true, `null`: false, `[]`: false, `{}{}`: false, `{"b":{"c":1,"c":1}}`: false, "{\"\xff\":1}": false,
		`{"x":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + `}`: true, `{"x":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`: false,
		`{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`: false,
		`{"x":[` + strings.Repeat("1,", 1023) + `1]}`:                           true, `{"x":[` + strings.Repeat("1,", 1024) + `1]}`: false,
		members(1024): true, members(1025): false, members(10000): false, `{"x":` + members(1024) + `}`: true, `{"x":` + members(1025) + `}`: false,
		`{"x":` + strings.Repeat("[", 8) + "null" + strings.Repeat("]", 8) + `}`: false,
	} {
		var c claims
		if err := DecodeOpen([]byte(doc), &c); (err == nil) != want {
			t.Errorf("DecodeOpen(%.60q): %v", doc, err)
		}
	}
}

// Ours stay as they were: what was loosened is for claims of others.
func TestDecodeAndPlainStayStrict(t *testing.T) {
	list := func(n int) string { return `[` + strings.Repeat("1,", n-1) + `1]` }
	for value, want := range map[string]bool{
		`1`: true, `"x"`: true, `[]`: true, `{"a":[1]}`: true, list(64): true, members(64): true,
		`null`: false, `[null]`: false, `{"a":null}`: false, `[{"a":[null]}]`: false, list(65): false, members(65): false, `[` + list(65) + `]`: false,
		`{"a":1,"a":1}`: false, "\"\xff\"": false, ``: true, strings.Repeat("[", 9) + strings.Repeat("]", 9): false,
	} {
		if err := Plain([]byte(value)); (err == nil) != want {
			t.Errorf("Plain(%.60q): %v", value, err)
		}
		var c struct {
			X any `json:"x"`
		}
		if err := Decode([]byte(`{"x":`+value+`}`), &c); (err == nil) != (want && value != "") {
			t.Errorf("Decode(%.60q): %v", value, err)
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
