package local

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// childEnv, in the environment of this test's own binary, makes it the process
// under test instead: it holds a server of that folder until it is killed.
const childEnv = "ISOCORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
	}
	m.Run()
}

// child starts the server of dir, says so on its output, and waits.
func child(dir string) {
	c := PostgresConfig{Dir: dir, Logs: filepath.Dir(dir), Password: password, Log: slog.New(slog.DiscardHandler)}
	p, err := StartPostgres(context.Background(), c)
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString(strconv.Itoa(p.Pid()) + " " + p.Account() + "\n")
	<-p.Gone()
	os.Exit(3)
}

// run starts this test's binary as child, under cred if not nil, and returns
// what it printed first.
func run(t *testing.T, exe, dir string, cred *syscall.Credential) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Dir = filepath.Dir(dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	b := make([]byte, 4096)
	n, _ := out.Read(b)
	return cmd, strings.TrimSpace(string(b[:n]))
}

func TestStoreDiesWithItsProcess(t *testing.T) {
	t.Parallel()
	c := config(t, temp(t))
	c.Volatile = false
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd, said := run(t, exe, c.Dir, nil)
	pid, err := strconv.Atoi(strings.Fields(said)[0])
	if err != nil {
		t.Fatalf("the child says %q", said)
	}
	data := filepath.Join(c.Dir, "data")
	if alive, err := isPostmaster(pid, data); !alive {
		t.Fatalf("control: %d is no server of ours: %v", pid, err)
	}
	_, err = StartPostgres(t.Context(), c)
	wantError(t, err, strconv.Itoa(cmd.Process.Pid), "already running")

	conn := withSockets(c).connect(t)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 'yes' AS was"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := poll(ctx, func() (bool, error) { alive, err := isPostmaster(pid, data); return !alive, err }); err != nil {
		t.Errorf("the server outlives its process: %v", err)
	}
	if got := query(t, start(t, c), "SELECT was FROM kept"); got != "yes" {
		t.Errorf("after the kill: %q", got)
	}
}

// withSockets returns a Postgres that can only connect, to a server that
// another process started.
func withSockets(c PostgresConfig) *Postgres {
	return &Postgres{config: c, sockets: filepath.Join(c.Dir, "run")}
}

func (p *Postgres) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := p.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// orphan starts the server of c so that it does not end with us. The channel
// is closed when it has ended.
func orphan(t *testing.T, c PostgresConfig) (*exec.Cmd, <-chan struct{}) {
	t.Helper()
	stop(t, start(t, c))
	who, err := chooseAccount()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(c.Binaries.Dir, "postgres"), "-D", filepath.Join(c.Dir, "data"), "-k", filepath.Join(c.Dir, "run"), "-c", "listen_addresses=")
	cmd.Dir, cmd.Env = c.Dir, storeEnv
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who.credential(), Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := poll(ctx, func() (bool, error) { return withSockets(c).ping(ctx) == nil, nil }); err != nil {
		t.Fatal(err)
	}
	return cmd, ended
}

func TestOrphanIsStopped(t *testing.T) {
	t.Parallel()
	c := config(t, temp(t))
	old, ended := orphan(t, c)
	p := start(t, c)
	if p.Pid() == old.Process.Pid || query(t, p, "SELECT 'new'") != "new" {
		t.Error("the new server does not answer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Error("two servers run in one data directory")
	}
}

func TestPidOfAnotherProcessIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, pid := range map[string]string{"another": strconv.Itoa(os.Getpid()), "never": "1000000000", "gone": "4194303"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t, temp(t))
			p := start(t, c)
			stop(t, p)
			path := filepath.Join(c.Dir, "data", "postmaster.pid")
			if err := os.WriteFile(path, []byte(pid+"\n"+filepath.Dir(path)+"\n1700000000\n5432\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			start(t, c)
		})
	}
	t.Run("nonsense", func(t *testing.T) {
		t.Parallel()
		data := temp(t)
		for _, text := range []string{"", "x\n", "-1\n", "1\n", "0\n"} {
			if err := os.WriteFile(filepath.Join(data, "postmaster.pid"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			wantError(t, clearOrphan(t.Context(), data), "does not start with a pid", "hint: ")
		}
	})
}

// TestAsAnotherAccount runs the whole as an account that is not root: it
// becomes nobody else.
func TestAsAnotherAccount(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("missing: root, who alone can become another account; all other tests ran as one")
	}
	c := config(t, temp(t))
	base := filepath.Dir(c.Dir)
	if err := os.Chown(base, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(base, "child")
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	_, said := run(t, exe, c.Dir, &syscall.Credential{Uid: 65534, Gid: 65534})
	pid, name, _ := strings.Cut(said, " ")
	if name != "uid 65534" {
		t.Fatalf("the child says %q", said)
	}
	info, err := os.Stat("/proc/" + pid)
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 65534 {
		t.Errorf("the server runs as uid %d", uid)
	}
}
