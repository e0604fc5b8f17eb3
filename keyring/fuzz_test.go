package keyring

import (
	"bytes"
	"testing"

	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// FuzzUnwrap: the oracle is "only what was wrapped opens": with one wrapped
// key in hand, nothing that differs from it in any field opens.
func FuzzUnwrap(f *testing.F) {
	e, err := newKEK(secret.New(string(bytes.Repeat([]byte{7}, keySize))))
	if err != nil {
		f.Fatal(err)
	}
	good := registry.WrappedKey{Tenant: tenant.FromUUID([16]byte{1}), Purpose: Audit, Version: 3}
	key := [keySize]byte{9}
	good.KEK = e.id
	nonce := make([]byte, e.aead.NonceSize()) // not drawn: the workers of a fuzz run have to agree on what is good
	good.Wrapped = e.aead.Seal(nonce, nonce, key[:], bound(&good))
	id := good.Tenant.UUID()
	f.Add(good.Wrapped, id[:], good.Version, good.Purpose, good.KEK)
	f.Add(good.Wrapped, id[:], good.Version+1, good.Purpose, good.KEK)
	f.Add(good.Wrapped, id[:], good.Version, "other", good.KEK)
	f.Add(good.Wrapped, id[:], good.Version, good.Purpose, "other")
	f.Add(good.Wrapped, make([]byte, 16), good.Version, good.Purpose, good.KEK)
	f.Add(good.Wrapped[:len(good.Wrapped)-1], id[:], good.Version, good.Purpose, good.KEK)
	f.Add([]byte{}, []byte{}, uint32(0), "", "")
	f.Fuzz(func(t *testing.T, wrapped, id []byte, version uint32, purpose, kekID string) {
		var uuid [16]byte
		copy(uuid[:], id)
		k := registry.WrappedKey{Tenant: tenant.FromUUID(uuid), Purpose: purpose, Version: version, KEK: kekID, Wrapped: wrapped}
		same := k.Tenant == good.Tenant && purpose == good.Purpose && version == good.Version && kekID == good.KEK && bytes.Equal(wrapped, good.Wrapped)
		got, err := e.unwrap(&k)
		if same != (err == nil) || same && got != key {
			t.Errorf("%+v: %v", k, err)
		}
	})
}
