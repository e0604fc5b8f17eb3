package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clearOrphan deals with the postmaster.pid of a data directory whose lock we
// hold: whoever started that server is gone. A server that still runs is
// stopped, not adopted, because it would not end with us and we could not wait
// for it; a file whose process is not that server is removed, because
// PostgreSQL would refuse to start beside any process of that pid.
func clearOrphan(ctx context.Context, data string) error {
	path := filepath.Join(data, "postmaster.pid")
	pid, err := readPostmasterPid(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ours, err := isPostmaster(pid, data)
	if err != nil {
		return err
	}
	if ours {
		return stopOrphan(ctx, pid, data)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("local: %w", err)
	}
	return nil
}

// readPostmasterPid returns the first line of a postmaster.pid.
func readPostmasterPid(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("local: %s does not start with a pid: %.40q; hint: if no PostgreSQL uses the folder, remove the file", path, first)
	}
	return pid, nil
}

// isPostmaster reports whether pid is the server of data: a server's working
// directory is its data directory.
func isPostmaster(pid int, data string) (bool, error) {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false, nil
	}
	real, err := filepath.EvalSymlinks(data)
	if err != nil {
		return false, fmt.Errorf("local: %w", err)
	}
	dir, err := workingDir(pid)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it has ended, or is a zombie
		return false, nil
	case errors.Is(err, fs.ErrPermission): // another account's: a server of ours is root's to examine or our own
		return false, nil
	case err != nil:
		return false, fmt.Errorf("local: process %d of %s/postmaster.pid cannot be examined: %w", pid, data, err)
	default:
		return dir == real, nil
	}
}

// stopOrphan ends the server pid of data: fast, then immediately, then by force.
func stopOrphan(ctx context.Context, pid int, data string) error {
	for _, step := range shutdown {
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("local: stop process %d of %s: %w", pid, data, err)
		}
		ctx, cancel := context.WithTimeout(ctx, step.wait)
		err := poll(ctx, func() (bool, error) {
			alive, err := isPostmaster(pid, data)
			return !alive, err
		})
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("local: process %d of %s does not stop", pid, data)
}

// shutdown is how a server is stopped, with how long each step may take: fast
// (clients are disconnected, a checkpoint is written), immediate (the next
// start replays the log), and the kernel's.
var shutdown = []struct {
	signal syscall.Signal
	wait   time.Duration
}{
	{syscall.SIGINT, 20 * time.Second},
	{syscall.SIGQUIT, 6 * time.Second},
	{syscall.SIGKILL, 5 * time.Second},
}

// poll calls done every 20 ms until it says so, fails, or ctx is over.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
