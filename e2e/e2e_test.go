package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// rounds is how often TestKill kills; -rounds says otherwise.
var rounds = flag.Int("rounds", 25, "how often TestKill kills a node under load; 5 with -short")

// program is the isocore under test, built once by TestMain.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// build builds the binary where every account can run it, and runs the tests.
func build(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "isocore-e2e-bin-*")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil {
		return 1, err
	}
	program = filepath.Join(dir, "isocore")
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, "../cmd/isocore")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// folder returns a folder that accounts beside ours can pass through, and that
// is gone after the test.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "isocore-e2e-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A home is a state directory and whoever works with it.
type home struct {
	*testing.T
	dir string
	who *syscall.Credential // nil: ourselves
}

// newHome returns a state directory that is not there yet. Whatever serves it
// at the end of the test is stopped.
func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{T: t, dir: filepath.Join(folder(t), "state")}
	t.Cleanup(h.clear)
	return h
}

// clear stops what still runs, at last by force.
func (h *home) clear() {
	if _, err := os.Stat(filepath.Join(h.dir, "run", "pid")); err != nil {
		return
	}
	if r := h.run("down"); r.code == 0 {
		return
	}
	if pid := h.pid(); pid > 1 {
		h.Errorf("process %d does not go down", pid)
		syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it may be gone
	}
}

// pid returns the process that serves h, or 0.
func (h *home) pid() int {
	b, err := os.ReadFile(filepath.Join(h.dir, "run", "pid"))
	if err != nil {
		return 0
	}
	word, _, _ := strings.Cut(string(b), " ")
	pid, _ := strconv.Atoi(word) //nolint:errcheck // 0 is none
	return pid
}

// A result is how a command ended.
type result struct {
	out, err string
	code     int
}

func (r result) String() string { return fmt.Sprintf("exit %d\n%s%s", r.code, r.out, r.err) }

// command returns isocore with arguments, in h.
func (h *home) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	h.Cleanup(cancel)
	c := exec.CommandContext(ctx, program, append([]string{"--dir", h.dir}, args...)...)
	c.Dir = filepath.Dir(h.dir)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + os.Getenv("TMPDIR"), "PAGER=cat"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: h.who, Pdeathsig: syscall.SIGKILL}
	return c
}

// run runs isocore in h.
func (h *home) run(args ...string) result {
	h.Helper()
	return h.runWith(nil, args...)
}

func (h *home) runWith(in io.Reader, args ...string) result {
	h.Helper()
	var out, errs bytes.Buffer
	c := h.command(args...)
	c.Stdin, c.Stdout, c.Stderr = in, &out, &errs
	err := c.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		h.Fatalf("isocore %v: %v", args, err)
	}
	return result{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

// must runs isocore, which has to succeed, and returns its answer.
func (h *home) must(args ...string) string {
	h.Helper()
	r := h.run(args...)
	if r.code != 0 {
		h.Fatalf("isocore %v: %v", args, r)
	}
	return r.out
}

// fails runs isocore, which has to fail with code and say all of words.
func (h *home) fails(code int, words []string, args ...string) {
	h.Helper()
	r := h.run(args...)
	if r.code != code {
		h.Errorf("isocore %v: want exit %d: %v", args, code, r)
	}
	for _, w := range words {
		if !strings.Contains(r.out+r.err, w) {
			h.Errorf("isocore %v does not say %q: %v", args, w, r)
		}
	}
}

// decode runs isocore --json and decodes its answer.
func decode[T any](h *home, args ...string) T {
	h.Helper()
	var v T
	out := h.must(append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		h.Fatalf("isocore %v: %v\n%s", args, err, out)
	}
	return v
}

// A server is an isocore up that is a child of the test.
type server struct {
	*home
	cmd  *exec.Cmd
	said *output
	over chan struct{} // closed when it has ended
}

// An output is what a process has said so far.
type output struct {
	mu   sync.Mutex // guards what follows
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// serve starts isocore in h with arguments, as a child that dies with us, and
// waits until the state directory says that it serves.
func (h *home) serve(args ...string) *server {
	h.Helper()
	s := &server{home: h, cmd: exec.Command(program, append([]string{"--dir", h.dir}, args...)...), said: &output{}, over: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.who, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		h.Fatal(err)
	}
	go func() {
		defer close(s.over)
		s.cmd.Wait() //nolint:errcheck // its state is looked at
	}()
	h.Cleanup(s.stop)
	h.until(time.Minute, "isocore "+args[0]+" serves", func() bool {
		select {
		case <-s.over:
			h.Fatalf("isocore %v ended: %s", args, s.said)
		default:
		}
		return h.pid() == s.cmd.Process.Pid
	})
	return s
}

// up starts isocore up.
func (h *home) up(args ...string) *server {
	h.Helper()
	return h.serve(append([]string{"up"}, args...)...)
}

// stop ends s and waits for it.
func (s *server) stop() {
	s.cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it may be gone
	if !s.ended(30 * time.Second) {
		s.Errorf("isocore does not stop: %s", s.said)
		s.kill()
	}
}

// kill ends s as a power cut would, and waits for its store to go too.
func (s *server) kill() {
	s.cmd.Process.Kill() //nolint:errcheck // it may be gone
	<-s.over
}

// ended waits for the end of s.
func (s *server) ended(within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-s.over:
		return true
	case <-late.C:
		return false
	}
}

// until waits for done, which must come true within a bound.
func (h *home) until(within time.Duration, what string, done func() bool) {
	h.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-late.C:
			h.Fatalf("not within %v: %s", within, what)
		}
	}
}

// endpoints returns where h is answered, by door.
func (h *home) endpoints() map[string]string {
	h.Helper()
	return decode[struct {
		Addresses map[string]string `json:"addresses"`
	}](h, "endpoints").Addresses
}

// token returns a token for a tenant.
func (h *home) token(tenant string, flags ...string) string {
	h.Helper()
	return strings.TrimSpace(h.must(append([]string{"token", "issue", "--tenant", tenant}, flags...)...))
}

// connect connects to the PostgreSQL broker with a token.
func (h *home) connect(ctx context.Context, token string) (*pgx.Conn, error) {
	return connect(ctx, h.endpoints()["postgres"], token)
}

func connect(ctx context.Context, at, token string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("sslmode=disable user=tenant dbname=app connect_timeout=10")
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	c.Host, c.Port, c.Password = host, uint16(n), token
	return pgx.ConnectConfig(ctx, c)
}

// client connects as a tenant, for as long as the test runs.
func (h *home) client(tenant string) *pgx.Conn {
	h.Helper()
	conn, err := h.connect(h.Context(), h.token(tenant))
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close(context.Background()) }) //nolint:errcheck // it may be cut
	return conn
}

// super connects to a database of the embedded server as its superuser,
// past the broker.
func (h *home) super(database string) *pgx.Conn {
	h.Helper()
	password, err := os.ReadFile(filepath.Join(h.dir, "keys", "postgres.password"))
	if err != nil {
		h.Fatal(err)
	}
	c, err := pgx.ParseConfig("sslmode=disable port=5432 user=isocore_admin dbname=" + database)
	if err != nil {
		h.Fatal(err)
	}
	c.Host, c.Password = filepath.Dir(h.endpoints()["store"]), strings.TrimSpace(string(password))
	conn, err := pgx.ConnectConfig(h.Context(), c)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close(context.Background()) }) //nolint:errcheck // it may be cut
	return conn
}

// psql runs one statement as a tenant and returns what psql printed, and
// whether it was content.
func (h *home) psql(tenant, statement string) (string, bool) {
	h.Helper()
	r := h.run("psql", "--tenant", tenant, "--", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement)
	return strings.TrimSpace(r.out + r.err), r.code == 0
}

// long skips a test where only short ones are wanted.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("long: not with -short")
	}
}

// wantRoot skips a test that only root can run, naming what is missing.
func wantRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("missing: root")
	}
}
