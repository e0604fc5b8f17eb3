package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/isocore/isocore/audit/tree"
	"github.com/isocore/isocore/tenant"
)

// A Log is the audit trail of one node. It is safe for concurrent use.
type Log struct {
	c       Config
	wake    chan struct{} // something is queued
	closing chan struct{} // nothing more will be
	done    chan struct{} // the committer is gone
	failed  chan struct{}
	cancel  context.CancelFunc // of a commit under way
	epochs  sync.WaitGroup
	commits committer
	index   index
	signing signing

	mu      sync.Mutex // guards what follows
	queue   []*group
	records int       // in queue
	bytes   int       // in queue
	first   time.Time // when the oldest in queue came
	wanted  bool      // somebody waits for what is in queue
	closed  bool
	err     error     // why nothing will be recorded any more
	low     error     // why nothing is recorded at the moment
	refused uint64    // records, while low
	since   time.Time // when the commit under way began, or zero
	heads   map[tenant.ID]*head
	next    uint64             // number of the batch after the durable ones
	last    [32]byte           // sum of the last durable batch
	grown   chan struct{}      // closed by the next commit
	newer   map[tenant.ID]bool // logs that grew since the last epoch
}

// A head is the state of one log.
type head struct {
	tree.Range
	commit uint64 // of the last record
}

func (h *head) set(other *head) {
	h.Range.Set(&other.Range)
	h.commit = other.commit
}

// Open recovers the log that c describes and records that it did. It refuses
// a log that is behind a checkpoint it has signed. It reads, at worst, all of it.
func Open(ctx context.Context, c Config) (*Log, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	for _, sub := range []string{"snap", "t"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
	}
	l := &Log{
		c: c, wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
		failed: make(chan struct{}), grown: make(chan struct{}), newer: map[tenant.ID]bool{},
	}
	if err := l.recover(ctx); err != nil {
		return nil, err
	}
	boot, err := l.Append(l.boot())
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	go l.run(run)
	l.epochs.Go(func() { l.tick(run) })
	select {
	case <-boot.done:
		err = boot.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, l.halt(ctx))
	}
	return l, nil
}

// boot says what was recovered.
func (l *Log) boot() Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum, records := sha256.New(), uint64(0)
	ids := slices.SortedFunc(maps.Keys(l.heads), compareIDs)
	for _, id := range ids {
		h := l.heads[id]
		records += h.Size()
		sum.Write([]byte(l.headOf(id, &h.Range).String()))
	}
	r := Record{
		Kind: System, Class: ClassBoot,
		Detail: fmt.Sprintf("recovered %d logs, %d records, %d batches", len(ids), records, l.next),
	}
	sum.Sum(r.Digest[:0])
	return r
}

// Head returns the durable size of log and the root of its tree.
func (l *Log) Head(log tenant.ID) (size uint64, root [32]byte) {
	h := l.head(log)
	return h.Size(), h.Root()
}

// head returns a copy of the durable tree of log.
func (l *Log) head(log tenant.ID) *tree.Range {
	var r tree.Range
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.heads[log]; h != nil {
		r.Set(&h.Range)
	}
	return &r
}

// Err returns why nothing will be recorded any more, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Failed is closed once nothing will be recorded any more: the node should
// turn unready, and be started again when the cause is gone.
func (l *Log) Failed() <-chan struct{} { return l.failed }

// Close records that the log is closed, waits for what is queued to be durable
// and for what is derived to be written, and closes the CommitLog. It gives up
// when ctx is done: what was not acknowledged by then never will be.
func (l *Log) Close(ctx context.Context) error {
	bye, err := l.seal([]Record{{Kind: System, Class: ClassShutdown}})
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	if err == nil && l.err == nil {
		l.push(bye)
	}
	l.closed = true
	l.mu.Unlock()
	return errors.Join(err, l.halt(ctx), l.c.Commit.Close())
}

// halt ends what Open began.
func (l *Log) halt(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	close(l.closing)
	defer l.cancel()
	select {
	case <-l.done:
	case <-ctx.Done():
		l.fail(fmt.Errorf("audit: closed while a commit was under way: %w", ctx.Err()))
		return l.Err()
	}
	l.cancel()
	l.epochs.Wait()
	return errors.Join(l.Err(), l.settle(ctx), l.snapshot(ctx))
}
