package tree

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

// The trees are those of the library that verifiers use.
func TestRange(t *testing.T) {
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	want := factory.NewEmptyRange(0)
	var r, kept Range
	var leaves [][32]byte
	if root := r.Root(); !bytes.Equal(root[:], rfc6962.DefaultHasher.EmptyRoot()) {
		t.Error("the empty tree")
	}
	for i := range 300 {
		leaf := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		leaves = append(leaves, leaf)
		r.Append(leaf)
		if err := want.Append(leaf[:], nil); err != nil {
			t.Fatal(err)
		}
		root, err := want.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Root(); !bytes.Equal(got[:], root) || r.Size() != uint64(i+1) {
			t.Fatalf("root of %d leaves", i+1)
		}
		again, err := NewRange(r.Size(), r.Hashes())
		if err != nil || again.Root() != r.Root() {
			t.Fatalf("copy of %d leaves: %v", i+1, err)
		}
		kept.Set(&r)
		again.Append(leaf)
		if kept.Root() != r.Root() {
			t.Fatal("a copy is not its own")
		}
	}
	if _, err := NewRange(5, r.Hashes()); err == nil {
		t.Error("made a range of too many hashes")
	}
	visit := func(begin, end uint64, f func([32]byte)) error {
		for _, leaf := range leaves[begin:min(end, 300)] {
			f(leaf)
		}
		return nil
	}
	for _, id := range compact.RangeNodes(3, 300, nil) {
		got, err := Hash(id, visit)
		if err != nil {
			t.Fatal(err)
		}
		begin, end := id.Coverage()
		sub := factory.NewEmptyRange(0)
		for _, leaf := range leaves[begin:end] {
			if err := sub.Append(leaf[:], nil); err != nil {
				t.Fatal(err)
			}
		}
		if root, err := sub.GetRootHash(nil); err != nil || !bytes.Equal(root, got[:]) {
			t.Errorf("node %v, %v", id, err)
		}
	}
	if _, err := Hash(compact.NewNodeID(9, 0), visit); err == nil {
		t.Error("hashed leaves that are not there")
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	var r Range
	for range 1 << 10 {
		r.Append([32]byte{})
	}
	if n := testing.AllocsPerRun(1000, func() { r.Append([32]byte{1}) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
