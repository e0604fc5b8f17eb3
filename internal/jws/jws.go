// Package jws reads and writes compact JSON Web Signatures, and no other kind.
//
// It is strict where the libraries are lenient: it accepts exactly the bytes
// that an encoder could have written, a short list of header members, four
// algorithms and one algorithm a key. It knows nothing of tenants, and says nothing of
// what a token means: who calls it judges typ and claims.
package jws

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
)

// Limits of a token. They hold before anything is decoded.
const (
	MaxSize   = 8 << 10 // bytes of a token
	maxHeader = 1 << 10 // bytes of its encoded header
	maxDepth  = 8       // levels of JSON in header, claims and key sets
	maxLength = 64      // members of an object or elements of an array in a token
	maxOpen   = 1024    // the same in claims that others wrote
	maxKid    = 256
	maxTyp    = 64
)

var (
	errShape     = errors.New("jws: not three base64url parts of the allowed size")
	errSignature = errors.New("jws: the signature is not of this key")
)

// A Token is a well-formed JWS that nobody has verified yet. Its payload
// comes out of [KeySet.Verify] only; what [Token.ClaimedIssuer] says is a
// claim, good for choosing a key set and nothing else.
type Token struct {
	header    header
	signed    string // header and payload as they were signed
	payload   []byte
	signature []byte
}

// header lists every member that may occur. Whatever is not here is refused:
// crit, b64, zip, cty, jwk, jku, x5u, x5c and all that is yet to be invented
// change what a token means or who signed it.
type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// foreignHeader is the header of others. It may be without a kid, without a
// typ, and with the hash of a certificate, which only describes the key that
// kid names. A pointer tells a member that is missing from one that is empty.
type foreignHeader struct {
	Alg     string  `json:"alg"`
	Kid     *string `json:"kid"`
	Typ     *string `json:"typ"`
	X5t     *string `json:"x5t"`
	X5tS256 *string `json:"x5t#S256"`
	Cat     *string `json:"cat"` // Clerk's kind of token, which changes nothing of how it is read
}

// Parse reads a compact JWS. It accepts one spelling of each token: no
// padding, no line breaks, no stray bits, no JSON serialization.
func Parse(compact string) (Token, error) {
	t, raw, err := split(compact)
	if err != nil {
		return Token{}, err
	}
	if len(t.payload) == 0 {
		return Token{}, errShape
	}
	if t.header, err = parseHeader(raw); err != nil {
		return Token{}, err
	}
	return t, nil
}

// ParseForeign is [Parse] for tokens that are not ours. Identity providers say
// less in the header, and more: kid and typ may be missing, x5t, x5t#S256 and
// Clerk's cat may be there. Whatever else may occur is still refused. The payload may be
// empty, as RFC 7515 allows; no claims decode from it.
func ParseForeign(compact string) (Token, error) {
	t, raw, err := split(compact)
	if err != nil {
		return Token{}, err
	}
	if t.header, err = parseForeignHeader(raw); err != nil {
		return Token{}, err
	}
	return t, nil
}

// split returns the parts of compact, with the header not yet read.
func split(compact string) (t Token, raw []byte, err error) {
	if len(compact) > MaxSize {
		return Token{}, nil, errShape
	}
	head, rest, _ := strings.Cut(compact, ".")
	body, mac, found := strings.Cut(rest, ".")
	if !found || len(head) > maxHeader || mac == "" {
		return Token{}, nil, errShape
	}
	t.signed = compact[:len(head)+1+len(body)]
	if raw, err = unbase64(head); err != nil {
		return Token{}, nil, err
	}
	if t.payload, err = unbase64(body); err != nil {
		return Token{}, nil, err
	}
	if t.signature, err = unbase64(mac); err != nil {
		return Token{}, nil, err
	}
	return t, raw, nil
}

func parseHeader(raw []byte) (header, error) {
	var h header
	if err := Decode(raw, &h); err != nil {
		return header{}, fmt.Errorf("jws: header: %w", err)
	}
	if !visible(h.Alg, maxTyp) || !visible(h.Kid, maxKid) || !visible(h.Typ, maxTyp) {
		return header{}, errors.New("jws: header: alg, kid and typ are required, printable and short")
	}
	return h, nil
}

func parseForeignHeader(raw []byte) (header, error) {
	var f foreignHeader
	if err := Decode(raw, &f); err != nil {
		return header{}, fmt.Errorf("jws: header: %w", err)
	}
	h := header{Alg: f.Alg}
	if !visible(h.Alg, maxTyp) {
		return header{}, errors.New("jws: header: alg is required, printable and short")
	}
	for _, m := range []struct {
		given *string
		limit int
		into  *string
	}{{f.Kid, maxKid, &h.Kid}, {f.Typ, maxTyp, &h.Typ}, {f.X5t, maxTyp, new(string)}, {f.X5tS256, maxTyp, new(string)}, {f.Cat, maxTyp, new(string)}} {
		if m.given == nil {
			continue
		}
		if !visible(*m.given, m.limit) {
			return header{}, errors.New("jws: header: what is given is printable and short")
		}
		*m.into = *m.given
	}
	return h, nil
}

// Typ returns the header's typ, as it is spelled: whoever compares it compares
// all of it, and only after the signature was verified. Without one it is "".
func (t Token) Typ() string { return t.header.Typ }

// Alg returns the header's alg, as it is spelled. It is the one of the key once
// the signature was verified.
func (t Token) Alg() string { return t.header.Alg }

// ClaimedIssuer returns the iss claim, which nobody has verified yet.
func (t Token) ClaimedIssuer() (string, error) {
	var c struct {
		Issuer string `json:"iss"`
	}
	if err := DecodeOpen(t.payload, &c); err != nil {
		return "", fmt.Errorf("jws: claims: %w", err)
	}
	return c.Issuer, nil
}

// Sign returns the compact JWS of claims, signed by a with typ in its header.
func Sign(a Signer, typ string, claims any) (string, error) {
	if a.sign == nil {
		return "", errors.New("jws: no key to sign with")
	}
	h, err := json.Marshal(header{Alg: EdDSA, Kid: a.kid, Typ: typ}, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("jws: header: %w", err)
	}
	c, err := json.Marshal(claims, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("jws: claims: %w", err)
	}
	signed := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	compact := signed + "." + base64.RawURLEncoding.EncodeToString(a.sign(signed))
	if _, err := Parse(compact); err != nil {
		return "", err
	}
	return compact, nil
}

// unbase64 decodes s and refuses every second spelling of the same bytes:
// encoding/base64 skips \r and \n, and ignores the bits behind the last byte.
func unbase64(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || base64.RawURLEncoding.EncodeToString(b) != s {
		return nil, errShape
	}
	return b, nil
}

// visible reports whether s is 1 to limit bytes of ASCII that prints and is
// not a space.
func visible(s string, limit int) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= limit
}
