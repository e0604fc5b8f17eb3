package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A tenant is one as isocore prints it.
type tenant struct {
	ID    string `json:"id"`
	Path  string `json:"path"`
	State string `json:"state"`
}

// state returns what a state directory must keep: the tenants with their ids,
// and how many documents each sees.
func (h *home) state() string {
	h.Helper()
	var b strings.Builder
	for _, t := range decode[[]tenant](h, "tenant", "list") {
		n, ok := h.psql(t.Path, "SELECT count(*) FROM document")
		if !ok {
			h.Fatal(n)
		}
		fmt.Fprintln(&b, t.Path, t.ID, t.State, n)
	}
	return b.String()
}

// In a fresh directory everything comes up with one command, goes down with
// another, and comes up again as it was.
func TestLife(t *testing.T) {
	t.Parallel()
	for name, who := range accounts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			if h.who = who; who != nil {
				if err := os.Chown(filepath.Dir(h.dir), int(who.Uid), int(who.Gid)); err != nil {
					t.Fatal(err)
				}
			}
			h.life()
		})
	}
}

// accounts are whoever we can be: ourselves and, for root, somebody without
// any rights.
func accounts(t *testing.T) map[string]*syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return map[string]*syscall.Credential{"ourselves": nil}
	}
	return map[string]*syscall.Credential{"root": nil, "nobody": {Uid: 65534, Gid: 65534}}
}

func (h *home) life() {
	h.fails(1, []string{"no IsoCore runs", "hint: start one with: isocore up --dir"}, "tenant", "list")
	out := h.must("up", "--detach")
	for _, w := range []string{"IsoCore is up.", "psql --tenant clinic", "audit tail", "down"} {
		if !strings.Contains(out, w) {
			h.Errorf("up does not say %q: %s", w, out)
		}
	}
	if strings.Contains(out, "eyJ") {
		h.Error("up prints a token")
	}
	was, pid := h.state(), h.pid()
	if strings.Count(was, "active 2400") != 3 {
		h.Error(was)
	}
	h.fails(1, []string{fmt.Sprint("process ", pid), "already running"}, "up")
	h.fails(0, []string{fmt.Sprint("process ", pid)}, "up", "--detach")
	h.modes()
	began := time.Now()
	h.must("down")
	h.Logf("down took %v", time.Since(began).Round(time.Millisecond))
	if _, err := os.Stat(filepath.Join(h.dir, "run", "pid")); !errors.Is(err, os.ErrNotExist) {
		h.Error("down leaves run/pid behind")
	}
	h.fails(0, []string{"no IsoCore runs"}, "down")
	began = time.Now()
	h.must("up", "--detach")
	h.Logf("up again took %v", time.Since(began).Round(time.Millisecond))
	if is := h.state(); is != was {
		h.Errorf("it came back as\n%s\nand was\n%s", is, was)
	}
	h.must("down")
	h.loose()
}

// modes looks for anything in the state directory that others could use.
func (h *home) modes() {
	h.Helper()
	for _, sub := range []string{"keys", "audit", "logs", "run", "isocore.yaml", "run/admin.sock"} {
		info, err := os.Lstat(filepath.Join(h.dir, sub))
		if err != nil {
			h.Error(err)
			continue
		}
		if info.Mode().Perm()&0o077 != 0 {
			h.Errorf("%s has mode %v", sub, info.Mode())
		}
	}
}

// loose opens what was closed: the next start refuses, and says what to do.
func (h *home) loose() {
	h.Helper()
	for _, x := range []struct {
		sub         string
		bad, proper os.FileMode
	}{{"keys/mint.key", 0o644, 0o600}, {"keys", 0o755, 0o700}, {".", 0o777, 0o711}} {
		path := filepath.Join(h.dir, x.sub)
		if err := os.Chmod(path, x.bad); err != nil {
			h.Fatal(err)
		}
		h.fails(1, []string{"looser than", "hint: "}, "up")
		h.fails(1, []string{"looser than", "hint: "}, "up", "--detach")
		if err := os.Chmod(path, x.proper); err != nil {
			h.Fatal(err)
		}
	}
}

// A second directory is a second installation, at other ports; a port that is
// taken is a reason to take another, or to refuse if that was asked for.
func TestBeside(t *testing.T) {
	long(t)
	t.Parallel()
	first, second := newHome(t), newHome(t)
	first.must("up", "--detach", "--no-demo")
	second.must("up", "--detach", "--no-demo")
	a, b := first.endpoints(), second.endpoints()
	for _, door := range []string{"postgres", "public", "admin", "store"} {
		if a[door] == "" || a[door] == b[door] {
			t.Errorf("%s: %q and %q", door, a[door], b[door])
		}
	}
	first.must("tenant", "create", "acme", "--region", "eu")
	if out := second.must("tenant", "list"); strings.Contains(out, "acme") {
		t.Error(out)
	}
	if r := second.runWith(strings.NewReader(first.token("acme")), "token", "verify"); r.code != 1 {
		t.Errorf("a token of another installation: %v", r)
	}
	second.must("down")
	taken, err := net.Listen("tcp", b["postgres"])
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	second.fails(1, []string{"address already in use", "hint: --ports auto"}, "up", "--ports", "default")
	s := second.up("--no-demo")
	if at := second.endpoints()["postgres"]; at == b["postgres"] || !strings.Contains(s.said.String(), b["postgres"]+" is in use") {
		t.Errorf("at %s: %s", at, s.said)
	}
}

// SIGTERM and SIGINT drain: an idle session is told, a transaction may end.
func TestDrain(t *testing.T) {
	long(t)
	t.Parallel()
	s := newHome(t).up("--no-demo")
	s.must("tenant", "create", "acme")
	idle, busy := s.client("acme"), s.client("acme")
	tx, err := busy.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "INSERT INTO person (id, external_no, name, born) VALUES (1, '1', 'x', '2000-01-01')"); err != nil {
		t.Fatal(err)
	}
	s.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // the end is waited for
	if code := codeOf(waitEnd(t, idle)); code != "57P01" {
		t.Errorf("an idle session was told %q", code)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Errorf("a transaction in progress: %v", err)
	}
	if !s.ended(30*time.Second) || s.cmd.ProcessState.ExitCode() != 0 || !strings.Contains(s.said.String(), "stopping: ") {
		t.Errorf("%v: %s", s.cmd.ProcessState, s.said)
	}
}

// Without its PostgreSQL isocore up ends, and says why.
func TestStoreKilled(t *testing.T) {
	long(t)
	t.Parallel()
	s := newHome(t).up("--no-demo")
	text, err := os.ReadFile(filepath.Join(s.dir, "pg", "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var postmaster int
	if _, err := fmt.Sscan(string(text), &postmaster); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := syscall.Kill(postmaster, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !s.ended(30 * time.Second) {
		t.Fatalf("it goes on: %s", s.said)
	}
	t.Logf("ended after %v: %s", time.Since(began).Round(time.Millisecond), s.said)
	if s.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(s.said.String(), "the embedded PostgreSQL is gone: signal: killed") {
		t.Errorf("%v: %s", s.cmd.ProcessState, s.said)
	}
	s.up("--no-demo") // and it comes back
}
