package local

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/secret"
)

var password = secret.New("a password of this test only: " + strings.Repeat("0", 20))

// temp returns a folder that the store's account can enter, as the one that
// [testing.T.TempDir] makes for root is not.
func temp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "isocore-local-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func config(t *testing.T, dir string) PostgresConfig {
	t.Helper()
	return PostgresConfig{
		Dir: filepath.Join(dir, "pg"), Logs: dir, Binaries: binaries(t), Password: password, Volatile: true,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func binaries(t *testing.T) Binaries {
	t.Helper()
	b, err := Find(t.Context(), "", 0)
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("missing: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func start(t *testing.T, c PostgresConfig) *Postgres {
	t.Helper()
	p, err := StartPostgres(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	return p
}

func stop(t *testing.T, p *Postgres) {
	t.Helper()
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

// query returns the one text that a statement answers; "" if nothing.
func query(t *testing.T, p *Postgres, sql string) string {
	t.Helper()
	conn, err := p.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var s string
	if err := conn.QueryRow(t.Context(), sql).Scan(&s); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v\ndoes not say %q", err, w)
		}
	}
}

func TestPostgresKeepsToItself(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	p := start(t, config(t, dir))
	for setting, want := range map[string]string{
		"listen_addresses": "", "password_encryption": "scram-sha-256", "data_checksums": "on", "log_statement": "none",
		"log_parameter_max_length": "0", "log_parameter_max_length_on_error": "0", "track_activities": "off",
		"server_encoding": "UTF8", "lc_collate": "C", "unix_socket_permissions": "0700", "unix_socket_directories": `"` + filepath.Dir(p.Address()) + `"`,
	} {
		if got := query(t, p, "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if got := query(t, p, "SELECT string_agg(auth_method, ',') FROM pg_hba_file_rules"); got != "scram-sha-256" {
		t.Errorf("pg_hba.conf: %q", got)
	}
	for _, d := range []string{p.config.Dir, filepath.Dir(p.Address()), filepath.Join(p.config.Dir, "data")} {
		if err := checkMode(d, fs.ModeDir|0o700, p.who.uid); err != nil {
			t.Error(err)
		}
	}
	if _, err := pgx.Connect(t.Context(), p.DSN(Admin, secret.New("wrong"), "postgres").Reveal()); err == nil {
		t.Error("a wrong password is taken")
	}
	if os.Geteuid() == 0 && (p.who.uid == 0 || !p.who.switched) {
		t.Errorf("it runs as %+v", p.who)
	}
}

func TestLogHoldsNothingOfStatements(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	p := start(t, config(t, dir))
	conn, err := p.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	marker := rand.Text()
	for _, sql := range []string{"SELECT $1::int", "SELECT $1::uuid", "INSERT INTO nowhere VALUES ($1)"} {
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeExec, marker); err == nil {
			t.Errorf("%s succeeds", sql)
		}
	}
	if _, err := conn.Exec(t.Context(), "SELECT '"+marker+"'::int"); err == nil {
		t.Error("the literal is a number")
	}
	if _, err := conn.Exec(t.Context(), "DO $$ BEGIN RAISE WARNING '"+marker+"'; END $$"); err != nil {
		t.Error(err)
	}
	stop(t, p)
	log, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte("database system is ready")) {
		t.Errorf("control: the log says nothing at all: %q", log)
	}
	if bytes.Contains(log, []byte(marker)) {
		t.Errorf("the log quotes a statement:\n%s", log)
	}
}

func TestStopAndStartAgain(t *testing.T) {
	t.Parallel()
	c := config(t, temp(t))
	p := start(t, c)
	query(t, p, "CREATE TABLE kept AS SELECT 'yes' AS was")
	stop(t, p)
	stop(t, p)
	if p.Err() != nil {
		t.Errorf("a server that was shut down ended with %v", p.Err())
	}
	other := c
	other.Password = secret.New("another")
	_, err := StartPostgres(t.Context(), other)
	wantError(t, err, "28P01", "made with another password")
	if got := query(t, start(t, c), "SELECT was FROM kept"); got != "yes" {
		t.Errorf("kept: %q", got)
	}
}

func TestSecondStartIsRefused(t *testing.T) {
	t.Parallel()
	c := config(t, temp(t))
	p := start(t, c)
	_, err := StartPostgres(t.Context(), c)
	wantError(t, err, strconv.Itoa(os.Getpid()), "already running")
	if query(t, p, "SELECT 'alive'") != "alive" {
		t.Error("the second start disturbed the first")
	}
}

func TestConfigIsWhole(t *testing.T) {
	t.Parallel()
	c := config(t, temp(t))
	for _, spoil := range []func(*PostgresConfig){
		func(c *PostgresConfig) { c.Dir = "" },
		func(c *PostgresConfig) { c.Logs = "" },
		func(c *PostgresConfig) { c.Password = secret.Text{} },
		func(c *PostgresConfig) { c.Log = nil },
	} {
		bad := c
		spoil(&bad)
		_, err := StartPostgres(t.Context(), bad)
		wantError(t, err, "needs")
	}
}

func TestLooserIsRefused(t *testing.T) {
	t.Parallel()
	c := config(t, temp(t))
	stop(t, start(t, c))
	for _, name := range []string{"", "run"} {
		path := filepath.Join(c.Dir, name)
		if err := os.Chmod(path, 0o750); err != nil {
			t.Fatal(err)
		}
		_, err := StartPostgres(t.Context(), c)
		wantError(t, err, path, "looser than 0700", "hint: ")
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, start(t, c))
}

func TestInterruptedInitdbIsMadeAgain(t *testing.T) {
	t.Parallel()
	c := config(t, temp(t))
	for _, dir := range []string{c.Dir, filepath.Join(c.Dir, "data.new")} {
		who, err := chooseAccount()
		if err == nil {
			err = who.own(dir)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"initdb.password", "data.new/PG_VERSION"} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte("15\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start(t, c)
	if _, err := os.Stat(filepath.Join(c.Dir, "initdb.password")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the password of initdb stays: %v", err)
	}
}

func TestCrashIsSeenAndRecovered(t *testing.T) {
	t.Parallel()
	c := config(t, temp(t))
	c.Volatile = false
	p := start(t, c)
	query(t, p, "CREATE TABLE kept AS SELECT 'yes' AS was")
	if err := p.process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Gone()
	if p.Err() == nil {
		t.Error("a killed server ended without error")
	}
	stop(t, p)
	if got := query(t, start(t, c), "SELECT was FROM kept"); got != "yes" {
		t.Errorf("after the crash: %q", got)
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(temp(t), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	c := config(t, dir)
	p := start(t, c)
	address := p.Address()
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(address)) })
	if len(address) > maxSocket || strings.HasPrefix(address, dir) {
		t.Errorf("the socket is %s", address)
	}
	if err := checkMode(filepath.Dir(address), fs.ModeDir|0o700, p.who.uid); err != nil {
		t.Error(err)
	}
	stop(t, p)
	p = start(t, c)
	if p.Address() != address {
		t.Errorf("the address was %s and is %s", address, p.Address())
	}
	stop(t, p)
	if err := os.Chmod(filepath.Dir(address), 0o755); err != nil {
		t.Fatal(err)
	}
	if p := start(t, c); p.Address() == address {
		t.Error("a folder that became looser is used again")
	} else {
		t.Cleanup(func() { os.RemoveAll(filepath.Dir(p.Address())) })
	}
}

func TestStrangePath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(temp(t), `it's a "dir" \ with,words`)
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	p := start(t, config(t, dir))
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(p.Address())) })
	if query(t, p, "SELECT 'yes'") != "yes" {
		t.Error("no answer")
	}
}

func TestClosedParentIsNamed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("missing: root, who alone runs stores as another account")
	}
	dir := filepath.Join(temp(t), "closed")
	if err := os.MkdirAll(filepath.Join(dir, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := StartPostgres(t.Context(), config(t, filepath.Join(dir, "below")))
	wantError(t, err, "cannot enter "+dir+";", "hint: chmod o+x "+dir)
}
