package jws

import (
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

	"github.com/go-json-experiment/json"
)

// The algorithms there are. Ed25519 is the fully specified name that RFC 9864
// gives to what most signers still call EdDSA: an Ed25519 key answers to both.
const (
	EdDSA   = "EdDSA"
	Ed25519 = "Ed25519"
	ES256   = "ES256"
	RS256   = "RS256"
)

const (
	minRSA      = 2048
	maxRSA      = 8192 // a verification costs time, and the modulus is the issuer's choice
	minExponent = 65537
)

var errKid = errors.New("jws: a key needs a kid that is printable and short")

// A Key is a public key with its name and the one algorithm it is for.
type Key struct {
	id     string
	alg    string
	public crypto.PublicKey // ed25519.PublicKey, *ecdsa.PublicKey or *rsa.PublicKey
	thumb  [sha256.Size]byte
}

// NewKey returns the key named id; its kind decides its algorithm.
func NewKey(id string, public crypto.PublicKey) (Key, error) {
	if !visible(id, maxKid) {
		return Key{}, errKid
	}
	return newKey(id, public)
}

// newKey is [NewKey] for names that were judged: an identity provider's only
// key may have none.
func newKey(id string, public crypto.PublicKey) (Key, error) {
	k := Key{id: id, public: public}
	var err error
	switch public := public.(type) {
	case ed25519.PublicKey:
		k.alg, err = EdDSA, checkEd25519(public)
	case *ecdsa.PublicKey:
		k.alg, err = ES256, checkP256(public)
	case *rsa.PublicKey:
		k.alg, err = RS256, checkRSA(public)
	default:
		err = fmt.Errorf("jws: no algorithm for a %T", public)
	}
	if err != nil {
		return Key{}, err
	}
	canonical, err := json.Marshal(k.material())
	if err != nil {
		return Key{}, fmt.Errorf("jws: thumbprint: %w", err)
	}
	k.thumb = sha256.Sum256(canonical)
	return k, nil
}

// ID returns the name by which a token's kid finds k in its set.
func (k Key) ID() string { return k.id }

// Alg returns the algorithm of k, under its older name where it has two.
func (k Key) Alg() string { return k.alg }

// Thumb returns the thumbprint of k (RFC 7638, SHA-256): it depends on the key
// and not on its name.
func (k Key) Thumb() [sha256.Size]byte { return k.thumb }

// Thumbprint returns [Key.Thumb] as kid members carry it.
func (k Key) Thumbprint() string { return base64.RawURLEncoding.EncodeToString(k.thumb[:]) }

// verify reports whether signature is k's over signed. The header's alg was
// the attacker's choice, so it is compared, and never used to choose.
//
// For each ES256 signature (r, s) there is a twin (r, n-s) that anyone can
// compute and every verifier accepts; refusing the higher one would refuse
// half of what honest signers write. So two tokens with different bytes can
// be the same token: nothing may deny, count or revoke by the hash of a token.
func (k Key) verify(alg, signed string, signature []byte) error {
	if alg != k.alg && (k.alg != EdDSA || alg != Ed25519) {
		return fmt.Errorf("jws: %.20q is not the algorithm of this key", alg)
	}
	ok := false
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(public, []byte(signed), signature)
	case *ecdsa.PublicKey:
		ok = verifyP256(public, signed, signature)
	case *rsa.PublicKey:
		digest := sha256.Sum256([]byte(signed))
		ok = rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	}
	if !ok {
		return errSignature
	}
	return nil
}

// verifyP256 takes r and s as two times 32 bytes (RFC 7518, 3.4), never DER.
func verifyP256(public *ecdsa.PublicKey, signed string, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	n := elliptic.P256().Params().N
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if r.Sign() == 0 || s.Sign() == 0 || r.Cmp(n) >= 0 || s.Cmp(n) >= 0 {
		return false
	}
	digest := sha256.Sum256([]byte(signed))
	return ecdsa.Verify(public, digest[:], r, s)
}

// smallOrder are the y coordinates, little-endian and without the sign bit, of
// the points of Ed25519 whose order divides 8. Under such a key a signature
// that fits many messages takes no private key.
var smallOrder = [...]string{
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
	"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
}

func checkEd25519(public ed25519.PublicKey) error {
	if len(public) != ed25519.PublicKeySize {
		return errors.New("jws: an Ed25519 key has 32 bytes")
	}
	y := [ed25519.PublicKeySize]byte(public)
	y[31] &= 0x7f
	for _, low := range smallOrder {
		if string(y[:]) == low {
			return errors.New("jws: an Ed25519 key of small order")
		}
	}
	// p = 2^255 - 19: the 19 values from p on are second spellings.
	for _, b := range y[1:31] {
		if b != 0xff {
			return nil
		}
	}
	if y[31] == 0x7f && y[0] >= 0xed {
		return errors.New("jws: an Ed25519 key that is not canonical")
	}
	return nil
}

func checkP256(public *ecdsa.PublicKey) error {
	if public.Curve != elliptic.P256() {
		return errors.New("jws: an ES256 key is on P-256")
	}
	if _, err := public.Bytes(); err != nil {
		return fmt.Errorf("jws: an ES256 key off its curve: %w", err)
	}
	return nil
}

func checkRSA(public *rsa.PublicKey) error {
	if bits := public.N.BitLen(); bits < minRSA || bits > maxRSA || public.N.Bit(0) == 0 {
		return fmt.Errorf("jws: an RSA key is odd and has %d to %d bits", minRSA, maxRSA)
	}
	if public.E < minExponent || public.E%2 == 0 {
		return fmt.Errorf("jws: an RSA exponent is odd and at least %d", minExponent)
	}
	if roca(public.N) {
		return errors.New("jws: an RSA key that can be factored (CVE-2017-15361)")
	}
	return nil
}

// A Signer is an Ed25519 private key, named by its own thumbprint. The key is
// inside a function because no verb prints what that holds.
type Signer struct {
	kid  string
	sign func(signed string) []byte
}

// NewSigner returns the signer with the key private, and the public key by
// which others verify what it signs.
func NewSigner(private ed25519.PrivateKey) (Signer, Key, error) {
	if len(private) != ed25519.PrivateKeySize {
		return Signer{}, Key{}, errors.New("jws: an Ed25519 private key has 64 bytes")
	}
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return Signer{}, Key{}, errors.New("jws: not an Ed25519 private key")
	}
	k, err := NewKey("unnamed", public)
	if err != nil {
		return Signer{}, Key{}, err
	}
	k.id = k.Thumbprint()
	return Signer{k.id, func(signed string) []byte { return ed25519.Sign(private, []byte(signed)) }}, k, nil
}
