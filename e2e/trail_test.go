package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The export of a tenant verifies, is worth more with a pin and a policy of
// one's own, and verifies no more whatever is done to it.
func TestExport(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up("--no-demo")
	h.must("tenant", "create", "acme")
	h.must("tenant", "create", "umbrella")
	for range 5 {
		h.psql("acme", "SELECT count(*) FROM person")
	}
	dir := filepath.Dir(h.dir)
	file, pin, policy := filepath.Join(dir, "acme.zip"), filepath.Join(dir, "acme.pin"), filepath.Join(h.dir, "trust", "policy.txt")
	h.must("audit", "export", "--tenant", "acme", "--out", file)
	h.fails(3, []string{"verified: ", "with keys taken from the bundle itself"}, "audit", "verify", file)
	h.fails(3, []string{"operator-signed only"}, "audit", "verify", file, "--policy", policy)
	h.must("audit", "pin", file, "--out", pin, "--policy", policy)
	h.psql("acme", "SELECT 1")
	grown := filepath.Join(dir, "grown.zip")
	h.must("audit", "export", "--tenant", "acme", "--out", grown, "--previous", pin)
	h.fails(0, []string{"pinned to checkpoint"}, "audit", "verify", grown, "--policy", policy, "--pin", pin)
	stranger := filepath.Join(dir, "umbrella.zip")
	h.must("audit", "export", "--tenant", "umbrella", "--out", stranger)
	h.fails(1, []string{"does not verify"}, "audit", "verify", stranger, "--policy", policy, "--pin", pin)

	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad.zip")
	for name, b := range tampered(t, good) {
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := h.run("audit", "verify", bad, "--policy", policy); r.code != 1 || !strings.Contains(r.err, "does not verify") {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// tampered returns good with one thing changed in each.
func tampered(t *testing.T, good []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"cut": good[:len(good)-1], "longer": append(slices.Clone(good), 0)}
	for range 40 {
		b := slices.Clone(good)
		b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
		all["a bit flipped"+string(rune('0'+len(all)))] = b
	}
	all["a record dropped"] = rezip(t, good, func(rs [][]byte) [][]byte { return slices.Delete(rs, 2, 3) })
	all["the last record dropped"] = rezip(t, good, func(rs [][]byte) [][]byte { return rs[:len(rs)-1] })
	all["two records swapped"] = rezip(t, good, func(rs [][]byte) [][]byte { rs[1], rs[2] = rs[2], rs[1]; return rs })
	all["a record injected"] = rezip(t, good, func(rs [][]byte) [][]byte { return slices.Insert(rs, 2, rs[1]) })
	all["rewritten"] = rezip(t, good, func(rs [][]byte) [][]byte { return rs })
	return all
}

// rezip writes a bundle again with other records.
func rezip(t *testing.T, good []byte, change func([][]byte) [][]byte) []byte {
	t.Helper()
	in, err := zip.NewReader(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	out := zip.NewWriter(&b)
	for _, f := range in.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name == "records.bin" {
			data = slices.Concat(change(split(data))...)
		}
		w, err := out.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// split returns the records of records.bin, each with its length before it.
func split(b []byte) (rs [][]byte) {
	for len(b) > 4 {
		n := 4 + int(binary.BigEndian.Uint32(b))
		rs, b = append(rs, b[:n]), b[n:]
	}
	return rs
}

// With the audit storage full nothing is answered, and everything is once
// there is space again: by itself where space was kept free, and after a
// restart where a commit failed, because the log trusts no file that did.
func TestAuditFull(t *testing.T) {
	long(t)
	wantRoot(t)
	t.Parallel()
	for name, x := range map[string]struct {
		minFree string
		leave   int64
		heals   bool
	}{
		"kept free":     {"2%", 32 << 10, true},
		"no space left": {"0.001%", 16 << 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, audit := smallDisk(t, x.minFree)
			s := h.up("--no-demo")
			conn := h.client("acme")
			h.fill(audit, x.leave)
			h.refusesAll(conn)
			if err := os.Remove(filepath.Join(audit, "ballast")); err != nil {
				t.Fatal(err)
			}
			if !x.heals {
				h.fails(1, []string{"Unrecorded"}, "token", "issue", "--tenant", "acme")
				s.stop()
				h.up("--no-demo")
			}
			h.heals(x.heals)
		})
	}
}

// smallDisk returns a home, with a tenant acme, whose audit log is on a file
// system of 8 MiB.
func smallDisk(t *testing.T, minFree string) (h *home, audit string) {
	t.Helper()
	h = newHome(t)
	first := h.up("--no-demo")
	h.must("tenant", "create", "acme")
	first.stop()
	path := filepath.Join(h.dir, "isocore.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte("min_free: 2%"), []byte("min_free: "+minFree), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	audit = filepath.Join(h.dir, "audit")
	if err := os.Rename(audit, audit+".disk"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(audit, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", audit, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after whoever writes there has stopped, who is cleaned up before
		if err := syscall.Unmount(audit, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(audit, os.DirFS(audit+".disk")); err != nil {
		t.Fatal(err)
	}
	closeModes(t, audit)
	return h, audit
}

// closeModes gives copies the modes that their originals had.
func closeModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// fill fills a file system but for a little.
func (h *home) fill(dir string, leave int64) {
	h.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, int64(fs.Bavail)*fs.Bsize-leave), 0o600); err != nil {
		h.Fatal(err)
	}
}

// refusesAll writes until that is refused, and wants everything to be.
func (h *home) refusesAll(conn *pgx.Conn) {
	h.Helper()
	var refused error
	id := 0
	h.until(10*time.Second, "a write is refused", func() bool {
		id++
		_, refused = conn.Exec(h.Context(), "INSERT INTO person (id, external_no, name, born) VALUES ($1, $2, 'x', '2000-01-01')", id, fmt.Sprint(id))
		return refused != nil
	})
	if codeOf(refused) != "58030" || !strings.Contains(refused.Error(), "audit unavailable") {
		h.Errorf("the client hears %v", refused)
	}
	var n int
	if err := conn.QueryRow(h.Context(), "SELECT count(*) FROM person").Scan(&n); err == nil {
		h.Errorf("a read is answered with %d", n)
	}
	h.fails(1, []string{"Unrecorded"}, "tenant", "create", "other")
	h.fails(1, []string{"Unrecorded"}, "token", "issue", "--tenant", "acme")
}

// heals waits until everything works again, and looks at what was kept.
func (h *home) heals(gap bool) {
	h.Helper()
	h.until(10*time.Second, "it works again", func() bool { return h.run("token", "issue", "--tenant", "acme").code == 0 })
	if out, ok := h.psql("acme", "SELECT count(*) FROM person"); !ok {
		h.Errorf("afterwards: %s", out)
	}
	if out := h.must("audit", "tail"); gap && !strings.Contains(out, "gap") {
		h.Errorf("no record says that there was a gap: %s", out)
	}
	h.records("acme")
	if out := h.must("tenant", "list"); strings.Contains(out, "other") {
		h.Errorf("what was refused was done: %s", out)
	}
}

// Whoever follows a log sees what happens as it does, and may stop.
func TestFollow(t *testing.T) {
	long(t)
	t.Parallel()
	h := newHome(t)
	h.up("--no-demo")
	h.must("tenant", "create", "acme")
	c := h.command("audit", "tail", "-f", "-n", "0", "--tenant", "acme")
	said := &output{}
	c.Stdout = said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	h.until(10*time.Second, "it follows", func() bool { return strings.Contains(said.String(), "audit read") })
	h.psql("acme", "SELECT 42")
	h.until(10*time.Second, "it sees the statement", func() bool { return strings.Contains(said.String(), "SELECT 42") })
	c.Process.Signal(os.Interrupt) //nolint:errcheck // its end is waited for
	if err := c.Wait(); err != nil {
		t.Errorf("interrupted, it ends with %v", err)
	}
}

// With the registry's database out of reach for five seconds everybody is
// refused; once it is back, nobody is.
func TestRegistryGone(t *testing.T) {
	long(t)
	t.Parallel()
	h := newHome(t)
	h.up("--no-demo")
	h.must("tenant", "create", "acme")
	conn, super := h.client("acme"), h.super("postgres")
	ask := func() error {
		_, err := conn.Exec(h.Context(), "SELECT 1")
		return err
	}
	do := func(statement string) {
		t.Helper()
		if _, err := super.Exec(h.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	do("ALTER DATABASE isocore ALLOW_CONNECTIONS false")
	do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'isocore'")
	if err := ask(); err != nil {
		t.Errorf("at once: %v", err)
	}
	var err error
	h.until(20*time.Second, "it denies", func() bool { err = ask(); return err != nil })
	t.Logf("denied after %v: %v", time.Since(began).Round(100*time.Millisecond), err)
	if code := codeOf(err); code != "08006" {
		t.Errorf("the client hears %v", err)
	}
	do("ALTER DATABASE isocore ALLOW_CONNECTIONS true")
	began = time.Now()
	h.until(20*time.Second, "it works again", func() bool {
		got, ok := h.psql("acme", "SELECT 1")
		return ok && got == "1"
	})
	t.Logf("back after %v", time.Since(began).Round(100*time.Millisecond))
}
