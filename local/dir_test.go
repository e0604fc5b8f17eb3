package local

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestOpenMakesWhatIsClosed(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "new", "state"))
	uid := uint32(os.Geteuid())
	if err := checkMode(d.Path(), fs.ModeDir|rootMode(), uid); err != nil {
		t.Error(err)
	}
	for _, name := range folders {
		if err := checkMode(d.Path(name), fs.ModeDir|0o700, uid); err != nil {
			t.Error(err)
		}
	}
	seen := map[string]bool{}
	for _, name := range keyFiles {
		b, err := os.ReadFile(d.KeyFile(name))
		if err != nil || len(b) != keySize || seen[string(b)] {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		seen[string(b)] = true
		if err := checkMode(d.KeyFile(name), 0o600, uid); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{".gitignore": "*\n", "VERSION": "1\n"} {
		if b, err := os.ReadFile(d.Path(name)); string(b) != want || err != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestOpenAgainKeepsKeys(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	before, _ := os.ReadFile(d.KeyFile("kek"))
	first, err := d.Password("store")
	if err != nil || first.Len() < 20 {
		t.Fatal(first.Len(), err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, path)
	after, _ := os.ReadFile(d.KeyFile("kek"))
	again, err := d.Password("store")
	if err != nil || !again.Equal(first) || !bytes.Equal(before, after) {
		t.Errorf("the key or the password is another: %v", err)
	}
	if other, err := d.Password("other"); err != nil || other.Equal(first) {
		t.Errorf("two names share a password: %v", err)
	}
}

func TestOpenIsRelative(t *testing.T) {
	base := t.TempDir()
	t.Chdir(base)
	if d := open(t, "state"); d.Path("keys") != filepath.Join(base, "state", "keys") {
		t.Errorf("a relative folder is at %s", d.Path())
	}
}

func TestOpenResumesWhatWasInterrupted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	for _, name := range []string{"VERSION", "keys/mint.key"} {
		if err := os.Remove(d.Path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if _, err := os.Stat(filepath.Join(path, "VERSION")); err != nil {
		t.Error(err)
	}
}

func TestTwoDirsStandSideBySide(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	open(t, filepath.Join(base, "one"))
	open(t, filepath.Join(base, "two"))
	_, err := Open(filepath.Join(base, "one"))
	wantError(t, err, strconv.Itoa(os.Getpid()), "already running")
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(path string) error
		want  []string
	}{
		"a top that is looser":    {func(p string) error { return os.Chmod(p, 0o755) }, []string{"looser than", "hint: "}},
		"keys that are looser":    {func(p string) error { return os.Chmod(p+"/keys", 0o750) }, []string{"keys", "looser than 0700"}},
		"audit that is looser":    {func(p string) error { return os.Chmod(p+"/audit", 0o701) }, []string{"audit", "looser than 0700"}},
		"a key that is looser":    {func(p string) error { return os.Chmod(p+"/keys/kek.key", 0o640) }, []string{"kek.key", "looser than 0600"}},
		"any secret that is":      {func(p string) error { return os.WriteFile(p+"/keys/x.dsn", nil, 0o644) }, []string{"x.dsn", "looser than 0600"}},
		"a key that is gone":      {func(p string) error { return os.Remove(p + "/keys/kek.key") }, []string{"kek.key is gone", "hint: restore"}},
		"a key that is short":     {func(p string) error { return os.Truncate(p+"/keys/mint.key", 31) }, []string{"31 bytes"}},
		"a key that is a link":    {func(p string) error { return relink(p + "/keys/mint.key") }, []string{"mint.key"}},
		"a folder that is a link": {func(p string) error { return relink(p + "/keys") }, []string{"keys is a L"}},
		"another layout":          {func(p string) error { return os.WriteFile(p+"/VERSION", []byte("2\n"), 0o600) }, []string{"layout"}},
		"a folder of others": {func(p string) error {
			return errors.Join(os.Remove(p+"/VERSION"), os.WriteFile(p+"/letter.txt", nil, 0o600))
		}, []string{"letter.txt", "no state directory", "hint: "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "state")
			if err := open(t, path).Close(); err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(path); err != nil {
				t.Fatal(err)
			}
			d, err := Open(path)
			wantError(t, err, test.want...)
			if err == nil {
				_ = d.Close()
			}
		})
	}
}

// relink replaces path by a link to where it has gone.
func relink(path string) error {
	moved := filepath.Join(filepath.Dir(filepath.Dir(path)), "..", "moved")
	return errors.Join(os.Rename(path, moved), os.Symlink(moved, path))
}

func TestOpenRefusesOfAnother(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("missing: root, who alone can give a folder away")
	}
	path := filepath.Join(t.TempDir(), "state")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(path, "keys"), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path)
	wantError(t, err, "belongs to uid 65534")
}

func TestInstance(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	if _, err := Running(path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before: %v", err)
	}
	if err := d.Announce(map[string]string{"postgres": "127.0.0.1:7432"}); err != nil {
		t.Fatal(err)
	}
	i, err := Running(path)
	if err != nil || i.Pid != os.Getpid() {
		t.Fatal(i, err)
	}
	e, err := ReadEndpoints(path)
	if err != nil || e.Pid != os.Getpid() || e.Addresses["postgres"] != "127.0.0.1:7432" {
		t.Errorf("%+v, %v", e, err)
	}
	if err := i.Signal(syscall.Signal(0)); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadEndpoints(path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after: %v", err)
	}
}

func TestInstanceOfKilledProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	born, err := bornAt(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	i := Instance{cmd.Process.Pid, born}
	if !i.Alive() {
		t.Error("control: a running process is not alive")
	}
	reused := Instance{cmd.Process.Pid, born + "0"} // the same pid, at another time
	if err := d.replace(pidFile, []byte(reused.String())); err != nil {
		t.Fatal(err)
	}
	if _, err := Running(path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a process that has the pid by now: %v", err)
	}
	if err := reused.Signal(os.Kill); !errors.Is(err, ErrNotRunning) {
		t.Errorf("signal: %v", err)
	}
	if err := errors.Join(in.Close(), cmd.Wait(), i.Wait(t.Context())); err != nil {
		t.Error(err)
	}
	if err := i.Signal(os.Kill); err == nil {
		t.Error("a process that is gone takes a signal")
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	taken, err := AutoPorts.Choose("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", "Auto", "none"} {
		if _, err := ParsePorts(s); err == nil {
			t.Errorf("ParsePorts(%q)", s)
		}
	}
	for _, p := range []Ports{DefaultPorts, AutoPorts} {
		if again, err := ParsePorts(p.String()); again != p || err != nil {
			t.Errorf("ParsePorts(%q) = %v, %v", p, again, err)
		}
	}
	t.Run("busy", func(t *testing.T) { busyPort(t, taken) })
}
