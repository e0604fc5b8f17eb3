package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/isocore/isocore/audit/trail"
)

// recover checks the end of the shard: the last segment, and the one before it
// as far as it takes to know what the last must follow. What is older is
// checked whenever it is replayed.
func (l *Log) recover() error {
	var err error
	if l.segments, err = l.list(); err != nil || len(l.segments) == 0 {
		return err
	}
	n := len(l.segments)
	if n > 1 {
		s := l.segments[n-2]
		at, damage, err := l.scan(s, true)
		if err != nil {
			return err
		}
		if damage != nil {
			return fmt.Errorf("segment: %s is damaged at byte %d, and is not the last: %w", s.path, at.end, damage)
		}
		l.next, l.last = at.next, at.last
	}
	s := l.segments[n-1]
	if s.first != l.next {
		return fmt.Errorf("segment: %s begins where batch %d should: a segment is missing", s.path, l.next)
	}
	at, damage, err := l.scan(s, n == 1)
	if err != nil {
		return err
	}
	if l.file, err = os.OpenFile(s.path, os.O_RDWR, 0); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	if damage != nil {
		if err := l.tear(at, damage); err != nil {
			return err
		}
	}
	l.end, l.next, l.last = at.end, at.next, at.last
	return l.refresh(at)
}

// An end is how far a scan of a segment came.
type end struct {
	next  uint64
	last  [32]byte
	end   int64
	final int // length of the last frame
}

// scan checks the frames of s from its beginning. It returns where it ended
// and, if that is not the end of the file, what it met there. The chain goes on
// from l's; an opening scan takes the first frame's word for what it follows.
func (l *Log) scan(s *segment, opening bool) (at end, damage, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return end{}, nil, fmt.Errorf("segment: %w", err)
	}
	defer f.Close()
	at = end{next: s.first, last: l.last}
	r := newReader(f, 0)
	for {
		b, err := r.next()
		if errors.Is(err, io.EOF) {
			return at, nil, nil
		}
		if err == nil && opening && s.first > 0 && at.end == 0 {
			at.last = b.Prev
		}
		if err == nil {
			err = follows(b, l.shard, at.next, at.last)
		}
		if err != nil {
			return at, err, r.failed
		}
		s.mark(b.No, at.end)
		at = end{b.No + 1, b.Sum(), at.end + int64(len(b.Frame)), len(b.Frame)}
	}
}

// follows reports whether b is batch no of shard, after the one with sum last.
func follows(b trail.Batch, shard uint32, no uint64, last [32]byte) error {
	if b.Shard != shard || b.No != no || b.Prev != last {
		return fmt.Errorf("batch %d of shard %d where batch %d of shard %d should follow", b.No, b.Shard, no, shard)
	}
	return nil
}

// tear takes off what follows the last good frame, if a crash in the middle of
// one append can have left it: no longer than a frame, and no good frame in it.
func (l *Log) tear(at end, damage error) error {
	info, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	size := info.Size() - at.end
	refuse := func(why string) error {
		return fmt.Errorf("segment: %s is damaged at byte %d and not merely cut off there, %s: %w; restore it from a copy",
			l.file.Name(), at.end, why, damage)
	}
	if size > trail.FrameSize+trail.MaxBatch {
		return refuse("more than one batch follows")
	}
	tail := make([]byte, size)
	if _, err := l.file.ReadAt(tail, at.end); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	if intact(tail, l.shard, at.next) {
		return refuse("good batches follow")
	}
	if err := l.file.Truncate(at.end); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	return nil
}

// intact reports whether a good frame of shard with a number of at least no is
// anywhere in b.
func intact(b []byte, shard uint32, no uint64) bool {
	be := binary.BigEndian
	for ; len(b) > trail.FrameSize; b = b[1:] {
		if be.Uint32(b[8:]) != shard || be.Uint64(b[12:]) < no || be.Uint64(b[12:]) > no+uint64(len(b)) {
			continue
		}
		n, err := trail.FrameLength(b)
		if err != nil || n > len(b) {
			continue
		}
		if _, err := trail.ParseBatch(b[:n]); err == nil {
			return true
		}
	}
	return false
}

// refresh writes the last frame again and syncs it. A kernel that failed to
// write its pages may have kept them in memory as if it had not: what was read
// here need not be on the disk.
func (l *Log) refresh(at end) error {
	frame := make([]byte, at.final)
	if _, err := l.file.ReadAt(frame, at.end-int64(at.final)); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	if _, err := l.file.WriteAt(frame, at.end-int64(at.final)); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	if err := l.lock.Sync(); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	return nil
}
