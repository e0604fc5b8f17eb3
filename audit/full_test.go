package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/isocore/isocore/audit/segment"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// smallDisk returns a directory on a file system of 4 MiB, and a function that
// fills it but for so many bytes.
func smallDisk(t *testing.T) (dir string, fill func(leave int)) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("missing: the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, func(leave int) {
		var s syscall.Statfs_t
		if err := syscall.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, int(s.Bavail)*int(s.Bsize)-leave), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// appendUntil appends until that fails and returns what was acknowledged.
func appendUntil(t *testing.T, l *Log, acked map[Ref]string) error {
	t.Helper()
	for i := range 100_000 {
		txn := fmt.Sprint(len(acked), "/", i)
		receipt, err := l.Append(statement(id(1), txn))
		if err != nil {
			return err
		}
		ref, err := receipt.Wait(t.Context())
		if err != nil {
			return err
		}
		acked[ref] = txn
	}
	t.Fatal("the disk is not full")
	return nil
}

// While there is too little space nothing is recorded, and the reason says so;
// when there is space again it goes on by itself, and has recorded the gap.
func TestTooLittleSpace(t *testing.T) {
	dir, fill := smallDisk(t)
	commit, err := segment.Open(filepath.Join(dir, "log"), 0)
	if err != nil {
		t.Fatal(err)
	}
	c := config(t, dir, commit)
	c.MinFree = 0.05
	l, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	acked := make(map[Ref]string)
	fill(100 << 10)
	err = appendUntil(t, l, acked)
	if refusal.Of(err) != refusal.Unrecorded || !strings.Contains(err.Error(), "disk is full") || !strings.Contains(err.Error(), "5%") {
		t.Fatal(err)
	}
	if _, err := l.Append(statement(id(2), "x")); refusal.Of(err) != refusal.Unrecorded || !strings.Contains(err.Error(), "disk is full") {
		t.Fatal(err)
	}
	if l.Err() != nil || refusal.Of(l.Ready()) != refusal.Unrecorded {
		t.Fatal(l.Err(), l.Ready())
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	ctx, found := context.WithCancel(t.Context())
	defer found()
	err = l.Follow(ctx, tenant.ID{}, 0, func(o Opened) error {
		if o.Header.Class == ClassGap {
			if o.Record.Result.Rows != 2 || !strings.Contains(o.Record.Detail, "disk is full") {
				t.Errorf("%+v", o.Record)
			}
			found()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := l.Ready(); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	receipt, err := l.Append(statement(id(1), "again"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := receipt.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	acked[ref] = "again"
	closeLog(t, l)
	checkLog(t, dir).contains(t, acked)
}

// A disk that fills up under the segments alone fails the log; nothing that was
// acknowledged is lost, and once there is space it can be opened again.
func TestNoSpaceLeft(t *testing.T) {
	small, fill := smallDisk(t)
	dir := t.TempDir()
	if err := os.Symlink(small, filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	l := openDir(t, dir)
	acked := make(map[Ref]string)
	for range 3 {
		fill(64 << 10)
		err := appendUntil(t, l, acked)
		if refusal.Of(err) != refusal.Unrecorded || !strings.Contains(err.Error(), "disk is full") {
			t.Fatal(err)
		}
		n := len(acked)
		if _, err := l.Append(statement(id(1), "x")); refusal.Of(err) != refusal.Unrecorded {
			t.Fatal(err)
		}
		<-l.Failed()
		if !errors.Is(l.Err(), syscall.ENOSPC) {
			t.Fatal(l.Err())
		}
		if err := l.Close(t.Context()); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(small, "ballast")); err != nil {
			t.Fatal(err)
		}
		l = openDir(t, dir)
		checkLog(t, dir).contains(t, acked)
		if n == 0 {
			t.Fatal("nothing was acknowledged")
		}
	}
	closeLog(t, l)
	checkLog(t, dir).contains(t, acked)
}
