package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/audit/tree"
	"github.com/isocore/isocore/tenant"
)

// signing is what was signed, and how far what is derived has come.
type signing struct {
	mu     sync.Mutex // guards what follows, and writes to the checkpoint files
	signed map[tenant.ID]signedHead
	stale  error
	snap   uint64 // number of the batch after the newest snapshot
}

type signedHead struct {
	size uint64
	note []byte // nil if it is from before Open: the key may be another now
}

func (l *Log) checkpointPath(log tenant.ID) string {
	return filepath.Join(l.c.Dir, "t", log.String(), "checkpoint")
}

func (l *Log) headOf(log tenant.ID, r *tree.Range) Head {
	return Head{Origin: trail.Origin(l.c.Origin, log), Size: r.Size(), Root: r.Root()}
}

// Checkpoint returns the signed head of log, a C2SP tlog-checkpoint. It covers
// all that was durable when it was called.
func (l *Log) Checkpoint(ctx context.Context, log tenant.ID) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.sign(log, l.head(log))
}

// sign signs r, which is durable, unless something newer was signed. What is
// signed is on disk before anybody sees it: recovery is held against it.
func (l *Log) sign(log tenant.ID, r *tree.Range) ([]byte, error) {
	s := &l.signing
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.signed[log]; was.size > r.Size() || was.size == r.Size() && was.note != nil {
		if was.note == nil {
			return nil, fmt.Errorf("audit: log %s is behind its checkpoint of %d", log, was.size)
		}
		return was.note, nil
	}
	note, err := l.headOf(log, r).Sign(l.c.Signer)
	if err != nil {
		return nil, err
	}
	if r.Size() == 0 {
		return note, nil // nothing to hold recovery against
	}
	if err := writeFile(l.checkpointPath(log), note); err != nil {
		return nil, fmt.Errorf("audit: checkpoint of %s: %w", log, err)
	}
	s.signed[log] = signedHead{r.Size(), note}
	return note, nil
}

// tick derives what is to be derived, every Epoch.
func (l *Log) tick(ctx context.Context) {
	t := time.NewTicker(l.c.Epoch)
	defer t.Stop()
	for {
		select {
		case <-l.closing:
			return
		case <-t.C:
			err := l.settle(ctx)
			if err == nil && l.snapshotDue() {
				err = l.snapshot(ctx)
			}
			l.signing.mu.Lock()
			l.signing.stale = err
			l.signing.mu.Unlock()
		}
	}
}

// Stale returns why index, checkpoints or snapshots are not being written, or
// nil. Records are durable nevertheless.
func (l *Log) Stale() error {
	l.signing.mu.Lock()
	defer l.signing.mu.Unlock()
	return l.signing.stale
}

// settle signs the heads of all logs that grew and brings the index up to date.
func (l *Log) settle(ctx context.Context) error {
	l.mu.Lock()
	grown := make(map[tenant.ID]*tree.Range, len(l.newer))
	for log := range l.newer {
		r := new(tree.Range)
		r.Set(&l.heads[log].Range)
		grown[log] = r
	}
	clear(l.newer)
	l.mu.Unlock()
	var errs []error
	for log, r := range grown {
		if _, err := l.sign(log, r); err != nil {
			errs = append(errs, err)
			l.mu.Lock()
			l.newer[log] = true
			l.mu.Unlock()
		}
	}
	return errors.Join(errors.Join(errs...), l.catchUp(ctx))
}

// claims returns the heads that the checkpoints in Dir state. Their signatures
// do not matter here: who can write a checkpoint can also remove it, and one
// that claims too much only keeps the log from being opened.
func (l *Log) claims() (map[tenant.ID]Head, error) {
	dirs, err := os.ReadDir(filepath.Join(l.c.Dir, "t"))
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	heads := make(map[tenant.ID]Head)
	for _, d := range dirs {
		id, err := parseLog(d.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(l.checkpointPath(id))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		h, err := trail.Claimed(b)
		if err == nil && h.Origin != trail.Origin(l.c.Origin, id) {
			err = fmt.Errorf("audit: it is of %s, this log is %s", h.Origin, trail.Origin(l.c.Origin, id))
		}
		if err != nil {
			return nil, fmt.Errorf("audit: checkpoint %s: %w; recovery is held against it, so put back a good copy, or remove it if its loss is explained", l.checkpointPath(id), err)
		}
		heads[id] = h
	}
	return heads, nil
}

// parseLog is tenant.Parse that knows the operator's log too.
func parseLog(s string) (tenant.ID, error) {
	if s == (tenant.ID{}).String() {
		return tenant.ID{}, nil
	}
	return tenant.Parse(s)
}
