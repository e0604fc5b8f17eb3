package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// An account is who the stores run as.
type account struct {
	name     string
	uid, gid uint32
	switched bool // it is not who we are: needs credentials, and files given away
}

// storeAccounts are tried in this order when we are root, who never runs a store.
var storeAccounts = []string{"isocore", "postgres", "nobody"}

// chooseAccount returns ourselves, or the first of storeAccounts there is when
// we are root.
func chooseAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: "uid " + strconv.Itoa(uid), uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	for _, name := range storeAccounts {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 != nil || err2 != nil || uid == 0 {
			continue
		}
		return account{name, uint32(uid), uint32(gid), true}, nil
	}
	return account{}, fmt.Errorf("local: a store never runs as root, and there is none of the accounts %s", strings.Join(storeAccounts, ", "))
}

// credential returns what makes a child run as a; nil when it does anyway.
func (a account) credential() *syscall.Credential {
	if !a.switched {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// own makes dir, if it is not there, with mode 0700 of a. It refuses one that
// is a link, another's, or looser.
func (a account) own(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("local: %w", err)
	}
	if err == nil && a.switched {
		if err := os.Lchown(dir, int(a.uid), int(a.gid)); err != nil {
			return fmt.Errorf("local: %w", err)
		}
	}
	return checkMode(dir, fs.ModeDir|0o700, a.uid)
}

// checkMode reports whether path, which is not followed if it is a link, is of
// the kind and owner given, and no looser than want.
func checkMode(path string, want fs.FileMode, uid uint32) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	if info.Mode().Type() != want.Type() {
		return fmt.Errorf("local: %s is a %v, not a %v", path, info.Mode(), want)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != uid {
		return fmt.Errorf("local: %s belongs to uid %d, not %d; it was not made by this program", path, s.Uid, uid)
	}
	if loose := info.Mode().Perm() &^ want.Perm(); loose != 0 {
		return fmt.Errorf("local: %s has mode %04o, looser than %04o; hint: find out who changed it, then chmod %04o %s",
			path, info.Mode().Perm(), want.Perm(), want.Perm(), path)
	}
	return nil
}

// closed returns the topmost parent of dir that a cannot traverse, "" if none,
// by the permission bits. What we cannot traverse ourselves we could not name.
func (a account) closed(dir string) string {
	if !a.switched {
		return ""
	}
	found := ""
	for p := filepath.Dir(dir); ; p = filepath.Dir(p) {
		if info, err := os.Stat(p); err == nil && !a.traverses(info) {
			found = p
		}
		if p == filepath.Dir(p) {
			return found
		}
	}
}

func (a account) traverses(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	switch perm := info.Mode().Perm(); {
	case !ok:
		return true
	case s.Uid == a.uid:
		return perm&0o100 != 0
	case s.Gid == a.gid:
		return perm&0o010 != 0
	default:
		return perm&0o001 != 0
	}
}
