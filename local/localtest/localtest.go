// Package localtest gives tests the real stores that package local starts.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { localtest.Main(m) }
//
// and then asks for what each test needs. There is one server for a test
// process; it starts when a test first asks and ends with the process. What a
// test creates for the whole server, roles above all, outlives the test.
package localtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/local"
	"github.com/isocore/isocore/secret"
)

// The one server of this process: tests have nothing but a [testing.TB] to
// find it by.
var shared struct {
	sync.Mutex
	running  bool // Main runs
	dir      string
	postgres *local.Postgres
	err      error // why there is none
}

// Main runs the tests of m, and stops what they started.
func Main(m *testing.M) {
	shared.Lock()
	shared.running = true
	shared.Unlock()
	m.Run() // the generated main exits with its code
	shared.Lock()
	defer shared.Unlock()
	if shared.postgres != nil {
		if err := shared.postgres.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "localtest:", err)
		}
	}
	if shared.dir != "" {
		if err := os.RemoveAll(shared.dir); err != nil {
			fmt.Fprintln(os.Stderr, "localtest:", err)
		}
	}
}

// Postgres returns the server of this process. Where there can be none the
// test is skipped, naming what is missing, or fails if CI is true.
func Postgres(t testing.TB) *local.Postgres {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.running {
		t.Fatal("localtest: TestMain does not call localtest.Main")
	}
	if shared.postgres == nil && shared.err == nil {
		shared.postgres, shared.err = start()
	}
	switch {
	case shared.err == nil:
	case errors.Is(shared.err, local.ErrNoBinaries) && os.Getenv("CI") != "true":
		t.Skipf("missing: %v", shared.err)
	default:
		t.Fatalf("localtest: %v", shared.err)
	}
	return shared.postgres
}

func start() (*local.Postgres, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	binaries, err := local.Find(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	sweep()
	dir, err := os.MkdirTemp("", prefix+"*")
	if err != nil {
		return nil, err
	}
	shared.dir = dir
	if err := os.Chmod(dir, 0o711); err != nil { // the account that runs the store passes through
		return nil, err
	}
	return local.StartPostgres(ctx, local.PostgresConfig{
		Dir: filepath.Join(dir, "pg"), Logs: dir, Binaries: binaries, Password: secret.New(rand.Text()), Volatile: true,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

// prefix begins the names of our folders among the temporary files.
const prefix = "isocore-test-"

// sweep removes what test processes that panicked left behind: old folders
// whose server's lock nobody holds. What it cannot remove is not ours.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < time.Hour {
			continue
		}
		lock, err := os.Open(filepath.Join(dir, "pg", "lock"))
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = lock.Close()
	}
}

// Database makes an empty database and returns its name. It is dropped, with
// whoever is still connected, when the test ends.
func Database(t testing.TB) string {
	t.Helper()
	name := "t_" + strings.ToLower(rand.Text()[:16])
	do(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { do(t, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	return name
}

// do runs one statement as superuser, outside of any transaction and of the
// life of the test's context, so that it also works in a clean-up.
func do(t testing.TB, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := Postgres(t).Connect(ctx, "postgres")
	if err != nil {
		t.Fatalf("localtest: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("localtest: %s: %v", statement, err)
	}
}

// Super connects to database as superuser, until the test ends.
func Super(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	conn, err := Postgres(t).Connect(t.Context(), database)
	if err != nil {
		t.Fatalf("localtest: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}
