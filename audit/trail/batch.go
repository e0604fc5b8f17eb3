package trail

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	MaxBatch  = 16 << 20 // of a batch's body
	FrameSize = 52       // of what stands before the body
)

// A Batch is one group commit. Its Frame is what a commit log keeps, the same
// bytes in every kind of it: u32 length of the body, u32 CRC-32C of all else,
// u32 shard, u64 number, SHA-256 of the frame before (zero before the first),
// body. The body is records one after the other, as by [AppendRecord].
type Batch struct {
	Shard uint32
	No    uint64
	Prev  [32]byte
	Frame []byte
}

// Body returns the records of b.
func (b Batch) Body() []byte { return b.Frame[FrameSize:] }

// Sum returns what the next batch has as its Prev.
func (b Batch) Sum() [32]byte { return sha256.Sum256(b.Frame) }

// NewBatch frames the body that follows FrameSize free bytes in frame.
func NewBatch(shard uint32, no uint64, prev [32]byte, frame []byte) (Batch, error) {
	n := len(frame) - FrameSize
	if n <= 0 || n > MaxBatch {
		return Batch{}, fmt.Errorf("audit: a batch of %d bytes, 1 to %d are possible", n, MaxBatch)
	}
	be := binary.BigEndian
	be.PutUint32(frame, uint32(n))
	be.PutUint32(frame[8:], shard)
	be.PutUint64(frame[12:], no)
	copy(frame[20:FrameSize], prev[:])
	be.PutUint32(frame[4:], checksum(frame))
	return Batch{shard, no, prev, frame}, nil
}

// FrameLength returns the length of the whole frame that begins with head,
// which has at least four bytes.
func FrameLength(head []byte) (int, error) {
	n := binary.BigEndian.Uint32(head)
	if n == 0 || n > MaxBatch {
		return 0, fmt.Errorf("audit: a batch of %d bytes, 1 to %d are possible", n, MaxBatch)
	}
	return FrameSize + int(n), nil
}

// ParseBatch returns frame as a Batch, after checking its length and checksum.
func ParseBatch(frame []byte) (Batch, error) {
	if len(frame) < FrameSize {
		return Batch{}, errors.New("audit: a frame is cut off")
	}
	n, err := FrameLength(frame)
	if err != nil {
		return Batch{}, err
	}
	be := binary.BigEndian
	b := Batch{be.Uint32(frame[8:]), be.Uint64(frame[12:]), [32]byte(frame[20:FrameSize]), frame}
	if n != len(frame) || be.Uint32(frame[4:]) != checksum(frame) {
		return Batch{}, fmt.Errorf("audit: batch %d fails its checksum", b.No)
	}
	return b, nil
}

func checksum(frame []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(frame[:4], table), table, frame[8:])
}

// AppendRecord appends one record to dst: u32 length, header, ciphertext. The
// header alone stands for a record whose payload is not there.
func AppendRecord(dst, record []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(record))), record...)
}

// A Sealed is one record as it is kept. Its slices belong to whoever gave it.
type Sealed struct {
	Header     Header
	Raw        []byte // the header, encoded
	Ciphertext []byte // nil if only the header is there
}

// Leaf returns the leaf hash of s.
func (s Sealed) Leaf() [32]byte { return Leaf(s.Raw) }

// MaxRecord is the length of the longest record as by [AppendRecord].
const MaxRecord = 4 + HeaderSize + MaxSealed

// CutRecord returns the first record of b and what follows it. The ciphertext
// is as long as its header says; that it is the header's, [Unseal] checks.
func CutRecord(b []byte) (s Sealed, rest []byte, err error) {
	if len(b) < 4+HeaderSize {
		return Sealed{}, nil, errors.New("audit: a record is cut off")
	}
	n := int(binary.BigEndian.Uint32(b))
	if n < HeaderSize || n > len(b)-4 || n > HeaderSize+MaxSealed {
		return Sealed{}, nil, fmt.Errorf("audit: a record of %d bytes where %d are left", n, len(b)-4)
	}
	raw := b[4 : 4+HeaderSize : 4+HeaderSize]
	h, err := ParseHeader(raw)
	if err != nil {
		return Sealed{}, nil, err
	}
	s = Sealed{Header: h, Raw: raw}
	if n > HeaderSize {
		s.Ciphertext = b[4+HeaderSize : 4+n : 4+n]
		if len(s.Ciphertext) != int(h.Length) {
			return Sealed{}, nil, fmt.Errorf("audit: record %v: %d bytes of payload, %d announced", h.Ref(), len(s.Ciphertext), h.Length)
		}
	}
	return s, b[4+n:], nil
}

// An Opened is one record as it is kept, and as it reads.
type Opened struct {
	Sealed
	Record Record
}
