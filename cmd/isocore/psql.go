package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/identity"
)

// A connection is how libpq finds a node: a connection service file for nobody
// but us. A token stays out of arguments, history and the list of processes.
type connection struct{ dir, file string }

// connectionPrefix begins the names of their folders among temporary files.
const connectionPrefix = "isocore-token-"

// newConnection writes the file for token, and removes those whose token is
// over for certain.
func newConnection(at, database string, token admin.Token) (*connection, error) {
	sweepConnections()
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", connectionPrefix+"*")
	if err != nil {
		return nil, err
	}
	c := &connection{dir, filepath.Join(dir, "pg_service.conf")}
	text := fmt.Sprintf("[isocore]\nhost=%s\nport=%s\ndbname=%s\nuser=tenant\npassword=%s\n", host, port, database, token.Token)
	if err := os.WriteFile(c.file, []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, c.remove())
	}
	return c, nil
}

func (c *connection) remove() error { return os.RemoveAll(c.dir) }

// sweepConnections removes our files whose tokens have expired. What cannot be
// removed is somebody else's, or gone by now.
func sweepConnections() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), connectionPrefix+"*")) //nolint:errcheck // the pattern is good
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < identity.MaxLifetime {
			continue
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) == os.Geteuid() {
			os.RemoveAll(dir) //nolint:errcheck // see above
		}
	}
}

func tokenDSN(o *options) *cobra.Command {
	g := &grant{}
	var database string
	c := &cobra.Command{
		Use: "dsn --tenant NAME", Short: "Write a token into a connection service file (0600) and print how to use it", Args: cobra.NoArgs,
		Long:    "Write a token into a connection service file that only you can read, and print the variables by which libpq finds it.\nThe file stays until you remove it, or until the first isocore token dsn or isocore psql after its token has expired.",
		Example: "  eval $(isocore token dsn --tenant clinic) && psql",
	}
	g.flags(c, o)
	c.Flags().StringVar(&database, "database", "app", "the database, as the configuration names it")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		t, s, err := o.connection(cmd, g, database)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(cmd.OutOrStdout(), map[string]any{"service_file": s.file, "service": "isocore", "expires": t.Expires})
		}
		o.step("# the token in it is good until %s", t.Expires.Format("15:04:05Z07:00"))
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "export PGSERVICEFILE=%s PGSERVICE=isocore\n", shellQuote(s.file))
		return err
	}
	return c
}

// connection has a token minted and writes it down for libpq.
func (o *options) connection(cmd *cobra.Command, g *grant, database string) (admin.Token, *connection, error) {
	t, n, err := o.token(cmd.Context(), g)
	if err != nil {
		return t, nil, err
	}
	at, err := n.postgres(cmd.Context())
	if err != nil {
		return t, nil, err
	}
	s, err := newConnection(at, database, t)
	return t, s, err
}

func newPsql(o *options) *cobra.Command {
	g := &grant{}
	var database string
	c := &cobra.Command{
		Use: "psql --tenant NAME [-- ARGUMENTS OF PSQL]", Short: "Run psql as a tenant", Args: cobra.ArbitraryArgs,
		Example: "  isocore psql --tenant clinic -- -c 'SELECT count(*) FROM document'",
	}
	g.flags(c, o)
	c.Flags().StringVar(&database, "database", "app", "the database, as the configuration names it")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := g.request(); err != nil {
			return err
		}
		path, err := exec.LookPath("psql")
		if err != nil {
			return hint(err, "apt-get install postgresql-client")
		}
		_, s, err := o.connection(cmd, g, database)
		if err != nil {
			return err
		}
		return s.run(cmd, path, args)
	}
	return c
}

// run runs psql and ends as it does. An interrupt is psql's to handle; who asks
// us to end ends psql.
func (s *connection) run(cmd *cobra.Command, path string, args []string) error {
	interrupts, ends := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(interrupts)
	defer signal.Stop(ends)
	p := exec.Command(path, args...)
	p.Stdin, p.Stdout, p.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	p.Env = append(os.Environ(), "PGSERVICEFILE="+s.file, "PGSERVICE=isocore")
	if err := p.Start(); err != nil {
		return errors.Join(err, s.remove())
	}
	over := make(chan error, 1)
	go func() { over <- p.Wait() }()
	var err error
	select {
	case err = <-over:
	case sig := <-ends:
		err = errors.Join(p.Process.Signal(sig), <-over)
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = exit(max(e.ExitCode(), exitFailed))
	}
	if rerr := s.remove(); rerr != nil {
		return rerr
	}
	return err
}
