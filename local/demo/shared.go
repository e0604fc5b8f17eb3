package demo

import (
	"fmt"
	"strings"
	"time"
)

// words are what the texts of one kind of tenant are made of.
type words struct {
	labels  []string
	kinds   []string
	authors []string // what they are; a number follows
	titles  []string // patterns, as are the next ones
	opening []string
	middle  []string
	closing []string
	message []string
	task    []string
	lists   map[string][]string
}

// shared returns the tables that every kind of tenant has.
func shared(kind Kind, w words) []table {
	return []table{
		people(kind), labels(w), papers(kind, w), paperLabels(kind, w), letters(kind, w), todos(kind, w),
	}
}

func people(kind Kind) table {
	d := newDraw(kind, "person")
	t := table{name: "person", keys: 1, columns: []string{"id", "external_no", "name", "born"}}
	for i := range persons {
		born := time.Date(d.between(1934, 2007), time.Month(d.between(1, 12)), d.between(1, 28), 0, 0, 0, 0, time.UTC)
		t.rows = append(t.rows, []any{int64(i + 1), number(i), d.name(), born})
	}
	return t
}

func labels(w words) table {
	t := table{name: "label", keys: 1, columns: []string{"id", "name"}}
	for i, name := range w.labels {
		t.rows = append(t.rows, []any{int32(i + 1), name})
	}
	return t
}

func papers(kind Kind, w words) table {
	d := newDraw(kind, "document")
	t := table{
		name: "document", keys: 1,
		columns: []string{"id", "person_id", "kind", "title", "body", "author", "keywords", "created"},
	}
	for i := range documents {
		what := d.one(w.kinds)
		title := what + ": " + d.fill(d.one(w.titles), w.lists)
		t.rows = append(t.rows, []any{
			uuidOf("document", i), int64(i%persons + 1), what, title, d.body(kind, i, w),
			d.author(w),
			[]string{d.one(w.labels), what},
			d.ago(900),
		})
	}
	return t
}

// body writes a document of a few sentences that names its tenant and its
// person's number, so that whoever sees a foreign one sees whose it is.
func (d draw) body(kind Kind, i int, w words) string {
	lines := []string{fmt.Sprintf("[%s, no. %s]", kind, number(i%persons)), d.fill(d.one(w.opening), w.lists)}
	for _, pick := range d.Perm(len(w.middle))[:d.between(2, 4)] {
		lines = append(lines, d.fill(w.middle[pick], w.lists))
	}
	return strings.Join(append(lines, d.fill(d.one(w.closing), w.lists), "Made-up example; it describes nobody."), " ")
}

func (d draw) author(w words) string {
	return fmt.Sprintf("%s %02d", d.one(w.authors), d.between(1, 24))
}

func paperLabels(kind Kind, w words) table {
	d := newDraw(kind, "document_label")
	t := table{name: "document_label", keys: 2, columns: []string{"document_id", "label_id"}}
	for i := range documents {
		for _, label := range d.Perm(len(w.labels))[:d.between(1, 3)] {
			t.rows = append(t.rows, []any{uuidOf("document", i), int32(label + 1)})
		}
	}
	return t
}

func letters(kind Kind, w words) table {
	d := newDraw(kind, "message")
	t := table{name: "message", keys: 1, columns: []string{"id", "document_id", "sender", "body", "sent"}}
	for i := range messages {
		t.rows = append(t.rows, []any{
			int64(i + 1), uuidOf("document", d.IntN(documents)), d.author(w), d.fill(d.one(w.message), w.lists), d.ago(400),
		})
	}
	return t
}

func todos(kind Kind, w words) table {
	d := newDraw(kind, "task")
	t := table{name: "task", keys: 1, columns: []string{"id", "document_id", "title", "state", "assignee", "due"}}
	for i := range tasks {
		t.rows = append(t.rows, []any{
			int64(i + 1), uuidOf("document", d.IntN(documents)), d.fill(d.one(w.task), w.lists),
			d.one([]string{"open", "open", "waiting", "done"}), d.author(w), d.date(60).AddDate(0, 0, 45),
		})
	}
	return t
}
