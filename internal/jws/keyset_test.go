package jws

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

// The key of RFC 7638, 3.1, and that of RFC 8037, A.2 and A.3.
const (
	rfcN = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	rfcX = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
)

func TestThumbprints(t *testing.T) {
	for doc, want := range map[string]string{
		`{"kty":"RSA","n":"` + rfcN + `","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		`{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `","kid":"k"}`:                   "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		k, err := parseKey([]byte(doc))
		if err != nil || k.Thumbprint() != want {
			t.Errorf("%s: %s, %v", doc, k.Thumbprint(), err)
		}
	}
}

func TestParseKeySetIsTheInverseOfJWKS(t *testing.T) {
	set := keys().set
	doc, err := set.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeySet(doc)
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	twice, err := again.JWKS()
	if err != nil || !bytes.Equal(doc, twice) || again.Digest() != set.Digest() {
		t.Errorf("%s is printed %s, %v", doc, twice, err)
	}
	for _, name := range private {
		if bytes.Contains(doc, []byte(`"`+name+`"`)) {
			t.Errorf("%s has %s", doc, name)
		}
	}
	one, err := NewKeySet(set.keys["k-ed"])
	if err != nil || one.Digest() == set.Digest() {
		t.Errorf("another set has the same digest, %v", err)
	}
}

func ed(extra string) string {
	return `{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `","kid":"k"` + extra + `}`
}

func TestParseKeySet(t *testing.T) {
	ec := keys().set.keys["k-ec"].material()
	x, errX := unbase64(ec.X)
	y, errY := unbase64(ec.Y)
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	point := append(x, y...)
	ecDoc := `{"kty":"EC","crv":"%s","x":"` + ec.X + `","y":"%s","kid":"e"%s}`
	rsaDoc := `{"kty":"RSA","n":"%s","e":"%s","kid":"r"%s}`
	small := func(n int64) string { return b64(new(big.Int).SetInt64(n).Bytes()) }
	for doc, want := range map[string]bool{
		ed(""):                             true,
		ed(`,"alg":"EdDSA"`):               true,
		ed(`,"alg":"Ed25519"`):             true,
		ed(`,"use":"sig"`):                 true,
		ed(`,"key_ops":["verify"]`):        true,
		ed(`,"x5c":["AA"],"issuer":"x"`):   true,
		ed(`,"alg":"ES256"`):               false,
		ed(`,"alg":""`):                    false,
		ed(`,"alg":"eddsa"`):               false,
		ed(`,"alg":null`):                  false,
		ed(`,"use":"enc"`):                 false,
		ed(`,"use":""`):                    false,
		ed(`,"key_ops":["sign"]`):          false,
		ed(`,"key_ops":["verify","sign"]`): false,
		ed(`,"key_ops":[]`):                false,
		ed(`,"d":"AA"`):                    false,
		ed(`,"k":"AA"`):                    false,
		ed(`,"y":"AA"`):                    false,
		ed(`,"n":"AA"`):                    false,
		ed(`,"kid":"k"`):                   false,
		ed(`,"x5c":` + strings.Repeat("[", 6) + strings.Repeat("]", 6)):                                    false,
		`{"kty":"oct","k":"AAAA","kid":"k","alg":"HS256"}`:                                                 false,
		`{"kty":"oct","kid":"k"}`:                                                                          false,
		`{"kty":"OKP","crv":"Ed448","x":"` + rfcX + `","kid":"k"}`:                                         false,
		`{"kty":"OKP","crv":"X25519","x":"` + rfcX + `","kid":"k"}`:                                        false,
		`{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `"}`:                                                 false,
		`{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `","kid":""}`:                                        false,
		`{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `","kid":7}`:                                         false,
		`{"kty":"OKP","crv":"Ed25519","x":"` + rfcX + `=","kid":"k"}`:                                      false,
		`{"kty":"OKP","crv":"Ed25519","x":"` + rfcX[1:] + `","kid":"k"}`:                                   false,
		`{"kty":"OKP","crv":"Ed25519","kid":"k"}`:                                                          false,
		fmt.Sprintf(ecDoc, "P-256", ec.Y, ""):                                                              true,
		fmt.Sprintf(ecDoc, "P-256", ec.Y, `,"alg":"ES256"`):                                                true,
		fmt.Sprintf(ecDoc, "P-256", ec.Y, `,"alg":"ES384"`):                                                false,
		fmt.Sprintf(ecDoc, "P-256", ec.X, ""):                                                              false,
		`{"kty":"EC","crv":"P-256","x":"` + b64(point[:31]) + `","y":"` + b64(point[31:]) + `","kid":"e"}`: false,
		fmt.Sprintf(ecDoc, "P-256", "AA", ""):                                                              false,
		fmt.Sprintf(ecDoc, "P-384", ec.Y, ""):                                                              false,
		fmt.Sprintf(ecDoc, "secp256k1", ec.Y, ""):                                                          false,
		fmt.Sprintf(rsaDoc, rfcN, "AQAB", ""):                                                              true,
		fmt.Sprintf(rsaDoc, rfcN, "AQAB", `,"alg":"RS256","use":"sig"`):                                    true,
		fmt.Sprintf(rsaDoc, rfcN, "AQAB", `,"alg":"PS256"`):                                                false,
		fmt.Sprintf(rsaDoc, rfcN, "AQAB", `,"alg":"RSA-OAEP"`):                                             false,
		fmt.Sprintf(rsaDoc, rfcN, small(1), ""):                                                            false,
		fmt.Sprintf(rsaDoc, rfcN, small(3), ""):                                                            false,
		fmt.Sprintf(rsaDoc, rfcN, small(65538), ""):                                                        false,
		fmt.Sprintf(rsaDoc, rfcN, "AAEAAQ", ""):                                                            false,
		fmt.Sprintf(rsaDoc, rfcN, small(1<<40+1), ""):                                                      false,
		fmt.Sprintf(rsaDoc, "AA"+rfcN, "AQAB", ""):                                                         false,
		fmt.Sprintf(rsaDoc, rfcN[:170], "AQAB", ""):                                                        false,
		fmt.Sprintf(rsaDoc, rfcN[:len(rfcN)-2]+"gg", "AQAB", ""):                                           false,
		fmt.Sprintf(rsaDoc, b64(bytes.Repeat([]byte{255}, 1025)), "AQAB", ""):                              false,
		fmt.Sprintf(rsaDoc, rfcN, "AQAB", `,"p":"AA"`):                                                     false,
		fmt.Sprintf(rsaDoc, rfcN, "AQAB", `,"oth":[]`):                                                     false,
		`7`: false, `{}`: false, `"k"`: false,
	} {
		if _, err := ParseKeySet([]byte(`{"keys":[` + doc + `]}`)); (err == nil) != want {
			t.Errorf("%.200s: %v", doc, err)
		}
	}
}

func TestParseKeySetRefusesTheWholeDocument(t *testing.T) {
	other := strings.Replace(ed(""), `"kid":"k"`, `"kid":"other"`, 1)
	many := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, strings.Replace(ed(""), `"kid":"k"`, fmt.Sprintf(`"kid":"k%d"`, i), 1))
		}
		return `{"keys":[` + strings.Join(all, ",") + `]}`
	}
	for doc, want := range map[string]bool{
		`{"keys":[` + ed("") + `]}`:                         true,
		`{"keys":[` + ed("") + `],"x":1}`:                   true,
		`{"keys":[` + ed("") + `,` + other + `]}`:           true,
		`{"keys":[` + ed("") + `,` + ed("") + `]}`:          false,
		`{"keys":[` + ed("") + `,{"kty":"oct","kid":"o"}]}`: false,
		many(100):                             true,
		many(101):                             false,
		`{"keys":[]}`:                         false,
		`{}`:                                  false,
		`[]`:                                  false,
		``:                                    false,
		`<html>`:                              false,
		`{"keys":{}}`:                         false,
		`{"KEYS":[` + ed("") + `]}`:           false,
		`{"keys":[` + ed("") + `],"keys":[]}`: false,
		`{"keys":[` + ed("") + `]}{}`:         false,
		`{"keys":[` + ed("") + `]` + strings.Repeat(" ", 1<<18) + `}`: false,
	} {
		if _, err := ParseKeySet([]byte(doc)); (err == nil) != want {
			t.Errorf("%.80s: %v", doc, err)
		}
	}
}

func TestNewKeySetRefuses(t *testing.T) {
	k := keys().set.keys["k-ed"]
	var many []Key
	for i := range 101 {
		k.id = fmt.Sprint(i)
		many = append(many, k)
	}
	if _, err := NewKeySet(many[:100]...); err != nil {
		t.Errorf("control: %v", err)
	}
	for name, keys := range map[string][]Key{"101": many, "none": nil, "the zero key": {{}}, "two of a name": {k, k}} {
		if _, err := NewKeySet(keys...); err == nil {
			t.Errorf("%s: a set", name)
		}
	}
}

func TestNewKeyRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, public := range map[string]any{
		"none": nil, "symmetric": []byte("secret"), "P-384": p384.Public(), "short": ed25519.PublicKey("short"),
		"RSA of 16 bits": &rsa.PublicKey{N: big.NewInt(65537), E: 65537}, "a private key": keys().ed,
	} {
		if k, err := NewKey("k", public); err == nil {
			t.Errorf("%s: %v", name, k)
		}
	}
	// All encodings of the points of small order, second spellings included.
	for _, point := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", "0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000", "0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		b, err := hex.DecodeString(point)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewKey("k", ed25519.PublicKey(b)); err == nil {
			t.Errorf("%s: a key", point)
		}
	}
}
