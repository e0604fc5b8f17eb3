package demo

import (
	"fmt"
	"time"
)

// How many rows a clinic's own tables have.
const (
	encounterCount  = 1000
	medicationCount = 1600
)

func encounters(kind Kind) table {
	d := newDraw(kind, "encounter")
	t := table{name: "encounter", keys: 1, columns: []string{"id", "person_id", "ward", "reason", "vitals", "started", "ended"}}
	for i := range encounterCount {
		started := d.ago(900)
		var ended any
		if d.IntN(20) > 0 {
			ended = started.AddDate(0, 0, d.IntN(9)).Add(2 * time.Hour)
		}
		vitals := fmt.Sprintf(`{"pulse": %d, "systolic": %d, "diastolic": %d, "celsius": %s}`,
			d.between(52, 104), d.between(98, 168), d.between(58, 98), d.decimal(36, 39, 1))
		t.rows = append(t.rows, []any{
			int64(i + 1), int64(d.between(1, persons)), d.one(clinicWords.lists["ward"]), d.one(clinicWords.lists["symptom"]),
			vitals, started, ended,
		})
	}
	return t
}

func medications(kind Kind) table {
	d := newDraw(kind, "medication")
	t := table{
		name: "medication", keys: 1,
		columns: []string{"id", "encounter_id", "name", "dose_mg", "times_a_day", "started", "stopped"},
	}
	for i := range medicationCount {
		started := d.date(900)
		var stopped any
		if d.IntN(3) > 0 {
			stopped = started.AddDate(0, 0, d.between(5, 90))
		}
		t.rows = append(t.rows, []any{
			int64(i + 1), int64(d.between(1, encounterCount)), d.one(clinicWords.lists["drug"]),
			d.decimal(1, 500, 2), int16(d.between(1, 4)), started, stopped,
		})
	}
	return t
}
