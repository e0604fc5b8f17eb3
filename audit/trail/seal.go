package trail

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

const tagSize = 16

// RecordKey returns the key of one record: HKDF-SHA256 (RFC 5869, no salt) of
// its log's key with the info "rec", log, rid. It opens that record and no other.
func RecordKey(key [32]byte, log tenant.ID, rid [16]byte) ([32]byte, error) {
	id := log.UUID()
	return derive(key, "rec"+string(id[:])+string(rid[:]))
}

// Commitment returns what a header says of its record's key: HKDF-SHA256 of it
// with the info "commit". Nobody can find two keys with the same one.
func Commitment(recordKey [32]byte) ([32]byte, error) { return derive(recordKey, "commit") }

// ParameterDigests returns what stands for the values of bound parameters
// where the values themselves are not kept: HMAC-SHA256 of each under a key
// derived from the log's with the info "parameter". Equal values of one log
// have equal digests; without the log's key nobody can try values out.
func ParameterDigests(key [32]byte, values [][]byte) ([][]byte, error) {
	k, err := derive(key, "parameter")
	if err != nil {
		return nil, err
	}
	digests := make([][]byte, min(len(values), MaxParameters+1))
	for i := range digests {
		if values[i] == nil {
			continue
		}
		m := hmac.New(sha256.New, k[:])
		m.Write(values[i])
		digests[i] = m.Sum(nil)
	}
	return digests, nil
}

func derive(key [32]byte, info string) ([32]byte, error) {
	b, err := hkdf.Key(sha256.New, key[:], nil, info, len(key))
	if err != nil {
		return [32]byte{}, fmt.Errorf("audit: hkdf: %w", err)
	}
	return [32]byte(b), nil
}

// Seal returns r as an encoded header, to be numbered by [Number], followed by
// the ciphertext: AES-256-GCM under the record's own key, which is used once,
// so the nonce is zero. The number is not part of what is sealed: whoever
// seals does not know it yet, and the leaf binds it to the ciphertext anyway.
func Seal(key [32]byte, keyVersion uint32, r Record) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	kept, err := r.bounded()
	if err != nil {
		return nil, err
	}
	clear, err := encodePayload(&kept)
	if err != nil {
		return nil, refusal.New(refusal.Internal, "audit: encode: %w", err)
	}
	if len(clear)+tagSize > MaxSealed {
		return nil, refusal.New(refusal.TooLarge, "audit: a record of %d bytes, %d at most", len(clear)+tagSize, MaxSealed)
	}
	h := Header{Kind: r.Kind, Class: r.Class, Log: r.Log, Of: None, KeyVersion: keyVersion, Length: uint32(len(clear) + tagSize)}
	if r.Kind == Outcome {
		h.Of = r.Of.Seq
	}
	rand.Read(h.RID[:]) //nolint:errcheck // never fails since Go 1.24
	recordKey, err := RecordKey(key, r.Log, h.RID)
	if err != nil {
		return nil, err
	}
	if h.Commitment, err = Commitment(recordKey); err != nil {
		return nil, err
	}
	aead, err := aeadOf(recordKey)
	if err != nil {
		return nil, err
	}
	out := make([]byte, HeaderSize, HeaderSize+len(clear)+tagSize)
	out = aead.Seal(out, make([]byte, aead.NonceSize()), clear, additional(&h))
	h.Sum = sha256.Sum256(out[HeaderSize:])
	h.AppendTo(out[:0])
	return out, nil
}

// Unseal opens the ciphertext of h with the record's own key. It checks the
// ciphertext against the header, the key against its commitment and the
// payload against both.
func Unseal(recordKey [32]byte, h Header, ciphertext []byte) (Record, error) {
	r, err := unseal(recordKey, h, ciphertext)
	if err != nil {
		return Record{}, fmt.Errorf("audit: record %v: %w", h.Ref(), err)
	}
	return r, nil
}

func unseal(recordKey [32]byte, h Header, ciphertext []byte) (Record, error) {
	if len(ciphertext) != int(h.Length) || sha256.Sum256(ciphertext) != h.Sum {
		return Record{}, fmt.Errorf("the ciphertext is not the header's")
	}
	commitment, err := Commitment(recordKey)
	if err != nil {
		return Record{}, err
	}
	if subtle.ConstantTimeCompare(commitment[:], h.Commitment[:]) != 1 {
		return Record{}, fmt.Errorf("the key is not the one the header commits to")
	}
	aead, err := aeadOf(recordKey)
	if err != nil {
		return Record{}, err
	}
	clear, err := aead.Open(nil, make([]byte, aead.NonceSize()), ciphertext, additional(&h))
	if err != nil {
		return Record{}, err
	}
	r, err := decodePayload(clear)
	if err != nil {
		return Record{}, err
	}
	if r.Log != h.Log {
		return Record{}, fmt.Errorf("sealed for log %s", r.Log)
	}
	r.Kind, r.Class = h.Kind, h.Class
	if h.Of != None {
		r.Of = Ref{h.Log, h.Of}
	}
	return r, nil
}

func aeadOf(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("audit: aes: %w", err)
	}
	return cipher.NewGCM(block)
}

// additional is what the seal binds beside the payload: log, kind, class.
func additional(h *Header) []byte {
	id := h.Log.UUID()
	b := append(make([]byte, 0, len(id)+3), id[:]...)
	b = append(b, byte(h.Kind))
	return binary.BigEndian.AppendUint16(b, uint16(h.Class))
}
