package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/isocore/isocore/local"
)

// The scripts run this program: it is isocore when it is called so.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"isocore": func() { os.Exit(run()) }})
}

// TestScripts specifies the command line. A script finds an isocore up in
// .isocore that it shares with the others; in $OWN it may have its own, which
// is stopped when it ends.
func TestScripts(t *testing.T) {
	if _, err := local.Find(t.Context(), "", 0); errors.Is(err, local.ErrNoBinaries) {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("missing: %v", err)
	}
	dir := reachable(t)
	shared := filepath.Join(dir, "shared")
	serve(t, shared)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			own, err := os.MkdirTemp(dir, "own-*")
			if err != nil {
				return err
			}
			// A program with the race detector in it sleeps a second before it ends, unless told.
			e.Vars = append(e.Vars, "GORACE=atexit_sleep_ms=0", "SHARED="+shared, "OWN="+filepath.Join(own, "state"))
			e.Defer(func() { exec.Command("isocore", "--dir", filepath.Join(own, "state"), "down").Run() }) //nolint:errcheck // few have one
			return errors.Join(os.Chmod(own, 0o711), os.Symlink(shared, filepath.Join(e.WorkDir, ".isocore")))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "mode": mode, "agekey": agekey, "super": super, "flip": flip, "extract": extract,
		},
	})
}

// reachable returns a folder that whoever runs the store can pass through.
func reachable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "isocore-script-*")
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

// serve runs isocore up in dir until the test and its scripts have ended.
func serve(t *testing.T, dir string) {
	t.Helper()
	up := exec.Command("isocore", "--dir", dir, "up")
	up.Stderr = os.Stderr
	up.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- up.Wait() }()
	t.Cleanup(func() {
		up.Process.Signal(os.Interrupt) //nolint:errcheck // it may be gone
		if err := <-gone; err != nil {
			t.Errorf("isocore up: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if e, err := local.ReadEndpoints(dir); err == nil && e.Pid == up.Process.Pid {
			return
		}
		select {
		case err := <-gone:
			gone <- err
			t.Fatalf("isocore up: %v", err)
		case <-ctx.Done():
			t.Fatal("isocore up does not come up")
		case <-tick.C:
		}
	}
}

// exits N COMMAND... wants the exit code N.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || neg {
		ts.Fatalf("usage: exits N COMMAND...")
	}
	code := 0
	err = ts.Exec(args[1], args[2:]...)
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("exit %d, want %d", code, want)
	}
}

// mode MODE FILE wants permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := "0" + strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// agekey FILE NAME writes an identity, and has $NAME hold its recipient.
func agekey(ts *testscript.TestScript, _ bool, args []string) {
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(id.String()+"\n"), 0o600))
	ts.Setenv(args[1], id.Recipient().String())
}

// super DIR SQL runs statements as superuser of the application's database.
func super(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := &superuser{database: local.AppDatabase}
	conn, err := s.connect(ctx, &options{dir: args[0]})
	ts.Check(err)
	defer conn.Close(ctx) //nolint:errcheck // it was used
	_, err = conn.Exec(ctx, strings.Join(args[1:], " "), pgx.QueryExecModeSimpleProtocol)
	ts.Check(err)
}

// flip FILE AT changes one bit of a file.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b[at%len(b)] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// extract NAME PREFIX SUFFIX has $NAME hold what stands between the two in
// what the last command printed.
func extract(ts *testscript.TestScript, _ bool, args []string) {
	_, rest, ok := strings.Cut(ts.ReadFile("stdout"), args[1])
	word, _, more := strings.Cut(rest, args[2])
	if !ok || !more {
		ts.Fatalf("nothing between %q and %q", args[1], args[2])
	}
	ts.Setenv(args[0], word)
}
