package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxSocket is how long the path of a socket may be: the kernel takes 107
// bytes, some clients fewer.
const maxSocket = 100

// socketName is the name PostgreSQL gives its socket for port 5432.
const socketName = ".s.PGSQL.5432"

// socketDir returns the folder for the sockets of the store in dir: dir/run or,
// where no client could name that, a folder of an unpredictable name under the
// system's temporary folder, remembered in dir so that it stays the same.
func socketDir(dir string, who account) (string, error) {
	near := filepath.Join(dir, "run")
	if len(filepath.Join(near, socketName)) <= maxSocket && !strings.Contains(near, ",") { // clients read a comma as a list
		return near, who.own(near)
	}
	note := filepath.Join(dir, "sockets")
	b, err := os.ReadFile(note)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("local: %w", err)
	}
	known := strings.TrimSpace(string(b))
	if filepath.IsAbs(known) && checkMode(known, fs.ModeDir|0o700, who.uid) == nil {
		return known, nil
	}
	far, err := shortDir(who)
	if err != nil {
		return "", err
	}
	return far, replaceOwned(note, []byte(far+"\n"), who)
}

// shortDir makes a folder of mode 0700 with a random name.
func shortDir(who account) (string, error) {
	for _, temp := range []string{os.TempDir(), "/tmp"} {
		if len(temp)+len("/isocore-0123456789/")+len(socketName) > maxSocket || strings.Contains(temp, ",") || who.closed(filepath.Join(temp, "x")) != "" {
			continue
		}
		dir, err := os.MkdirTemp(temp, "isocore-*")
		if err != nil {
			continue
		}
		if who.switched {
			if err := os.Lchown(dir, int(who.uid), int(who.gid)); err != nil {
				return "", fmt.Errorf("local: %w", err)
			}
		}
		return dir, checkMode(dir, fs.ModeDir|0o700, who.uid)
	}
	return "", fmt.Errorf("local: no temporary folder that %s can reach has a path short enough for a socket", who.name)
}
