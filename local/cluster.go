package local

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/isocore/isocore/secret"
)

// Admin is the superuser of an embedded PostgreSQL.
const Admin = "isocore_admin"

// storeEnv is all the environment a store sees: nothing of ours, and nothing
// that changes what it prints.
var storeEnv = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}

// initdb makes the data directory. It works in a folder beside it that is
// renamed at the end, so that one that was interrupted is never started.
func initdb(ctx context.Context, b Binaries, who account, dir string, password secret.Text, extra ...string) error {
	work, pwfile := filepath.Join(dir, "data.new"), filepath.Join(dir, "initdb.password")
	if err := errors.Join(os.RemoveAll(work), os.RemoveAll(pwfile)); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	defer os.Remove(pwfile)
	if err := writeOwned(pwfile, []byte(password.Reveal()+"\n"), who); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	args := append([]string{
		"--pgdata=" + work, "--username=" + Admin, "--pwfile=" + pwfile, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions",
	}, extra...)
	cmd := exec.CommandContext(ctx, filepath.Join(b.Dir, "initdb"), args...)
	cmd.Dir, cmd.Env = dir, storeEnv
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who.credential(), Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("local: initdb: %w: %s", err, tail(out))
	}
	if err := os.Rename(work, filepath.Join(dir, "data")); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	return nil
}

// writeOwned writes a new file of mode 0600 that belongs to who.
func writeOwned(path string, b []byte, who account) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	if who.switched {
		err = f.Chown(int(who.uid), int(who.gid))
	}
	if err == nil {
		_, err = f.Write(b)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("local: %s: %w", path, err)
	}
	return nil
}

// replaceOwned is writeOwned for a file that may be there, which is replaced whole.
func replaceOwned(path string, b []byte, who account) error {
	temp := path + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	if err := writeOwned(temp, b, who); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	return nil
}

// configure writes postgresql.conf and pg_hba.conf, whole, at each start.
func configure(data string, who account, connections int) error {
	conf := fmt.Sprintf(settings, cmp.Or(connections, 100))
	if runtime.GOOS == "linux" {
		conf += "client_connection_check_interval = 1s\n" // needs POLLRDHUP
	}
	if err := replaceOwned(filepath.Join(data, "postgresql.conf"), []byte(conf), who); err != nil {
		return err
	}
	return replaceOwned(filepath.Join(data, "pg_hba.conf"), []byte(access), who)
}

// access is pg_hba.conf: a password for everybody, through the socket only, and
// no replication.
const access = `# Written by isocore at each start; changes here are lost.
local all all scram-sha-256
`

// settings is postgresql.conf. The memory is small: several stores share a
// developer's machine.
const settings = `# Written by isocore at each start; changes here are lost.
port = 5432
max_connections = %d
superuser_reserved_connections = 5
password_encryption = 'scram-sha-256'
shared_buffers = 64MB
work_mem = 4MB
maintenance_work_mem = 32MB
max_wal_size = 512MB
min_wal_size = 80MB
max_wal_senders = 0
max_prepared_transactions = 0
jit = off
synchronize_seqscans = off
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C'
log_line_prefix = '%%m [%%p] '
`

// locked are given as arguments, which no file and no ALTER SYSTEM overrides:
// what keeps the store off the network, and tenants' data out of its log and of
// pg_stat_activity. Level log leaves out the errors of statements, whose
// messages quote values; terse leaves out their details.
func locked(sockets string) []string {
	list := `"` + strings.ReplaceAll(sockets, `"`, `""`) + `"` // one member, whatever it holds
	return []string{
		"listen_addresses=", "unix_socket_directories=" + list, "unix_socket_permissions=0700",
		"logging_collector=off", "log_destination=stderr", "log_statement=none", "log_min_duration_statement=-1",
		"log_min_messages=log", "log_min_error_statement=panic", "log_error_verbosity=terse",
		"log_parameter_max_length=0", "log_parameter_max_length_on_error=0", "track_activities=off",
	}
}

// tail returns the end of what a program printed, on one line.
func tail(b []byte) string {
	b = bytes.TrimSpace(b)
	if len(b) > 800 {
		b = b[len(b)-800:]
	}
	return strings.Join(strings.Fields(string(b)), " ")
}
