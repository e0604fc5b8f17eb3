// Package tenant says whose data it is.
package tenant

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
)

// Size is the length of an ID in bytes.
const Size = 16

// An ID names one tenant for ever: 16 random bytes, drawn once and never used
// again. The zero ID is nobody. An ID is comparable and safe to copy.
type ID struct{ b [Size]byte }

var errID = errors.New("tenant: an id is 32 lower-case hexadecimal digits, not all zero")

// New draws an ID. Only the registry, which assigns them, calls it.
func New() ID {
	var id ID
	rand.Read(id.b[:]) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	return id
}

// Parse returns the ID spelled s: 32 lower-case hexadecimal digits and nothing
// else. The spelling of the zero ID is refused.
func Parse(s string) (ID, error) {
	var id ID
	if len(s) != 2*Size {
		return ID{}, errID
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ID{}, errID
		}
	}
	if _, err := hex.Decode(id.b[:], []byte(s)); err != nil || id.IsZero() {
		return ID{}, errID
	}
	return id, nil
}

// FromUUID returns the ID with the bytes b, as the registry stores it.
func FromUUID(b [Size]byte) ID { return ID{b} }

// UUID returns the bytes of id, as the registry stores them.
func (id ID) UUID() [Size]byte { return id.b }

// IsZero reports whether id is nobody.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the one spelling of id in every namespace, path, log and
// metric: 32 lower-case hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id.b[:]) }
