package jws

import (
	"crypto/elliptic"
	"reflect"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, token := range []string{
		compact(edHeader, payload, signEd), compact(ecHeader, payload, signEC), compact(edHeader, payload, signEd) + "\n", "a.b.c", "..", "",
		compact(`{"alg":"none","kid":"k","typ":"t"}`, payload, fixed([]byte{0})),
	} {
		f.Add(token)
	}
	// Oracle "one spelling": what Parse accepts, encoding its parts gives back
	// byte for byte; and its claims are read the same way twice.
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := Parse(s)
		if err != nil {
			return
		}
		if again := parsed.signed + "." + b64(parsed.signature); again != s {
			t.Errorf("%q is %q", s, again)
		}
		_, body, _ := strings.Cut(parsed.signed, ".")
		if b64(parsed.payload) != body {
			t.Errorf("the payload of %q is %q", s, parsed.payload)
		}
		one, errOne := parsed.ClaimedIssuer()
		two, errTwo := parsed.ClaimedIssuer()
		if one != two || (errOne == nil) != (errTwo == nil) {
			t.Errorf("%q has issuers %q and %q", s, one, two)
		}
	})
}

func FuzzParseForeign(f *testing.F) {
	for _, token := range goodTokens() {
		f.Add(token)
	}
	f.Add(compact(edHeader, "", signEd))
	f.Add(compact(`{"alg":"EdDSA","kid":""}`, payload, signEd))
	// Oracle "a superset, in one spelling": what Parse accepts, ParseForeign
	// reads as the same token; and encoding the parts of what ParseForeign
	// accepts gives it back byte for byte.
	f.Fuzz(func(t *testing.T, s string) {
		ours, oursErr := Parse(s)
		parsed, err := ParseForeign(s)
		if oursErr == nil && (err != nil || !reflect.DeepEqual(ours, parsed)) {
			t.Errorf("%q is %+v, or %+v, %v", s, ours, parsed, err)
		}
		if err != nil {
			return
		}
		head, _, _ := strings.Cut(s, ".")
		if again := head + "." + b64(parsed.payload) + "." + b64(parsed.signature); again != s || !strings.HasPrefix(s, parsed.signed+".") {
			t.Errorf("%q is %q", s, again)
		}
	})
}

func FuzzVerify(f *testing.F) {
	good := compact(edHeader, payload, signEd)
	f.Add(uint16(0), uint16(1), "f")
	f.Add(uint16(len(good)), uint16(0), "=")
	f.Add(uint16(len(good)-1), uint16(1), "A")
	// Oracle "no second token": of all changes to a valid token, those that are
	// byte-identical are accepted and all others are refused.
	f.Fuzz(func(t *testing.T, at, cut uint16, put string) {
		from := min(int(at), len(good))
		changed := good[:from] + put + good[min(from+int(cut), len(good)):]
		if _, err := verify(changed); (err == nil) != (changed == good) {
			t.Errorf("%q: %v", changed, err)
		}
	})
}

func FuzzParseKeySet(f *testing.F) {
	doc, err := keys().set.JWKS()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add([]byte(`{"keys":[` + ed(`,"use":"sig","x5c":["AA"]`) + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA","kid":"k"}]}`))
	// Oracle "print and parse": what ParseKeySet accepts prints as a document
	// that is accepted and has the same keys.
	f.Fuzz(func(t *testing.T, doc []byte) {
		set, err := ParseKeySet(doc)
		if err != nil {
			return
		}
		printed, err := set.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseKeySet(printed)
		if err != nil || again.Digest() != set.Digest() {
			t.Errorf("%q is printed %q, %v", doc, printed, err)
		}
	})
}

func FuzzParsePublished(f *testing.F) {
	ed, rs := mustJWK(f, "k-ed"), mustJWK(f, "k-rs")
	for _, doc := range [][]byte{
		jwkSet(ed), jwkSet(ed, mustJWK(f, "k-ec"), rs), jwkSet(strings.Replace(ed, `"kid":"k-ed",`, "", 1)), jwkSet(ed, wide(f, elliptic.P384(), "")),
		jwkSet(ed, strings.Replace(rs, `"RS256"`, `"RSA-OAEP"`, 1)), jwkSet(ed, `{"kty":"AKP"}`), jwkSet(`{"kty":"oct","k":"AA"}`), jwkSet(ed, ed),
	} {
		f.Add(doc)
	}
	// Oracle "print and parse, and a superset": what ParsePublished accepts
	// prints as a document that it accepts as the same keys; each key would pass
	// NewKey under some name; and what ParseKeySet accepts is the same set here.
	f.Fuzz(func(t *testing.T, doc []byte) {
		ours, oursErr := ParseKeySet(doc)
		set, err := ParsePublished(doc)
		if oursErr == nil && (err != nil || ours.Digest() != set.Digest()) {
			t.Errorf("%q is a set of ours, and published %v", doc, err)
		}
		if err != nil {
			return
		}
		printed, err := set.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParsePublished(printed)
		if err != nil || again.Digest() != set.Digest() {
			t.Errorf("%q is printed %q, %v", doc, printed, err)
		}
		for _, k := range set.keys {
			if named, err := NewKey("k", k.public); err != nil || named.Thumb() != k.Thumb() || named.Alg() != k.Alg() {
				t.Errorf("%q has %v, %v", doc, k, err)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"iss":"i","d":1}`))
	f.Add([]byte(`{"iss":"i","iss":"j"}`))
	f.Add([]byte(`{"x":[[[{}]]]}`))
	// Oracle "closed is open and less": what Decode accepts, DecodeOpen accepts
	// with the same result.
	f.Fuzz(func(t *testing.T, doc []byte) {
		type claims struct {
			Issuer string `json:"iss"`
			Date   Date   `json:"d"`
		}
		var closed, open claims
		if Decode(doc, &closed) != nil {
			return
		}
		if err := DecodeOpen(doc, &open); err != nil || closed != open || closed.Date < 0 || closed.Date >= endOfDates {
			t.Errorf("%q is %+v or %+v, %v", doc, closed, open, err)
		}
	})
}
