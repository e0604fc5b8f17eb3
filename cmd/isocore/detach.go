package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/local"
)

// detach starts another isocore up in a session of its own, and waits until
// it is up.
func (u *up) detach(ctx context.Context, ports string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(u.options.dir)
	if err != nil {
		return err
	}
	if i, err := local.Running(dir); err == nil {
		u.step("IsoCore is up already in %s, as process %d", u.options.dir, i.Pid)
		return nil
	}
	said, err := os.CreateTemp("", "isocore-up-*")
	if err != nil {
		return err
	}
	os.Remove(said.Name()) //nolint:errcheck // it lives as long as it is open
	defer said.Close()     //nolint:errcheck // the process has its own
	args := []string{"up", "--dir", dir, "--ports", ports}
	if u.noDemo {
		args = append(args, "--no-demo")
	}
	p := exec.Command(self, args...)
	p.Stderr = said
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.Start(); err != nil {
		return err
	}
	gone := make(chan error, 1)
	go func() { gone <- p.Wait() }()
	return u.await(ctx, dir, p.Process, gone, &relay{from: said})
}

// Bounds of a detached start.
const (
	detachTime  = 5 * time.Minute
	detachPause = 50 * time.Millisecond
)

// await waits until p serves dir with everything in place, passing on what it
// says. One that does not get there in time, or is not wanted any more, is
// stopped.
func (u *up) await(ctx context.Context, dir string, p *os.Process, gone <-chan error, said *relay) error {
	ctx, cancel := context.WithTimeout(ctx, detachTime)
	defer cancel()
	tick := time.NewTicker(detachPause)
	defer tick.Stop()
	for {
		if !u.quiet {
			said.pass(os.Stderr)
		}
		select {
		case <-gone:
			said.pass(os.Stderr)
			return exit(exitFailed)
		case <-ctx.Done():
			err := errors.Join(p.Signal(os.Interrupt), <-gone)
			said.pass(os.Stderr)
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
		if e, err := local.ReadEndpoints(dir); err == nil && e.Pid == p.Pid {
			return u.welcome(os.Stdout, e.Addresses)
		}
	}
}

// A relay passes on what a process writes into a file.
type relay struct {
	from *os.File
	at   int64
}

func (r *relay) pass(to io.Writer) {
	n, _ := io.Copy(to, io.NewSectionReader(r.from, r.at, 1<<20)) //nolint:errcheck // what cannot be passed on is not worth a failure
	r.at += n
}

// welcome says where everything is, and three things to try. It prints
// commands that mint tokens, never tokens.
func (u *up) welcome(w io.Writer, at map[string]string) error {
	if u.json {
		return printJSON(w, map[string]any{"addresses": at})
	}
	dir, err := filepath.Abs(u.options.dir)
	if err != nil {
		return err
	}
	c, err := config.Load(filepath.Join(dir, "isocore.yaml"))
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(whereabouts(c, at, dir))
	if !u.noDemo {
		fmt.Fprintf(&b, `
Three tenants have rows in the same tables, under the same numbers. Try:

  %[1]s psql --tenant clinic -- -c 'SELECT kind, count(*) FROM document GROUP BY kind'
  %[1]s psql --tenant advisory -- -c 'SELECT count(*) FROM document WHERE tenant_id <> isocore.tenant()'
  %[1]s audit tail --tenant clinic
`, program()+u.in())
	}
	fmt.Fprintf(&b, "\nStop it with: %s down\n", program()+u.in())
	_, err = io.WriteString(w, b.String())
	return err
}

// whereabouts says where the node of c answers, and what an application has to
// be told if that is not where it looks by itself.
func whereabouts(c *config.Config, at map[string]string, dir string) string {
	var b strings.Builder
	b.WriteString("IsoCore is up.\n\n")
	if e := c.Brokers.Edge; e != nil {
		fmt.Fprintf(&b, "  edge         %s://localhost:%s, before what isocore routes prints\n", scheme(e.TLS), port(at["edge"]))
	}
	fmt.Fprintf(&b, "  PostgreSQL   %s, database app (embedded, sealed)\n", at["postgres"])
	if at["public"] != "" {
		fmt.Fprintf(&b, "  health       %s://%s/readyz\n", scheme(c.Admin.TLS), at["public"])
	}
	fmt.Fprintf(&b, "  state        %s\n", dir)
	if flags := notesFlags(c, at); flags != "" {
		fmt.Fprintf(&b, "\nThese are not the usual ports. The example application needs:\n\n  go run ./examples/notes%s\n", flags)
	}
	return b.String()
}

// notesFlags returns what examples/notes has to be told of a node whose
// addresses are not the usual ones, and "" if they are.
func notesFlags(c *config.Config, at map[string]string) string {
	var b strings.Builder
	usual := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	if e := c.Brokers.Edge; e != nil {
		if r, ok := e.Routes["notes"]; ok && r.Upstream.Addr != usual(notesPort) {
			b.WriteString(" --listen " + r.Upstream.Addr)
		}
	}
	if base := scheme(c.Admin.TLS) + "://" + at["public"]; at["public"] != "" && base != "http://"+usual(publicPort) {
		b.WriteString(" --jwks " + base + admin.JWKSPath + " --token-endpoint " + base + admin.TokenPath)
	}
	if at["postgres"] != usual(postgresPort) {
		b.WriteString(" --postgres " + at["postgres"])
	}
	return b.String()
}

// scheme returns how a door with this certificate is called.
func scheme(t config.TLS) string {
	if t.Off() {
		return "http"
	}
	return "https"
}

// port returns that of an address.
func port(at string) string {
	_, p, err := net.SplitHostPort(at)
	if err != nil {
		return at
	}
	return p
}

// program returns how this program was called, for commands to copy.
func program() string {
	if strings.ContainsRune(os.Args[0], filepath.Separator) {
		return shellQuote(os.Args[0])
	}
	return "isocore"
}
