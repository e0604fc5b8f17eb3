package prove

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A Report is what a run found. It marshals to JSON as it is.
type Report struct {
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended"`
	Grade     string    `json:"grade"`
	Held      bool      `json:"passed"`
	Outcomes  []Outcome `json:"outcomes"`
	Rows      []Count   `json:"rows"`                 // probes that held, of those that name the row
	Refs      []Count   `json:"refs"`                 // likewise, of those known from there
	NotTested []string  `json:"not_tested,omitempty"` // probes without a result
	Gaps      []string  `json:"gaps,omitempty"`       // known attacks that no probe tries
}

// A Count is how many probes there were of a thing, and how many held.
type Count struct {
	Of     string `json:"of"`
	Probes int    `json:"probes"`
	Held   int    `json:"held"`
}

func newReport(t *Target, outcomes []Outcome, started time.Time, gaps []string) Report {
	r := Report{Started: started.UTC(), Ended: time.Now().UTC(), Grade: t.Grade, Outcomes: outcomes, Gaps: gaps}
	rows, refs := map[string]Count{}, map[string]Count{}
	for _, o := range outcomes {
		tally(rows, o.Rows, o.Status)
		tally(refs, o.Refs, o.Status)
		if o.Status == Skipped || o.Status == Blind || o.Status == Failed {
			r.NotTested = append(r.NotTested, o.Probe+": "+o.Status.String()+": "+o.Why)
		}
	}
	r.Rows, r.Refs = sorted(rows), sorted(refs)
	r.Held = len(outcomes) > 0 && r.count(Held) == len(outcomes)
	return r
}

func tally(counts map[string]Count, of []string, s Status) {
	for _, name := range of {
		c := counts[name]
		c.Of, c.Probes = name, c.Probes+1
		if s == Held {
			c.Held++
		}
		counts[name] = c
	}
}

func sorted(counts map[string]Count) []Count {
	return slices.SortedFunc(maps.Values(counts), func(a, b Count) int { return natural(a.Of, b.Of) })
}

// natural compares names whose last word may be a number by that number.
func natural(a, b string) int {
	wordA, wordB := a[:strings.LastIndexByte(a, ' ')+1], b[:strings.LastIndexByte(b, ' ')+1]
	if wordA != wordB {
		return cmp.Compare(a, b)
	}
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func (r *Report) count(s Status) int {
	n := 0
	for _, o := range r.Outcomes {
		if o.Status == s {
			n++
		}
	}
	return n
}

// Passed reports whether there were probes and every one of them held. Blind,
// failed and skipped probes are no passes.
func (r *Report) Passed() bool { return r.Held }

// Findings returns the outcomes that found something.
func (r *Report) Findings() []Outcome {
	var found []Outcome
	for _, o := range r.Outcomes {
		if o.Status == Found {
			found = append(found, o)
		}
	}
	return found
}

// Summary says the result in one line.
func (r *Report) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d probes", len(r.Outcomes))
	for _, s := range []Status{Held, Found, Blind, Failed, Skipped} {
		if n := r.count(s); n > 0 || s == Held || s == Found {
			fmt.Fprintf(&b, ", %d %s", n, strings.ToLower(s.String()))
		}
	}
	fmt.Fprintf(&b, "; grade: %s; %s", graded(r.Grade), r.Ended.Sub(r.Started).Round(100*time.Millisecond))
	return b.String()
}

// WriteText writes the report as a table: what did not hold first, then a
// line for each row. If paint is not nil, a status is written as it returns it.
func (r *Report) WriteText(w io.Writer, paint func(Status, string) string) error {
	if paint == nil {
		paint = func(_ Status, text string) string { return text }
	}
	var b strings.Builder
	for _, o := range r.Outcomes {
		if o.Status == Held {
			continue
		}
		fmt.Fprintf(&b, "%s  %s\n", paint(o.Status, fmt.Sprintf("%-7s", o.Status)), o.Probe)
		fmt.Fprintf(&b, "         %s\n", printable(o.Why, 400))
		if o.Finding != nil {
			fmt.Fprintf(&b, "         row %s, evidence %s\n", cmp.Or(o.Finding.Row, strings.Join(o.Rows, ", ")), printable(o.Finding.Evidence, 400))
		}
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ROW\tPROBES\tHELD")
	for _, c := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%d\n", printable(c.Of, 80), c.Probes, c.Held)
	}
	fmt.Fprintln(t, "\t\t")
	fmt.Fprintln(t, "KNOWN FROM\tPROBES\tHELD")
	for _, c := range r.Refs {
		fmt.Fprintf(t, "%s\t%d\t%d\n", printable(c.Of, 80), c.Probes, c.Held)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Gaps) > 0 {
		b.WriteString("\nNOT TRIED\n")
	}
	for _, gap := range r.Gaps {
		fmt.Fprintf(&b, "%s\n", printable(gap, 400))
	}
	fmt.Fprintf(&b, "\n%s\n", r.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// printable returns at most n characters of text, none of which moves a
// cursor: what a store answered is not to be trusted with a terminal.
func printable(text string, n int) string {
	var b strings.Builder
	for _, c := range text {
		if n--; n < 0 {
			b.WriteString("...")
			break
		}
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			c = '.'
		}
		b.WriteRune(c)
	}
	return b.String()
}
