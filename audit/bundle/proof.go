package bundle

import (
	"errors"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/isocore/isocore/audit/trail"
)

// A proofs is proof.bin: u8 version, and three lists of hashes, each a u8 and
// so many times 32 bytes: the perfect subtrees left of what a bundle shows,
// those right of it, and the consistency proof (RFC 6962, 2.1.2) from the
// previous head.
type proofs struct{ left, right, since [][]byte }

func (p *proofs) encode() []byte {
	b := []byte{version}
	for _, hashes := range [][][]byte{p.left, p.right, p.since} {
		b = append(b, byte(len(hashes)))
		for _, h := range hashes {
			b = append(b, h...)
		}
	}
	return b
}

// parseProofs returns the proofs in b if they are exactly as many as m needs.
func parseProofs(b []byte, m *Manifest) (*proofs, error) {
	var p proofs
	if len(b) == 0 || b[0] != version {
		return nil, errors.New("bundle: proof.bin is of no known version")
	}
	b = b[1:]
	begin, end := m.edges()
	since, err := sinceNodes(m)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		hashes *[][]byte
		want   int
	}{
		{&p.left, compact.RangeSize(0, begin)}, {&p.right, compact.RangeSize(end, m.Size)}, {&p.since, len(since.IDs)},
	} {
		if len(b) == 0 || int(b[0]) != part.want || len(b) < 1+32*part.want {
			return nil, errors.New("bundle: proof.bin is not the proof of these records")
		}
		b = b[1:]
		for range part.want {
			*part.hashes = append(*part.hashes, b[:32:32])
			b = b[32:]
		}
	}
	if len(b) > 0 {
		return nil, errors.New("bundle: proof.bin is too long")
	}
	return &p, nil
}

// sinceNodes returns the nodes of the consistency proof from m's previous head.
func sinceNodes(m *Manifest) (proof.Nodes, error) {
	if m.Previous.Size == 0 || m.Previous.Size == m.Size {
		return proof.Nodes{}, nil
	}
	n, err := proof.Consistency(m.Previous.Size, m.Size)
	if err != nil {
		return proof.Nodes{}, fmt.Errorf("bundle: %w", err)
	}
	return n, nil
}

// A grower computes the root of a log from what a bundle shows of it.
type grower struct {
	factory compact.RangeFactory
	tree    *compact.Range
	pin     uint64 // the size at which to keep the root, too
	pinned  []byte
}

func newGrower(begin uint64, left [][]byte, pin uint64) (*grower, error) {
	g := &grower{factory: compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}, pin: pin}
	var err error
	if g.tree, err = g.factory.NewRange(0, begin, slices.Clone(left)); err != nil { // it grows in place
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return g, g.note()
}

// note keeps the root if the tree has the pinned size.
func (g *grower) note() error {
	if g.tree.End() != g.pin {
		return nil
	}
	var err error
	g.pinned, err = g.root()
	return err
}

func (g *grower) root() ([]byte, error) {
	if g.tree.End() == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	return g.tree.GetRootHash(nil)
}

func (g *grower) append(leaf [32]byte) error {
	if err := g.tree.Append(leaf[:], nil); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return g.note()
}

// finish adds what is right of the leaves and holds the root against h.
func (g *grower) finish(right [][]byte, h trail.Head) error {
	r, err := g.factory.NewRange(g.tree.End(), h.Size, slices.Clone(right))
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if err := g.tree.AppendRange(r, nil); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	root, err := g.root()
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if string(root) != string(h.Root[:]) {
		return errors.New("bundle: the records and the proof do not make the root of the checkpoint: something was altered, removed, added or reordered")
	}
	return nil
}

// consistent reports whether old is a beginning of h, by the proof.
func consistent(old, h trail.Head, since [][]byte) error {
	if old.Size == 0 {
		return nil
	}
	err := proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, h.Size, since, old.Root[:], h.Root[:])
	if err != nil {
		return fmt.Errorf("bundle: the log of %d records is not a continuation of the one of %d: %w", h.Size, old.Size, err)
	}
	return nil
}

func hashChildren(left, right []byte) []byte { return rfc6962.DefaultHasher.HashChildren(left, right) }
