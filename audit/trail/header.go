package trail

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/isocore/isocore/tenant"
)

// HeaderSize is the length of an encoded [Header].
const HeaderSize = 134

// None is a header's Of where there is no decision.
const None = 1<<64 - 1

const (
	version   = 1
	atSeq     = 22 // offsets of what is assigned last
	atCommit  = 30
	maxNumber = 1 << 53 // of Seq and Commit: exact in JSON too
)

// A Header is the clear part of a record. It holds nothing personal; the hash
// of it, and so of the ciphertext, is the record's leaf.
//
// Encoded it is, big-endian: "IR", u8 version, u8 kind, u16 class, 16 log,
// u64 seq, u64 commit, u64 of, 16 rid, u32 key version, u32 payload length,
// 32 SHA-256 of the ciphertext, 32 key commitment.
type Header struct {
	Kind       Kind
	Class      Class
	Log        tenant.ID
	Seq        uint64
	Commit     uint64   // when it was recorded, in milliseconds of Unix time; never decreases within a log
	Of         uint64   // the decision an outcome is of, or None
	RID        [16]byte // random; with the log's key it makes the record's
	KeyVersion uint32
	Length     uint32 // of the ciphertext
	Sum        [32]byte
	Commitment [32]byte // to the record's key: AES-GCM alone does not commit
}

// Time returns when the record was made durable.
func (h Header) Time() time.Time { return time.UnixMilli(int64(h.Commit)).UTC() }

// Ref returns the place of the record.
func (h Header) Ref() Ref { return Ref{h.Log, h.Seq} }

// AppendTo appends h, encoded, to dst.
func (h Header) AppendTo(dst []byte) []byte {
	be, log := binary.BigEndian, h.Log.UUID()
	dst = append(dst, 'I', 'R', version, byte(h.Kind))
	dst = be.AppendUint16(dst, uint16(h.Class))
	dst = append(dst, log[:]...)
	dst = be.AppendUint64(dst, h.Seq)
	dst = be.AppendUint64(dst, h.Commit)
	dst = be.AppendUint64(dst, h.Of)
	dst = append(dst, h.RID[:]...)
	dst = be.AppendUint32(dst, h.KeyVersion)
	dst = be.AppendUint32(dst, h.Length)
	dst = append(dst, h.Sum[:]...)
	return append(dst, h.Commitment[:]...)
}

// ParseHeader is the inverse of AppendTo. It refuses headers that say
// something impossible.
func ParseHeader(b []byte) (Header, error) {
	if len(b) != HeaderSize || b[0] != 'I' || b[1] != 'R' {
		return Header{}, errors.New("audit: not a record header")
	}
	if b[2] != version {
		return Header{}, fmt.Errorf("audit: record of version %d, known is %d", b[2], version)
	}
	be := binary.BigEndian
	h := Header{
		Kind: Kind(b[3]), Class: Class(be.Uint16(b[4:])), Log: tenant.FromUUID([16]byte(b[6:22])),
		Seq: be.Uint64(b[atSeq:]), Commit: be.Uint64(b[atCommit:]), Of: be.Uint64(b[38:]), RID: [16]byte(b[46:62]),
		KeyVersion: be.Uint32(b[62:]), Length: be.Uint32(b[66:]), Sum: [32]byte(b[70:102]), Commitment: [32]byte(b[102:134]),
	}
	return h, h.check()
}

func (h *Header) check() error {
	switch {
	case !h.Class.Fits(h.Kind):
		return fmt.Errorf("audit: record %v: %v does not go with %v", h.Ref(), h.Class, h.Kind)
	case h.Seq >= maxNumber || h.Commit >= maxNumber:
		return fmt.Errorf("audit: record %v: number or time out of range", h.Ref())
	case (h.Of == None) == (h.Kind == Outcome) || h.Of != None && h.Of >= h.Seq:
		return fmt.Errorf("audit: record %v: %v of %d", h.Ref(), h.Kind, h.Of)
	case h.Length <= tagSize || h.Length > MaxSealed:
		return fmt.Errorf("audit: record %v: payload of %d bytes", h.Ref(), h.Length)
	default:
		return nil
	}
}

// Leaf returns the leaf hash (RFC 6962, 2.1) of an encoded header.
func Leaf(header []byte) [32]byte {
	var b [1 + HeaderSize]byte // b[0] is 0x00
	copy(b[1:], header)
	return sha256.Sum256(b[:])
}

// Number writes what the sequencer assigns into an encoded header.
func Number(header []byte, seq, commit uint64) {
	binary.BigEndian.PutUint64(header[atSeq:], seq)
	binary.BigEndian.PutUint64(header[atCommit:], commit)
}
