package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// readers are the two ways to read a token.
var readers = map[string]func(string) (Token, error){"Parse": Parse, "ParseForeign": ParseForeign}

// TestHostileTokensAreRefused runs the forgeries and the second readings of
// RFC 8725 and of what is known of JWT libraries: both readers refuse each, or
// no key verifies it.
func TestHostileTokensAreRefused(t *testing.T) {
	for name, token := range hostile(t) {
		for reader, parse := range readers {
			parsed, err := parse(token)
			if err != nil {
				continue
			}
			if got, _, err := keys().set.Verify(parsed); err == nil {
				t.Errorf("%s: %s: accepted, %q", reader, name, got)
			}
		}
	}
}

// TestHostileFormsAreNoTokens holds for what is no question of keys: such a
// token is refused before anything is looked up.
func TestHostileFormsAreNoTokens(t *testing.T) {
	for _, forms := range []map[string]string{shapes(), headers(), strangeMembers(t)} {
		for name, token := range forms {
			for reader, parse := range readers {
				if _, err := parse(token); err == nil {
					t.Errorf("%s: %s: parsed", reader, name)
				}
			}
		}
	}
}

func hostile(t testing.TB) map[string]string {
	all := make(map[string]string)
	for _, tokens := range []map[string]string{forgeries(t), algorithmForgeries(t), symmetricForgeries(t), shapes(), headers(), strangeMembers(t), names()} {
		maps.Copy(all, tokens)
	}
	return all
}

// fixed ignores what is to be signed.
func fixed(sig []byte) func(string) []byte { return func(string) []byte { return sig } }

// forgeries are signatures that are none, or are none of this form.
func forgeries(t testing.TB) map[string]string {
	n := elliptic.P256().Params().N.Bytes()
	one, zero := append(make([]byte, 31), 1), make([]byte, 32)
	good := compact(edHeader, payload, signEd)
	other := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	return map[string]string{
		"another key":              compact(edHeader, payload, func(s string) []byte { return ed25519.Sign(other, []byte(s)) }),
		"EdDSA, S+L":               plusL(good),
		"EdDSA, long":              good + "AA",
		"EdDSA, 63 bytes":          compact(edHeader, payload, func(s string) []byte { return signEd(s)[:63] }),
		"EdDSA, zeros":             compact(edHeader, payload, fixed(make([]byte, 64))),
		"EdDSA, R is the identity": compact(edHeader, payload, fixed(slices.Concat([]byte(smallOrder[1]), zero))),
		"EdDSA, R of order 8":      compact(edHeader, payload, fixed(slices.Concat([]byte(smallOrder[3]), zero))),
		"EdDSA, R not canonical": compact(edHeader, payload, func(s string) []byte {
			return slices.Concat([]byte("\xee"+strings.Repeat("\xff", 30)+"\x7f"), signEd(s)[32:])
		}),
		"ES256, r=s=0": compact(ecHeader, payload, fixed(make([]byte, 64))),
		"ES256, r=0":   compact(ecHeader, payload, fixed(slices.Concat(zero, one))),
		"ES256, s=0":   compact(ecHeader, payload, fixed(slices.Concat(one, zero))),
		"ES256, r=s=1": compact(ecHeader, payload, fixed(slices.Concat(one, one))),
		"ES256, r=n":   compact(ecHeader, payload, fixed(slices.Concat(n, one))),
		"ES256, s=n":   compact(ecHeader, payload, fixed(slices.Concat(one, n))),
		"ES256, r=s=n": compact(ecHeader, payload, fixed(slices.Concat(n, n))),
		"ES256, DER": compact(ecHeader, payload, func(s string) []byte {
			digest := sha256.Sum256([]byte(s))
			b, err := ecdsa.SignASN1(rand.Reader, keys().ec, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			return b
		}),
		"ES256, a zero before s": compact(ecHeader, payload, func(s string) []byte {
			sig := signEC(s)
			return slices.Concat(sig[:32], []byte{0}, sig[32:])
		}),
		"ES256, a zero behind": compact(ecHeader, payload, func(s string) []byte { return append(signEC(s), 0) }),
		"RS256, one byte":      compact(rsHeader, payload, fixed([]byte{1})),
		"RS256, zero":          compact(rsHeader, payload, fixed(make([]byte, 256))),
		"RS256, the modulus":   compact(rsHeader, payload, fixed(keys().rs.N.Bytes())),
		"RS256, a byte on":     compact(rsHeader, payload, func(s string) []byte { return append([]byte{0}, signRS(s)...) }),
		"RS256, plus n": compact(rsHeader, payload, func(s string) []byte {
			sum := new(big.Int).SetBytes(signRS(s))
			return sum.Add(sum, keys().rs.N).Bytes()
		}),
		"an empty payload that is not signed": strings.Join([]string{b64([]byte(edHeader)), "", b64(signEd(payload))}, "."),
	}
}

// algorithmForgeries are tokens whose alg is not the algorithm of the key they
// name, with a signature that would fit if alg were believed.
func algorithmForgeries(t testing.TB) map[string]string {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hash := func(hash crypto.Hash, s string) []byte {
		h := hash.New()
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	must := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	named := func(alg, kid string) string { return `{"alg":"` + alg + `","kid":"` + kid + `","typ":"t"}` }
	tokens := map[string]string{
		"PS256 by an RSA key": compact(named("PS256", "k-rs"), payload, func(s string) []byte {
			return must(rsa.SignPSS(rand.Reader, keys().rs, crypto.SHA256, hash(crypto.SHA256, s), nil))
		}),
		"PSS called RS256": compact(named("RS256", "k-rs"), payload, func(s string) []byte {
			return must(rsa.SignPSS(rand.Reader, keys().rs, crypto.SHA256, hash(crypto.SHA256, s), nil))
		}),
		"RS384 by an RSA key": compact(named("RS384", "k-rs"), payload, func(s string) []byte {
			return must(rsa.SignPKCS1v15(nil, keys().rs, crypto.SHA384, hash(crypto.SHA384, s)))
		}),
		"RS384 called RS256": compact(named("RS256", "k-rs"), payload, func(s string) []byte {
			return must(rsa.SignPKCS1v15(nil, keys().rs, crypto.SHA384, hash(crypto.SHA384, s)))
		}),
		"ES256 by a key on P-384": compact(ecHeader, payload, func(s string) []byte {
			return must(ecdsa.SignASN1(rand.Reader, p384, hash(crypto.SHA256, s)))
		}),
		"ES256 as Ed25519":        compact(named("Ed25519", "k-ec"), payload, signEC),
		"Ed25519 by another's":    compact(named("Ed25519", "k-rs"), payload, signRS),
		"EdDSA, kid of RSA":       compact(named("EdDSA", "k-rs"), payload, signEd),
		"RS256, kid of Ed25519":   compact(named("RS256", "k-ed"), payload, signRS),
		"EdDSA over a prehash":    compact(edHeader, payload, func(s string) []byte { return signEd(string(hash(crypto.SHA512, s))) }),
		"EdDSA without the dot":   compact(edHeader, payload, func(s string) []byte { return signEd(strings.ReplaceAll(s, ".", "")) }),
		"EdDSA of the payload":    compact(edHeader, payload, func(string) []byte { return signEd(payload) }),
		"EdDSA of another header": compact(edHeader, payload, func(s string) []byte { return signEd(b64([]byte(ecHeader)) + s[strings.IndexByte(s, '.'):]) }),
	}
	for alg, sign := range map[string]func(string) []byte{
		"none": fixed([]byte{0}), "None": fixed([]byte{0}), "NONE": fixed([]byte{0}), "nOnE": fixed([]byte{0}), "eddsa": signEd, "EDDSA": signEd, "ed25519": signEd,
		"HS256": signEd, "ES256": signEd, "RS256": signEd, "ES256K": signEd, "Ed448": signEd, "EdDSA ": signEd, " EdDSA": signEd, "EdDSA\\u0000": signEd, "": signEd,
		"http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519": signEd,
	} {
		tokens["alg "+alg] = compact(named(alg, "k-ed"), payload, sign)
		tokens["alg without a signature: "+alg] = compact(named(alg, "k-ed"), payload, fixed(nil))
	}
	for _, alg := range []string{"PS256", "RS384", "RS512", "EdDSA", "ES256", "HS256", "RSA-OAEP", "rs256"} {
		tokens["alg of an RSA key: "+alg] = compact(named(alg, "k-rs"), payload, signRS)
	}
	return tokens
}

// symmetricForgeries are signed with what everyone knows: the public key, in
// every form in which a library may hold it, taken for the secret of an HMAC.
func symmetricForgeries(t testing.TB) map[string]string {
	tokens := make(map[string]string)
	doc, err := keys().set.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	for kid, k := range keys().set.keys {
		der, err := x509.MarshalPKIXPublicKey(k.public)
		if err != nil {
			t.Fatal(err)
		}
		m := k.material()
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		secrets := map[string]string{
			"PEM": text, "PEM without its last line break": strings.TrimSpace(text), "PEM with CRLF": strings.ReplaceAll(text, "\n", "\r\n"),
			"DER": string(der), "JWKS": string(doc), "x": m.X, "n": m.N, "kid": kid, "nothing": "",
		}
		for _, part := range []string{m.X + m.Y, m.N} {
			if b, err := base64.RawURLEncoding.DecodeString(part); err == nil {
				secrets["raw"+part] = string(b)
			}
		}
		if public, ok := k.public.(*rsa.PublicKey); ok {
			pkcs1 := x509.MarshalPKCS1PublicKey(public)
			secrets["PKCS #1 DER"] = string(pkcs1)
			secrets["PKCS #1 PEM"] = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}))
		}
		for form, secret := range secrets {
			for _, alg := range []string{"HS256", k.alg} {
				h := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"t"}`, alg, kid)
				tokens[fmt.Sprintf("HMAC by %s of %s, called %s", form, kid, alg)] = compact(h, payload, func(s string) []byte {
					mac := hmac.New(sha256.New, []byte(secret))
					mac.Write([]byte(s))
					return mac.Sum(nil)
				})
			}
		}
		tokens["HS512 by DER of "+kid] = compact(fmt.Sprintf(`{"alg":"HS512","kid":%q,"typ":"t"}`, kid), payload, func(s string) []byte {
			mac := hmac.New(sha512.New, der)
			mac.Write([]byte(s))
			return mac.Sum(nil)
		})
	}
	return tokens
}

// shapes are not three parts of base64url in the one spelling. Each has a
// valid signature over what a lenient reader would make of it.
func shapes() map[string]string {
	good := compact(edHeader, payload, signEd)
	part := strings.Split(good, ".")
	flat := fmt.Sprintf(`"protected":%q,"signature":%q`, part[0], part[2])
	raw := b64([]byte(`{"alg":"EdDSA","kid":"k-ed","typ":"t","b64":false,"crit":["b64"]}`)) + "."
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", good[len(good)-1])
	return map[string]string{
		"nothing": "", "a dot": ".", "dots": "..", "many dots": strings.Repeat(".", 100000), "a million dots": strings.Repeat(".", 1<<20),
		"no signature": good[:strings.LastIndexByte(good, '.')+1], "two parts": part[0] + "." + part[1], "no header": "." + part[1] + "." + part[2],
		"four parts": good + ".AA", "an empty fourth part": good + ".", "five parts": part[0] + ".AA." + part[1] + ".AA." + part[2],
		"a header over its limit":   compact(`{"alg":"EdDSA","kid":"k-ed","typ":"t"`+strings.Repeat(" ", 1000)+`}`, payload, signEd),
		"a token over its limit":    compact(edHeader, `{"iss":"`+strings.Repeat("x", MaxSize)+`"}`, signEd),
		"a megabyte":                compact(edHeader, `{"iss":"`+strings.Repeat("x", 1<<20)+`"}`, signEd),
		"a dot of another script":   strings.ReplaceAll(good, ".", "\u3002"),
		"a fullwidth dot":           strings.Replace(good, ".", "\uff0e", 1),
		"padding":                   good + "==",
		"padding of the header":     part[0] + "=." + part[1] + "." + part[2],
		"a bit behind the last":     good[:len(good)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last|1]),
		"a space before":            " " + good,
		"a space after":             good + " ",
		"a tab after":               good + "\t",
		"a line break after":        good + "\n",
		"a line break inside":       good[:len(good)-5] + "\r\n" + good[len(good)-5:],
		"a NUL after":               good + "\x00",
		"a BOM":                     "\ufeff" + good,
		"quoted":                    `"` + good + `"`,
		"percent-encoded":           strings.ReplaceAll(good, ".", "%2E"),
		"with its scheme":           "Bearer " + good,
		"JSON after":                good + "{}",
		"JSON, flattened":           `{"payload":"` + part[1] + `",` + flat + `}`,
		"JSON, general":             `{"payload":"` + part[1] + `","signatures":[{` + flat + `}]}`,
		"JSON, alg not protected":   `{"payload":"` + part[1] + `","header":{"alg":"EdDSA","kid":"k-ed"},"signature":"` + part[2] + `"}`,
		"a payload that is not b64": raw + payload + "." + b64(signEd(raw+payload)),
		"a detached payload":        raw + "." + b64(signEd(raw+payload)),
		"the alphabet of RFC 4648":  strings.NewReplacer("-", "+", "_", "/").Replace(compact(edHeader, `{"x":"`+strings.Repeat("\u07ff?", 9)+`"}`, signEd)),
	}
}

// headers are not a header in strict JSON, of these members and types.
func headers() map[string]string {
	tokens := make(map[string]string)
	for _, h := range []string{
		`{"kid":"k-ed","typ":"t"}`, `{}`, `[]`, `null`, `"x"`, `7`, ``, ` `, `{`, `{"alg":"EdDSA"`, edHeader + edHeader,
		`{"alg":"EdDSA","kid":"k-ed","typ":""}`, `{"alg":"EdDSA","kid":"","typ":"t"}`, `{"alg":"EdDSA","kid":null,"typ":"t"}`,
		`{"alg":null,"kid":"k-ed","typ":"t"}`, `{"alg":true,"kid":"k-ed","typ":"t"}`, `{"alg":["EdDSA"],"kid":"k-ed","typ":"t"}`, `{"alg":{"alg":"EdDSA"},"kid":"k-ed","typ":"t"}`,
		`{"alg":"EdDSA","kid":1,"typ":"t"}`, `{"alg":"EdDSA","kid":["k-ed"],"typ":"t"}`, `{"alg":"EdDSA","kid":{"k-ed":1},"typ":"t"}`, `{"alg":"EdDSA","kid":"k-ed","typ":["t"]}`,
		`{"alg":"none","alg":"EdDSA","kid":"k-ed","typ":"t"}`, `{"alg":"EdDSA","alg":"none","kid":"k-ed","typ":"t"}`, `{"alg":"EdDSA","kid":"x","kid":"k-ed","typ":"t"}`,
		`{"alg":"EdDSA","\u0061lg":"EdDSA","kid":"k-ed","typ":"t"}`, `{"alg":"EdDSA","kid":"k-ed","typ":"t","typ":"t"}`,
		`{"ALG":"EdDSA","KID":"k-ed","TYP":"t"}`, `{"alg":"EdDSA","kid":"k-ed","typ":"t","ALG":"none"}`, `{"alg":"EdDSA","kid":"k-ed","typ":"t","Kid":"k-ec"}`,
		"{\"alg\":\"EdDSA\",\"\u212aid\":\"k-ed\",\"typ\":\"t\"}", "{\"alg\":\"EdDSA\",\"kid\":\"k-ed\",\"typ\":\"t\",\"\u212aid\":\"k-ec\"}",
		"{\"alg\":\"EdDSA\",\"kid\":\"k-ed\",\"typ\":\"t\",\"i\u017fs\":\"i\"}", "{\"alg\":\"EdDSA\",\"kid\":\"k-ed\",\"typ\":\"\xff\"}",
		`{"alg":"EdDSA","kid":"k-ed","typ":"\ud800"}`, `{"alg":"EdDSA","kid":"k-ed","typ":"t"}{}`, `{"alg":"EdDSA","kid":"k-ed","typ":"t"}x`, edHeader + "\x00",
		"\ufeff" + edHeader, `{"alg":"EdDSA","kid":"k-ed","typ":"t",}`, `{"alg":"EdDSA" "kid":"k-ed","typ":"t"}`, `{'alg':'EdDSA','kid':'k-ed','typ':'t'}`,
		`{"alg":"EdDSA","kid":"k-ed","typ":"t"/**/}`, `{"alg":"EdDSA","kid":"k-ed\u0000","typ":"t"}`, `{"alg":"EdDSA","kid":" k-ed","typ":"t"}`,
		`{"alg":"EdDSA","kid":"k-ed' or '1'='1","typ":"t"}`, `{"alg":"EdDSA","kid":"` + strings.Repeat("k", 300) + `","typ":"t"}`,
		`{"alg":"EdDSA","kid":"` + strings.Repeat("k", 10<<10) + `","typ":"t"}`, `{"alg":"EdDSA","kid":"k\u00ebd","typ":"t"}`,
		strings.Repeat(`{"x":`, 100) + edHeader + strings.Repeat("}", 100), strings.Repeat("[", 300) + strings.Repeat("]", 300), strings.Repeat("[", 100000),
	} {
		tokens[fmt.Sprintf("header %.80s", h)] = compact(h, payload, signEd)
	}
	return tokens
}

// names are of keys that the set does not have, and whose spelling is fit.
func names() map[string]string {
	tokens := make(map[string]string)
	for _, kid := range []string{"../k-ed", "K-ED", "k-ec", "k-rs", "k-e", "k-ed.", "/dev/null", "http://x.test/k-ed", "*", "k-ed%00", "k-ed\\u002e", strings.Repeat("k", 256)} {
		tokens["kid "+kid] = compact(`{"alg":"EdDSA","kid":"`+kid+`","typ":"t"}`, payload, signEd)
	}
	tokens["no kid, and three keys"] = compact(`{"alg":"EdDSA","typ":"t"}`, payload, signEd)
	return tokens
}

// strangeMembers are header members that change what a token means or who signed it.
func strangeMembers(t testing.TB) map[string]string {
	attacker := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	k, err := NewKey("k-ed", attacker.Public())
	if err != nil {
		t.Fatal(err)
	}
	embedded := fmt.Sprintf(`"jwk":{"kty":"OKP","crv":"Ed25519","x":%q,"kid":"k-ed"}`, k.material().X)
	tokens := map[string]string{
		"signed by the key that it brings": compact(edHeader[:len(edHeader)-1]+","+embedded+"}", payload, func(s string) []byte { return ed25519.Sign(attacker, []byte(s)) }),
	}
	for _, m := range []string{
		`"crit":["x"],"x":1`, `"crit":[]`, `"crit":["exp"]`, `"crit":["alg"]`, `"crit":["x","x"],"x":1`, `"crit":"x"`, `"crit":["kid"]`,
		`"b64":false`, `"b64":true`, `"b64":false,"crit":["b64"]`, `"b64":"false"`, `"zip":"DEF"`, `"zip":""`, `"cty":"JWT"`, `"cty":"json"`,
		embedded, `"jku":"https://x.test"`, `"jku":"http://127.0.0.1/"`, `"x5u":"https://x.test"`, `"x5c":["AA"]`, `"nonce":"x"`, `"iss":"i"`, `"sub":"x"`, `"aud":"x"`,
		`"p2c":1000000000`, `"p2s":"AA","p2c":1`, `"enc":"A128GCM"`, `"epk":{}`, `"apu":"AA"`, `"iv":"AA"`, `"tag":"AA"`, `"ppt":"x"`, `"url":"https://x.test"`,
		`"":""`, `"x":{}`, `"typ ":"t"`, `"x5t#s256":"AA"`, `"x5t":7`, `"x5t":""`, `"x5t":["AA"]`, `"x5t#S256":{}`, `"x5t#S256":"a b"`, `"x5t":"` + strings.Repeat("A", 65) + `"`,
	} {
		tokens["header member "+m] = compact(edHeader[:len(edHeader)-1]+","+m+"}", payload, signEd)
	}
	return tokens
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
