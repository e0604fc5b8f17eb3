// Package segment keeps batches in local files: the commit log of a single node.
//
// A shard is a directory of segments, each named by the number of its first
// batch and holding frames back to back. A batch is durable when Append
// returns. Recovery takes off what a crash left half-written at the very end,
// none of which was acknowledged, and refuses any other damage.
package segment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/isocore/isocore/audit/trail"
)

const (
	rollAt    = 64 << 20  // length at which the next batch begins a segment
	markEvery = 128 << 10 // bytes between places a replay can begin at
	suffix    = ".seg"
)

// A Log is one shard. It is safe for concurrent use, and the only writer of its
// directory on this machine.
type Log struct {
	dir   string
	shard uint32
	roll  int64
	lock  *os.File // the directory, locked

	writing sync.Mutex // guards what follows, and the files
	file    *os.File   // the last segment
	err     error      // what every Append returns from now on

	mu       sync.Mutex // guards what follows; held for moments only
	segments []*segment
	end      int64    // durable length of the last segment
	next     uint64   // number of the next batch
	last     [32]byte // sum of the last batch
	closed   bool
}

// A segment is one file.
type segment struct {
	path  string
	first uint64
	marks []mark // under Log.mu; in order
}

// A mark is where a batch begins.
type mark struct {
	no uint64
	at int64
}

var errClosed = errors.New("segment: closed")

// Open recovers the shard in dir, which it makes if there is none.
func Open(dir string, shard uint32) (*Log, error) { return open(dir, shard, rollAt) }

func open(dir string, shard uint32, roll int64) (*Log, error) {
	path := filepath.Join(dir, strconv.FormatUint(uint64(shard), 10))
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	lock, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	l := &Log{dir: path, shard: shard, roll: roll, lock: lock}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("segment: %s is being written by another process: %w", path, err), lock.Close())
	}
	if err := l.recover(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Append implements the CommitLog of package audit. Once it failed it always
// does: what a failed write or sync left in the file is for recovery to judge.
func (l *Log) Append(_ context.Context, b trail.Batch) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.err == nil {
		l.err = l.append(b)
	}
	return l.err
}

func (l *Log) append(b trail.Batch) error {
	again, err := trail.ParseBatch(b.Frame)
	if err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	if again.Shard != l.shard || again.No != l.next || again.Prev != l.last {
		return fmt.Errorf("segment: batch %d of shard %d does not follow what is there; %d of %d would", again.No, again.Shard, l.next, l.shard)
	}
	if l.file == nil || l.end >= l.roll {
		if err := l.begin(); err != nil {
			return err
		}
	}
	if _, err := l.file.WriteAt(b.Frame, l.end); err != nil {
		return fmt.Errorf("segment: write batch %d: %w", b.No, err)
	}
	if err := syncData(l.file); err != nil {
		return fmt.Errorf("segment: sync batch %d: %w", b.No, err)
	}
	sum := b.Sum()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments[len(l.segments)-1].mark(b.No, l.end)
	l.end += int64(len(b.Frame))
	l.next, l.last = b.No+1, sum
	return nil
}

// begin makes the next segment.
func (l *Log) begin() error {
	path := filepath.Join(l.dir, fmt.Sprintf("%016x%s", l.next, suffix))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	if err := l.lock.Sync(); err != nil { // the directory
		return errors.Join(fmt.Errorf("segment: sync %s: %w", l.dir, err), f.Close())
	}
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			return errors.Join(fmt.Errorf("segment: %w", err), f.Close())
		}
	}
	l.file = f
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, &segment{path: path, first: l.next})
	l.end = 0
	return nil
}

// mark notes that batch no begins at at, if that is worth it. The caller holds
// Log.mu.
func (s *segment) mark(no uint64, at int64) {
	if len(s.marks) == 0 || s.marks[len(s.marks)-1].at+markEvery <= at {
		s.marks = append(s.marks, mark{no, at})
	}
}

// Close lets go of the files. Nothing is appended or replayed after it.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return errClosed
	}
	l.err = errClosed
	var err error
	if l.file != nil {
		err = l.file.Close()
	}
	return errors.Join(err, l.lock.Close())
}

// list returns the segments of the directory, in order.
func (l *Log) list() ([]*segment, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	var segments []*segment
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), suffix)
		if !is {
			continue
		}
		first, err := strconv.ParseUint(name, 16, 64)
		if err != nil || fmt.Sprintf("%016x", first) != name || !e.Type().IsRegular() {
			return nil, fmt.Errorf("segment: %s/%s is not a segment", l.dir, e.Name())
		}
		segments = append(segments, &segment{path: filepath.Join(l.dir, e.Name()), first: first})
	}
	slices.SortFunc(segments, func(a, b *segment) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	if len(segments) > 0 && segments[0].first != 0 {
		return nil, fmt.Errorf("segment: the first segment of %s is missing: %s is the oldest", l.dir, segments[0].path)
	}
	return segments, nil
}
