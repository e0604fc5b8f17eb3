package prove_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/isocore/isocore/prove"
)

// A door is what the mutants here weaken.
type door struct{ open, broken bool }

func (d *door) probe(name string) prove.Probe {
	p := probe(name)
	p.Control = func(context.Context, *prove.Target) error {
		if d.broken {
			return errors.New("it does not open at all")
		}
		return nil
	}
	p.Attack = func(context.Context, *prove.Target) (*prove.Finding, error) {
		if d.open {
			return finding, nil
		}
		return nil, nil
	}
	return p
}

func (d *door) mutant(change, back func()) prove.Mutant {
	return prove.Mutant{Name: "m", Rows: []string{"x/Row"}, Apply: func(context.Context) (func(context.Context) error, error) {
		change()
		return func(context.Context) error { back(); return nil }, nil
	}}
}

func TestHunt(t *testing.T) {
	for name, c := range map[string]struct {
		change, back func(*door)
		edit         func(*prove.Mutant)
		want         string // in the error; "" is none
	}{
		"caught":             {func(d *door) { d.open = true }, func(d *door) { d.open = false }, nil, ""},
		"caught with canary": {func(d *door) { d.open = true }, func(d *door) { d.open = false }, func(m *prove.Mutant) { m.Canary = true }, ""},
		"no difference":      {func(*door) {}, func(*door) {}, nil, "is not caught"},
		"breaks everything":  {func(d *door) { d.broken = true }, func(d *door) { d.broken = false }, nil, "breaks the control"},
		"not mended":         {func(d *door) { d.open = true }, func(*door) {}, nil, "after mutant"},
		"other canary":       {func(d *door) { d.open = true }, func(d *door) { d.open = false }, func(m *prove.Mutant) { m.Canary, m.Name = true, "other" }, "is not caught"},
		"no probe":           {func(*door) {}, func(*door) {}, func(m *prove.Mutant) { m.Rows = []string{"x/Other"} }, "no probe"},
		"not that probe":     {func(*door) {}, func(*door) {}, func(m *prove.Mutant) { m.By = []string{"none"} }, "no probe"},
		"cannot be applied": {func(*door) {}, func(*door) {}, func(m *prove.Mutant) {
			m.Apply = func(context.Context) (func(context.Context) error, error) { return nil, errors.New("stuck") }
		}, "stuck"},
	} {
		d := &door{}
		m := d.mutant(func() { c.change(d) }, func() { c.back(d) })
		if c.edit != nil {
			c.edit(&m)
		}
		target := &prove.Target{B: prove.Tenant{Canary: "canary-b"}}
		if m.Name == "other" {
			target.B.Canary = "another"
		}
		got, err := prove.Hunt(t.Context(), target, []prove.Probe{d.probe("p")}, m, prove.Options{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && len(got.Probes) != 1 {
			t.Errorf("%s: caught by %q", name, got.Probes)
		}
	}
}

func TestCheckMutants(t *testing.T) {
	rows := []string{"x/Row"}
	good := (&door{}).mutant(func() {}, func() {})
	if err := prove.CheckMutants(rows, []prove.Mutant{good}); err != nil {
		t.Error(err)
	}
	equivalent, other, nameless := good, good, good
	equivalent.Name, equivalent.Equivalent = "e", "because"
	other.Name, other.Rows = "o", []string{"x/Other"}
	nameless.Name = ""
	for name, ms := range map[string][]prove.Mutant{
		"none": nil, "equivalent alone": {equivalent}, "too many equivalent": {good, equivalent}, "unknown row": {good, other},
		"two of one name": {good, good}, "nameless": {good, nameless},
	} {
		if err := prove.CheckMutants(rows, ms); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
