package bundle

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/isocore/isocore/audit/trail"
)

// Options say what to believe.
type Options struct {
	// Policy says whose signatures count. Without one the bundle's own is
	// used, and the Report says so: its keys are then nobody's word but the
	// bundle's.
	Policy *Policy
	// Pin is the head of this log that was verified before and kept. The
	// bundle must prove to be a continuation of it.
	Pin *trail.Head
	// Identity opens the keys of a sealed bundle. Without one its records are
	// verified closed.
	Identity age.Identity
}

// A Report is what is known of a bundle that verified.
type Report struct {
	Manifest  Manifest
	Head      trail.Head
	Policy    *Policy
	OwnPolicy bool     // Policy is the bundle's
	Opened    bool     // all payloads were opened and checked
	Witnesses []string // whose cosignatures are good, by their names in the policy
	Quorum    bool     // the policy asks for witnesses and has them, or asks for none
	Pinned    uint64   // the size of the pin this is a continuation of; 0 is none

	records *io.SectionReader
	keys    [][]byte
	leaves  [][32]byte
	last    time.Time // when the last record was recorded
}

const maxSmall = 1 << 20

// Verify checks the bundle in r, all of it: form, signatures, proof, and every
// record against its header, its key and its log. Any error means that nothing
// in the bundle may be believed.
func Verify(r io.ReaderAt, size int64, o Options) (*Report, error) {
	parts, err := readZip(r, size)
	if err != nil {
		return nil, err
	}
	small := make(map[string][]byte)
	for _, name := range []string{guideName, headName, manifestName, policyName, proofName} {
		if parts[name].Size() > maxSmall {
			return nil, fmt.Errorf("bundle: %s has %d bytes", name, parts[name].Size())
		}
		if small[name], err = io.ReadAll(io.NewSectionReader(parts[name], 0, parts[name].Size())); err != nil {
			return nil, fmt.Errorf("bundle: %w", err)
		}
	}
	if !bytes.Equal(small[guideName], guide) {
		return nil, fmt.Errorf("bundle: %s is not the one of this version", guideName)
	}
	m, err := parseManifest(small[manifestName])
	if err != nil {
		return nil, err
	}
	rep := &Report{Manifest: *m, records: parts[recordsName]}
	if err := rep.trust(small, o); err != nil {
		return nil, err
	}
	p, err := parseProofs(small[proofName], m)
	if err != nil {
		return nil, err
	}
	if err := rep.open(parts, o.Identity); err != nil {
		return nil, err
	}
	g, err := rep.hold(p, o.Pin)
	if err != nil {
		return nil, err
	}
	return rep, rep.pin(g, p, o.Pin)
}

// trust verifies the checkpoint and holds the manifest against it.
func (r *Report) trust(small map[string][]byte, o Options) error {
	own, err := ParsePolicy(string(small[policyName]))
	if err != nil {
		return err
	}
	if own.String() != string(small[policyName]) {
		return fmt.Errorf("bundle: %s is not in its one form", policyName)
	}
	if r.Policy = o.Policy; r.Policy == nil {
		r.Policy, r.OwnPolicy = own, true
	}
	if r.Head, r.Witnesses, err = r.Policy.open(small[headName]); err != nil {
		return err
	}
	m := &r.Manifest
	if want := trail.Origin(r.Policy.origin, m.Tenant); r.Head.Origin != want || m.Log != want {
		return fmt.Errorf("bundle: the checkpoint is of %s, the manifest of %s, the policy's log of this tenant is %s", r.Head.Origin, m.Log, want)
	}
	if r.Head.Size != m.Size {
		return fmt.Errorf("bundle: the checkpoint is of %d records, the manifest of %d", r.Head.Size, m.Size)
	}
	seen := make(map[string]bool)
	for _, w := range r.Witnesses {
		seen[w] = true
	}
	r.Quorum = r.Policy.quorum == none || r.Policy.met(r.Policy.quorum, seen)
	return nil
}

// open reads the keys, if it can.
func (r *Report) open(parts map[string]*io.SectionReader, identity age.Identity) error {
	n := r.Manifest.To - r.Manifest.From
	limit := int64(n)*47 + maxSmall // 44 of base64, two quotes and a comma
	part, in := parts[keysOpen], io.Reader(nil)
	if part != nil {
		in = part
	}
	if part == nil {
		if identity == nil {
			return nil
		}
		part = parts[keysSealed]
		opened, err := age.Decrypt(io.NewSectionReader(part, 0, part.Size()), identity)
		if err != nil {
			return fmt.Errorf("bundle: open keys: %w", err)
		}
		in = opened
	}
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(in, limit))
	if err != nil {
		return fmt.Errorf("bundle: open keys: %w", err)
	}
	r.keys, err = parseKeys(b, n)
	r.Opened = err == nil
	return err
}

// hold checks every record, and all of them against the head.
func (r *Report) hold(p *proofs, pin *trail.Head) (*grower, error) {
	m, at := &r.Manifest, r.Manifest.Size+1
	if pin != nil {
		at = pin.Size
	}
	begin, end := m.edges()
	g, err := newGrower(begin, p.left, at)
	if err != nil {
		return nil, err
	}
	in, last := newRecords(r.records), uint64(0)
	for seq := begin; seq < end; seq++ {
		s, err := in.next()
		if err == nil {
			err = m.fits(s, seq, last)
		}
		if err == nil && s.Ciphertext != nil && r.Opened {
			_, err = r.unseal(s)
		}
		if err != nil {
			return nil, fmt.Errorf("bundle: record %d: %w", seq, err)
		}
		last = s.Header.Commit
		leaf := s.Leaf()
		r.leaves = append(r.leaves, leaf)
		if err := g.append(leaf); err != nil {
			return nil, err
		}
	}
	if _, err := in.next(); !errors.Is(err, io.EOF) {
		return nil, errors.New("bundle: there are more records than the manifest says")
	}
	r.last = trail.Header{Commit: last}.Time()
	return g, g.finish(p.right, r.Head)
}

// fits checks s as the record with number seq, after one recorded at last.
func (m *Manifest) fits(s trail.Sealed, seq, last uint64) error {
	h, inside := &s.Header, m.From <= seq && seq < m.To
	switch at := h.Time(); {
	case h.Log != m.Tenant:
		return fmt.Errorf("it is of log %s", h.Log)
	case h.Seq != seq:
		return fmt.Errorf("it has the number %d", h.Seq)
	case h.Commit < last:
		return errors.New("it was recorded before the one before it")
	case inside != (s.Ciphertext != nil):
		return errors.New("its payload is missing, or is outside the window")
	case m.timed() && inside != (!at.Before(m.Since) && at.Before(m.Until)):
		return fmt.Errorf("recorded at %s, it is on the wrong side of the window", at.Format(time.RFC3339Nano))
	default:
		return nil
	}
}

func (r *Report) unseal(s trail.Sealed) (trail.Record, error) {
	return trail.Unseal([32]byte(r.keys[s.Header.Seq-r.Manifest.From]), s.Header, s.Ciphertext)
}

// pin holds the previous head and the pinned one against the log.
func (r *Report) pin(g *grower, p *proofs, pin *trail.Head) error {
	m := &r.Manifest
	if err := consistent(m.Previous, r.Head, p.since); err != nil {
		return err
	}
	if pin == nil {
		return nil
	}
	switch {
	case pin.Origin != r.Head.Origin:
		return fmt.Errorf("bundle: the pin is of %s, the bundle of %s", pin.Origin, r.Head.Origin)
	case pin.Size == 0:
		return nil
	case pin.Size > r.Head.Size:
		return fmt.Errorf("bundle: the log has %d records, and had %d when it was pinned: it was rolled back, or this export is older than the pin", r.Head.Size, pin.Size)
	case pin.Size == r.Head.Size && pin.Root == r.Head.Root,
		pin.Size == m.Previous.Size && pin.Root == m.Previous.Root:
	case pin.Size == r.Head.Size,
		pin.Size == m.Previous.Size,
		g.pinned != nil && string(g.pinned) != string(pin.Root[:]):
		return fmt.Errorf("bundle: the log of %d records is not a continuation of the one that was pinned at %d", r.Head.Size, pin.Size)
	case g.pinned == nil:
		return fmt.Errorf("bundle: it cannot be pinned: it does not reach back to the %d records of the pin; "+
			"ask for an export with the pinned head as its previous one, or for one from record %d or before", pin.Size, pin.Size)
	}
	r.Pinned = pin.Size
	return nil
}

// Records returns the records of the bundle, each read and opened again and
// held against what was verified. Of a sealed bundle only the headers read.
func (r *Report) Records() iter.Seq2[trail.Opened, error] {
	return func(yield func(trail.Opened, error) bool) {
		in := newRecords(r.records)
		for _, leaf := range r.leaves {
			s, err := in.next()
			if err == nil && s.Leaf() != leaf {
				err = errors.New("bundle: it was changed while it was read")
			}
			if err == nil && s.Ciphertext == nil {
				continue
			}
			o := trail.Opened{Sealed: s}
			if err == nil && r.Opened {
				o.Record, err = r.unseal(s)
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// OperatorOnly reports that nobody but the operator vouches for the log: no
// witness that whoever verifies has named, and no pin.
func (r *Report) OperatorOnly() bool {
	return (r.OwnPolicy || len(r.Witnesses) == 0) && r.Pinned == 0
}

// Less reports that the verification is worth less than was asked for.
func (r *Report) Less() bool { return r.OperatorOnly() || r.OwnPolicy || !r.Quorum }

// Worth says what the verification is worth.
func (r *Report) Worth() string {
	var is []string
	if len(r.Witnesses) > 0 && !r.OwnPolicy {
		is = append(is, "witnessed by "+strings.Join(r.Witnesses, ", "))
	}
	if r.Pinned > 0 {
		is = append(is, fmt.Sprintf("pinned to checkpoint %d", r.Pinned))
	}
	if r.OperatorOnly() {
		before := r.Manifest.Created // which nobody vouches for, so at least
		if r.last.After(before) {
			before = r.last
		}
		is = append(is, "operator-signed only: removal before "+before.Format(time.RFC3339)+" is not detectable")
	}
	if !r.Quorum {
		is = append(is, "without the witnesses that the policy asks for")
	}
	if r.OwnPolicy {
		is = append(is, "with keys taken from the bundle itself")
	}
	return strings.Join(is, "; ")
}

// A recordReader reads records.bin.
type recordReader struct {
	in  *bufio.Reader
	buf []byte
}

func newRecords(r *io.SectionReader) *recordReader {
	return &recordReader{bufio.NewReaderSize(io.NewSectionReader(r, 0, r.Size()), 64<<10), make([]byte, trail.MaxRecord)}
}

// next returns the next record, which stands until it is called again, and
// io.EOF after the last.
func (r *recordReader) next() (trail.Sealed, error) {
	if _, err := io.ReadFull(r.in, r.buf[:4]); err != nil {
		return trail.Sealed{}, err
	}
	n := binary.BigEndian.Uint32(r.buf)
	if n > trail.MaxRecord-4 {
		return trail.Sealed{}, fmt.Errorf("a record of %d bytes", n)
	}
	if _, err := io.ReadFull(r.in, r.buf[4:4+n]); err != nil {
		return trail.Sealed{}, fmt.Errorf("a record is cut off: %w", err)
	}
	s, _, err := trail.CutRecord(r.buf[:4+n])
	return s, err
}
