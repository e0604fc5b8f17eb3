package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/secret"
)

// Sizes of a key and of one that is wrapped: nonce, ciphertext, tag.
const (
	keySize     = 32
	wrappedSize = 12 + keySize + 16
)

// domain begins what a wrapped key is bound to, so that nothing else that a
// KEK may ever seal is taken for one.
const domain = "isocore wrapped key v1\x00"

// A kek wraps keys. Its id says which it is and nothing of what it is.
type kek struct {
	id   string
	aead cipher.AEAD
}

func newKEK(contents secret.Text) (kek, error) {
	b := []byte(contents.Reveal())
	if len(b) != keySize || string(b) == string(make([]byte, keySize)) {
		return kek{}, fmt.Errorf("keyring: a KEK is %d random bytes, and this one is not", keySize)
	}
	block, err := aes.NewCipher(b)
	if err != nil {
		return kek{}, fmt.Errorf("keyring: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return kek{}, fmt.Errorf("keyring: %w", err)
	}
	return kek{kekID(b), aead}, nil
}

func kekID(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:4])
}

// wrap fills in k.Wrapped and k.KEK with key, bound to the rest of k.
func (e kek) wrap(k *registry.WrappedKey, key [keySize]byte) {
	nonce := make([]byte, e.aead.NonceSize(), wrappedSize)
	rand.Read(nonce) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	k.KEK = e.id
	k.Wrapped = e.aead.Seal(nonce, nonce, key[:], bound(k))
}

// unwrap is the inverse of wrap. It fails for a key that was wrapped as
// another tenant's, another version, for another purpose or by another KEK.
func (e kek) unwrap(k *registry.WrappedKey) ([keySize]byte, error) {
	if len(k.Wrapped) != wrappedSize {
		return [keySize]byte{}, fmt.Errorf("has %d bytes, not %d", len(k.Wrapped), wrappedSize)
	}
	n := e.aead.NonceSize()
	b, err := e.aead.Open(nil, k.Wrapped[:n], k.Wrapped[n:], bound(k))
	if err != nil {
		return [keySize]byte{}, errors.New("was not wrapped by this KEK for this tenant, purpose and version")
	}
	return [keySize]byte(b), nil
}

// bound is what a wrapped key belongs to: of fixed width, but for the purpose
// at its end.
func bound(k *registry.WrappedKey) []byte {
	id := k.Tenant.UUID()
	b := append([]byte(domain), id[:]...)
	b = binary.BigEndian.AppendUint32(b, k.Version)
	named := sha256.Sum256([]byte(k.KEK))
	b = append(b, named[:]...)
	return append(b, k.Purpose...)
}
