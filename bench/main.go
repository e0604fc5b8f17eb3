// Command bench measures what IsoCore costs: in front of PostgreSQL beside
// PgBouncer, and in front of an application beside nginx, in interleaved
// rounds of one run. Each bench keeps its section of docs/performance.md.
//
//	go run ./bench [-rounds 5] [-seconds 4] [postgres|edge|all]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

// A settings says how long everything is measured.
type settings struct{ rounds, seconds int }

// A bench measures one broker, in an empty folder of its own, and returns its
// section of the page.
type bench struct {
	name, title string
	run         func(ctx context.Context, dir string, s settings) (string, error)
}

var benches = []bench{
	{"postgres", "PostgreSQL", benchPostgres},
	{"edge", "Edge", benchEdge},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command runs the benches that args name, or what one of them started as
// another process.
func command(ctx context.Context, args []string) error {
	if len(args) > 0 && roles[args[0]] != nil {
		return serve(ctx, roles[args[0]], args[1:])
	}
	var s settings
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	flags.IntVar(&s.rounds, "rounds", 5, "interleaved rounds")
	flags.IntVar(&s.seconds, "seconds", 4, "of each measurement")
	out := flags.String("out", "docs/performance.md", "where the result is kept")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.rounds < 1 || s.seconds < 1 {
		return errors.New("at least one round of one second")
	}
	which := "all"
	if flags.NArg() > 0 {
		which = flags.Arg(0)
	}
	if which != "all" && !slices.ContainsFunc(benches, func(b bench) bool { return b.name == which }) {
		return fmt.Errorf("no bench %q: there are postgres, edge and all", which)
	}
	for _, b := range benches {
		if which != "all" && which != b.name {
			continue
		}
		if err := b.keep(ctx, s, *out); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

// keep runs b, and keeps its section of the page at path.
func (b bench) keep(ctx context.Context, s settings, path string) (err error) {
	dir, err := os.MkdirTemp("", "isocore-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	others := busy()
	text, err := b.run(ctx, dir, s)
	if err != nil {
		return err
	}
	text += others
	fmt.Print("\n" + text)
	page, err := readPage(path)
	if err != nil {
		return err
	}
	page[b.name] = text
	return os.WriteFile(path, []byte(page.String()), 0o644)
}

// busy says so if the machine had other work as the bench began.
func busy() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	var load float64
	if _, err := fmt.Sscan(string(b), &load); err != nil || load < 1 {
		return ""
	}
	return fmt.Sprintf("\nThe machine had other work as this began (a load of %.1f): measure again before you rely on it.\n", load)
}

func today() string { return time.Now().UTC().Format("2006-01-02") }
