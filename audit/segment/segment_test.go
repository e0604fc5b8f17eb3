package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/isocore/isocore/audit/trail"
)

// A chain makes batches that follow each other.
type chain struct {
	no   uint64
	prev [32]byte
	all  [][]byte
}

func (c *chain) next(t testing.TB, size int) trail.Batch {
	t.Helper()
	body := bytes.Repeat(fmt.Appendf(nil, "batch %d, ", c.no), size/9+1)[:size]
	b, err := trail.NewBatch(3, c.no, c.prev, append(make([]byte, trail.FrameSize), body...))
	if err != nil {
		t.Fatal(err)
	}
	c.no, c.prev, c.all = c.no+1, b.Sum(), append(c.all, b.Frame)
	return b
}

func mustOpen(t testing.TB, dir string, roll int64) *Log {
	t.Helper()
	l, err := open(dir, 3, roll)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func fill(t testing.TB, l *Log, c *chain, n, size int) {
	t.Helper()
	for range n {
		if err := l.Append(t.Context(), c.next(t, size)); err != nil {
			t.Fatal(err)
		}
	}
}

func shut(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func frames(t testing.TB, l *Log, from uint64) ([][]byte, error) {
	t.Helper()
	var all [][]byte
	err := l.Replay(t.Context(), from, func(b trail.Batch) error {
		if b.No != from+uint64(len(all)) {
			t.Fatalf("batch %d after %d of them from %d", b.No, len(all), from)
		}
		all = append(all, bytes.Clone(b.Frame))
		return nil
	})
	return all, err
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func TestAppendAndReplay(t *testing.T) {
	dir, c := t.TempDir(), new(chain)
	for step := range 5 {
		l := mustOpen(t, dir, 1000)
		fill(t, l, c, 7*step, 150)
		for from := range uint64(len(c.all)) + 2 {
			got, err := frames(t, l, from)
			if err != nil || !same(got, c.all[min(int(from), len(c.all)):]) {
				t.Fatalf("step %d, from %d: %d, %v", step, from, len(got), err)
			}
		}
		shut(t, l)
	}
	names, err := filepath.Glob(filepath.Join(dir, "3", "*.seg"))
	if err != nil || len(names) < 8 {
		t.Fatal(names, err)
	}
	var raw []byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, b...)
	}
	if !bytes.Equal(raw, bytes.Join(c.all, nil)) {
		t.Error("the segments are not the frames back to back")
	}
}

func TestReplayBesideAppend(t *testing.T) {
	dir, c := t.TempDir(), new(chain)
	l := mustOpen(t, dir, 3000)
	defer shut(t, l)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if _, err := frames(t, l, 0); err != nil {
				t.Error(err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	fill(t, l, c, 200, 100)
	close(done)
	wg.Wait()
	if got, err := frames(t, l, 0); err != nil || !same(got, c.all) {
		t.Error(err)
	}
}

func TestReplayEndsWithItsCaller(t *testing.T) {
	l, c := mustOpen(t, t.TempDir(), 1<<20), new(chain)
	defer shut(t, l)
	fill(t, l, c, 5, 100)
	stop := errors.New("stop")
	if err := l.Replay(t.Context(), 2, func(trail.Batch) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Replay(ctx, 0, func(trail.Batch) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestASecondWriterFails(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, rollAt)
	if _, err := Open(dir, 3); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Error(err)
	}
	shut(t, l)
	l = mustOpen(t, dir, rollAt)
	shut(t, l)
	if err := l.Append(t.Context(), new(chain).next(t, 10)); err == nil {
		t.Error("appended after Close")
	}
	if err := l.Close(); err == nil {
		t.Error("closed twice")
	}
}

func TestAfterOneErrorAlwaysAnError(t *testing.T) {
	for name, do := range map[string]func(l *Log, c *chain) trail.Batch{
		"again":     func(_ *Log, c *chain) trail.Batch { b, _ := trail.ParseBatch(c.all[1]); return b },
		"ahead":     func(_ *Log, c *chain) trail.Batch { ahead := *c; ahead.next(t, 10); return ahead.next(t, 10) },
		"other end": func(_ *Log, c *chain) trail.Batch { other := chain{no: c.no}; return other.next(t, 10) },
		"garbled": func(_ *Log, c *chain) trail.Batch {
			b := (&chain{no: c.no, prev: c.prev}).next(t, 10)
			b.Frame[60] ^= 1
			return b
		},
		"file gone": func(l *Log, c *chain) trail.Batch {
			l.file.Close()
			return (&chain{no: c.no, prev: c.prev}).next(t, 10)
		},
	} {
		dir, c := t.TempDir(), new(chain)
		l := mustOpen(t, dir, rollAt)
		fill(t, l, c, 3, 100)
		bad := do(l, c)
		good := (&chain{no: c.no, prev: c.prev}).next(t, 10)
		if err := l.Append(t.Context(), bad); err == nil {
			t.Errorf("%s: appended", name)
		}
		if err := l.Append(t.Context(), good); err == nil {
			t.Errorf("%s: appended after an error", name)
		}
		if got, err := frames(t, l, 0); err != nil || !same(got, c.all) {
			t.Errorf("%s: %d frames, %v", name, len(got), err)
		}
		l.Close() //nolint:errcheck // its file may be gone
		l = mustOpen(t, dir, rollAt)
		fill(t, l, c, 1, 100)
		shut(t, l)
	}
}

// Cut off anywhere, whatever little was written instead, the last segment
// recovers to the whole frames before. That frames are missing, this package
// cannot know; the checkpoints do.
func TestTornTail(t *testing.T) {
	dir, c := t.TempDir(), new(chain)
	l := mustOpen(t, dir, rollAt)
	fill(t, l, c, 4, 100)
	shut(t, l)
	name := filepath.Join(dir, "3", "0000000000000000.seg")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := len(whole)
	for i, k := range slices.Backward(c.all) {
		begin := at - len(k)
		for n := begin; n < at; n++ {
			for _, tail := range [][]byte{nil, make([]byte, 30), bytes.Repeat([]byte{0xff}, 200)} {
				if err := os.WriteFile(name, append(slices.Clone(whole[:n]), tail...), 0o600); err != nil {
					t.Fatal(err)
				}
				l := mustOpen(t, dir, rollAt)
				got, err := frames(t, l, 0)
				if err != nil || !same(got, c.all[:i]) {
					t.Fatalf("cut at %d: %d frames, %v", n, len(got), err)
				}
				again := &chain{no: uint64(i)}
				if i > 0 {
					b, err := trail.ParseBatch(c.all[i-1])
					if err != nil {
						t.Fatal(err)
					}
					again.prev = b.Sum()
				}
				fill(t, l, again, 1, 40)
				shut(t, l)
			}
		}
		at = begin
	}
}

func TestDamageIsRefused(t *testing.T) {
	dir, c := t.TempDir(), new(chain)
	l := mustOpen(t, dir, 400)
	fill(t, l, c, 12, 100)
	shut(t, l)
	names, err := filepath.Glob(filepath.Join(dir, "3", "*.seg"))
	if err != nil || len(names) != 4 {
		t.Fatal(names, err)
	}
	check := func(what string) {
		t.Helper()
		l, err := open(dir, 3, 400)
		if err != nil {
			return
		}
		defer shut(t, l)
		if got, err := frames(t, l, 0); err == nil {
			t.Errorf("%s: %d frames", what, len(got))
		}
	}
	for i, name := range names {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		end := len(whole)
		if i == len(names)-1 {
			end -= len(c.all[len(c.all)-1]) // what is after it may be a torn tail
		}
		for n := range end {
			b := slices.Clone(whole)
			b[n] ^= 0x10
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			check(fmt.Sprintf("%s: byte %d flipped", name, n))
		}
		if err := os.WriteFile(name, whole[:end-1], 0o600); err != nil {
			t.Fatal(err)
		}
		if i < len(names)-1 {
			check(name + " cut off")
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			check(name + " removed")
		}
		if err := os.WriteFile(name, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := new(chain)
	other.prev = [32]byte{1}
	for range 12 {
		other.next(t, 100)
	}
	for i, name := range names { // of another chain, with the right numbers and checksums
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, bytes.Join(other.all[3*i:3*i+3], nil), 0o600); err != nil {
			t.Fatal(err)
		}
		check(name + " of another chain")
		if err := os.WriteFile(name, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "3", "1.seg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check("a stranger")
	if err := os.Remove(filepath.Join(dir, "3", "1.seg")); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir, 400)
	if got, err := frames(t, l, 0); err != nil || !same(got, c.all) {
		t.Errorf("control: %d frames, %v", len(got), err)
	}
	shut(t, l)
}

// A crash may come between making a segment and writing to it.
func TestAnEmptySegment(t *testing.T) {
	dir, c := t.TempDir(), new(chain)
	l := mustOpen(t, dir, 300)
	fill(t, l, c, 2, 200)
	shut(t, l)
	if err := os.WriteFile(filepath.Join(dir, "3", "0000000000000002.seg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir, 300)
	fill(t, l, c, 3, 200)
	if got, err := frames(t, l, 1); err != nil || !same(got, c.all[1:]) {
		t.Error(err)
	}
	shut(t, l)
}
