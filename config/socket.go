package config

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
)

// Socket returns admin.socket of the file at path. It reads none of the files
// that this one names: whoever may speak to the operator's socket need not be
// able to read the node's secrets.
func Socket(path string) (string, error) {
	data, err := local{}.read(path, anyone)
	if err != nil {
		return "", Problems{{File: path, Line: 1, Column: 1, What: err.Error(), Hint: hintOf(err)}}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", Problems{{File: path, Line: 1, Column: 1, What: err.Error()}}
	}
	d := &decoder{file: path, dir: filepath.Dir(abs), disk: unread{}, at: make(map[string]position), failed: make(map[string]bool)}
	var c Config
	if root := d.document(data); root != nil {
		d.section("", root, reflect.ValueOf(&c).Elem())
	}
	ours := slices.DeleteFunc(d.problems, func(p Problem) bool { return p.Path != "" && p.Path != "admin" && p.Path != "admin.socket" })
	if len(ours) > 0 {
		return "", ours.sorted()
	}
	return c.Admin.Socket.String(), nil
}

// unread is a disk on which nothing is looked at.
type unread struct{}

var errUnread = errors.New("is not read here")

func (unread) read(string, audience) ([]byte, error) { return nil, errUnread }

func (unread) dir(string) error { return nil }
