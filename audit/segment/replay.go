package segment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/isocore/isocore/audit/trail"
)

// Replay implements the CommitLog of package audit: it sees what was durable
// when it was called. From the second batch on, every one is checked to follow
// the one before; so is the first if it is number 0.
func (l *Log) Replay(ctx context.Context, from uint64, f func(trail.Batch) error) error {
	l.mu.Lock()
	segments, end, next, closed := l.segments[:len(l.segments):len(l.segments)], l.end, l.next, l.closed
	l.mu.Unlock()
	if closed {
		return errClosed
	}
	if from >= next {
		return nil
	}
	i := sort.Search(len(segments), func(i int) bool { return segments[i].first > from }) - 1
	p := &replay{l: l, no: from, next: next, f: f}
	for ; i < len(segments); i++ {
		limit := int64(-1)
		if i == len(segments)-1 {
			limit = end
		}
		if err := p.segment(ctx, segments[i], limit); err != nil {
			return err
		}
	}
	if p.no != next {
		return fmt.Errorf("segment: %s ends at batch %d of %d", l.dir, p.no, next)
	}
	return nil
}

// A replay is one call of Replay.
type replay struct {
	l       *Log
	no      uint64 // the batch wanted next
	next    uint64 // the batch it ends before
	last    [32]byte
	chained bool // last is known
	f       func(trail.Batch) error
}

// segment replays s up to limit, or to its end.
func (p *replay) segment(ctx context.Context, s *segment, limit int64) error {
	file, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	defer file.Close()
	at, err := p.l.seek(file, s, p.no)
	if err != nil {
		return err
	}
	for r := newReader(file, at); limit < 0 || r.at < limit; {
		if err := ctx.Err(); err != nil {
			return err
		}
		begin := r.at
		b, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && !p.chained && p.no > 0 {
			p.last = b.Prev
		}
		if err == nil {
			err = follows(b, p.l.shard, p.no, p.last)
		}
		if err != nil {
			return fmt.Errorf("segment: %s is damaged at byte %d: %w; restore it from a copy", s.path, begin, err)
		}
		p.no, p.last, p.chained = b.No+1, b.Sum(), true
		if err := p.f(b); err != nil {
			return err
		}
	}
	return nil
}

// seek returns where batch no begins in s, from the mark before it on by the
// lengths of the frames alone.
func (l *Log) seek(f *os.File, s *segment, no uint64) (int64, error) {
	at := mark{no: s.first}
	l.mu.Lock()
	if i := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].no > no }); i > 0 {
		at = s.marks[i-1]
	}
	l.mu.Unlock()
	for at.no < no {
		var head [4]byte
		if _, err := f.ReadAt(head[:], at.at); err != nil {
			return 0, fmt.Errorf("segment: %s: batch %d: %w", s.path, at.no, err)
		}
		n, err := trail.FrameLength(head[:])
		if err != nil {
			return 0, fmt.Errorf("segment: %s is damaged at byte %d: %w; restore it from a copy", s.path, at.at, err)
		}
		at = mark{at.no + 1, at.at + int64(n)}
		l.mu.Lock()
		s.mark(at.no, at.at)
		l.mu.Unlock()
	}
	return at.at, nil
}

// A reader reads frames.
type reader struct {
	in     *bufio.Reader
	at     int64 // of the next frame
	buf    []byte
	failed error // of the file, not of what is in it
}

func newReader(f *os.File, at int64) *reader {
	return &reader{in: bufio.NewReaderSize(io.NewSectionReader(f, at, 1<<62-at), 64<<10), at: at}
}

// next returns the next frame, which stands until it is called again; io.EOF at
// the end of the file; and an error for a frame that is not whole.
func (r *reader) next() (trail.Batch, error) {
	head, err := r.in.Peek(4)
	if err == io.EOF && len(head) == 0 {
		return trail.Batch{}, io.EOF
	}
	if err != nil {
		return trail.Batch{}, r.short(err)
	}
	n, err := trail.FrameLength(head)
	if err != nil {
		return trail.Batch{}, err
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	r.buf = r.buf[:n]
	if _, err := io.ReadFull(r.in, r.buf); err != nil {
		return trail.Batch{}, r.short(err)
	}
	b, err := trail.ParseBatch(r.buf)
	if err == nil {
		r.at += int64(n)
	}
	return b, err
}

// short tells a file that ends from one that cannot be read.
func (r *reader) short(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("a frame is cut off")
	}
	r.failed = fmt.Errorf("segment: %w", err)
	return err
}
