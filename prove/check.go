package prove

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/isocore/isocore/scope"
)

// Row returns how probes and mutants name a row of a broker's posture.
func Row(r scope.Row) string { return r.Broker + "/" + r.Name }

// Check reports everything that is wrong with a list of probes: a row that no
// probe names, a probe that names a row there is not, one without a name, a
// sentence, a control or an attack, two of one name.
func Check(rows []scope.Row, probes []Probe) error {
	var errs []error
	known := map[string]int{}
	for _, r := range rows {
		known[Row(r)] = 0
	}
	names := map[string]bool{}
	for _, p := range probes {
		errs = append(errs, p.check()...)
		if names[p.Name] {
			errs = append(errs, fmt.Errorf("prove: two probes are called %q", p.Name))
		}
		names[p.Name] = true
		for _, row := range p.Rows {
			if _, ok := known[row]; !ok {
				errs = append(errs, fmt.Errorf("prove: probe %q names the row %q, which does not exist", p.Name, row))
				continue
			}
			known[row]++
		}
	}
	for _, r := range rows {
		if known[Row(r)] == 0 {
			errs = append(errs, fmt.Errorf("prove: row %q has no probe", Row(r)))
		}
	}
	return errors.Join(errs...)
}

func (p *Probe) check() []error {
	var errs []error
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("prove: probe %q %s", p.Name, what))
		}
	}
	want(p.Name != "", "has no name")
	want(p.What != "" && !strings.Contains(p.What, "\n"), "is not described in one sentence")
	want(len(p.Rows) > 0, "covers no row")
	want(p.Class <= Passive, "has no such class")
	want(p.Control != nil, "has no control")
	want(p.Attack != nil, "has no attack")
	return errs
}

// An Entry is a probe without its code, as a list shows it.
type Entry struct {
	Name  string   `json:"name"`
	What  string   `json:"what"`
	Class Class    `json:"class"`
	Grade string   `json:"grade,omitempty"`
	Rows  []string `json:"rows"`
	Refs  []string `json:"refs,omitempty"`
}

// List returns the probes without their code, by name.
func List(probes []Probe) []Entry {
	es := make([]Entry, 0, len(probes))
	for _, p := range probes {
		es = append(es, Entry{p.Name, p.What, p.Class, p.Grade, p.Rows, p.Refs})
	}
	slices.SortFunc(es, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return es
}

// Select returns the probes that name any of the rows, in their order.
func Select(probes []Probe, rows ...string) []Probe {
	var some []Probe
	for _, p := range probes {
		if slices.ContainsFunc(p.Rows, func(row string) bool { return slices.Contains(rows, row) }) {
			some = append(some, p)
		}
	}
	return some
}

// Fit returns the probes that are about something t has, and of each of the
// others what t lacks. An attack on what is not there proves nothing, so it is
// not run; the lines belong into the report's gaps.
func Fit(t *Target, probes []Probe) (some []Probe, left []string) {
	for _, p := range probes {
		if p.Lacks == nil {
			some = append(some, p)
			continue
		}
		if lack := p.Lacks(t); lack != "" {
			left = append(left, p.Name+": "+lack)
			continue
		}
		some = append(some, p)
	}
	return some, left
}
