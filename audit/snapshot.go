package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"

	"github.com/isocore/isocore/audit/tree"
	"github.com/isocore/isocore/tenant"
)

// A snapshot is the state after a batch, so that Open need not read them all.
// Every log in it has a checkpoint at least as large on disk, and its index is
// durable: Open checks the first by replaying up to the checkpoint.
//
// On disk it is "IS", u8 version, u64 next batch, 32 sum of the last one, u32
// number of logs, for each 16 id, u64 size, u64 commit, 32 for each hash; and
// the SHA-256 of all that.
type snapshot struct {
	next  uint64
	last  [32]byte
	heads map[tenant.ID]*head
}

const (
	snapshotEvery = 1 << 14 // batches
	snapshotMagic = "IS\x01"
	snapshotFixed = len(snapshotMagic) + 8 + 32 + 4
)

func (s *snapshot) encode() []byte {
	be := binary.BigEndian
	b := be.AppendUint64([]byte(snapshotMagic), s.next)
	b = append(b, s.last[:]...)
	b = be.AppendUint32(b, uint32(len(s.heads)))
	ids := slices.SortedFunc(maps.Keys(s.heads), compareIDs)
	for _, id := range ids {
		h, raw := s.heads[id], id.UUID()
		b = append(b, raw[:]...)
		b = be.AppendUint64(b, h.Size())
		b = be.AppendUint64(b, h.commit)
		for _, hash := range h.Hashes() {
			b = append(b, hash[:]...)
		}
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func compareIDs(a, b tenant.ID) int {
	x, y := a.UUID(), b.UUID()
	return bytes.Compare(x[:], y[:])
}

var errSnapshot = errors.New("audit: not a snapshot")

func parseSnapshot(b []byte) (*snapshot, error) {
	n := len(b) - sha256.Size
	if n < snapshotFixed || string(b[:len(snapshotMagic)]) != snapshotMagic || sha256.Sum256(b[:n]) != [32]byte(b[n:]) {
		return nil, errSnapshot
	}
	be, b := binary.BigEndian, b[len(snapshotMagic):n]
	s := &snapshot{next: be.Uint64(b), last: [32]byte(b[8:40]), heads: make(map[tenant.ID]*head)}
	count, b := be.Uint32(b[40:]), b[44:]
	for range count {
		if len(b) < 32 {
			return nil, errSnapshot
		}
		id, size, commit := tenant.FromUUID([16]byte(b[:16])), be.Uint64(b[16:]), be.Uint64(b[24:])
		b = b[32:]
		hashes := make([][32]byte, bits.OnesCount64(size))
		if len(b) < 32*len(hashes) || s.heads[id] != nil {
			return nil, errSnapshot
		}
		for i := range hashes {
			hashes[i] = [32]byte(b[32*i:])
		}
		b = b[32*len(hashes):]
		r, err := tree.NewRange(size, hashes)
		if err != nil {
			return nil, err
		}
		s.heads[id] = &head{*r, commit}
	}
	if len(b) != 0 {
		return nil, errSnapshot
	}
	return s, nil
}

func (l *Log) snapshotDue() bool {
	l.mu.Lock()
	next := l.next
	l.mu.Unlock()
	l.signing.mu.Lock()
	defer l.signing.mu.Unlock()
	return next-l.signing.snap >= snapshotEvery
}

// snapshot writes one of the durable state, and keeps the one before it.
func (l *Log) snapshot(ctx context.Context) error {
	l.mu.Lock()
	s := &snapshot{next: l.next, last: l.last, heads: make(map[tenant.ID]*head, len(l.heads))}
	for id, h := range l.heads {
		s.heads[id] = new(head)
		s.heads[id].set(h)
	}
	l.mu.Unlock()
	for id, h := range s.heads {
		if _, err := l.sign(id, &h.Range); err != nil {
			return err
		}
	}
	if err := l.catchUp(ctx); err != nil {
		return err
	}
	if err := l.index.sync(); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(l.c.Dir, "snap", fmt.Sprintf("%016x.snap", s.next)), s.encode()); err != nil {
		return fmt.Errorf("audit: snapshot: %w", err)
	}
	l.signing.mu.Lock()
	l.signing.snap = s.next
	l.signing.mu.Unlock()
	names, err := l.snapshots()
	for _, name := range names[min(2, len(names)):] {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// snapshots returns the paths of all there are, the newest first.
func (l *Log) snapshots() ([]string, error) {
	names, err := filepath.Glob(filepath.Join(l.c.Dir, "snap", "*.snap"))
	slices.Sort(names)
	slices.Reverse(names)
	return names, err
}
