package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// goals of the identity step, in microseconds.
const (
	goalIdentity = 15
	goalCached   = 1
)

// reportEdge writes the medians, beside nginx and beside what was aimed at.
func reportEdge(lanes []lane, b scoreboard, cached []timing, s settings) string {
	var t strings.Builder
	fmt.Fprintf(&t, "Measured on %s: POST of %d bytes of JSON, answered with %d, over plain HTTP/1.1 on loopback; %d rounds, medians.\n"+
		"Rates by wrk with %d connections for %d s. Latencies of %d requests one after the other, each way on a connection of\n"+
		"its own and in turns of %d; \"added\" to those straight to the application. Verification is warm. The audit trail is\n"+
		"off but where it is named: on, a request takes two records and a durable commit.\n\n", today(), len(asked), len(answered), s.rounds,
		atOnce, s.seconds, sequence, slice)
	for _, name := range missing(b) {
		fmt.Fprintf(&t, "Missing on that machine: %s.\n\n", name)
	}
	t.WriteString("| way | what is on | requests/s | of nginx | aim | added p50 µs | of nginx | aim | added p90 µs | added p99 µs | p50 of many, added µs | of nginx |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, l := range lanes {
		t.WriteString(row(l, b))
	}
	t.WriteString("\n| identity | µs | aim |\n|---|---|---|\n")
	for _, x := range [][2]string{{directPath, directPlain}, {stockPath, stockPlain}} {
		over := b.each(x[0], x[1], func(a, o reading) float64 { return micros(a.p50 - o.p50) })
		fmt.Fprintf(&t, "| p50 of %s over %s | %.1f | at most %d |\n", x[0], x[1], over, goalIdentity)
	}
	for _, c := range cached {
		fmt.Fprintf(&t, "| %s | %.2f | at most %d |\n", c.name, micros(c.took), goalCached)
	}
	return t.String()
}

// missing names what was not there to measure with.
func missing(b scoreboard) []string {
	var names []string
	if len(b[peer]) == 0 {
		names = append(names, "nginx")
	}
	if len(b[straight]) > 0 && b[straight][0].rate == 0 {
		names = append(names, "wrk")
	}
	return names
}

// row writes the line of one lane.
func row(l lane, b scoreboard) string {
	perSecond := b.each(l.name, l.name, func(a, _ reading) float64 { return a.rate })
	if l.name == straight {
		return fmt.Sprintf("| %s | %s | %s | | | | | | | | | |\n", l.name, l.what, number("%.0f", perSecond))
	}
	p50 := func(r reading) time.Duration { return r.p50 }
	many := func(r reading) time.Duration { return r.half }
	added := func(f func(reading) time.Duration) float64 {
		return b.each(l.name, straight, func(a, o reading) float64 { return micros(f(a) - f(o)) })
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %.0f | %s | %s | %.0f | %.0f | %s | %s |\n", l.name, l.what,
		number("%.0f", perSecond), number("%.2f", b.each(l.name, peer, func(a, o reading) float64 { return a.rate / o.rate })), number("at least %.2f", l.goal.rate),
		added(p50), number("%.2f", b.addedOf(l.name, p50)), number("at most %.1f", l.goal.added),
		added(func(r reading) time.Duration { return r.p90 }), added(func(r reading) time.Duration { return r.p99 }),
		number("%.0f", added(many)), number("%.2f", b.addedOf(l.name, many)))
}

// addedOf returns what a lane adds to a latency, as a multiple of what nginx adds.
func (b scoreboard) addedOf(name string, f func(reading) time.Duration) float64 {
	var values []float64
	for i := range min(len(b[name]), len(b[straight]), len(b[peer])) {
		values = append(values, micros(f(b[name][i])-f(b[straight][i]))/micros(f(b[peer][i])-f(b[straight][i])))
	}
	return middle(values)
}

// number prints v; what was not measured is left empty.
func number(format string, v float64) string {
	if v == 0 || v != v {
		return ""
	}
	return fmt.Sprintf(format, v)
}

// middle returns the median, or 0 of nothing.
func middle(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// A timing is one benchmark of package identity.
type timing struct {
	name string
	took time.Duration
}

var benchLine = regexp.MustCompile(`(?m)^Benchmark(\w*Cached\w*?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op`)

// cacheHits runs the benchmarks of tokens that were verified before.
func cacheHits(ctx context.Context) ([]timing, error) {
	said, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "Cached", "-count", "5", "./identity").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go test: %w\n%s", err, said)
	}
	var names []string
	values := map[string][]float64{}
	for _, found := range benchLine.FindAllSubmatch(said, -1) {
		name := string(found[1])
		ns, err := strconv.ParseFloat(string(found[2]), 64)
		if err != nil {
			return nil, err
		}
		if values[name] == nil {
			names = append(names, name)
		}
		values[name] = append(values[name], ns)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("go test says\n%s", said)
	}
	var all []timing
	for _, name := range names {
		all = append(all, timing{name, time.Duration(middle(values[name]))})
	}
	return all, nil
}
