// Command bench measures what IsoCore costs in front of PostgreSQL: pgbench
// directly, through PgBouncer, and through IsoCore with the audit trail on, in
// interleaved rounds of one run. It prints medians and ratios, and keeps them
// in docs/performance.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A way is one path to the same rows.
type way struct {
	name   string
	env    []string // of pgbench
	script string
}

// A figure is what one round of pgbench gave.
type figure struct{ tps, latency float64 }

// A cell is the figures of one way in one mode.
type cell struct{ way, mode string }

var modes = []string{"simple", "extended", "prepared"}

func main() {
	rounds := flag.Int("rounds", 5, "interleaved rounds")
	seconds := flag.Int("seconds", 4, "of each measurement")
	clients := flag.Int("clients", 8, "at once")
	out := flag.String("out", "docs/performance.md", "where the result is kept")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds, *seconds, *clients, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds, seconds, clients int, out string) (err error) {
	dir, err := os.MkdirTemp("", "isocore-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := newLab(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	figures := map[cell][]figure{}
	for round := range rounds {
		for _, mode := range modes {
			for _, w := range l.ways {
				if w.name == "PgBouncer" && mode == "prepared" {
					continue // before 1.21 it has no prepared statements in transaction mode
				}
				f, err := l.measure(ctx, w, mode, seconds, clients)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, mode, err)
				}
				fmt.Printf("round %d  %-9s %-9s %8.0f tps  %6.3f ms\n", round+1, mode, w.name, f.tps, f.latency)
				figures[cell{w.name, mode}] = append(figures[cell{w.name, mode}], f)
			}
		}
	}
	text := report(l.ways, figures, rounds, seconds, clients)
	fmt.Print("\n" + text)
	return os.WriteFile(out, []byte(text), 0o644)
}

// report writes the medians, and each way's ratio to the direct one.
func report(ways []way, figures map[cell][]figure, rounds, seconds, clients int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Performance\n\nWritten by `make bench` on %s: a point select by primary key, %d clients, %d interleaved rounds of %d s, medians.\n"+
		"Everything (server, pooler, broker, clients) shares one machine, and the audit trail is on: two records and one durable\n"+
		"commit a statement. Trust the ratios.\n\n", time.Now().UTC().Format("2006-01-02"), clients, rounds, seconds)
	fmt.Fprintln(&b, "| protocol | way | tps | of direct | latency ms | added ms |\n|---|---|---|---|---|---|")
	for _, mode := range modes {
		direct := median(figures[cell{ways[0].name, mode}])
		for _, w := range ways {
			m := median(figures[cell{w.name, mode}])
			if m.tps == 0 {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %.0f | %.2f | %.3f | %.3f |\n", mode, w.name, m.tps, m.tps/direct.tps, m.latency, m.latency-direct.latency)
		}
	}
	fmt.Fprintf(&b, "\n    %s\n", curve(ways, figures))
	return b.String()
}

// curve draws the rates as bars, for who would rather look than read.
func curve(ways []way, figures map[cell][]figure) string {
	var lines []string
	most := 0.0
	for _, fs := range figures {
		most = max(most, median(fs).tps)
	}
	for _, mode := range modes {
		for _, w := range ways {
			if m := median(figures[cell{w.name, mode}]); m.tps > 0 {
				lines = append(lines, fmt.Sprintf("%-9s %-9s %s %.0f", mode, w.name, strings.Repeat("#", int(50*m.tps/most)), m.tps))
			}
		}
	}
	return strings.Join(lines, "\n    ")
}

func median(fs []figure) figure {
	if len(fs) == 0 {
		return figure{}
	}
	s := slices.SortedFunc(slices.Values(fs), func(a, b figure) int { return cmp.Compare(a.tps, b.tps) })
	return s[len(s)/2]
}

var (
	tpsLine     = regexp.MustCompile(`tps = ([0-9.]+)`)
	latencyLine = regexp.MustCompile(`latency average = ([0-9.]+) ms`)
)

// measure runs pgbench once.
func (l *lab) measure(ctx context.Context, w way, mode string, seconds, clients int) (figure, error) {
	c := exec.CommandContext(ctx, "pgbench", "-n", "-M", mode, "-f", w.script, "-c", strconv.Itoa(clients), "-j", "2", "-T", strconv.Itoa(seconds), "app")
	c.Env = append(os.Environ(), w.env...)
	said, err := c.CombinedOutput()
	if err != nil {
		return figure{}, fmt.Errorf("%w\n%s", err, said)
	}
	tps, latency := tpsLine.FindSubmatch(said), latencyLine.FindSubmatch(said)
	if tps == nil || latency == nil {
		return figure{}, fmt.Errorf("pgbench says\n%s", said)
	}
	var f figure
	f.tps, _ = strconv.ParseFloat(string(tps[1]), 64)
	f.latency, _ = strconv.ParseFloat(string(latency[1]), 64)
	return f, nil
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }
