package prove

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Mutant is a deployment with one defence weakened: it checks the probes.
type Mutant struct {
	Name string
	Rows []string // whose probes must catch it
	By   []string // the probes that are run, and of which one must find it; none: all of its rows'

	// Canary says that a difference is not enough: a finding must hold the
	// canary of B.
	Canary bool

	// Apply weakens the defence, and returns how to mend it.
	Apply func(ctx context.Context) (undo func(ctx context.Context) error, err error)

	// Equivalent says why no probe can tell it from the real thing; "" is the
	// rule.
	Equivalent string
}

// A Catch is how a mutant was caught.
type Catch struct {
	Mutant string   `json:"mutant"`
	Probes []string `json:"probes"` // that found it
}

// Hunt applies m, runs the probes of its rows, mends it and runs them again.
// It is an error if no probe found m, if a control failed under it (a
// deployment that answers nothing leaks nothing), or if afterwards not
// everything holds.
func Hunt(ctx context.Context, t *Target, probes []Probe, m Mutant, o Options) (Catch, error) {
	c := Catch{Mutant: m.Name}
	some := Select(probes, m.Rows...)
	if len(m.By) > 0 {
		some = slices.DeleteFunc(some, func(p Probe) bool { return !slices.Contains(m.By, p.Name) })
	}
	if len(some) == 0 {
		return c, fmt.Errorf("prove: mutant %q: no probe names its rows", m.Name)
	}
	undo, err := m.Apply(ctx)
	if err != nil {
		return c, fmt.Errorf("prove: mutant %q: %w", m.Name, err)
	}
	under := Run(ctx, t, some, o)
	if err := undo(context.WithoutCancel(ctx)); err != nil {
		return c, fmt.Errorf("prove: mutant %q is not mended: %w", m.Name, err)
	}
	c.Probes, err = m.caught(&under, t.B.Canary)
	if err != nil {
		return c, err
	}
	after := Run(ctx, t, some, o)
	if !after.Passed() {
		return c, fmt.Errorf("prove: after mutant %q: %s: %s", m.Name, after.Summary(), strings.Join(notHeld(&after), "; "))
	}
	return c, nil
}

// caught returns the probes that found m.
func (m *Mutant) caught(r *Report, canary string) ([]string, error) {
	var by []string
	var errs []error
	for _, o := range r.Outcomes {
		switch {
		case o.Status == Blind:
			errs = append(errs, fmt.Errorf("prove: mutant %q breaks the control of %q: %s", m.Name, o.Probe, o.Why))
		case o.Status != Found || o.Finding.Evidence == "":
		case m.Canary && !strings.Contains(o.Finding.Evidence, canary):
		default:
			by = append(by, o.Probe)
		}
	}
	if len(by) == 0 {
		errs = append(errs, fmt.Errorf("prove: mutant %q is not caught: %s: %s", m.Name, r.Summary(), strings.Join(notHeld(r), "; ")))
	}
	return by, errors.Join(errs...)
}

func notHeld(r *Report) []string {
	var lines []string
	for _, o := range r.Outcomes {
		if o.Status != Held {
			lines = append(lines, o.Probe+" "+o.Status.String()+": "+printable(o.Why, 300))
		}
	}
	return lines
}

// CheckMutants reports everything that is wrong with a list of mutants: a row
// that none names, one that names a row there is not, too many that are called
// equivalent (at most one in twenty).
func CheckMutants(rows []string, mutants []Mutant) error {
	var errs []error
	named, names, equivalent := map[string]bool{}, map[string]bool{}, 0
	for _, m := range mutants {
		if m.Name == "" || names[m.Name] || len(m.Rows) == 0 || m.Apply == nil && m.Equivalent == "" {
			errs = append(errs, fmt.Errorf("prove: mutant %q has no name of its own, no rows or nothing to apply", m.Name))
		}
		names[m.Name] = true
		if m.Equivalent != "" {
			equivalent++
		}
		for _, row := range m.Rows {
			named[row] = named[row] || m.Equivalent == ""
			if !slices.Contains(rows, row) {
				errs = append(errs, fmt.Errorf("prove: mutant %q names the row %q, which does not exist", m.Name, row))
			}
		}
	}
	for _, row := range rows {
		if !named[row] {
			errs = append(errs, fmt.Errorf("prove: no mutant of row %q", row))
		}
	}
	if equivalent*20 > len(mutants) {
		errs = append(errs, fmt.Errorf("prove: %d of %d mutants are called equivalent", equivalent, len(mutants)))
	}
	return errors.Join(errs...)
}
