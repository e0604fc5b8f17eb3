package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/local"
	"github.com/isocore/isocore/node"
)

// An up is what isocore up starts: stores of its own and a node over them.
type up struct {
	*options
	ports  local.Ports
	noDemo bool

	dir    *local.Dir
	log    *slog.Logger
	server *local.Postgres
	node   *node.Node
}

func newUp(o *options) *cobra.Command {
	u := &up{options: o}
	var ports string
	var detach bool
	c := &cobra.Command{
		Use: "up", Short: "Start everything on this machine, stores included", Args: cobra.NoArgs,
		Long: "Start an embedded PostgreSQL and a node over it in the state directory, with example tenants, until it is interrupted.\nA second --dir is a second installation. What happens to the node is in logs/isocore.log.",
	}
	c.Flags().StringVar(&ports, "ports", "auto", "default: the usual ports or none; auto: others if they are taken")
	c.Flags().BoolVarP(&detach, "detach", "d", false, "return when it is up")
	c.Flags().BoolVar(&u.noDemo, "no-demo", false, "make no example tenants and data")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.config != "" {
			return &misuse{hint(errors.New("up has the configuration of its state directory"), "isocore serve --config "+shellQuote(o.config))}
		}
		var err error
		if u.ports, err = local.ParsePorts(ports); err != nil {
			return &misuse{err}
		}
		if detach {
			return u.detach(cmd.Context(), ports)
		}
		return u.run(cmd.Context(), cmd.OutOrStdout())
	}
	return c
}

// run starts everything, serves until ctx is done, and stops everything.
func (u *up) run(ctx context.Context, out io.Writer) (err error) {
	if u.dir, err = local.Open(u.options.dir); err != nil {
		if _, rerr := local.Running(u.options.dir); rerr == nil {
			return hint(err, "isocore endpoints"+u.in()+" says where it answers; isocore down"+u.in()+" stops it")
		}
		return err
	}
	defer func() { err = errors.Join(err, u.dir.Close()) }()
	log, err := u.openLog()
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // nothing is said any more
	if err := u.startStore(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.server.Stop()) }()
	if err := u.prepareStore(ctx); err != nil {
		return err
	}
	if err := u.openNode(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.node.Close()) }()
	return u.serve(ctx, service{node: u.node, load: u.loadConfig, gone: u.storeGone(), ready: func(ctx context.Context) error {
		if err := u.furnish(ctx); err != nil {
			return err
		}
		return u.welcome(out, u.node.Endpoints())
	}})
}

// openNode opens the node. A port that was free when it was chosen may be
// somebody's by now: then it is chosen again.
func (u *up) openNode(ctx context.Context) error {
	for attempts := 3; ; attempts-- {
		c, err := u.loadConfig()
		if err != nil {
			return err
		}
		if err := u.choosePorts(c); err != nil {
			return err
		}
		u.node, err = node.Open(ctx, c, u.log)
		if err == nil || attempts == 0 || u.ports != local.AutoPorts || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
}

// openLog opens logs/isocore.log, for what the node says and for a crash.
func (u *up) openLog() (io.Closer, error) {
	log, err := u.dir.Log("isocore.log")
	if err != nil {
		return nil, err
	}
	u.log = newLogger(log)
	crash, err := os.OpenFile(u.dir.Path("logs", "crash.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		err = errors.Join(debug.SetCrashOutput(crash, debug.CrashOptions{}), crash.Close())
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return log, nil
}

// storeGone returns a channel that hears of the end of the embedded server.
func (u *up) storeGone() <-chan error {
	gone := make(chan error, 1)
	go func() {
		<-u.server.Gone()
		how := "it was shut down"
		if err := u.server.Err(); err != nil {
			how = err.Error()
		}
		gone <- hint(fmt.Errorf("the embedded PostgreSQL is gone: %s", how), "its log is "+u.dir.Path("logs", "postgres.log"))
	}()
	return gone
}

// furnish makes the example tenants, and says where everything is: whoever
// finds the endpoints finds all of it in place.
func (u *up) furnish(ctx context.Context) error {
	if err := os.WriteFile(u.dir.Path("trust", "policy.txt"), []byte(u.node.Policy()), 0o644); err != nil {
		return err
	}
	at := u.node.Endpoints()
	at[storeDoor] = u.server.Address()
	if !u.noDemo {
		if err := u.demo(ctx, at); err != nil {
			return err
		}
		if err := u.standInIdP(ctx, newClient(at["admin"])); err != nil {
			return err
		}
	}
	return u.dir.Announce(at)
}

// startStore finds a PostgreSQL and starts it.
func (u *up) startStore(ctx context.Context) error {
	binaries, err := local.NewSource("", u.dir.Path("engine"), u.log).Obtain(ctx, u.dir.Path("pg"))
	if err != nil {
		return err
	}
	password, err := u.dir.Password("postgres")
	if err != nil {
		return err
	}
	u.server, err = local.StartPostgres(ctx, local.PostgresConfig{
		Dir: u.dir.Path("pg"), Logs: u.dir.Path("logs"), Binaries: binaries, Password: password, Log: u.log,
	})
	if err != nil {
		return err
	}
	u.step("PostgreSQL %s runs as %s, on a unix socket", u.storeVersion(), u.server.Account())
	return nil
}

// storeVersion returns the version of the embedded server.
func (u *up) storeVersion() string {
	v := u.server.Version()
	return fmt.Sprintf("%d.%d", v.Major, v.Minor)
}

// loadConfig reads the configuration, having written it the first time. Where
// the embedded store is only this start knows.
func (u *up) loadConfig() (*config.Config, error) {
	path := u.dir.Path("isocore.yaml")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := u.writeConfig(path); err != nil {
			return nil, err
		}
	}
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if c.Brokers.Postgres == nil {
		return nil, hint(fmt.Errorf("%s has no section brokers.postgres", path), "isocore serve is for stores of your own")
	}
	c.Brokers.Postgres.Store.Address = config.Address{Network: "unix", Addr: u.server.Address()}
	return c, nil
}

// newConfigText is the configuration that up writes. Its limits are those of
// one machine that somebody tries things on.
const newConfigText = `# Written by isocore up, once: it is yours to change.
version: 1
trust_domain: isocore.local
registry: {dsn_file: keys/registry.dsn}
keys: {dir: keys}
audit: {dir: audit, min_free: 2%%, deadline: 2s}
admin: {socket: run/admin.sock, listen: %q}
limits:
  default: {connections: 64, rate: 20000/s, burst: 40000, queue: 1024, statement: 30s, record_bytes: 64GiB/day}
brokers:
  edge:
    listen: %q
    routes:
      notes: {host: localhost, upstream: "http://%s", reach: ["pg:read", "pg:write"]}
      notes-of: {host: "{tenant}.localhost", partner: home, upstream: "http://%s", reach: ["pg:read", "pg:write"]}
  exchange: {hosts: []}
  postgres:
    listen: %q
    store: {address: %q, login_file: keys/login.password, keeper_file: keys/keeper.password}
    slots: 64
    databases: {app: {schemas: [app]}}
`

// The usual ports.
const (
	publicPort   = 7900
	postgresPort = 7432
	edgePort     = 7080
	notesPort    = 7081 // of examples/notes, which up does not start
)

func (u *up) writeConfig(path string) error {
	var at [4]string
	for i, port := range []int{publicPort, edgePort, notesPort, postgresPort} {
		var err error
		if at[i], err = u.ports.Choose("127.0.0.1", port); err != nil {
			return err
		}
	}
	text := fmt.Sprintf(newConfigText, at[0], at[1], at[2], at[2], at[3], u.server.Address())
	return os.WriteFile(path, []byte(text), 0o600)
}

// choosePorts takes other ports for this run where those of the file are in use.
func (u *up) choosePorts(c *config.Config) error {
	doors := []*config.Listen{&c.Admin.Listen, &c.Brokers.Postgres.Listen}
	if c.Brokers.Edge != nil {
		doors = append(doors, &c.Brokers.Edge.Listen)
	}
	for _, l := range doors {
		if l.Off() {
			continue
		}
		at, err := u.ports.Choose(l.Addr().String(), int(l.Port()))
		if err != nil {
			return err
		}
		chosen, err := netip.ParseAddrPort(at)
		if err != nil {
			return err
		}
		if l.Port() != 0 && chosen != l.AddrPort {
			u.step("%v is in use: this run answers at %v", l, chosen)
		}
		l.AddrPort = chosen
	}
	return nil
}

// hostPort splits an address that was listened on.
func hostPort(at string) (string, uint16, error) {
	a, err := netip.ParseAddrPort(at)
	return a.Addr().String(), a.Port(), err
}
