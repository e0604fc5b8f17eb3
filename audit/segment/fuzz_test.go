package segment

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/isocore/isocore/audit/trail"
)

// FuzzRecovery writes batches, replaces what follows an arbitrary place by
// arbitrary bytes, and recovers.
func FuzzRecovery(f *testing.F) {
	f.Add(uint16(0), []byte{})
	f.Add(uint16(200), []byte("garbage"))
	f.Add(uint16(310), bytes.Repeat([]byte{0}, 400))
	c := new(chain)
	for range 3 {
		c.next(f, 100)
	}
	f.Add(uint16(len(c.all[0])), c.all[1])
	f.Add(uint16(len(c.all[0])), c.all[2])
	// Oracle: it is refused, or what is recovered is a prefix of what was
	// written, goes on from there, and is the same when recovered again.
	f.Fuzz(func(t *testing.T, at uint16, tail []byte) {
		dir, c := t.TempDir(), new(chain)
		for range 5 {
			c.next(t, 100)
		}
		whole := bytes.Join(c.all, nil)
		if err := os.Mkdir(filepath.Join(dir, "3"), 0o700); err != nil {
			t.Fatal(err)
		}
		raw := append(bytes.Clone(whole[:min(int(at), len(whole))]), tail...)
		if err := os.WriteFile(filepath.Join(dir, "3", "0000000000000000.seg"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := open(dir, 3, rollAt)
		if err != nil {
			return
		}
		got, err := frames(t, l, 0)
		if err != nil || len(got) > len(c.all) || !same(got, c.all[:len(got)]) {
			t.Fatalf("%d frames, %v", len(got), err)
		}
		next := &chain{no: uint64(len(got)), all: got}
		if len(got) > 0 {
			b, err := trail.ParseBatch(got[len(got)-1])
			if err != nil {
				t.Fatal(err)
			}
			next.prev = b.Sum()
		}
		fill(t, l, next, 1, 60)
		shut(t, l)
		l = mustOpen(t, dir, rollAt)
		if again, err := frames(t, l, 0); err != nil || !same(again, next.all) {
			t.Fatalf("again: %d frames, %v", len(again), err)
		}
		shut(t, l)
	})
}
