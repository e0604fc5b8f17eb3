package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"time"

	"github.com/transparency-dev/merkle/compact"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/audit/tree"
	"github.com/isocore/isocore/tenant"
)

const (
	readAtOnce = 1024 // places
	skipAtMost = 32   // batches read over rather than looked up
)

func (l *Log) indexDir() string { return filepath.Join(l.c.Dir, "t") }

// Tail calls f with the records of log from number from on, opened, up to what
// was durable when it was called. What f is given is its own until it returns.
func (l *Log) Tail(ctx context.Context, log tenant.ID, from uint64, f func(Opened) error) error {
	size, _ := l.Head(log)
	for from < size {
		ps, err := l.places(ctx, log, from, size, readAtOnce)
		if err != nil {
			return err
		}
		if err := l.read(ctx, log, from, ps, f); err != nil {
			return err
		}
		from += uint64(len(ps))
	}
	return nil
}

// Follow is Tail that goes on with records as they become durable, until ctx is
// done, f fails, or no more will come. It holds nothing for a slow f.
func (l *Log) Follow(ctx context.Context, log tenant.ID, from uint64, f func(Opened) error) error {
	for {
		l.mu.Lock()
		grown := l.grown
		l.mu.Unlock()
		err := l.Tail(ctx, log, from, func(o Opened) error {
			from = o.Header.Seq + 1
			return f(o)
		})
		if err != nil {
			return err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.closing:
			return errClosed
		case <-l.failed:
			return l.Err()
		}
	}
}

var errEnough = errors.New("audit: enough")

// read calls f with the records of log at ps, the first of which is number from.
func (l *Log) read(ctx context.Context, log tenant.ID, from uint64, ps []place, f func(Opened) error) error {
	for len(ps) > 0 {
		before := len(ps)
		err := l.c.Commit.Replay(ctx, ps[0].batch, func(b Batch) error {
			for len(ps) > 0 && ps[0].batch == b.No {
				o, err := l.open(log, from, ps[0], b)
				if err != nil {
					return err
				}
				if err := f(o); err != nil {
					return err
				}
				ps, from = ps[1:], from+1
			}
			if len(ps) == 0 || ps[0].batch > b.No+skipAtMost {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if len(ps) == before {
			return fmt.Errorf("audit: record %v is not in batch %d, where its index says", Ref{Log: log, Seq: from}, ps[0].batch)
		}
	}
	return nil
}

// open returns the record that b has at p, after checking that it is the one
// looked for.
func (l *Log) open(log tenant.ID, seq uint64, p place, b Batch) (Opened, error) {
	ref, body := Ref{Log: log, Seq: seq}, b.Body()
	if uint64(p.offset)+uint64(p.length) > uint64(len(body)) {
		return Opened{}, fmt.Errorf("audit: record %v is beyond batch %d, where its index says", ref, b.No)
	}
	s, rest, err := trail.CutRecord(body[p.offset : p.offset+p.length])
	if err != nil {
		return Opened{}, err
	}
	if s.Header.Ref() != ref || s.Leaf() != p.leaf || len(rest) > 0 {
		return Opened{}, fmt.Errorf("audit: record %v is not what its index says", ref)
	}
	key, err := l.RecordKey(s.Header)
	if err != nil {
		return Opened{}, err
	}
	r, err := trail.Unseal(key, s.Header, s.Ciphertext)
	if err != nil {
		return Opened{}, err
	}
	return Opened{Sealed: s, Record: r}, nil
}

// RecordKey returns the key of the record with header h, which opens it and no
// other.
func (l *Log) RecordKey(h Header) ([32]byte, error) {
	key, err := l.c.Keys.At(h.Log, h.KeyVersion)
	if err != nil {
		return [32]byte{}, fmt.Errorf("audit: key %d of record %v: %w", h.KeyVersion, h.Ref(), err)
	}
	return trail.RecordKey(key, h.Log, h.RID)
}

// Find returns the number of the first record of log that was recorded at t or
// after, or the size of the log if there is none.
func (l *Log) Find(ctx context.Context, log tenant.ID, t time.Time) (uint64, error) {
	size, _ := l.Head(log)
	want := uint64(max(t.UnixMilli(), 0))
	if t.After(t.Truncate(time.Millisecond)) {
		want++
	}
	var failed error
	n := sort.Search(int(size), func(i int) bool {
		ps, err := l.places(ctx, log, uint64(i), size, 1)
		if err != nil {
			failed = err
			return true
		}
		return ps[0].commit >= want
	})
	return uint64(n), failed
}

// Nodes returns the hashes of perfect subtrees of log, for proofs.
func (l *Log) Nodes(ctx context.Context, log tenant.ID, ids []compact.NodeID) ([][32]byte, error) {
	hashes := make([][32]byte, len(ids))
	for i, id := range ids {
		h, err := tree.Hash(id, func(begin, end uint64, visit func([32]byte)) error {
			return l.leaves(ctx, log, begin, end, visit)
		})
		if err != nil {
			return nil, err
		}
		hashes[i] = h
	}
	return hashes, nil
}

// leaves visits the leaf hashes of log from begin up to end.
func (l *Log) leaves(ctx context.Context, log tenant.ID, begin, end uint64, visit func([32]byte)) error {
	if size, _ := l.Head(log); end > size {
		return fmt.Errorf("audit: log %s has %d records, not %d", log, size, end)
	}
	for begin < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		ps, err := l.places(ctx, log, begin, end, readAtOnce)
		if err != nil {
			return err
		}
		for _, p := range ps {
			visit(p.leaf)
		}
		begin += uint64(len(ps))
	}
	return nil
}
