package audit

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/tenant"
)

// recover brings the log to where its batches end: from the newest snapshot
// that leads there, else from the first batch. It holds the result against
// every checkpoint in Dir.
func (l *Log) recover(ctx context.Context) error {
	claims, err := l.claims()
	if err != nil {
		return err
	}
	names, err := l.snapshots()
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		s, err := parseSnapshot(b)
		if err != nil || !l.usable(s, claims) {
			continue
		}
		if l.replay(ctx, s, claims) == nil {
			return nil
		}
	}
	return l.replay(ctx, &snapshot{heads: make(map[tenant.ID]*head)}, claims)
}

// usable reports whether what a snapshot relies on is there.
func (l *Log) usable(s *snapshot, claims map[tenant.ID]Head) bool {
	for id, h := range s.heads {
		if claims[id].Size < h.Size() || !(&index{dir: l.indexDir()}).holds(id, h.Size()) {
			return false
		}
	}
	return true
}

// A replaying is a recovery under way.
type replaying struct {
	l      *Log
	claims map[tenant.ID]Head
	heads  map[tenant.ID]*head
	next   uint64
	last   [32]byte
}

// replay recovers from s on. l is changed only if that succeeds, its index
// files aside.
func (l *Log) replay(ctx context.Context, s *snapshot, claims map[tenant.ID]Head) error {
	r := &replaying{l, claims, s.heads, s.next, s.last}
	x := index{
		dir: l.indexDir(), next: s.next, ahead: s.next, sizes: make(map[tenant.ID]uint64),
		dirty: make(map[tenant.ID]bool), pending: make(map[tenant.ID]*pendingPlaces),
	}
	for id, h := range r.heads {
		x.sizes[id] = h.Size()
		if err := r.compare(id, h); err != nil {
			return err
		}
	}
	if s.next > 0 {
		if err := l.anchored(ctx, s); err != nil {
			return err
		}
	}
	err := l.c.Commit.Replay(ctx, s.next, func(b Batch) error {
		if err := r.absorb(b); err != nil {
			return err
		}
		return x.add(b)
	})
	if err != nil {
		return err
	}
	if err := x.flush(); err != nil {
		return err
	}
	if err := r.complete(); err != nil {
		return err
	}
	l.adopt(r, s.next)
	l.index.next, l.index.ahead, l.index.dir = x.next, x.ahead, x.dir
	l.index.sizes, l.index.dirty, l.index.pending = x.sizes, x.dirty, x.pending
	return nil
}

// anchored reports whether the batch before s is there and the one s knows.
func (l *Log) anchored(ctx context.Context, s *snapshot) error {
	found := false
	err := l.c.Commit.Replay(ctx, s.next-1, func(b Batch) error {
		found = b.No == s.next-1 && b.Sum() == s.last
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if !found {
		return fmt.Errorf("audit: the batches end before, or are others than, a snapshot of %d of them", s.next)
	}
	return nil
}

// absorb holds one batch against the state and advances it.
func (r *replaying) absorb(b Batch) error {
	if b.Shard != r.l.c.Shard || b.No != r.next || b.Prev != r.last {
		return fmt.Errorf("audit: batch %d of shard %d does not follow batch %d of shard %d", b.No, b.Shard, int64(r.next)-1, r.l.c.Shard)
	}
	r.next, r.last = b.No+1, b.Sum()
	return walk(b, func(_, _ int, s trail.Sealed) error {
		id := s.Header.Log
		h := r.heads[id]
		if h == nil {
			h = new(head)
			r.heads[id] = h
		}
		if s.Header.Seq != h.Size() || s.Header.Commit < h.commit {
			return fmt.Errorf("audit: record %v follows %d of them", s.Header.Ref(), h.Size())
		}
		h.commit = s.Header.Commit
		h.Append(s.Leaf())
		return r.compare(id, h)
	})
}

const whatToDo = "the trail is older than what this node signed, or another: put the newest copy of it back; " +
	"if that is lost for good, keep both aside as evidence and start a new trail under another origin"

// compare holds the tree of id against its checkpoint, at the same size.
func (r *replaying) compare(id tenant.ID, h *head) error {
	claim, ok := r.claims[id]
	if ok && claim.Size == h.Size() && claim.Root != h.Root() {
		return fmt.Errorf("audit: rollback detected: log %s is not the one of which a checkpoint of %d records was signed; %s", id, claim.Size, whatToDo)
	}
	return nil
}

// complete refuses what is behind a checkpoint.
func (r *replaying) complete() error {
	for id, claim := range r.claims {
		size := uint64(0)
		if h := r.heads[id]; h != nil {
			size = h.Size()
		}
		if size < claim.Size {
			return fmt.Errorf("audit: rollback detected: log %s has %d records, a checkpoint of %d was signed; %s", id, size, claim.Size, whatToDo)
		}
	}
	return nil
}

// adopt makes what r reached the state of l, before anybody else sees l.
func (l *Log) adopt(r *replaying, snap uint64) {
	l.heads, l.next, l.last = r.heads, r.next, r.last
	l.commits = committer{heads: make(map[tenant.ID]*head), touched: make(map[tenant.ID]*head), no: r.next, prev: r.last}
	l.signing.signed = make(map[tenant.ID]signedHead)
	l.signing.snap = snap
	for id, h := range r.heads {
		ahead := new(head)
		ahead.set(h)
		l.commits.heads[id] = ahead
		if h.Size() > r.claims[id].Size {
			l.newer[id] = true
		}
	}
	for id, claim := range r.claims {
		l.signing.signed[id] = signedHead{size: claim.Size}
	}
}
