package jws

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a key set document.
const (
	maxKeys     = 100
	maxDocument = 256 << 10
)

// ErrNoKey says that a token names a key that is not in the set: the
// issuer may have another set by now. No other refusal of a token says so.
var ErrNoKey = errors.New("jws: no key of that name")

// A KeySet is all the keys of one issuer. It does not change: another document
// makes another set. A nil KeySet verifies nothing.
type KeySet struct {
	keys   map[string]Key
	thumbs map[[sha256.Size]byte]struct{}
	digest [sha256.Size]byte
}

// NewKeySet returns the set of keys. There is at least one, and no two have
// the same name. One without a name, which [ParsePublished] may find, is alone.
func NewKeySet(keys ...Key) (*KeySet, error) {
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("jws: a key set has 1 to %d keys", maxKeys)
	}
	s := &KeySet{keys: make(map[string]Key), thumbs: make(map[[sha256.Size]byte]struct{})}
	for _, k := range keys {
		if k.public == nil {
			return nil, errors.New("jws: a key that is none")
		}
		if k.id == "" && len(keys) > 1 {
			return nil, errors.New("jws: a key without a name beside others")
		}
		if _, taken := s.keys[k.id]; taken {
			return nil, fmt.Errorf("jws: two keys named %.40q", k.id)
		}
		s.keys[k.id] = k
		s.thumbs[k.thumb] = struct{}{}
	}
	doc, err := s.JWKS()
	if err != nil {
		return nil, err
	}
	s.digest = sha256.Sum256(doc)
	return s, nil
}

// Verify returns the payload of t and the key that signed it. A token that
// names no key is verified by the only key there is, and by none of several.
func (s *KeySet) Verify(t Token) ([]byte, Key, error) {
	if s == nil {
		return nil, Key{}, errors.New("jws: no keys")
	}
	k, err := s.find(t.header.Kid)
	if err != nil {
		return nil, Key{}, err
	}
	if err := k.verify(t.header.Alg, t.signed, t.signature); err != nil {
		return nil, Key{}, err
	}
	return t.payload, k, nil
}

func (s *KeySet) find(kid string) (Key, error) {
	if kid != "" {
		k, ok := s.keys[kid]
		if !ok {
			return Key{}, fmt.Errorf("%w: %.40q", ErrNoKey, kid)
		}
		return k, nil
	}
	if len(s.keys) == 1 {
		for _, only := range s.keys {
			return only, nil
		}
	}
	return Key{}, fmt.Errorf("jws: the token names none of %d keys", len(s.keys))
}

// Digest names what is in s: two sets have the same one exactly when they have
// the same keys under the same names.
func (s *KeySet) Digest() [sha256.Size]byte { return s.digest }

// Holds reports whether s has the key with this [Key.Thumb], under any name.
func (s *KeySet) Holds(thumb [sha256.Size]byte) bool {
	if s == nil {
		return false
	}
	_, ok := s.thumbs[thumb]
	return ok
}

// document is a JWK Set (RFC 7517) as others publish it.
type document struct {
	Keys []jsontext.Value `json:"keys"`
}

// jwk has the members that matter here, in the order of RFC 7638. Those of
// other documents that only describe (x5c, x5t, issuer) are passed over.
type jwk struct {
	material
	Alg    string    `json:"alg,omitzero"`
	Kid    string    `json:"kid,omitzero"`
	KeyOps *[]string `json:"key_ops,omitzero"`
	Use    *string   `json:"use,omitzero"`
}

// material is the key itself: the members of a thumbprint, in its order.
type material struct {
	Crv string `json:"crv,omitzero"`
	E   string `json:"e,omitzero"`
	Kty string `json:"kty,omitzero"`
	N   string `json:"n,omitzero"`
	X   string `json:"x,omitzero"`
	Y   string `json:"y,omitzero"`
}

// private are the members that only the owner of a key may know, k of a
// symmetric one and priv of one of kty AKP among them.
var private = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

// ParseKeySet reads a JWK Set. One unfit key refuses the whole document: a
// publisher that gets one wrong is not believed about the others.
func ParseKeySet(doc []byte) (*KeySet, error) {
	values, err := documentKeys(doc)
	if err != nil {
		return nil, err
	}
	keys := make([]Key, 0, len(values))
	for i, v := range values {
		k, err := parseKey(v)
		if err != nil {
			return nil, fmt.Errorf("jws: key set: key %d: %w", i, err)
		}
		keys = append(keys, k)
	}
	return NewKeySet(keys...)
}

// documentKeys returns the keys of doc, each of which is still to be read.
func documentKeys(doc []byte) ([]jsontext.Value, error) {
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("jws: a key set has at most %d bytes", maxDocument)
	}
	if err := strict(doc, maxKeys); err != nil {
		return nil, fmt.Errorf("jws: key set: %w", err)
	}
	var d document
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, fmt.Errorf("jws: key set: %w", err)
	}
	return d.Keys, nil
}

func parseKey(v jsontext.Value) (Key, error) {
	members, err := publicMembers(v)
	if err != nil {
		return Key{}, err
	}
	var j jwk
	if err := json.Unmarshal(v, &j); err != nil {
		return Key{}, err
	}
	if j.Use != nil && *j.Use != "sig" || j.KeyOps != nil && !slices.Equal(*j.KeyOps, []string{"verify"}) {
		return Key{}, errors.New("not for verifying signatures")
	}
	if !visible(j.Kid, maxKid) {
		return Key{}, errKid
	}
	k, err := j.key(j.Kid)
	if err != nil {
		return Key{}, err
	}
	if _, given := members["alg"]; given && j.Alg != k.alg && (k.alg != EdDSA || j.Alg != Ed25519) {
		return Key{}, fmt.Errorf("%.20q is not the algorithm of a key of kind %s", j.Alg, j.Kty)
	}
	return k, nil
}

// publicMembers returns the members of a key, none of which is private.
func publicMembers(v jsontext.Value) (map[string]jsontext.Value, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(v, &members); err != nil {
		return nil, err
	}
	for _, name := range private {
		if _, ok := members[name]; ok {
			return nil, fmt.Errorf("a private or symmetric member: %s", name)
		}
	}
	return members, nil
}

// key returns the key that m is. The members are those of its kind alone and
// in their one spelling: a y beside an Ed25519 key, a zero before a modulus or
// 31 bytes of x beside 33 of y is a document nobody should guess at.
func (m material) key(id string) (Key, error) {
	public, err := m.public()
	if err != nil {
		return Key{}, err
	}
	k, err := newKey(id, public)
	if err != nil {
		return Key{}, err
	}
	if k.material() != m {
		return Key{}, errors.New("members that its kind does not have")
	}
	return k, nil
}

func (m material) public() (crypto.PublicKey, error) {
	switch {
	case m.Kty == "OKP" && m.Crv == "Ed25519":
		x, err := unbase64(m.X)
		return ed25519.PublicKey(x), err
	case m.Kty == "EC" && m.Crv == "P-256":
		x, errX := unbase64(m.X)
		y, errY := unbase64(m.Y)
		if err := errors.Join(errX, errY); err != nil {
			return nil, err
		}
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	case m.Kty == "RSA":
		n, errN := unbase64(m.N)
		e, errE := unbase64(m.E)
		if err := errors.Join(errN, errE); err != nil {
			return nil, err
		}
		exponent := new(big.Int).SetBytes(e)
		if exponent.BitLen() > 31 {
			return nil, errors.New("an RSA exponent over 31 bits")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
	default:
		return nil, fmt.Errorf("kind %.20q, curve %.20q", m.Kty, m.Crv)
	}
}

func (k Key) material() material {
	b64 := base64.RawURLEncoding.EncodeToString
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return material{Kty: "OKP", Crv: "Ed25519", X: b64(public)}
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			return material{}
		}
		return material{Kty: "EC", Crv: "P-256", X: b64(point[1:33]), Y: b64(point[33:])}
	case *rsa.PublicKey:
		return material{Kty: "RSA", N: b64(public.N.Bytes()), E: b64(big.NewInt(int64(public.E)).Bytes())}
	default:
		return material{}
	}
}

// JWKS returns s as a document for others to verify with, the same for the
// same keys.
func (s *KeySet) JWKS() ([]byte, error) {
	use := "sig"
	var d struct {
		Keys []jwk `json:"keys"`
	}
	for _, k := range s.keys {
		d.Keys = append(d.Keys, jwk{material: k.material(), Alg: k.alg, Kid: k.id, Use: &use})
	}
	slices.SortFunc(d.Keys, func(a, b jwk) int { return strings.Compare(a.Kid, b.Kid) })
	var out bytes.Buffer
	err := json.MarshalWrite(&out, d)
	return out.Bytes(), err
}
