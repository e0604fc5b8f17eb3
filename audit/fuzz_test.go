package audit

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/isocore/isocore/tenant"
)

func FuzzSnapshot(f *testing.F) {
	s := &snapshot{next: 9, last: [32]byte{1}, heads: map[tenant.ID]*head{}}
	f.Add(s.encode())
	for i := range 5 {
		h := &head{commit: uint64(i)}
		for range i * i {
			h.Append([32]byte{byte(i)})
		}
		s.heads[id(byte(i))] = h
	}
	f.Add(s.encode())
	// Oracle: what parseSnapshot accepts, encode writes again, but for the order
	// of the logs; with a checksum repaired as well as without.
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, repaired(b)} {
			s, err := parseSnapshot(b)
			if err != nil {
				continue
			}
			again, err := parseSnapshot(s.encode())
			if err != nil || len(s.encode()) != len(b) || !bytes.Equal(again.encode(), s.encode()) {
				t.Errorf("%x is %+v, %v", b, s, err)
			}
		}
	})
}

// repaired returns b with the checksum that it should have.
func repaired(b []byte) []byte {
	if len(b) < 32 {
		return nil
	}
	sum := sha256.Sum256(b[:len(b)-32])
	return append(bytes.Clone(b[:len(b)-32]), sum[:]...)
}
