package jws

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// algorithms are the registered ones, each with the kinds of key it is for
// (RFC 7518, 8037, 8812, 9864). It is here to find keys that say they are for
// an algorithm they cannot be for. Names that it does not have are not ours.
var algorithms = map[string][]string{
	"none": nil, "HS256": {"oct"}, "HS384": {"oct"}, "HS512": {"oct"},
	RS256: {"RSA"}, "RS384": {"RSA"}, "RS512": {"RSA"}, "PS256": {"RSA"}, "PS384": {"RSA"}, "PS512": {"RSA"},
	"RSA1_5": {"RSA"}, "RSA-OAEP": {"RSA"}, "RSA-OAEP-256": {"RSA"}, "RSA-OAEP-384": {"RSA"}, "RSA-OAEP-512": {"RSA"},
	ES256: {"EC P-256"}, "ES384": {"EC P-384"}, "ES512": {"EC P-521"}, "ES256K": {"EC secp256k1"},
	EdDSA: {"OKP Ed25519", "OKP Ed448"}, Ed25519: {"OKP Ed25519"}, "Ed448": {"OKP Ed448"},
	"ECDH-ES": agreeing, "ECDH-ES+A128KW": agreeing, "ECDH-ES+A192KW": agreeing, "ECDH-ES+A256KW": agreeing,
}

var agreeing = []string{"EC P-256", "EC P-384", "EC P-521", "OKP X25519", "OKP X448"}

// descriptor has the members of a published key that say what it is for. A
// pointer tells a member that is missing from one that is empty.
type descriptor struct {
	Alg    *string   `json:"alg"`
	Crv    string    `json:"crv"`
	KeyOps *[]string `json:"key_ops"`
	Kid    *string   `json:"kid"`
	Kty    string    `json:"kty"`
	Use    *string   `json:"use"`
}

// ParsePublished reads a JWK Set as identity providers publish it: keys that
// are well-formed and not for verifying with our algorithms are passed over.
// What nobody should publish refuses the whole document: a private or
// symmetric key, a weak one, two of one name, an algorithm that is not its
// key's. Keys that are passed over are judged too, as far as we know their
// kind.
//
// A key may be without a name if it is the only one that is left.
func ParsePublished(doc []byte) (*KeySet, error) {
	values, err := documentKeys(doc)
	if err != nil {
		return nil, err
	}
	var keys []Key
	named := make(map[string]bool)
	for i, v := range values {
		k, d, err := parsePublishedKey(v)
		if err != nil {
			return nil, fmt.Errorf("jws: key set: key %d: %w", i, err)
		}
		if d.Kid != nil && named[*d.Kid] {
			return nil, fmt.Errorf("jws: key set: two keys named %.40q", *d.Kid)
		}
		if d.Kid != nil {
			named[*d.Kid] = true
		}
		if d.verifies() {
			keys = append(keys, k)
		}
	}
	return NewKeySet(keys...)
}

// parsePublishedKey returns the zero Key beside the descriptor of a key that
// is of no kind of ours.
func parsePublishedKey(v jsontext.Value) (Key, descriptor, error) {
	if _, err := publicMembers(v); err != nil {
		return Key{}, descriptor{}, err
	}
	var d descriptor
	if err := json.Unmarshal(v, &d); err != nil {
		return Key{}, descriptor{}, err
	}
	if err := d.check(); err != nil {
		return Key{}, descriptor{}, err
	}
	var m material
	switch d.kind() {
	case "RSA", "EC P-256", "OKP Ed25519":
		if err := json.Unmarshal(v, &m); err != nil {
			return Key{}, descriptor{}, err
		}
		k, err := m.key(d.name())
		return k, d, err
	case "EC P-384":
		return Key{}, d, onCurve(v, elliptic.P384())
	case "EC P-521":
		return Key{}, d, onCurve(v, elliptic.P521())
	default:
		return Key{}, d, nil
	}
}

// check judges what a key says of itself before the key is looked at.
func (d descriptor) check() error {
	if !visible(d.Kty, maxTyp) || d.Kty == "oct" {
		return fmt.Errorf("%.20q is no kind of public key", d.Kty)
	}
	if d.Kid != nil && !visible(*d.Kid, maxKid) {
		return errKid
	}
	if d.KeyOps != nil {
		ops := slices.Clone(*d.KeyOps)
		slices.Sort(ops)
		if len(slices.Compact(ops)) != len(*d.KeyOps) {
			return errors.New("an operation that is named twice")
		}
	}
	if d.Alg == nil {
		return nil
	}
	if kinds, known := algorithms[*d.Alg]; known && !slices.Contains(kinds, d.kind()) {
		return fmt.Errorf("%.20q is not the algorithm of a key of kind %.40q", *d.Alg, d.kind())
	}
	return nil
}

// kind is kty, and crv where it is part of what kty says.
func (d descriptor) kind() string {
	if d.Kty == "EC" || d.Kty == "OKP" {
		return d.Kty + " " + d.Crv
	}
	return d.Kty
}

func (d descriptor) name() string {
	if d.Kid == nil {
		return ""
	}
	return *d.Kid
}

// verifies reports whether the key is for verifying with one of our
// algorithms. What it does not say does not speak against it: providers leave
// out use, key_ops and alg as they like.
func (d descriptor) verifies() bool {
	if d.Use != nil && *d.Use != "sig" || d.KeyOps != nil && !slices.Contains(*d.KeyOps, "verify") {
		return false
	}
	if d.Alg != nil && !slices.Contains([]string{EdDSA, Ed25519, ES256, RS256}, *d.Alg) {
		return false
	}
	return slices.Contains([]string{"RSA", "EC P-256", "OKP Ed25519"}, d.kind())
}

func onCurve(v jsontext.Value, curve elliptic.Curve) error {
	var m material
	if err := json.Unmarshal(v, &m); err != nil {
		return err
	}
	x, errX := unbase64(m.X)
	y, errY := unbase64(m.Y)
	if err := errors.Join(errX, errY); err != nil {
		return err
	}
	_, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	return err
}
