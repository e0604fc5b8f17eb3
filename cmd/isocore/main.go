// Command isocore is the tenant isolation plane, and the command line of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
)

// The exit codes.
const (
	exitFine   = 0
	exitFailed = 1 // something was found, or failed
	exitMisuse = 2
	exitLess   = 3 // verified, with less trust than there could be
)

// An options is what every command takes.
type options struct {
	dir    string
	config string
	json   bool
	quiet  bool
	yes    bool
}

// A hinted error knows what may help.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

func hint(err error, text string) error { return &hinted{err, text} }

// An exit ends the program with a code, having said what there was to say.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// A misuse is a command line that makes no sense.
type misuse struct{ error }

func (m *misuse) Unwrap() error { return m.error }

func main() { os.Exit(run()) }

// run runs the command line. The first signal asks for an end, the second one
// is the system's to handle.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	c, err := newRoot().ExecuteContextC(ctx)
	return report(os.Stderr, c, err)
}

// report is the one place that says what went wrong, and returns the exit code.
func report(w io.Writer, c *cobra.Command, err error) int {
	if err == nil {
		return exitFine
	}
	if code, ok := errors.AsType[exit](err); ok {
		return int(code)
	}
	_, misused := errors.AsType[*misuse](err)
	text, help, _ := strings.Cut(err.Error(), "; hint: ")
	if p, ok := errors.AsType[*admin.Problem](err); ok && p.Hint != "" {
		help = p.Hint
	}
	if h, ok := errors.AsType[*hinted](err); ok {
		help = h.hint
	}
	if help == "" && misused {
		help = c.CommandPath() + " --help"
	}
	fmt.Fprintln(w, "isocore: "+text)
	if help != "" {
		fmt.Fprintln(w, "hint: "+help)
	}
	if misused {
		return exitMisuse
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	o := &options{}
	root := group("isocore", "IsoCore keeps tenants apart on shared infrastructure, and proves it.",
		newUp(o), newDown(o), newServe(o), newEndpoints(o), newRoutes(o), newConfig(o),
		newTenant(o), newPartner(o), newIssuer(o), newToken(o), newPsql(o), newProtect(o), newDoctor(o),
		newAudit(o), newProve(o), newPosture(o))
	root.SilenceUsage, root.SilenceErrors = true, true
	root.Version = version()
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &misuse{err} })
	f := root.PersistentFlags()
	f.StringVar(&o.dir, "dir", ".isocore", "state directory of isocore up")
	f.StringVar(&o.config, "config", "", "configuration file of isocore serve, instead of a state directory")
	f.BoolVar(&o.json, "json", false, "answer in JSON")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "say nothing beside the answer")
	f.BoolVarP(&o.yes, "yes", "y", false, "do it without asking")
	checkArgs(root)
	return root
}

// group returns a command that is there for its commands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, SuggestionsMinimumDistance: 2}
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 && !c.HasParent() {
			return c.Help()
		}
		if len(args) == 0 {
			return &misuse{fmt.Errorf("%s needs a command", c.CommandPath())}
		}
		err := fmt.Errorf("%s has no command %.40q", c.CommandPath(), args[0])
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return &misuse{hint(err, "did you mean "+c.CommandPath()+" "+near[0]+"?")}
		}
		return &misuse{err}
	}
	c.AddCommand(commands...)
	return c
}

// checkArgs makes wrong arguments and missing flags a misuse.
func checkArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
	want := c.Args
	if want == nil {
		want = cobra.NoArgs
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := errors.Join(want(c, args), c.ValidateRequiredFlags()); err != nil {
			return &misuse{err}
		}
		return nil
	}
}

// version returns what was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
