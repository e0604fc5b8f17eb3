package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// A logFile is a file that takes at most limit bytes; then it becomes .1, .1
// becomes .2, and what was the last of keep is gone. A disk that is full loses
// lines, and never stops the writer.
type logFile struct {
	path  string
	limit int64
	keep  int

	mu   sync.Mutex // guards what follows
	f    *os.File
	size int64
}

func openLog(path string, limit int64, keep int) (*logFile, error) {
	l := &logFile{path: path, limit: limit, keep: keep}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("local: %w", err), f.Close())
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write implements [io.Writer]. It always claims to have written everything.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil || l.size > 0 && l.size+int64(len(b)) > l.limit {
		if err := l.rotate(); err != nil {
			return len(b), nil
		}
	}
	n, _ := l.f.Write(b)
	l.size += int64(n)
	return len(b), nil
}

func (l *logFile) rotate() error {
	if l.f != nil {
		_ = l.f.Close()
		l.f = nil
	}
	for i := l.keep - 1; i >= 1; i-- {
		if err := os.Rename(l.old(i), l.old(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(l.path, l.old(1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.open()
}

func (l *logFile) old(i int) string { return l.path + "." + strconv.Itoa(i) }

// Close closes the file; what is written later is lost.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// Log opens the file name in logs. It is started anew at 8 MiB, and the last
// three are kept; a disk that is full loses lines.
func (d *Dir) Log(name string) (io.WriteCloser, error) {
	return openLog(d.Path("logs", name), 8<<20, 3)
}
