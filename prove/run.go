package prove

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Options are how a run goes about it. The zero Options are careful.
type Options struct {
	Lab      bool          // this is a laboratory: destructive probes may run
	Limit    time.Duration // of each control and of each attack; 0 is 20 s
	Parallel int           // probes at once; 0 is 4
	Gaps     []string      // known attacks that no probe tries, with the reason: the report repeats them

	// Progress, if it is not nil, hears of each outcome as it comes, from one
	// goroutine at a time.
	Progress func(done, total int, o Outcome)
}

func (o Options) limit() time.Duration {
	if o.Limit <= 0 {
		return 20 * time.Second
	}
	return o.Limit
}

func (o Options) parallel() int {
	if o.Parallel <= 0 {
		return 4
	}
	return o.Parallel
}

// grace is how long a probe may take to notice that its time is over.
const grace = time.Second

// Run carries out the probes against t and reports what came of each, in
// their order. Of a probe the control runs first. Probes that must be alone
// run after all others. When ctx is done, what has not begun is skipped.
func Run(ctx context.Context, t *Target, probes []Probe, o Options) Report {
	r := &run{target: t, options: o, total: len(probes), outcomes: make([]Outcome, len(probes))}
	started := time.Now()
	slots := make(chan struct{}, o.parallel())
	var together sync.WaitGroup
	for i := range probes {
		if probes[i].Alone {
			continue
		}
		slots <- struct{}{}
		together.Go(func() {
			defer func() { <-slots }()
			r.one(ctx, i, &probes[i])
		})
	}
	together.Wait()
	for i := range probes {
		if probes[i].Alone {
			r.one(ctx, i, &probes[i])
		}
	}
	return newReport(t, r.outcomes, started, o.Gaps)
}

// A run is one Run.
type run struct {
	target  *Target
	options Options
	total   int

	mu       sync.Mutex // guards what follows, and calls of Progress
	done     int
	outcomes []Outcome
}

func (r *run) one(ctx context.Context, i int, p *Probe) {
	began := time.Now()
	o := r.try(ctx, p)
	o.Probe, o.Rows, o.Refs, o.Took = p.Name, p.Rows, p.Refs, time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[i] = o
	r.done++
	if r.options.Progress != nil {
		r.options.Progress(r.done, r.total, o)
	}
}

// try carries out one probe.
func (r *run) try(ctx context.Context, p *Probe) Outcome {
	switch {
	case ctx.Err() != nil:
		return Outcome{Status: Skipped, Why: "the run was ended"}
	case p.Class == Destructive && !r.options.Lab:
		return Outcome{Status: Skipped, Why: "destructive: it runs in a laboratory only"}
	case p.Grade != "" && p.Grade != r.target.Grade:
		return Outcome{Status: Skipped, Why: "this deployment is " + graded(r.target.Grade) + ", not " + p.Grade}
	case p.Control == nil || p.Attack == nil:
		return Outcome{Status: Failed, Why: "the probe has no control or no attack"}
	}
	_, err := r.call(ctx, func(ctx context.Context) (*Finding, error) { return nil, p.Control(ctx, r.target) })
	if why, ok := skipped(err); ok {
		return Outcome{Status: Skipped, Why: why}
	}
	if err != nil {
		return Outcome{Status: Blind, Why: "control: " + line(err)}
	}
	found, err := r.call(ctx, func(ctx context.Context) (*Finding, error) { return p.Attack(ctx, r.target) })
	if why, ok := skipped(err); ok {
		return Outcome{Status: Skipped, Why: why}
	}
	if err != nil {
		return Outcome{Status: Failed, Why: line(err)}
	}
	if found == nil {
		return Outcome{Status: Held}
	}
	return Outcome{Status: Found, Why: "got " + found.Got + ", want " + found.Want, Finding: found}
}

func graded(grade string) string {
	if grade == "" {
		return "of no grade"
	}
	return grade
}

// An answer is what a control or attack returned.
type answer struct {
	found *Finding
	err   error
}

var errTime = errors.New("prove: it did not end in its time")

// call runs f for as long as it may take. One that does not mind its context
// is left behind.
func (r *run) call(ctx context.Context, f func(context.Context) (*Finding, error)) (*Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, r.options.limit())
	defer cancel()
	answers := make(chan answer, 1)
	go func() {
		found, err := contain(ctx, f)
		answers <- answer{found, err}
	}()
	select {
	case a := <-answers:
		return a.found, a.err
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case a := <-answers:
		if a.err == nil && a.found == nil {
			a.err = errTime // too late to count
		}
		return a.found, a.err
	case <-late.C:
		return nil, errTime
	}
}

// contain turns a panic of f into an error.
func contain(ctx context.Context, f func(context.Context) (*Finding, error)) (found *Finding, err error) {
	defer func() {
		if v := recover(); v != nil {
			found, err = nil, fmt.Errorf("prove: panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f(ctx)
}

// line returns the first line of an error.
func line(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}
