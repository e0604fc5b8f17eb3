package demo

import "fmt"

// How many rows an advisory firm's own tables have.
const (
	accountCount     = 500
	holdingsPer      = 4 // an account
	tradeCount       = 4000
	suitabilityCount = 500
)

func accounts(kind Kind) table {
	d := newDraw(kind, "account")
	t := table{name: "account", keys: 1, columns: []string{"id", "person_id", "number", "kind", "currency", "opened"}}
	for i := range accountCount {
		t.rows = append(t.rows, []any{
			int64(i + 1), int64(i%persons + 1), "A-" + number(i), d.one(advisoryWords.lists["account"]),
			d.one([]string{"EUR", "EUR", "CHF", "USD"}), d.date(4000),
		})
	}
	return t
}

func holdings(kind Kind) table {
	d := newDraw(kind, "holding")
	instruments := advisoryWords.lists["instrument"]
	t := table{name: "holding", keys: 1, columns: []string{"id", "account_id", "instrument", "quantity", "unit_cost"}}
	for i := range accountCount {
		for j, pick := range d.Perm(len(instruments))[:holdingsPer] {
			t.rows = append(t.rows, []any{
				int64(i*holdingsPer + j + 1), int64(i + 1), instruments[pick], d.decimal(1, 900, 4), d.decimal(4, 400, 4),
			})
		}
	}
	return t
}

func trades(kind Kind) table {
	d := newDraw(kind, "trade")
	t := table{name: "trade", keys: 1, columns: []string{"id", "holding_id", "side", "quantity", "price", "executed"}}
	for i := range tradeCount {
		t.rows = append(t.rows, []any{
			int64(i + 1), int64(d.between(1, accountCount*holdingsPer)), d.one([]string{"buy", "buy", "sell"}),
			d.decimal(1, 200, 4), d.decimal(4, 400, 4), d.ago(900),
		})
	}
	return t
}

func suitabilities(kind Kind) table {
	d := newDraw(kind, "suitability")
	t := table{name: "suitability", keys: 1, columns: []string{"id", "account_id", "profile", "answers", "assessed", "valid_until"}}
	for i := range suitabilityCount {
		assessed := d.date(700)
		answers := fmt.Sprintf(`{"horizon_years": %d, "loss_tolerance_percent": %d, "experience": %q, "income_needed": %t}`,
			d.between(1, 30), d.between(0, 40), d.one([]string{"none", "some", "much"}), d.IntN(2) == 0)
		t.rows = append(t.rows, []any{
			uuidOf("suitability", i), int64(i + 1), d.one(advisoryWords.lists["profile"]), answers, assessed, assessed.AddDate(2, 0, 0),
		})
	}
	return t
}
