// Package tree grows the Merkle trees of the audit trail, as RFC 6962 defines
// them, leaf by leaf.
package tree

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
)

// Node returns the hash of an inner node.
func Node(left, right [32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

// A Range is a tree of which only the right edge is kept: enough to grow it and
// to know its root. The zero Range is the empty tree.
type Range struct {
	size  uint64
	stack [][32]byte // roots of the perfect subtrees, largest first
}

// NewRange returns the tree of size leaves whose Hashes are given.
func NewRange(size uint64, hashes [][32]byte) (*Range, error) {
	if len(hashes) != bits.OnesCount64(size) {
		return nil, fmt.Errorf("tree: %d hashes for %d leaves", len(hashes), size)
	}
	return &Range{size, append([][32]byte(nil), hashes...)}, nil
}

// Size returns the number of leaves.
func (r *Range) Size() uint64 { return r.size }

// Hashes returns the roots of the perfect subtrees of r, the largest first.
func (r *Range) Hashes() [][32]byte { return r.stack }

// Append adds a leaf.
func (r *Range) Append(leaf [32]byte) {
	for n := r.size; n&1 == 1; n >>= 1 {
		last := len(r.stack) - 1
		leaf = Node(r.stack[last], leaf)
		r.stack = r.stack[:last]
	}
	r.stack = append(r.stack, leaf)
	r.size++
}

// Root returns the root of the tree; that of the empty one is SHA-256 of nothing.
func (r *Range) Root() [32]byte {
	if len(r.stack) == 0 {
		return sha256.Sum256(nil)
	}
	root := r.stack[len(r.stack)-1]
	for i := len(r.stack) - 2; i >= 0; i-- {
		root = Node(r.stack[i], root)
	}
	return root
}

// Set makes r the same tree as other, and keeps nothing of it.
func (r *Range) Set(other *Range) {
	r.size = other.size
	r.stack = append(r.stack[:0], other.stack...)
}

// Hash returns the hash of the perfect subtree id over the leaves that leaf
// visits, from begin up to but not including end.
func Hash(id compact.NodeID, leaves func(begin, end uint64, visit func(leaf [32]byte)) error) ([32]byte, error) {
	begin, end := id.Coverage()
	var r Range
	if err := leaves(begin, end, r.Append); err != nil {
		return [32]byte{}, err
	}
	if r.size != end-begin {
		return [32]byte{}, fmt.Errorf("tree: %d of the leaves %d to %d", r.size, begin, end)
	}
	return r.Root(), nil
}
