package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
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

// pgClients is how many ask at once.
const pgClients = 8

var modes = []string{"simple", "extended", "prepared"}

// benchPostgres measures the ways to PostgreSQL and returns their section.
func benchPostgres(ctx context.Context, dir string, s settings) (text string, err error) {
	l, err := newLab(ctx, dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	figures := map[cell][]figure{}
	for round := range s.rounds {
		for _, mode := range modes {
			for _, w := range l.ways {
				if w.name == "PgBouncer" && mode == "prepared" {
					continue // before 1.21 it has no prepared statements in transaction mode
				}
				f, err := l.measure(ctx, w, mode, s)
				if err != nil {
					return "", fmt.Errorf("%s, %s: %w", w.name, mode, err)
				}
				fmt.Printf("round %d  %-9s %-9s %8.0f tps  %6.3f ms\n", round+1, mode, w.name, f.tps, f.latency)
				figures[cell{w.name, mode}] = append(figures[cell{w.name, mode}], f)
			}
		}
	}
	return reportPostgres(l.ways, figures, s), nil
}

// reportPostgres writes the medians, and each way's ratio to the direct one.
func reportPostgres(ways []way, figures map[cell][]figure, s settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: a point select by primary key, %d clients, %d interleaved rounds of %d s, medians. Server,\n"+
		"pooler, broker and clients share one machine, and the audit trail is on: two records and one durable commit a\n"+
		"statement.\n\n", today(), pgClients, s.rounds, s.seconds)
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
func (l *lab) measure(ctx context.Context, w way, mode string, s settings) (figure, error) {
	c := exec.CommandContext(ctx, "pgbench", "-n", "-M", mode, "-f", w.script, "-c", strconv.Itoa(pgClients), "-j", "2", "-T", strconv.Itoa(s.seconds), "app")
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
