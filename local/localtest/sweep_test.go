package localtest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestSweepTakesOnlyWhatNobodyHolds(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	old := time.Now().Add(-2 * time.Hour)
	folder := func(name string, made time.Time) string {
		t.Helper()
		dir := filepath.Join(os.TempDir(), name)
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "pg"), 0o700), os.WriteFile(filepath.Join(dir, "pg", "lock"), nil, 0o600), os.Chtimes(dir, made, made)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	left, held, young, other := folder(prefix+"left", old), folder(prefix+"held", old), folder(prefix+"young", time.Now()), folder("other", old)
	lock, err := os.Open(filepath.Join(held, "pg", "lock"))
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	sweep()
	if _, err := os.Stat(left); err == nil {
		t.Error("what is left over stays")
	}
	for _, dir := range []string{held, young, other} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("%s is gone", dir)
		}
	}
}
