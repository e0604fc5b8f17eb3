package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/audit/segment"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

var _ CommitLog = (*memory)(nil)

func TestAStep(t *testing.T) {
	dir := t.TempDir()
	l := openDir(t, dir)
	checkLog(t, dir)
	ctx := t.Context()
	receipt, err := l.Append(statement(id(1), "a"), statement(id(1), "b"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := receipt.Wait(ctx)
	if err != nil || ref != (Ref{Log: id(1), Seq: 0}) {
		t.Fatal(ref, err)
	}
	checkLog(t, dir).contains(t, map[Ref]string{ref: "a", {Log: id(1), Seq: 1}: "b"})
	outcome := Record{Log: id(1), Kind: Outcome, Of: ref, Class: ClassStatement, Result: Result{Status: "ok", Rows: 3}}
	receipt, err = l.Append(outcome)
	if err != nil {
		t.Fatal(err)
	}
	if ref, err = receipt.Wait(ctx); err != nil || ref.Seq != 2 {
		t.Fatal(ref, err)
	}
	checkLog(t, dir)
	signed, err := l.Checkpoint(ctx, id(1))
	if err != nil {
		t.Fatal(err)
	}
	checkLog(t, dir).checkpoint(t, signed)
	closeLog(t, l)
	c := checkLog(t, dir)
	if c.sizes[id(1)] != 3 || c.sizes[tenant.ID{}] != 2 {
		t.Fatalf("%v", c.sizes)
	}
}

func TestTail(t *testing.T) {
	dir := t.TempDir()
	l := openDir(t, dir)
	var want []string
	for i := range 300 {
		txn := fmt.Sprint(i)
		receipt, err := l.Append(statement(id(1), txn))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, txn)
		if i%40 == 0 {
			if _, err := l.Append(statement(id(2), "other")); err != nil {
				t.Fatal(err)
			}
		}
		if i%7 == 0 || i == 299 {
			if _, err := receipt.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 { // live, and after opening again
		for _, from := range []uint64{0, 1, 150, 299, 300, 301} {
			var got []string
			err := l.Tail(t.Context(), id(1), from, func(o Opened) error {
				if o.Header.Seq != from+uint64(len(got)) || o.Record.Log != id(1) {
					t.Fatalf("record %v", o.Header.Ref())
				}
				got = append(got, o.Record.Txn)
				return nil
			})
			if err != nil || !slices.Equal(got, want[min(from, 300):]) {
				t.Fatalf("from %d: %d records, %v", from, len(got), err)
			}
		}
		n := 0
		if err := l.Tail(t.Context(), id(2), 0, func(Opened) error { n++; return nil }); err != nil || n != 8 {
			t.Fatal(n, err)
		}
		if n, err := l.Find(t.Context(), id(1), time.Now().Add(time.Hour)); n != 300 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := l.Find(t.Context(), id(1), time.Now().Add(-time.Hour)); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		closeLog(t, l)
		checkLog(t, dir)
		l = openDir(t, dir)
	}
	closeLog(t, l)
}

func TestFollow(t *testing.T) {
	l := openDir(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string)
	done := make(chan error)
	go func() {
		done <- l.Follow(ctx, id(1), 0, func(o Opened) error { got <- o.Record.Txn; return nil })
	}()
	for i := range 20 {
		if _, err := l.Append(statement(id(1), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if txn := <-got; txn != fmt.Sprint(i) {
			t.Fatalf("%d: %s", i, txn)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	closeLog(t, l)
}

func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	l := openDir(t, dir)
	var (
		mu    sync.Mutex
		acked = make(map[Ref]string)
		wg    sync.WaitGroup
	)
	for w := range 64 {
		wg.Go(func() {
			for i := range 30 {
				txn := fmt.Sprintf("%d/%d", w, i)
				receipt, err := l.Append(statement(id(byte(w%5)), txn))
				if err != nil {
					t.Error(err)
					return
				}
				ref, err := receipt.Wait(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[ref] = txn
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(acked) != 64*30 {
		t.Fatalf("%d acknowledged", len(acked))
	}
	checkLog(t, dir).contains(t, acked)
	closeLog(t, l)
	checkLog(t, dir).contains(t, acked)
}

func TestRefusesRecords(t *testing.T) {
	l := openDir(t, t.TempDir())
	defer closeLog(t, l)
	good := statement(id(1), "a")
	with := func(f func(*Record)) Record { r := good; f(&r); return r }
	for name, c := range map[string]struct {
		want refusal.Reason
		rs   []Record
	}{
		"two logs":        {refusal.Internal, []Record{good, statement(id(2), "b")}},
		"no kind":         {refusal.Internal, []Record{with(func(r *Record) { r.Kind = 0 })}},
		"no class":        {refusal.Internal, []Record{with(func(r *Record) { r.Class = 0 })}},
		"class of kind":   {refusal.Internal, []Record{with(func(r *Record) { r.Class = ClassBoot })}},
		"of beside":       {refusal.Internal, []Record{with(func(r *Record) { r.Of.Seq = 1 })}},
		"of nothing":      {refusal.Internal, []Record{with(func(r *Record) { r.Kind, r.Of = Outcome, Ref{Log: id(1), Seq: 9} })}},
		"of another log":  {refusal.Internal, []Record{{Kind: Outcome, Class: ClassStatement, Of: Ref{Log: id(1)}}}},
		"long subject":    {refusal.TooLarge, []Record{with(func(r *Record) { r.Subject = strings.Repeat("x", 1025) })}},
		"many actors":     {refusal.TooLarge, []Record{with(func(r *Record) { r.Actors = make([]string, 17) })}},
		"long actor":      {refusal.TooLarge, []Record{with(func(r *Record) { r.Actors = []string{strings.Repeat("x", 1025)} })}},
		"many sources":    {refusal.TooLarge, []Record{with(func(r *Record) { r.Result.Provenance = make([][32]byte, 257) })}},
		"large together":  {refusal.TooLarge, []Record{with(large)}},
		"many at once":    {refusal.TooLarge, slices.Repeat([]Record{good}, MaxTogether+1)},
		"bytes at once":   {refusal.TooLarge, slices.Repeat([]Record{with(func(r *Record) { large(r); r.Actors = nil })}, MaxTogether)},
		"queue's measure": {refusal.Internal, []Record{with(func(r *Record) { r.Kind = 200 })}},
	} {
		receipt, err := l.Append(c.rs...)
		if receipt != nil || err == nil || refusal.Of(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if receipt, err := l.Append(); receipt != nil || err != nil {
		t.Error(receipt, err)
	}
	var none *Receipt
	if ref, err := none.Wait(t.Context()); ref != (Ref{}) || err != nil {
		t.Error(ref, err)
	}
	if size, _ := l.Head(id(1)); size != 0 {
		t.Errorf("%d records", size)
	}
}

// large fills every field.
func large(r *Record) {
	r.Text = make([]byte, 1<<20)
	r.Detail = strings.Repeat("d", 1<<20)
	r.Resources = slices.Repeat([]string{strings.Repeat("r", 1<<10)}, 100)
	r.Actors = slices.Repeat([]string{strings.Repeat("a", 1<<10)}, 16)
}

func TestCuts(t *testing.T) {
	dir := t.TempDir()
	l := openDir(t, dir)
	r := statement(id(1), "a")
	large(&r)
	r.Actors = nil
	r.Operation = strings.Repeat("é", 200) + "\xff"
	if _, err := l.Append(r); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	l = openDir(t, dir)
	defer closeLog(t, l)
	err := l.Tail(t.Context(), id(1), 0, func(o Opened) error {
		got := o.Record
		if len(got.Text) != 8<<10 || len(got.Detail) != 2<<10 || len(got.Resources) != 64 || !got.Cut ||
			got.Operation != strings.Repeat("é", 128) || len(got.Resources[63]) != 256 {
			t.Errorf("%+v", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	_, err := Open(t.Context(), Config{})
	if err == nil {
		t.Fatal("opened")
	}
	for _, field := range []string{
		"Commit", "Keys", "Signer", "origin", "Dir", "Interval", "Queue", "Deadline", "MinFree", "Epoch", "Now",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("nothing about %s in %v", field, err)
		}
	}
}

func TestAFailingCommitLog(t *testing.T) {
	for _, at := range []uint64{1, 2, 7} {
		broken := errors.New("input/output error")
		m := &memory{before: func(no uint64) error {
			if no >= at {
				return broken
			}
			return nil
		}}
		l, err := Open(t.Context(), config(t, t.TempDir(), m))
		if err != nil {
			t.Fatal(err)
		}
		acked, refused := make(map[Ref]string), 0
		for i := range 30 {
			receipt, err := l.Append(statement(id(1), fmt.Sprint(i)))
			if err != nil {
				if refusal.Of(err) != refusal.Unrecorded || !errors.Is(err, broken) {
					t.Fatal(err)
				}
				refused++
				continue
			}
			ref, err := receipt.Wait(t.Context())
			if err != nil {
				if refusal.Of(err) != refusal.Unrecorded || !errors.Is(err, broken) {
					t.Fatal(err)
				}
				refused++
				continue
			}
			if refused > 0 {
				t.Fatalf("acknowledged %v after a failure", ref)
			}
			acked[ref] = fmt.Sprint(i)
		}
		<-l.Failed()
		if !errors.Is(l.Err(), broken) || len(acked) != int(at)-1 {
			t.Fatalf("at %d: %d acknowledged, %v", at, len(acked), l.Err())
		}
		has := m.has(t)
		for ref, txn := range acked {
			if has[ref] != txn {
				t.Fatalf("%v is lost", ref)
			}
		}
		if err := l.Close(t.Context()); !errors.Is(err, broken) {
			t.Fatal(err)
		}
	}
}

// A shortener writes half of batch at into the file, and fails.
type shortener struct {
	*segment.Log
	at   uint64
	file string
}

func (s *shortener) Append(ctx context.Context, b Batch) error {
	if b.No < s.at {
		return s.Log.Append(ctx, b)
	}
	f, err := os.OpenFile(s.file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b.Frame[:len(b.Frame)/2]); err != nil {
		return err
	}
	return io.ErrShortWrite
}

func TestAShortWrite(t *testing.T) {
	dir := t.TempDir()
	commit, err := segment.Open(filepath.Join(dir, "log"), 0)
	if err != nil {
		t.Fatal(err)
	}
	short := &shortener{commit, 9, filepath.Join(dir, "log", "0", "0000000000000000.seg")}
	l, err := Open(t.Context(), config(t, dir, short))
	if err != nil {
		t.Fatal(err)
	}
	acked := make(map[Ref]string)
	for i := 0; ; i++ {
		receipt, err := l.Append(statement(id(1), fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		ref, err := receipt.Wait(t.Context())
		if errors.Is(err, io.ErrShortWrite) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		acked[ref] = fmt.Sprint(i)
	}
	if err := l.Close(t.Context()); !errors.Is(err, io.ErrShortWrite) {
		t.Fatal(err)
	}
	closeLog(t, openDir(t, dir))
	c := checkLog(t, dir)
	c.contains(t, acked)
	if len(acked) != 8 || c.sizes[id(1)] != 8 {
		t.Errorf("%d acknowledged, %d there", len(acked), c.sizes[id(1)])
	}
}

func TestOpenNeedsAWorkingCommitLog(t *testing.T) {
	broken := errors.New("read-only file system")
	l, err := Open(t.Context(), config(t, t.TempDir(), &memory{before: func(uint64) error { return broken }}))
	if l != nil || !errors.Is(err, broken) {
		t.Fatal(l, err)
	}
}

// A commit that hangs: waiters hear of it at the deadline, later ones at once,
// a full queue at once; and when it returns after all, the log goes on.
func TestAHangingCommitLog(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := &memory{before: func(no uint64) error {
			if no == 1 {
				<-release
			}
			return nil
		}}
		c := config(t, dir, m)
		c.Deadline, c.Queue = 250*time.Millisecond, 8
		l, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(c.Interval) // since the first commit
		began := time.Now()
		first, err := l.Append(statement(id(1), "a"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(c.Interval) // nobody waits for it
		synctest.Wait()        // it is being committed
		for i := range 8 {
			if _, err := l.Append(statement(id(1), fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Append(statement(id(1), "full")); refusal.Of(err) != refusal.Unrecorded || time.Since(began) >= c.Deadline {
			t.Fatal(err)
		}
		if _, err := first.Wait(t.Context()); refusal.Of(err) != refusal.Unrecorded || time.Since(began) != c.Deadline {
			t.Fatal(err, time.Since(began))
		}
		time.Sleep(time.Millisecond)
		if _, err := l.Append(statement(id(1), "stuck")); refusal.Of(err) != refusal.Unrecorded {
			t.Fatal(err)
		}
		if size, _ := l.Head(id(1)); size != 0 {
			t.Fatalf("%d records are durable", size)
		}
		close(release)
		synctest.Wait()
		time.Sleep(2 * c.Interval)
		if size, _ := l.Head(id(1)); size != 9 {
			t.Fatalf("%d records are durable", size)
		}
		if ref, err := first.Wait(t.Context()); err != nil || ref.Seq != 0 {
			t.Fatal(ref, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		later, err := l.Append(statement(id(1), "b"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := later.Wait(ctx); err != nil && (refusal.Of(err) != refusal.Unrecorded || !errors.Is(err, context.Canceled)) {
			t.Fatal(err)
		}
		closeLog(t, l)
	})
}

func TestCloseGivesUpOnAHangingCommitLog(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := &memory{before: func(no uint64) error {
			if no > 0 {
				<-release
			}
			return nil
		}}
		l, err := Open(t.Context(), config(t, dir, m))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := l.Append(statement(id(1), "late")); refusal.Of(err) != refusal.Unrecorded {
			t.Fatal(err)
		}
		close(release)
	})
}

func TestClosed(t *testing.T) {
	l := openDir(t, t.TempDir())
	closeLog(t, l)
	if _, err := l.Append(statement(id(1), "a")); refusal.Of(err) != refusal.Unrecorded {
		t.Error(err)
	}
	if err := l.Close(t.Context()); err == nil {
		t.Error("closed twice")
	}
}

// Time runs backwards; the log's does not.
func TestCommitTimeNeverDecreases(t *testing.T) {
	c := config(t, t.TempDir(), &memory{})
	now := time.UnixMilli(1 << 40)
	var mu sync.Mutex
	c.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(-time.Second)
		return now
	}
	l, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		receipt, err := l.Append(statement(id(1), fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receipt.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	last := uint64(0)
	err = l.Tail(t.Context(), id(1), 0, func(o Opened) error {
		if o.Header.Commit < last {
			t.Errorf("%d after %d", o.Header.Commit, last)
		}
		last = o.Header.Commit
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
}

func TestRollbackIsDetected(t *testing.T) {
	dir := t.TempDir()
	fill := func(n int) {
		l := openDir(t, dir)
		for range n {
			if _, err := l.Append(statement(id(1), "x")); err != nil {
				t.Fatal(err)
			}
		}
		closeLog(t, l)
	}
	fill(3)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(filepath.Join(dir, "log"))); err != nil {
		t.Fatal(err)
	}
	fill(3)
	swap := func(with string) error {
		if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
			t.Fatal(err)
		}
		if with != "" {
			if err := os.CopyFS(filepath.Join(dir, "log"), os.DirFS(with)); err != nil {
				t.Fatal(err)
			}
		}
		l, err := tryDir(t, dir)
		if err == nil {
			closeLog(t, l)
		}
		return err
	}
	now := filepath.Join(t.TempDir(), "now")
	if err := os.CopyFS(now, os.DirFS(filepath.Join(dir, "log"))); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	for range 3 { // no log in it is behind its checkpoint
		l := openDir(t, other)
		for range 3 {
			if _, err := l.Append(statement(id(1), "y")); err != nil {
				t.Fatal(err)
			}
		}
		closeLog(t, l)
	}
	for name, with := range map[string]string{"older": old, "nothing": "", "another": filepath.Join(other, "log")} {
		if err := swap(with); err == nil || !strings.Contains(err.Error(), "rollback detected") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := swap(now); err != nil {
		t.Errorf("control: %v", err)
	}
	checkLog(t, dir)
}

// Whatever is derived may be gone, old or wrong: Open makes it again.
func TestDerivedStateIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		l := openDir(t, dir)
		for range 5 {
			if _, err := l.Append(statement(id(1), "x")); err != nil {
				t.Fatal(err)
			}
		}
		closeLog(t, l)
	}
	glob := func(pattern string) []string {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, names, err)
		}
		return names
	}
	each := func(names []string, f func(string) error) {
		for _, name := range names {
			if err := f(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	empty := func(name string) error { return os.Truncate(name, 0) }
	garble := func(name string) error {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		return os.WriteFile(name, b, 0o600)
	}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"snapshots gone", func() { each(glob("snap/*"), os.Remove) }},
		{"snapshots empty", func() { each(glob("snap/*"), empty) }},
		{"snapshots garbled", func() { each(glob("snap/*"), garble) }},
		{"index gone", func() { each(glob("t/*/index"), os.Remove) }},
		{"index empty", func() { each(glob("t/*/index"), empty) }},
		{"index garbled, snapshots gone", func() { each(glob("t/*/index"), garble); each(glob("snap/*"), os.Remove) }},
		{"checkpoints gone", func() { each(glob("t/*/checkpoint"), os.Remove) }},
	} {
		c.do()
		l := openDir(t, dir)
		n := 0
		if err := l.Tail(t.Context(), id(1), 0, func(Opened) error { n++; return nil }); err != nil || n != 15 {
			t.Errorf("%s: %d records, %v", c.name, n, err)
		}
		closeLog(t, l)
		checkLog(t, dir)
	}
	each(glob("t/*/index"), garble)
	l := openDir(t, dir)
	if err := l.Tail(t.Context(), id(1), 0, func(Opened) error { return nil }); err == nil {
		t.Error("a garbled index went unnoticed")
	}
	closeLog(t, l)
}
