package prove_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/scope"
)

func works(context.Context, *prove.Target) error { return nil }

func holds(context.Context, *prove.Target) (*prove.Finding, error) { return nil, nil }

// probe returns one that holds, for a test to change.
func probe(name string) prove.Probe {
	return prove.Probe{
		Name: name, What: "Nothing.", Rows: []string{"x/Row"}, Refs: []string{"museum 2"}, Class: prove.Passive,
		Control: works, Attack: holds,
	}
}

var finding = &prove.Finding{Row: "x/Row", Got: "a row", Want: "none", Evidence: "canary-b \x1b[2J"}

// cases are one probe for each way to end.
func cases() map[string]struct {
	probe prove.Probe
	want  prove.Status
	why   string
} {
	with := func(name string, change func(*prove.Probe)) prove.Probe {
		p := probe(name)
		change(&p)
		return p
	}
	fails := func(context.Context, *prove.Target) (*prove.Finding, error) { return nil, errors.New("cable\ncut") }
	return map[string]struct {
		probe prove.Probe
		want  prove.Status
		why   string
	}{
		"holds": {probe("holds"), prove.Held, ""},
		"finds": {with("finds", func(p *prove.Probe) {
			p.Attack = func(context.Context, *prove.Target) (*prove.Finding, error) { return finding, nil }
		}), prove.Found, "got a row, want none"},
		"is blind": {with("is blind", func(p *prove.Probe) {
			p.Control = func(context.Context, *prove.Target) error { return errors.New("no rows") }
			p.Attack = func(context.Context, *prove.Target) (*prove.Finding, error) { return finding, nil }
		}), prove.Blind, "control: no rows"},
		"fails": {with("fails", func(p *prove.Probe) { p.Attack = fails }), prove.Failed, "cable"},
		"panics": {with("panics", func(p *prove.Probe) {
			p.Attack = func(context.Context, *prove.Target) (*prove.Finding, error) { panic("oh") }
		}), prove.Failed, "prove: panic: oh"},
		"panics in its control": {with("panics in its control", func(p *prove.Probe) { p.Control = func(context.Context, *prove.Target) error { panic("oh") } }), prove.Blind, "control: prove: panic: oh"},
		"is destructive":        {with("is destructive", func(p *prove.Probe) { p.Class = prove.Destructive }), prove.Skipped, "destructive: it runs in a laboratory only"},
		"is of another grade":   {with("is of another grade", func(p *prove.Probe) { p.Grade = "managed" }), prove.Skipped, "this deployment is sealed, not managed"},
		"is of this grade":      {with("is of this grade", func(p *prove.Probe) { p.Grade = "sealed" }), prove.Held, ""},
		"cannot be tried": {with("cannot be tried", func(p *prove.Probe) {
			p.Control = func(context.Context, *prove.Target) error { return prove.Skip("no %s", "tape") }
		}), prove.Skipped, "no tape"},
		"cannot be tried in all": {with("cannot be tried in all", func(p *prove.Probe) {
			p.Attack = func(context.Context, *prove.Target) (*prove.Finding, error) { return nil, prove.Skip("no tape") }
		}), prove.Skipped, "no tape"},
		"has no control": {with("has no control", func(p *prove.Probe) { p.Control = nil }), prove.Failed, "the probe has no control or no attack"},
		"is alone":       {with("is alone", func(p *prove.Probe) { p.Alone = true }), prove.Held, ""},
	}
}

func TestRun(t *testing.T) {
	target := &prove.Target{Grade: "sealed"}
	var probes []prove.Probe
	all := cases()
	for _, c := range all {
		probes = append(probes, c.probe)
	}
	heard := 0
	r := prove.Run(t.Context(), target, probes, prove.Options{Progress: func(done, total int, _ prove.Outcome) {
		if heard++; done != heard || total != len(probes) {
			t.Errorf("progress %d of %d, %d times", done, total, heard)
		}
	}})
	for i, o := range r.Outcomes {
		c := all[o.Probe]
		if o.Probe != probes[i].Name || o.Status != c.want || o.Why != c.why || (o.Finding != nil) != (c.want == prove.Found) {
			t.Errorf("%s: %v %q, want %v %q", o.Probe, o.Status, o.Why, c.want, c.why)
		}
	}
	if r.Passed() || len(r.Findings()) != 1 || heard != len(probes) {
		t.Errorf("passed %v, %d findings, heard of %d", r.Passed(), len(r.Findings()), heard)
	}
}

func TestOnlyHeldPasses(t *testing.T) {
	for name, c := range cases() {
		r := prove.Run(t.Context(), &prove.Target{Grade: "sealed"}, []prove.Probe{probe("first"), c.probe}, prove.Options{})
		if r.Passed() != (c.want == prove.Held) {
			t.Errorf("a probe that %s: passed is %v", name, r.Passed())
		}
	}
	if r := prove.Run(t.Context(), &prove.Target{}, nil, prove.Options{}); r.Passed() {
		t.Error("no probes at all passed")
	}
}

func TestLab(t *testing.T) {
	p := probe("x")
	p.Class = prove.Destructive
	if r := prove.Run(t.Context(), &prove.Target{}, []prove.Probe{p}, prove.Options{Lab: true}); !r.Passed() {
		t.Error(r.Summary())
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		polite, stubborn, late := probe("polite"), probe("stubborn"), probe("late")
		release := make(chan struct{})
		polite.Attack = func(ctx context.Context, _ *prove.Target) (*prove.Finding, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		stubborn.Attack = func(context.Context, *prove.Target) (*prove.Finding, error) { <-release; return finding, nil }
		late.Attack = func(ctx context.Context, _ *prove.Target) (*prove.Finding, error) { <-ctx.Done(); return nil, nil }
		began := time.Now()
		r := prove.Run(t.Context(), &prove.Target{}, []prove.Probe{polite, stubborn, late, probe("quick")}, prove.Options{Limit: time.Minute})
		if took := time.Since(began); took != time.Minute+time.Second {
			t.Errorf("it took %v", took)
		}
		for i, want := range []prove.Status{prove.Failed, prove.Failed, prove.Failed, prove.Held} {
			if o := r.Outcomes[i]; o.Status != want {
				t.Errorf("%s: %v %s", o.Probe, o.Status, o.Why)
			}
		}
		close(release)
	})
}

func TestEndedRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := prove.Run(ctx, &prove.Target{}, []prove.Probe{probe("x")}, prove.Options{})
	if o := r.Outcomes[0]; o.Status != prove.Skipped || r.Passed() {
		t.Errorf("%v %s", o.Status, o.Why)
	}
}

// TestConcurrency: no more than asked for at once, and those that must be
// alone are.
func TestConcurrency(t *testing.T) {
	var now, most atomic.Int32
	var probes []prove.Probe
	for range 40 {
		p := probe("x")
		p.Attack = func(context.Context, *prove.Target) (*prove.Finding, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				continue
			}
			return nil, nil
		}
		probes = append(probes, p)
		p.Alone = true
		p.Attack = func(context.Context, *prove.Target) (*prove.Finding, error) {
			if now.Load() != 0 {
				return finding, nil
			}
			return nil, nil
		}
		probes = append(probes, p)
	}
	r := prove.Run(t.Context(), &prove.Target{}, probes, prove.Options{Parallel: 3})
	if !r.Passed() || most.Load() > 3 {
		t.Errorf("%s, %d at once", r.Summary(), most.Load())
	}
}

func TestCheck(t *testing.T) {
	rows := []scope.Row{{Broker: "x", Name: "Row"}}
	if err := prove.Check(rows, []prove.Probe{probe("a"), probe("b")}); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*prove.Probe){
		`names the row "x/Other"`:  func(p *prove.Probe) { p.Rows = append(p.Rows, "x/Other") },
		`row "x/Row" has no probe`: func(p *prove.Probe) { p.Rows = nil },
		"has no name":              func(p *prove.Probe) { p.Name = "" },
		"described":                func(p *prove.Probe) { p.What = "" },
		"no control":               func(p *prove.Probe) { p.Control = nil },
		"no attack":                func(p *prove.Probe) { p.Attack = nil },
		"no such class":            func(p *prove.Probe) { p.Class = 9 },
	} {
		p := probe("a")
		change(&p)
		if err := prove.Check(rows, []prove.Probe{p}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := prove.Check(rows, []prove.Probe{probe("a"), probe("a")}); err == nil {
		t.Error("two of one name")
	}
}

func TestReport(t *testing.T) {
	var probes []prove.Probe
	for _, c := range cases() {
		probes = append(probes, c.probe)
	}
	slices.SortFunc(probes, func(a, b prove.Probe) int { return strings.Compare(a.Name, b.Name) })
	probes[0].Refs = []string{"museum 10", "holes 3"}
	r := prove.Run(t.Context(), &prove.Target{Grade: "sealed"}, probes, prove.Options{Gaps: []string{"holes 4: elsewhere"}})
	var b strings.Builder
	if err := r.WriteText(&b, func(s prove.Status, text string) string { return "<" + s.String() + text + ">" }); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{"<FOUNDFOUND  >  finds", "evidence canary-b .[2J", "x/Row       13      3", "KNOWN FROM", "NOT TRIED\nholes 4: elsewhere", "13 probes, 3 held, 1 found, 2 blind, 3 failed, 4 skipped; grade: sealed"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("an escape reached the terminal")
	}
	if i, j := strings.Index(text, "museum 2 "), strings.Index(text, "museum 10"); i < 0 || j < i {
		t.Errorf("museum 2 comes before museum 10:\n%s", text)
	}
	p, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Passed    bool
		Outcomes  []struct{ Probe, Status string }
		NotTested []string `json:"not_tested"`
	}
	if err := json.Unmarshal(p, &back); err != nil {
		t.Fatal(err)
	}
	if back.Passed || len(back.Outcomes) != len(probes) || len(back.NotTested) != 9 {
		t.Errorf("%s", p)
	}
	if es := prove.List(probes); len(es) != len(probes) || es[0].Class.String() != "passive" {
		t.Errorf("%+v", es)
	}
}
