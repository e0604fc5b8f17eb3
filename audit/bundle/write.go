package bundle

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"filippo.io/age"
	"github.com/transparency-dev/merkle/compact"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/tenant"
)

// A Source is a log to export from: an audit.Log.
type Source interface {
	Checkpoint(ctx context.Context, log tenant.ID) ([]byte, error)
	Find(ctx context.Context, log tenant.ID, t time.Time) (uint64, error)
	Tail(ctx context.Context, log tenant.ID, from uint64, f func(trail.Opened) error) error
	Nodes(ctx context.Context, log tenant.ID, ids []compact.NodeID) ([][32]byte, error)
	RecordKey(h trail.Header) ([32]byte, error)
}

// A Window says which records: by number, From up to but not including To
// (zero is the end); or by when they were recorded, Since up to but not
// including Until (zero is the time of the export). The zero Window is all.
type Window struct {
	From, To     uint64
	Since, Until time.Time
}

// An Export is what to write.
type Export struct {
	Log       tenant.ID
	Window    Window
	Previous  trail.Head    // of the export before, or one somebody pinned; zero is none
	Policy    *Policy       // what to put into the bundle; its log must be this one
	Recipient age.Recipient // to seal the keys to; nil leaves them open to whoever has the bundle
	Created   time.Time
}

var errEnough = errors.New("bundle: enough")

// Write writes the records of x in src, with their proof, to w. It holds no
// more of them than their keys; what it makes it checks against the checkpoint
// before w sees any of it.
func Write(ctx context.Context, w io.Writer, src Source, x Export) (*Manifest, error) {
	if x.Policy == nil || x.Created.IsZero() {
		return nil, errors.New("bundle: an export needs a policy and a time")
	}
	checkpoint, err := src.Checkpoint(ctx, x.Log)
	if err != nil {
		return nil, err
	}
	head, _, err := x.Policy.open(checkpoint)
	if err != nil {
		return nil, err
	}
	m, err := manifest(ctx, src, &x, head)
	if err != nil {
		return nil, err
	}
	p, err := prove(ctx, src, m)
	if err != nil {
		return nil, err
	}
	if m.Previous.Size > 0 {
		if err := consistent(m.Previous, head, p.since); err != nil {
			return nil, err
		}
	}
	spool, err := os.CreateTemp("", "isocore-export-")
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	defer os.Remove(spool.Name())
	defer spool.Close()
	records, keys, err := collect(ctx, src, m, p, head, spool)
	if err != nil {
		return nil, err
	}
	return m, pack(w, &x, m, p, checkpoint, keys, records)
}

// pack writes the members of the bundle of x to w.
func pack(w io.Writer, x *Export, m *Manifest, p *proofs, checkpoint []byte, keys [][]byte, records member) error {
	encoded, err := m.encode()
	if err != nil {
		return err
	}
	sealed, err := sealKeys(keys, x.Recipient)
	if err != nil {
		return err
	}
	return writeZip(w, []member{
		bytesMember(guideName, guide), bytesMember(headName, checkpoint), sealed, bytesMember(manifestName, encoded),
		bytesMember(policyName, []byte(x.Policy.String())), bytesMember(proofName, p.encode()), records,
	})
}

// manifest settles what the bundle of x will hold.
func manifest(ctx context.Context, src Source, x *Export, head trail.Head) (*Manifest, error) {
	m := &Manifest{
		Created: x.Created.UTC().Truncate(time.Second), Log: head.Origin, Tenant: x.Log, Size: head.Size,
		From: x.Window.From, To: x.Window.To, Previous: x.Previous,
	}
	if x.Previous.Size > 0 && x.Previous.Origin != head.Origin {
		return nil, fmt.Errorf("bundle: the previous head is of %s, this log is %s", x.Previous.Origin, head.Origin)
	}
	if m.To == 0 {
		m.To = head.Size
	}
	if err := m.times(ctx, src, x); err != nil {
		return nil, err
	}
	if m.To-m.From > MaxRecords && m.From <= m.To {
		return nil, fmt.Errorf("bundle: %d records, %d at most; export in parts", m.To-m.From, MaxRecords)
	}
	return m, m.check()
}

// times settles a window of time.
func (m *Manifest) times(ctx context.Context, src Source, x *Export) error {
	win := x.Window
	if win.Since.IsZero() && win.Until.IsZero() {
		return nil
	}
	if win.From != 0 || win.To != 0 {
		return errors.New("bundle: a window is of numbers or of times, not both")
	}
	if win.Until.IsZero() {
		win.Until = x.Created
	}
	if win.Since.IsZero() {
		win.Since = time.UnixMilli(0)
	}
	m.Since, m.Until = win.Since.UTC().Truncate(time.Millisecond), win.Until.UTC().Truncate(time.Millisecond)
	var err error
	if m.From, err = src.Find(ctx, x.Log, m.Since); err != nil {
		return err
	}
	if m.To, err = src.Find(ctx, x.Log, m.Until); err != nil {
		return err
	}
	m.From, m.To = min(m.From, m.Size), min(m.To, m.Size)
	return nil
}

// prove collects the hashes that m needs.
func prove(ctx context.Context, src Source, m *Manifest) (*proofs, error) {
	begin, end := m.edges()
	since, err := sinceNodes(m)
	if err != nil {
		return nil, err
	}
	var p proofs
	for _, part := range []struct {
		hashes *[][]byte
		ids    []compact.NodeID
	}{
		{&p.left, compact.RangeNodes(0, begin, nil)}, {&p.right, compact.RangeNodes(end, m.Size, nil)}, {&p.since, since.IDs},
	} {
		hashes, err := src.Nodes(ctx, m.Tenant, part.ids)
		if err != nil {
			return nil, err
		}
		for i := range hashes {
			*part.hashes = append(*part.hashes, hashes[i][:])
		}
	}
	if p.since, err = since.Rehash(p.since, hashChildren); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return &p, nil
}

// collect writes the records of m to spool and returns them as a member,
// together with their keys.
func collect(ctx context.Context, src Source, m *Manifest, p *proofs, head trail.Head, spool *os.File) (member, [][]byte, error) {
	begin, end := m.edges()
	g, err := newGrower(begin, p.left, m.Size+1)
	if err != nil {
		return member{}, nil, err
	}
	crc, out := crc32.NewIEEE(), bufio.NewWriterSize(spool, 1<<20)
	both, size, next := io.MultiWriter(crc, out), int64(0), begin
	keys, buf := make([][]byte, 0, m.To-m.From), []byte(nil)
	add := func(o trail.Opened) error {
		if next == end {
			return errEnough
		}
		buf = append(buf[:0], o.Raw...)
		if m.From <= next && next < m.To {
			key, err := src.RecordKey(o.Header)
			if err != nil {
				return err
			}
			keys = append(keys, key[:])
			buf = append(buf, o.Ciphertext...)
		}
		next++
		framed := trail.AppendRecord(make([]byte, 0, 4+len(buf)), buf)
		size += int64(len(framed))
		if _, err := both.Write(framed); err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		return g.append(o.Leaf())
	}
	if err := src.Tail(ctx, m.Tenant, begin, add); err != nil && !errors.Is(err, errEnough) {
		return member{}, nil, err
	}
	if err := g.finish(p.right, head); err != nil {
		return member{}, nil, err
	}
	if err := out.Flush(); err != nil {
		return member{}, nil, fmt.Errorf("bundle: %w", err)
	}
	return member{recordsName, crc.Sum32(), size, io.NewSectionReader(spool, 0, size)}, keys, nil
}

// sealKeys returns the keys as a member, sealed if there is a recipient.
func sealKeys(keys [][]byte, to age.Recipient) (member, error) {
	b, err := canonical(keysJSON{keys, version})
	if err != nil || to == nil {
		return bytesMember(keysOpen, b), err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to)
	if err != nil {
		return member{}, fmt.Errorf("bundle: seal keys: %w", err)
	}
	if _, err := w.Write(b); err != nil {
		return member{}, fmt.Errorf("bundle: seal keys: %w", err)
	}
	if err := w.Close(); err != nil {
		return member{}, fmt.Errorf("bundle: seal keys: %w", err)
	}
	return bytesMember(keysSealed, sealed.Bytes()), nil
}
