package audit

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/tenant"
)

// placeSize is the length of one entry of an index file. Entry n is at
// n*placeSize: u64 batch, u32 offset in its body, u32 length there, u64 commit,
// 32 leaf.
const placeSize = 56

// A place says where a record is.
type place struct {
	batch          uint64
	offset, length uint32
	commit         uint64
	leaf           [32]byte
}

func (p place) appendTo(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, p.batch)
	dst = be.AppendUint32(dst, p.offset)
	dst = be.AppendUint32(dst, p.length)
	dst = be.AppendUint64(dst, p.commit)
	return append(dst, p.leaf[:]...)
}

func parsePlace(b []byte) place {
	be := binary.BigEndian
	return place{be.Uint64(b), be.Uint32(b[8:]), be.Uint32(b[12:]), be.Uint64(b[16:]), [32]byte(b[24:placeSize])}
}

// An index finds records by log and number. It follows the batches, in one
// file per log.
type index struct {
	dir string // of the logs

	mu      sync.Mutex // guards what follows, and writes to the files
	next    uint64     // number of the first batch not in the files
	sizes   map[tenant.ID]uint64
	dirty   map[tenant.ID]bool // written since the last sync
	pending map[tenant.ID]*pendingPlaces
	bytes   int // pending
	ahead   uint64
}

type pendingPlaces struct {
	first uint64
	buf   []byte
}

const flushIndexAt = 1 << 20

func (x *index) path(log tenant.ID) string { return filepath.Join(x.dir, log.String(), "index") }

// add notes where the records of b are. The caller holds x.mu.
func (x *index) add(b Batch) error {
	err := walk(b, func(offset, length int, s trail.Sealed) error {
		h := &s.Header
		p := x.pending[h.Log]
		if p == nil {
			p = &pendingPlaces{first: h.Seq}
			x.pending[h.Log] = p
		}
		if h.Seq != p.first+uint64(len(p.buf)/placeSize) {
			return fmt.Errorf("audit: batch %d has record %v out of its order", b.No, h.Ref())
		}
		p.buf = place{b.No, uint32(offset), uint32(length), h.Commit, s.Leaf()}.appendTo(p.buf)
		x.bytes += placeSize
		return nil
	})
	if err != nil {
		return err
	}
	x.ahead = b.No + 1
	if x.bytes >= flushIndexAt {
		return x.flush()
	}
	return nil
}

// walk calls f with the records of b, and where they are in its body.
func walk(b Batch, f func(offset, length int, s trail.Sealed) error) error {
	body := b.Body()
	for rest := body; len(rest) > 0; {
		s, after, err := trail.CutRecord(rest)
		if err == nil && s.Ciphertext == nil {
			err = fmt.Errorf("audit: record %v has no payload", s.Header.Ref())
		}
		if err == nil {
			err = f(len(body)-len(rest), len(rest)-len(after), s)
		}
		if err != nil {
			return fmt.Errorf("audit: batch %d: %w", b.No, err)
		}
		rest = after
	}
	return nil
}

// flush writes what is pending. The caller holds x.mu.
func (x *index) flush() error {
	for log, p := range x.pending {
		if err := x.write(log, p); err != nil {
			return fmt.Errorf("audit: index of %s: %w", log, err)
		}
		x.sizes[log] = max(x.sizes[log], p.first+uint64(len(p.buf)/placeSize))
		x.dirty[log] = true
		delete(x.pending, log)
	}
	x.bytes, x.next = 0, x.ahead
	return nil
}

func (x *index) write(log tenant.ID, p *pendingPlaces) (err error) {
	path := x.path(log)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if os.IsNotExist(err) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	}
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	_, err = f.WriteAt(p.buf, int64(p.first)*placeSize)
	return err
}

// catchUp brings the index to the end of the batches.
func (l *Log) catchUp(ctx context.Context) error {
	x := &l.index
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.pending) // what an error left; it is read again
	x.bytes, x.ahead = 0, x.next
	if err := l.c.Commit.Replay(ctx, x.next, x.add); err != nil {
		return err
	}
	return x.flush()
}

// sync makes the index durable as far as it goes.
func (x *index) sync() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for log := range x.dirty {
		if err := syncPath(x.path(log)); err != nil {
			return fmt.Errorf("audit: index of %s: %w", log, err)
		}
		delete(x.dirty, log)
	}
	return nil
}

// holds reports whether the file of log has n entries; what is in them is
// checked where they are used.
func (x *index) holds(log tenant.ID, n uint64) bool {
	info, err := os.Stat(x.path(log))
	return err == nil && uint64(info.Size()) >= n*placeSize
}

// places returns entries of the index of log, from number from up to limit of
// them and not beyond size, after bringing it up to size.
func (l *Log) places(ctx context.Context, log tenant.ID, from, size uint64, limit int) ([]place, error) {
	x := &l.index
	x.mu.Lock()
	have := x.sizes[log]
	x.mu.Unlock()
	if have < size {
		if err := l.catchUp(ctx); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(x.path(log))
	if err != nil {
		return nil, fmt.Errorf("audit: index of %s: %w", log, err)
	}
	defer f.Close()
	n := min(uint64(limit), size-from)
	buf := make([]byte, n*placeSize)
	if _, err := f.ReadAt(buf, int64(from)*placeSize); err != nil {
		return nil, fmt.Errorf("audit: index of %s: %w", log, err)
	}
	ps := make([]place, n)
	for i := range ps {
		ps[i] = parsePlace(buf[i*placeSize:])
	}
	return ps, nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// writeFile puts data at path, durable and whole or not at all.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}
