package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/isocore/isocore/secret"
)

// A PostgresConfig says how to start an embedded PostgreSQL. Dir, Logs,
// Password and Log are required.
type PostgresConfig struct {
	Dir         string        // the store's own folder; made with mode 0700 of the account that runs it
	Logs        string        // the folder of its log, which we write
	Binaries    Binaries      // what to run; zero: [Find] it
	Password    secret.Text   // of [Admin]; given at the first start, and the same ever after
	Connections int           // how many at once; 0: 100
	Ready       time.Duration // how long a start may take, replaying its log included; 0: 90 s
	Volatile    bool          // for tests: nothing is flushed to the disk, and a crash of the machine loses it
	Log         *slog.Logger
}

// A Postgres is a server that we started and that ends with us: on Linux the
// kernel signals it when this process dies, elsewhere the next start stops it.
type Postgres struct {
	config  PostgresConfig
	who     account
	sockets string
	lock    *os.File
	log     *logFile
	process *os.Process
	gone    chan struct{} // closed when the server has ended
	err     error         // how; set before gone is closed
}

// StartPostgres starts the server of c.Dir, making it first if there is none,
// and returns when it answers. A server that an earlier process left behind is
// stopped first; a second start while one runs is refused.
func StartPostgres(ctx context.Context, c PostgresConfig) (*Postgres, error) {
	if c.Dir == "" || c.Logs == "" || c.Password.IsZero() || c.Log == nil {
		return nil, errors.New("local: PostgresConfig needs Dir, Logs, Password and Log")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	c.Dir = dir
	who, err := chooseAccount()
	if err != nil {
		return nil, err
	}
	if closed := who.closed(c.Dir); closed != "" {
		return nil, fmt.Errorf("local: %s, who runs the store, cannot enter %s; hint: chmod o+x %s, or choose a --dir elsewhere", who.name, closed, closed)
	}
	if err := who.own(c.Dir); err != nil {
		return nil, err
	}
	p := &Postgres{config: c, who: who, gone: make(chan struct{})}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.release())
	}
	return p, nil
}

func (p *Postgres) start(ctx context.Context) (err error) {
	c := &p.config
	data := filepath.Join(c.Dir, "data")
	if p.lock, err = lockFile(filepath.Join(c.Dir, "lock")); err != nil {
		return err
	}
	major, err := dataMajor(data)
	if err != nil {
		return err
	}
	if c.Binaries == (Binaries{}) {
		if c.Binaries, err = Find(ctx, "", major); err != nil {
			return err
		}
	}
	if major != 0 && major != c.Binaries.Major {
		return fmt.Errorf("local: %v cannot open %s, which is of PostgreSQL %d", c.Binaries, data, major)
	}
	if major == 0 {
		if err := initdb(ctx, c.Binaries, p.who, c.Dir, c.Password, p.initdbArgs()...); err != nil {
			return err
		}
	}
	if err := clearOrphan(ctx, data); err != nil {
		return err
	}
	if err := configure(data, p.who, c.Connections); err != nil {
		return err
	}
	if p.sockets, err = socketDir(c.Dir, p.who); err != nil {
		return err
	}
	if p.log, err = openLog(filepath.Join(c.Logs, "postgres.log"), 8<<20, 3); err != nil {
		return err
	}
	if err := p.spawn(data); err != nil {
		return err
	}
	return p.await(ctx)
}

func (p *Postgres) initdbArgs() []string {
	if p.config.Volatile {
		return []string{"--no-sync"}
	}
	return nil
}

// spawn starts the postmaster on a thread that does nothing else and lives
// until the postmaster is gone: the death signal is tied to the thread.
func (p *Postgres) spawn(data string) error {
	args := []string{"-D", data}
	for _, s := range locked(p.sockets) {
		args = append(args, "-c", s)
	}
	death := syscall.SIGINT
	if p.config.Volatile {
		args = append(args, "-F", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
		death = syscall.SIGQUIT
	}
	cmd := exec.Command(filepath.Join(p.config.Binaries.Dir, "postgres"), args...)
	cmd.Dir, cmd.Env = p.config.Dir, storeEnv
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.WaitDelay = 5 * time.Second // a backend may outlive its postmaster and hold the pipe
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.who.credential(), Setpgid: true}
	dieWithUs(cmd.SysProcAttr, death)

	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.process = cmd.Process
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.gone)
	}()
	if err := <-started; err != nil {
		p.process = nil
		return fmt.Errorf("local: %w", err)
	}
	return nil
}

// await waits until the server answers a query, and stops it if it does not.
func (p *Postgres) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.config.Ready, 90*time.Second))
	defer cancel()
	var last error
	err := poll(ctx, func() (bool, error) {
		select {
		case <-p.gone:
			return false, fmt.Errorf("local: PostgreSQL ended while starting: %w; its log is %s", p.err, p.log.path)
		default:
		}
		last = p.ping(ctx)
		if e, ok := errors.AsType[*pgconn.PgError](last); ok && e.Code == "28P01" {
			return false, fmt.Errorf("%w; hint: %s was made with another password of %s", last, p.config.Dir, Admin)
		}
		return last == nil, nil
	})
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("local: PostgreSQL does not answer: %w; its log is %s", last, p.log.path)
	}
	return errors.Join(err, p.halt())
}

func (p *Postgres) ping(ctx context.Context) error {
	if _, err := os.Stat(p.Address()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := p.Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// Address returns the path of the server's socket.
func (p *Postgres) Address() string { return filepath.Join(p.sockets, socketName) }

// Version returns what runs.
func (p *Postgres) Version() Binaries { return p.config.Binaries }

// Account returns the name of who runs it.
func (p *Postgres) Account() string { return p.who.name }

// Pid returns the postmaster's pid.
func (p *Postgres) Pid() int { return p.process.Pid }

// Gone is closed when the server has ended, stopped or not; then Err says how.
func (p *Postgres) Gone() <-chan struct{} { return p.gone }

// Err returns how the server ended, nil while it runs or if it was shut down.
func (p *Postgres) Err() error {
	select {
	case <-p.gone:
		return p.err
	default:
		return nil
	}
}

// DSN returns a connection string of database for user, as libpq and pgx read it.
func (p *Postgres) DSN(user string, password secret.Text, database string) secret.Text {
	words := []string{
		"host=" + quote(p.sockets), "port=5432", "user=" + quote(user),
		"password=" + quote(password.Reveal()), "dbname=" + quote(database), "sslmode=disable",
	}
	return secret.New(strings.Join(words, " "))
}

// quote writes s as a value of a libpq connection string.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// Connect connects to database as [Admin].
func (p *Postgres) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, p.DSN(Admin, p.config.Password, database).Reveal())
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	return conn, nil
}

// Stop shuts the server down and waits for its end: fast, then immediately,
// then by force, each for a bounded time. It may be called again.
func (p *Postgres) Stop() error { return errors.Join(p.halt(), p.release()) }

func (p *Postgres) halt() error {
	if p.process == nil {
		return nil
	}
	for _, step := range shutdown {
		select {
		case <-p.gone:
			return nil
		default:
		}
		if err := p.process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("local: stop PostgreSQL: %w", err)
		}
		timer := time.NewTimer(step.wait)
		select {
		case <-p.gone:
		case <-timer.C:
			p.config.Log.Warn("PostgreSQL does not stop", "signal", step.signal, "waited", step.wait)
		}
		timer.Stop()
	}
	select {
	case <-p.gone:
		return nil
	default:
		return fmt.Errorf("local: PostgreSQL (process %d) does not stop", p.process.Pid)
	}
}

// release lets go of what start took, in any state of it.
func (p *Postgres) release() error {
	var errs []error
	if p.log != nil {
		errs = append(errs, p.log.Close())
		p.log = nil
	}
	if p.lock != nil {
		errs = append(errs, unlockFile(p.lock))
		p.lock = nil
	}
	return errors.Join(errs...)
}
