package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxRead is the most that a file named by a setting may hold.
const maxRead = 1 << 20

// An audience is who may read a file beside us.
type audience fs.FileMode

const (
	anyone audience = 0o022 // nobody else may write it
	owner  audience = 0o077 // nobody else may do anything with it
)

// A disk is what a configuration refers to.
type disk interface {
	read(path string, a audience) ([]byte, error)
	dir(path string) error
}

// local is the disk of this machine.
type local struct{}

func (local) read(path string, a audience) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if p := info.Mode().Perm(); audience(p)&a != 0 {
		return nil, &hintError{fmt.Sprintf("%s has mode %04o: others could use it", path, p), fmt.Sprintf("chmod %04o", p&^fs.FileMode(a))}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRead+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	if len(b) > maxRead {
		return nil, fmt.Errorf("%s has more than 1 MiB", path)
	}
	return b, nil
}

func (local) dir(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return unreadable(path, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	if p := info.Mode().Perm(); audience(p)&anyone != 0 {
		return &hintError{fmt.Sprintf("%s has mode %04o: others could write there", path, p), "chmod 0700"}
	}
	return nil
}

func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist", path)
	}
	var e *fs.PathError
	if errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("%s cannot be read: %w", path, err)
}
