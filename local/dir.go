package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// layout is the version of the state directory that this program makes, as its
// VERSION file says.
const layout = "1\n"

// A Dir is the state directory of one installation, locked against a second
// process. Everything in it is ours, of mode 0700 and 0600; only pg is given to
// the account that runs the store, for which root makes the top 0711.
type Dir struct {
	root string
	lock *os.File
}

// folders are what Open makes in it.
var folders = []string{"audit", "keys", "logs", "run", "trust"}

// Open makes the state directory at path, or checks the one that is there, and
// locks it. It refuses a folder that holds anything else, one that has become
// looser than it was made or belongs to another account, one that has lost a
// key, and a second process, which it names.
func Open(path string) (*Dir, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	fresh, err := prepare(root)
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(root, "lock"))
	if err != nil {
		return nil, err
	}
	d := &Dir{root, lock}
	if fresh {
		err = d.create()
	}
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// rootMode is what the top is made with: the account that runs the stores for
// root passes through it, and lists nothing.
func rootMode() fs.FileMode {
	if os.Geteuid() == 0 {
		return 0o711
	}
	return 0o700
}

// prepare makes root if it is not there, checks it, and reports whether it has
// still to be filled: VERSION is the last that is written.
func prepare(root string) (fresh bool, err error) {
	err = os.Mkdir(root, rootMode())
	if err == nil {
		err = os.Chmod(root, rootMode()) // whatever the umask took
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, fmt.Errorf("local: %w", err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return false, fmt.Errorf("local: %w", err)
	}
	version, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("local: %w", err)
	}
	fresh = err != nil
	if fresh {
		if err := alien(root, entries); err != nil { // before its mode: it is not ours to be closed
			return false, err
		}
	}
	if len(entries) == 0 {
		err = os.Chmod(root, rootMode()) // an empty folder made by somebody, for us
		if err != nil {
			return false, fmt.Errorf("local: %w", err)
		}
	}
	if err := checkMode(root, fs.ModeDir|rootMode(), uint32(os.Geteuid())); err != nil {
		return false, err
	}
	if !fresh && !bytes.Equal(version, []byte(layout)) {
		return false, fmt.Errorf("local: %s is of layout %.20q, and this program knows %q only", root, version, layout)
	}
	return fresh, nil
}

// alien returns an error if a folder holds what create did not make.
func alien(root string, entries []fs.DirEntry) error {
	for _, e := range entries {
		if !slices.Contains(append([]string{"lock", ".gitignore"}, folders...), e.Name()) {
			return fmt.Errorf("local: %s holds %s and is no state directory; hint: name an empty folder or none", root, e.Name())
		}
	}
	return nil
}

// create fills what [prepare] found fresh.
func (d *Dir) create() error {
	if err := d.replace(".gitignore", []byte("*\n")); err != nil {
		return err
	}
	for _, name := range folders {
		if err := ourselves().own(d.Path(name)); err != nil {
			return err
		}
	}
	for _, name := range keyFiles {
		if err := d.makeKey(name); err != nil {
			return err
		}
	}
	return d.replace("VERSION", []byte(layout))
}

// check reports all that is wrong with what create made.
func (d *Dir) check() error {
	var errs []error
	for _, name := range folders {
		errs = append(errs, ourselves().own(d.Path(name)))
	}
	for _, name := range keyFiles {
		errs = append(errs, d.checkKey(name))
	}
	return errors.Join(append(errs, d.checkFiles("keys"))...)
}

// ourselves is the account that this process is.
func ourselves() account {
	return account{name: "this process", uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
}

// checkFiles reports whether all files of a folder are ours and of mode 0600.
func (d *Dir) checkFiles(folder string) error {
	entries, err := os.ReadDir(d.Path(folder))
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, checkMode(d.Path(folder, e.Name()), 0o600, uint32(os.Geteuid())))
	}
	return errors.Join(errs...)
}

// replace writes a file of mode 0600 whole or not at all.
func (d *Dir) replace(name string, b []byte) error {
	if err := replaceOwned(d.Path(name), b, ourselves()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(d.Path(name)))
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("local: %s: %w", dir, err)
	}
	return nil
}

// Path returns the path of what is in it, absolute.
func (d *Dir) Path(elem ...string) string { return filepath.Join(append([]string{d.root}, elem...)...) }

// Close removes run/pid and run/endpoints.json, and unlocks.
func (d *Dir) Close() error {
	var errs []error
	for _, name := range []string{pidFile, endpointsFile} {
		if err := os.Remove(d.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("local: %w", err))
		}
	}
	return errors.Join(append(errs, unlockFile(d.lock))...)
}
