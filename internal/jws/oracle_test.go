package jws

import (
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	jwxjws "github.com/lestrrat-go/jwx/v3/jws"
)

// libraries are what everyone else verifies with. Each returns the payload as
// it reads it, and is told the one algorithm of the key.
var libraries = map[string]func(token string, alg string, public crypto.PublicKey) ([]byte, error){
	"golang-jwt": golangJWT,
	"go-jose":    goJOSE,
	"jwx":        jwx,
}

// claims keeps the text of a payload as golang-jwt decodes it.
type claims struct {
	jwt.RegisteredClaims
	text []byte
}

func (c *claims) UnmarshalJSON(b []byte) error {
	c.text = slices.Clone(b)
	return nil
}

func golangJWT(token, alg string, public crypto.PublicKey) ([]byte, error) {
	var c claims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{alg}), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return public, nil })
	return c.text, err
}

func goJOSE(token, alg string, public crypto.PublicKey) ([]byte, error) {
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		return nil, err
	}
	return parsed.Verify(public)
}

func jwx(token, alg string, public crypto.PublicKey) ([]byte, error) {
	named, ok := jwa.LookupSignatureAlgorithm(alg)
	if !ok {
		return nil, fmt.Errorf("no algorithm %q", alg)
	}
	return jwxjws.Verify([]byte(token), jwxjws.WithKey(named, public))
}

// without are the libraries that cannot read the tokens, and why: the name
// that RFC 9864 gives to Ed25519 is too new for two of them, and golang-jwt
// has no tokens but those whose payload is a JSON object.
func without(alg string, payload []byte) []string {
	var names []string
	if alg == Ed25519 {
		names = append(names, "golang-jwt", "go-jose")
	}
	if !json.Valid(payload) || !bytes.HasPrefix(bytes.TrimSpace(payload), []byte("{")) {
		names = append(names, "golang-jwt")
	}
	return names
}

// sets are the key sets that the oracle verifies with: all three keys, and
// each of them alone, which a token without kid needs.
var sets = sync.OnceValue(func() []*KeySet {
	all := []*KeySet{keys().set}
	for _, k := range keys().set.keys {
		one, err := NewKeySet(k)
		if err != nil {
			panic(err)
		}
		all = append(all, one)
	}
	return all
})

// askLibraries is the oracle "three libraries": what [ParseForeign] reads and a
// key set verifies, golang-jwt, go-jose and jwx all accept with the same key
// and read the same payload from. So what any of them refuses, we refuse. What
// [Parse] reads is in that: it verifies as the same, or not at all.
func askLibraries(t testing.TB, token string) (accepted bool) {
	t.Helper()
	parsed, err := ParseForeign(token)
	if err != nil {
		if _, err := Parse(token); err == nil {
			t.Errorf("%q is a token of ours and none of others", token)
		}
		return false
	}
	ours, oursErr := Parse(token)
	for _, set := range sets() {
		payload, k, err := set.Verify(parsed)
		if oursErr == nil {
			again, by, oursErr := set.Verify(ours)
			if (err == nil) != (oursErr == nil) || !bytes.Equal(payload, again) || k.Thumb() != by.Thumb() {
				t.Errorf("%q is %q, %v, or %q, %v", token, payload, err, again, oursErr)
			}
		}
		if err != nil {
			continue
		}
		accepted = true
		alg := parsed.header.Alg
		for name, verify := range libraries {
			if slices.Contains(without(alg, payload), name) {
				continue
			}
			got, err := verify(token, alg, k.public)
			if name == "golang-jwt" {
				got = bytes.Replace(payload, bytes.TrimSpace(payload), got, 1) // it shows the object, and no space around it
			}
			if err != nil || !bytes.Equal(got, payload) {
				t.Errorf("%q: we read %q, %s reads %q, %v", token, payload, name, got, err)
			}
		}
	}
	return accepted
}

// The oracle is not blind: good tokens are accepted all round, and every library
// refuses what its own signature does not fit.
func TestLibrariesAgree(t *testing.T) {
	for _, token := range goodTokens() {
		if !askLibraries(t, token) {
			t.Errorf("%s: refused", token)
		}
	}
	for name, token := range hostile(t) {
		if askLibraries(t, token) && name != "no kid, and three keys" {
			t.Errorf("%s: accepted", name)
		}
	}
	for kid, token := range map[string]string{
		"k-ed": compact(edHeader, payload, fixed(make([]byte, 64))),
		"k-ec": compact(ecHeader, payload, fixed(bytes.Repeat([]byte{1}, 64))),
		"k-rs": compact(rsHeader, payload, fixed(make([]byte, 256))),
	} {
		k := keys().set.keys[kid]
		for name, verify := range libraries {
			if got, err := verify(token, k.alg, k.public); err == nil {
				t.Errorf("%s accepts a forgery of %s: %q", name, kid, got)
			}
		}
	}
}

func goodTokens() []string {
	var tokens []string
	for _, body := range []string{payload, `{}`, `{"iss":"https://i.test/","sub":"ü","aud":["a","b"],"exp":4102444800,"org":{"acme":{}}}`} {
		tokens = append(tokens,
			compact(edHeader, body, signEd), compact(ecHeader, body, signEC), twin(compact(ecHeader, body, signEC)), compact(rsHeader, body, signRS),
			compact(`{"alg":"Ed25519","kid":"k-ed"}`, body, signEd), compact(`{"alg":"EdDSA"}`, body, signEd), compact(`{"alg":"ES256","typ":"JWT"}`, body, signEC),
			compact(`{"alg":"RS256","typ":"JWT"}`, body, signRS), compact(`{"typ":"JWT","alg":"RS256","x5t":"AA","kid":"k-rs"}`, body, signRS),
			compact(`{"typ":"at+jwt","alg":"ES256","x5t#S256":"AA","kid":"k-ec"}`, body, signEC), compact("{\"typ\":\"t\",\r\n \"\\u0061lg\":\"EdDSA\",\"kid\":\"k-ed\"}", body, signEd),
		)
	}
	return tokens
}

// FuzzTokenAgainstLibraries changes good tokens and hostile ones; its oracle is
// "three libraries" (askLibraries).
func FuzzTokenAgainstLibraries(f *testing.F) {
	for _, token := range goodTokens() {
		f.Add(token)
		for _, change := range []string{token + "=", token + "\n", " " + token, token + ".", token[:len(token)-1], strings.Replace(token, ".", "..", 1), token + "A"} {
			f.Add(change)
		}
	}
	for _, token := range hostile(f) {
		if len(token) <= MaxSize {
			f.Add(token)
		}
	}
	f.Fuzz(func(t *testing.T, token string) { askLibraries(t, token) })
}

// FuzzSignedAgainstLibraries signs whatever header and payload it is given, so
// that the signature is in order and the question is what they say. Its oracle
// is "three libraries" (askLibraries).
func FuzzSignedAgainstLibraries(f *testing.F) {
	for signer := range uint8(3) {
		for _, header := range []string{edHeader, ecHeader, rsHeader, `{"alg":"EdDSA"}`, `{"alg":"ES256"}`, `{"alg":"RS256"}`, `{"alg":"Ed25519","x5t":"AA"}`} {
			for _, body := range []string{payload, ``, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", ` {"n":1e400} `, `[1]`, `null`, `{}{}`} {
				f.Add(header, body, signer)
			}
		}
		for _, token := range hostile(f) {
			head, rest, _ := strings.Cut(token, ".")
			raw, err := unbase64(head)
			if err == nil && rest != "" && len(token) <= MaxSize {
				f.Add(string(raw), payload, signer)
			}
		}
	}
	signers := []func(string) []byte{signEd, signEC, signRS}
	f.Fuzz(func(t *testing.T, header, body string, signer uint8) {
		if len(header)+len(body) > MaxSize {
			return
		}
		askLibraries(t, compact(header, body, signers[int(signer)%len(signers)]))
	})
}
