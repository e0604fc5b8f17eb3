package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/local"
	"github.com/isocore/isocore/node"
)

// newLogger returns where the node says what happens to it: as JSON to file,
// and to people on a terminal what they should know of.
func newLogger(file io.Writer) *slog.Logger {
	if file == nil {
		file = os.Stderr
	}
	if file == os.Stderr && isTerminal(os.Stderr) {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	return slog.New(slog.NewJSONHandler(file, nil))
}

func newServe(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "serve --config FILE", Short: "Serve with stores of your own: production", Args: cobra.NoArgs,
		Long: "Serve with stores of your own, until it is interrupted: then sessions may end what they are at.\nSIGHUP has the file read again: certificates, limits and routes are taken over, and anything else that changed is refused.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.config == "" {
				return &misuse{hint(errors.New("serve needs a configuration"), "isocore config example > isocore.yaml; or: isocore up")}
			}
			load := func() (*config.Config, error) { return config.Load(o.config) }
			c, err := load()
			if err != nil {
				return err
			}
			n, err := node.Open(cmd.Context(), c, newLogger(nil))
			if err != nil {
				return err
			}
			ready := func(context.Context) error { return o.printEndpoints(os.Stderr, n.Endpoints()) }
			err = o.serve(cmd.Context(), service{node: n, load: load, ready: ready})
			return errors.Join(err, n.Close())
		},
	}
}

// A service is a node with what is to be done beside it.
type service struct {
	node  *node.Node
	load  func() (*config.Config, error) // reads its configuration again
	ready func(context.Context) error    // called once it answers; an error ends it
	gone  <-chan error                   // what it cannot be without; nil: nothing
}

// serve runs s until ctx is done or something it needs is gone. SIGHUP reloads.
func (o *options) serve(ctx context.Context, s service) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	up, served := make(chan struct{}), make(chan error, 1)
	go func() { served <- s.node.Serve(ctx, func() { close(up) }) }()
	var failed error
	fail := func(err error) {
		failed = err
		stop()
	}
	for going := ctx.Done(); ; {
		select {
		case <-up:
			up = nil
			if err := s.ready(ctx); err != nil {
				fail(err)
			}
		case <-hangups:
			o.reload(ctx, s.node, s.load)
		case err := <-s.gone:
			s.gone = nil
			fail(err)
		case <-going:
			going = nil
			o.step("stopping: sessions have %v to end what they are at", node.DrainTime)
		case err := <-served:
			if err != nil && failed == nil {
				failed = s.reason()
			}
			return errors.Join(failed, err)
		}
	}
}

// reason returns why s could not go on, if that is that what it needs is gone.
// Whoever needed it may notice a moment before.
func (s *service) reason() error {
	moment := time.NewTimer(time.Second)
	defer moment.Stop()
	select {
	case err := <-s.gone:
		return err
	case <-moment.C:
		return nil
	}
}

// reload has n take over what may change while it runs, or says why not.
func (o *options) reload(ctx context.Context, n *node.Node, load func() (*config.Config, error)) {
	if err := n.Reload(ctx, load); err != nil {
		o.step("not reloaded, everything stays as it was: %v", err)
		return
	}
	o.step("reloaded: certificates, limits and routes are as the file says")
}

func newEndpoints(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "endpoints", Short: "Print where clients are answered", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.config != "" {
				return o.askEndpoints(cmd)
			}
			e, err := local.ReadEndpoints(o.dir)
			if errors.Is(err, local.ErrNotRunning) {
				return o.notRunning()
			}
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), e)
			}
			return o.printEndpoints(cmd.OutOrStdout(), e.Addresses)
		},
	}
}

// askEndpoints prints what the node of a configuration says.
func (o *options) askEndpoints(cmd *cobra.Command) error {
	n, err := o.connect()
	if err != nil {
		return err
	}
	at, err := n.endpoints(cmd.Context())
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"addresses": at})
	}
	return o.printEndpoints(cmd.OutOrStdout(), at)
}

func (o *options) printEndpoints(w io.Writer, at map[string]string) error {
	var rows [][]string
	for _, name := range []string{"edge", "postgres", "public", "admin"} {
		if at[name] != "" {
			rows = append(rows, []string{name, at[name]})
		}
	}
	return table(w, "DOOR\tADDRESS", rows)
}

// downTime is how long a node may take to go.
const downTime = 60 * time.Second

func newDown(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the IsoCore of the state directory; its state stays", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, err := local.Running(o.dir)
			if errors.Is(err, local.ErrNotRunning) {
				o.step("no IsoCore runs in %s", o.dir)
				return nil
			}
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), downTime)
			defer cancel()
			if err := i.Signal(os.Interrupt); err != nil {
				return err
			}
			if err := i.Wait(ctx); err != nil {
				return fmt.Errorf("process %d does not end: %w", i.Pid, err)
			}
			o.step("IsoCore is down; its state stays in %s", o.dir)
			return nil
		},
	}
}

func newPosture(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "posture", Short: "Print every row of every broker's table: what is allowed, confined, denied, and why", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := o.connect()
			if err != nil {
				return err
			}
			p, err := call[admin.Posture](cmd.Context(), n, http.MethodGet, "/v1/posture", nil)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), p)
			}
			var cells [][]string
			for _, r := range p.Rows {
				cells = append(cells, []string{r.Broker, r.Name, r.Verdict, r.Needs, r.Why})
			}
			o.step("grade of the store: %s", p.Grade)
			return table(cmd.OutOrStdout(), "BROKER\tOPERATION\tVERDICT\tNEEDS\tWHY", cells)
		},
	}
}
