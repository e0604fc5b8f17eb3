package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// A lab is an IsoCore of its own with a table of points, and the ways to it.
type lab struct {
	dir     string
	ways    []way
	bouncer *exec.Cmd
}

// points is how many rows each of the two tenants has.
const points = 100_000

func newLab(ctx context.Context, dir string) (_ *lab, err error) {
	l := &lab{dir: dir}
	if err := os.Chmod(dir, 0o711); err != nil { // the account of the store passes through
		return nil, err
	}
	if _, err := l.isocore(ctx, "up", "--detach", "--no-demo", "--quiet"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	tenant, err := l.tenant(ctx, "bench")
	if err != nil {
		return nil, err
	}
	socket, err := l.endpoint(ctx, "store")
	if err != nil {
		return nil, err
	}
	if err := l.fill(ctx, socket, tenant); err != nil {
		return nil, err
	}
	if _, err := l.isocore(ctx, "protect"); err != nil {
		return nil, err
	}
	return l, l.findWays(ctx, socket, tenant)
}

// isocore runs the command line.
func (l *lab) isocore(ctx context.Context, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, "bin/isocore", append([]string{"--dir", l.path("state")}, args...)...)
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("isocore %s: %w\n%s", args[0], err, said.Bytes())
	}
	return out, nil
}

func (l *lab) tenant(ctx context.Context, name string) (string, error) {
	if _, err := l.isocore(ctx, "tenant", "create", name); err != nil {
		return "", err
	}
	b, err := l.isocore(ctx, "tenant", "show", name, "--json")
	if err != nil {
		return "", err
	}
	var t struct{ ID string }
	if err := json.Unmarshal(b, &t); err != nil {
		return "", err
	}
	if len(t.ID) != 32 {
		return "", fmt.Errorf("tenant %s has no id", name)
	}
	return t.ID, nil
}

func (l *lab) endpoint(ctx context.Context, name string) (string, error) {
	b, err := l.isocore(ctx, "endpoints", "--json")
	if err != nil {
		return "", err
	}
	var e struct{ Addresses map[string]string }
	if err := json.Unmarshal(b, &e); err != nil {
		return "", err
	}
	return e.Addresses[name], nil
}

// directPassword is that of a role which exists in this lab only.
const directPassword = "of-a-bench"

// fill makes the table, with as many rows of nobody beside the tenant's, and a
// role that reads it directly, as an application without IsoCore would.
func (l *lab) fill(ctx context.Context, socket, tenant string) error {
	password, err := os.ReadFile(l.path("state/keys/postgres.password"))
	if err != nil {
		return err
	}
	c, err := pgx.ParseConfig("sslmode=disable user=isocore_admin dbname=app")
	if err != nil {
		return err
	}
	c.Host, c.Port, c.Password = filepath.Dir(socket), 5432, strings.TrimSpace(string(password))
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // what it did is committed
	_, err = conn.Exec(ctx, fmt.Sprintf(`
		SET ROLE app_owner;
		CREATE TABLE app.point (tenant_id uuid NOT NULL, id bigint NOT NULL, v text NOT NULL, PRIMARY KEY (tenant_id, id));
		INSERT INTO app.point SELECT t::uuid, i, 'point ' || i FROM unnest(ARRAY['%s', gen_random_uuid()::text]) t, generate_series(1, %d) i;
		RESET ROLE;
		CREATE ROLE direct LOGIN PASSWORD '%s' BYPASSRLS;
		GRANT CONNECT ON DATABASE app TO direct;
		GRANT USAGE ON SCHEMA app TO direct;
		GRANT SELECT ON app.point TO direct;
		ANALYZE app.point`, tenant, points, directPassword))
	return err
}

// findWays writes the scripts and says how each way is reached.
func (l *lab) findWays(ctx context.Context, socket, tenant string) error {
	const pick = "\\set id random(1, %d)\nSELECT v FROM app.point WHERE %sid = :id;\n"
	direct, confined := l.path("direct.sql"), l.path("confined.sql")
	err := errors.Join(
		os.WriteFile(direct, fmt.Appendf(nil, pick, points, "tenant_id = '"+tenant+"' AND "), 0o600),
		os.WriteFile(confined, fmt.Appendf(nil, pick, points, ""), 0o600),
	)
	if err != nil {
		return err
	}
	login := []string{"PGUSER=direct", "PGPASSWORD=" + directPassword, "PGSSLMODE=disable"}
	l.ways = []way{{"direct", append(login, "PGHOST="+filepath.Dir(socket)), direct}}
	if port, err := l.startBouncer(ctx, filepath.Dir(socket)); err != nil {
		fmt.Println("without PgBouncer:", err)
	} else {
		l.ways = append(l.ways, way{"PgBouncer", append(login, "PGHOST=127.0.0.1", "PGPORT="+port), direct})
	}
	token, err := l.isocore(ctx, "token", "issue", "--tenant", "bench")
	if err != nil {
		return err
	}
	at, err := l.endpoint(ctx, "postgres")
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(at)
	l.ways = append(l.ways, way{"IsoCore", []string{
		"PGHOST=" + host, "PGPORT=" + port, "PGUSER=x", "PGSSLMODE=disable", "PGPASSWORD=" + strings.TrimSpace(string(token)),
	}, confined})
	return err
}

// startBouncer starts PgBouncer in transaction mode before the same server.
func (l *lab) startBouncer(ctx context.Context, host string) (port string, err error) {
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		return "", err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err = net.SplitHostPort(ln.Addr().String())
	if err = errors.Join(err, ln.Close()); err != nil {
		return "", err
	}
	users, ini := l.path("users.txt"), l.path("pgbouncer.ini")
	err = errors.Join(
		os.WriteFile(users, fmt.Appendf(nil, "\"direct\" %q\n", directPassword), 0o644),
		os.WriteFile(ini, fmt.Appendf(nil, "[databases]\napp = host=%s dbname=app\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\n"+
			"auth_type = plain\nauth_file = %s\npool_mode = transaction\ndefault_pool_size = 16\nunix_socket_dir =\n", host, port, users), 0o644),
	)
	if err != nil {
		return "", err
	}
	who, err := owner(host)
	if err != nil {
		return "", err
	}
	l.bouncer = exec.Command(path, "-q", "-u", who, ini)
	if err := l.bouncer.Start(); err != nil {
		return "", err
	}
	for range 50 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			return port, c.Close()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return "", errors.New("it does not answer")
}

// owner returns the account of a folder: the store's sockets are open to its
// own account alone.
func owner(dir string) (string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.New("no owner")
	}
	u, err := user.LookupId(strconv.Itoa(int(stat.Uid)))
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

// close stops everything.
func (l *lab) close() error {
	var errs []error
	if l.bouncer != nil {
		errs = append(errs, l.bouncer.Process.Kill())
		l.bouncer.Wait() //nolint:errcheck // it was killed
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := l.isocore(ctx, "down", "--quiet")
	return errors.Join(append(errs, err)...)
}
