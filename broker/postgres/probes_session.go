package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
)

// sessionAttacks are those on what lies between two statements, transactions
// or connections.
var sessionAttacks = []attack{
	{
		name: "behind every end of a transaction", class: prove.CanaryOnly, refs: []string{"holes 1", "holes 14", "museum 15"},
		rows: []string{
			"Execute select", "Execute commit", "Execute rollback", "Execute commit and chain", "Execute rollback and chain",
			"Execute rollback to", "Execute release", "Execute savepoint", "Execute begin", "Execute nested begin",
		},
		what: "Fail, commit, roll back and chain in every order, in one message and in several, and read behind each.",
		run:  (*act).ends,
	},
	{
		name: "what a session leaves behind", rows: []string{"Execute select", "Execute set", "Execute declare", "Parse"}, class: prove.CanaryOnly,
		refs: []string{"holes 8", "holes 25", "museum 15", "museum 14", "postgres.md 7", "postgres.md 8", "postgres.md 9", "postgres.md 10"},
		what: "Leave parameters, statements, cursors, locks and half a pipeline behind as B, and look for them as A.",
		run:  (*act).leftovers,
	},
	{
		name: "two tenants at once", rows: []string{"Execute select", "Bind", "Flush", "Sync", "Refusal"}, class: prove.Passive,
		refs: []string{"museum 12", "museum 14", "museum 16"},
		what: "Send pipelines of numbered reads as A and B by turns, refusals and failures among them: each hears its own answers in their order.",
		run:  (*act).crosstalk,
	},
	{
		name: "hang up at every byte", rows: []string{"Execute select", "Parse", "Bind", "Flush", "Sync", "Close"}, class: prove.Passive,
		refs: []string{"museum 12", "museum 14"},
		what: "Cut B's connection off within a pipeline, at every few bytes of it and of its answer, and read as A.",
		run:  (*act).cutOff,
	},
	{
		name: "one statement under many plans", rows: []string{"Execute select", "Bind", "Describe statement", "Close"}, class: prove.Passive,
		refs: []string{"museum 19", "holes 10"},
		what: "Run one prepared statement under generic and custom plans, across transactions, as A and B.",
		run:  (*act).plans,
	},
	{
		name: "batches and denied kinds within them", rows: []string{"Execute select", "Execute explain", "Execute do", "Refusal"}, class: prove.Passive,
		refs: []string{"holes 17", "holes 18", "museum 35"},
		what: "Hide a denied statement behind comments, quotes, dollars, parentheses and others, in one Query.",
		run:  (*act).hidden,
	},
	{
		name: "the same answers whether or not B exists", class: prove.CanaryOnly, alone: true,
		rows: []string{
			"Execute select", "Execute values", "Execute table", "Execute with", "Execute copy to stdout", "Execute insert", "Execute update",
			"Execute delete", "Execute merge", "Execute with write", "Execute select for update", "Execute fetch", "Execute show",
		},
		refs: []string{"holes 21", "postgres.md 16", "postgres.md 17"},
		what: "Run some forty statements as A without any row of B's and with many, and compare all answers byte by byte.",
		run:  (*act).differential,
	},
}

// ends reads behind every end of a transaction.
func (c *act) ends() (*prove.Finding, error) {
	own, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	for _, before := range [][]string{
		{"SELECT 1/0"},
		{"BEGIN", "SELECT 1/0", "ROLLBACK"},
		{"BEGIN", "SELECT 1", "COMMIT"},
		{"BEGIN; SELECT 1; COMMIT"},
		{"BEGIN; SELECT 1/0; COMMIT", "ROLLBACK"},
		{"SELECT 1; SELECT 1/0"},
		{"BEGIN; SAVEPOINT s; SELECT 1/0", "ROLLBACK TO s", "COMMIT"},
		{"BEGIN; SAVEPOINT s; RELEASE s; COMMIT"},
		{"BEGIN", "ROLLBACK"},
		{"COMMIT"},
		{"ROLLBACK"},
		{"BEGIN", "COMMIT AND CHAIN", "ROLLBACK"},
		{"BEGIN", "SELECT 1", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "COMMIT"},
	} {
		for _, text := range before {
			s, err := c.a.query("%s", text)
			if err != nil {
				return nil, err
			}
			if f := c.leaks("Execute select", text, s); f != nil {
				return f, nil
			}
		}
		got, err := c.a.query("%s", c.rows())
		if err != nil {
			return nil, err
		}
		if f := c.differs("Execute select", "a read after "+strings.Join(before, " | "), got, own); f != nil {
			return f, nil
		}
	}
	return c.endsWithin(own.values())
}

// endsWithin reads behind every end of a transaction in one message.
func (c *act) endsWithin(own []string) (*prove.Finding, error) {
	for _, message := range []string{
		"BEGIN; {}; COMMIT; {}; BEGIN; {}; ROLLBACK; {}",
		"BEGIN; {}; COMMIT AND CHAIN; {}; ROLLBACK AND CHAIN; {}; COMMIT; {}",
		"{}; BEGIN; {}; BEGIN; {}; COMMIT; {}",
		"BEGIN; SAVEPOINT s; {}; ROLLBACK TO s; {}; RELEASE s; {}; COMMIT; {}",
	} {
		got, err := c.a.query("%s", strings.ReplaceAll(message, "{}", c.rows()))
		if err != nil {
			return nil, err
		}
		if f := c.leaks("Execute commit", message, got); f != nil {
			return f, nil
		}
		var want []string
		for range 4 {
			want = append(want, own...)
		}
		if v := got.values(); !slices.Equal(v, want) {
			return &prove.Finding{Row: Name + "/Execute commit", Got: fmt.Sprintf("%d values from %s", len(v), message), Want: "A's own rows four times", Evidence: fmt.Sprintf("%.400q", v)}, nil
		}
	}
	return nil, nil
}

// leftovers leaves things behind as B.
func (c *act) leftovers() (*prove.Finding, error) {
	clean, err := c.a.query("SHOW application_name; SHOW search_path; SHOW timezone; %s", c.rows())
	if err != nil {
		return nil, err
	}
	for _, ends := range []func(b *attacker){(*attacker).close, func(b *attacker) { b.conn.Close() }} { //nolint:errcheck // to hang up is the point
		b, err := c.enter(&c.t.B)
		if err != nil {
			return nil, err
		}
		if _, err := b.query("SET application_name = '%s'; SET timezone = 'Asia/Tokyo'; SET search_path = pg_temp", c.t.B.Canary); err != nil {
			return nil, err
		}
		for i := range 50 {
			p := &pgwire.Parse{Name: fmt.Sprintf("left%d", i), Query: "SELECT '" + c.t.B.Canary + "' || body FROM " + canaryTable}
			if _, err := b.ask(p, pgwire.Sync{}); err != nil {
				return nil, err
			}
		}
		if _, err := b.query("BEGIN; DECLARE left_cursor CURSOR FOR %s; SELECT pg_try_advisory_lock(%d)", c.rows(), c.id); err != nil {
			return nil, err
		}
		if err := b.say(&pgwire.Bind{Portal: "left", Statement: "left0"}, &pgwire.Execute{Portal: "left", MaxRows: 1}); err != nil {
			return nil, err
		}
		ends(b)
		for range 3 {
			if err := c.again(); err != nil {
				return nil, err
			}
			if f, err := c.looks(clean); f != nil || err != nil {
				return f, err
			}
		}
	}
	return nil, nil
}

// looks looks for what B left.
func (c *act) looks(clean replies) (*prove.Finding, error) {
	got, err := c.a.query("SHOW application_name; SHOW search_path; SHOW timezone; %s", c.rows())
	if err != nil {
		return nil, err
	}
	if f := c.differs("Execute set", "a new connection", got, clean); f != nil {
		return f, nil
	}
	got, err = c.a.ask(
		&pgwire.Bind{Statement: "left0"}, &pgwire.Execute{}, pgwire.Sync{},
		&pgwire.Execute{Portal: "left"}, pgwire.Sync{},
		&pgwire.Query{Text: "FETCH ALL FROM left_cursor"}, &pgwire.Query{Text: "SELECT lastval()"}, &pgwire.Query{Text: "SELECT * FROM pg_prepared_statements"},
	)
	if err != nil {
		return nil, err
	}
	if f := c.leaks("Parse", "what B left", got); f != nil {
		return f, nil
	}
	if v := got.values(); len(v) > 0 {
		return &prove.Finding{Row: Name + "/Parse", Got: "values of what B left behind", Want: "errors", Evidence: fmt.Sprintf("%.400q", v)}, nil
	}
	return nil, nil
}

// crosstalk numbers what A and B ask, and checks that each hears its own.
func (c *act) crosstalk() (*prove.Finding, error) {
	b, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	const rounds, reads = 10, 8
	for round := range rounds {
		sides := []struct {
			a    *attacker
			name string
		}{{c.a, "a"}, {b, "b"}}
		if round%2 == 1 {
			slices.Reverse(sides)
		}
		for _, s := range sides {
			if err := s.a.say(c.numbered(s.name, round, reads)...); err != nil {
				return nil, err
			}
		}
		for _, s := range sides {
			got, err := s.a.hear(3)
			if err != nil {
				return nil, err
			}
			if s.name == "a" {
				if f := c.leaks("Execute select", "a pipeline", got); f != nil {
					return f, nil
				}
			}
			var want []string
			for i := range reads {
				want = append(want, fmt.Sprintf("%s-%d-%d", s.name, round, i))
			}
			want = append(want, want...)
			want = append(want, want[0]) // the group that fails in its middle
			if v := got.values(); !slices.Equal(v, want) {
				return &prove.Finding{Row: Name + "/Execute select", Got: fmt.Sprintf("%.200q", v), Want: fmt.Sprintf("%.200q", want), Evidence: fmt.Sprintf("%q, not %q", v, want)}, nil
			}
		}
	}
	return nil, nil
}

// numbered returns three groups: reads by Execute, reads in a Query, and one
// of a read, a refusal and a read that is skipped.
func (c *act) numbered(name string, round, reads int) []pgwire.Message {
	var ms []pgwire.Message
	var text strings.Builder
	for i := range reads {
		word := fmt.Sprintf("%s-%d-%d", name, round, i)
		ms = append(ms, &pgwire.Parse{Query: "SELECT $1::text"}, &pgwire.Bind{Params: [][]byte{[]byte(word)}}, &pgwire.Execute{})
		if i%3 == 1 {
			ms = append(ms, pgwire.Flush{})
		}
		fmt.Fprintf(&text, "SELECT '%s'; ", word)
	}
	first := fmt.Sprintf("%s-%d-0", name, round)
	return append(ms, pgwire.Sync{}, &pgwire.Query{Text: text.String()},
		&pgwire.Parse{Query: "SELECT $1::text"}, &pgwire.Bind{Params: [][]byte{[]byte(first)}}, &pgwire.Execute{},
		&pgwire.Parse{Query: samples["Execute explain"]}, &pgwire.Bind{}, &pgwire.Execute{},
		&pgwire.Parse{Query: "SELECT 'skipped'"}, &pgwire.Bind{}, &pgwire.Execute{}, pgwire.Sync{})
}

// cutOff ends connections of B's in the middle of things.
func (c *act) cutOff() (*prove.Finding, error) {
	own, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	wire, err := (&pgwire.Query{Text: "BEGIN; " + c.rows()}).Encode(nil)
	if err != nil {
		return nil, err
	}
	answered := len(wire)
	for _, m := range c.numbered("b", 0, 2) {
		if wire, err = m.Encode(wire); err != nil {
			return nil, err
		}
	}
	for at := 1; at < len(wire); at += 23 {
		if err := c.cut(wire[:at], at >= answered && at%2 == 0); err != nil {
			return nil, err
		}
		got, err := c.a.query("%s", c.rows())
		if err != nil {
			return nil, err
		}
		if f := c.differs("Execute select", fmt.Sprintf("a read after B is cut off at byte %d", at), got, own); f != nil {
			return f, nil
		}
		if at%5 != 0 {
			continue
		}
		if err := c.again(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// cut begins a connection of B's, says a part of something, reads a part of
// an answer if there is one, and hangs up.
func (c *act) cut(wire []byte, answered bool) error {
	b, err := c.enter(&c.t.B)
	if err != nil {
		return err
	}
	if err := b.say(rawMessage(wire)); err != nil {
		return err
	}
	if answered {
		if _, err := b.conn.Read(make([]byte, len(wire)%97+1)); err != nil {
			return err
		}
	}
	return b.conn.Close()
}

// plans runs one prepared statement under all kinds of plans.
func (c *act) plans() (*prove.Finding, error) {
	b, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	for name, a := range map[string]*attacker{"a": c.a, "b": b} {
		p := &pgwire.Parse{Name: "plan", Query: "SELECT body FROM " + canaryTable + " WHERE id >= $1 AND id < $1 + 10 ORDER BY id", ParamTypes: []uint32{20}}
		if _, err := a.ask(p, &pgwire.Describe{Target: pgwire.Statement, Name: "plan"}, pgwire.Sync{}); err != nil {
			return nil, err
		}
		for i, mode := range []string{"auto", "force_generic_plan", "force_custom_plan", "force_generic_plan", "auto"} {
			before := []string{"SET plan_cache_mode = " + mode}
			if i%2 == 1 {
				before = append(before, "BEGIN")
			}
			for _, text := range before {
				if _, err := a.query("%s", text); err != nil {
					return nil, err
				}
			}
			for range 4 {
				bind := &pgwire.Bind{Statement: "plan", Params: [][]byte{[]byte(fmt.Sprint(c.id))}}
				got, err := a.ask(bind, &pgwire.Execute{}, pgwire.Sync{})
				if err != nil {
					return nil, err
				}
				if f := c.leaks("Execute select", mode, got); name == "a" && f != nil {
					return f, nil
				}
				if v := got.values(); len(v) != 10 {
					return &prove.Finding{Row: Name + "/Bind", Got: fmt.Sprintf("%d rows under %s", len(v), mode), Want: "10", Evidence: got.String()}, nil
				}
			}
			if _, err := a.query("ROLLBACK"); err != nil {
				return nil, err
			}
		}
		if _, err := a.ask(&pgwire.Close{Target: pgwire.Statement, Name: "plan"}, pgwire.Sync{}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// hidden hides a statement that is denied.
func (c *act) hidden() (*prove.Finding, error) {
	for _, text := range []string{
		"SELECT 1; EXPLAIN SELECT 1", "/**/EXPLAIN/**/SELECT 1", "-- x\nEXPLAIN SELECT 1", "/* /* */ EXPLAIN */ EXPLAIN SELECT 1",
		"SELECT $a$;$a$; EXPLAIN SELECT 1", `SELECT E'\''; EXPLAIN SELECT 1`, `SELECT '\'; EXPLAIN SELECT 1`, "SELECT U&'\\0027'; EXPLAIN SELECT 1",
		"; ; EXPLAIN SELECT 1", "explain (analyze, costs off) SELECT 1", "ExPlAiN VERBOSE SELECT 1", "EXPLAIN (FORMAT JSON) SELECT 1",
		"\x0bEXPLAIN\x0cSELECT 1", "SELECT 1 /* ; */; EXPLAIN SELECT 1", "SELECT $$ $b$ $$; EXPLAIN SELECT 1", `SELECT ";"; EXPLAIN SELECT 1`,
		"SELECT 1; DO $$BEGIN PERFORM 1; END$$", "DO LANGUAGE plpgsql 'BEGIN PERFORM 1; END'", "BEGIN; EXPLAIN SELECT 1; COMMIT",
	} {
		got, err := c.a.query("%s", text)
		if err != nil {
			return nil, err
		}
		row := "Execute explain"
		if strings.Contains(text, "DO") {
			row = "Execute do"
		}
		if v := strings.Join(got.values(), " "); got.failure() == nil || strings.Contains(v, "Result") || strings.Contains(v, "cost") {
			return &prove.Finding{Row: Name + "/" + row, Got: fmt.Sprintf("%s answers %.200s", text, got), Want: "a refusal", Evidence: got.String()}, nil
		}
		if _, err := c.a.query("ROLLBACK"); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// workload is what A does whether or not B exists. {} is the canary table,
// {id} the first of A's ids.
var workload = []string{
	"SELECT count(*) FROM {}", "SELECT id, body FROM {} ORDER BY id", "SELECT * FROM {} WHERE id = {id}", "TABLE {}", "SELECT max(id), min(id) FROM {}",
	"VALUES ((SELECT count(*) FROM {}))", "WITH x AS (SELECT * FROM {}) SELECT count(*) FROM x", "SELECT body FROM {} WHERE body LIKE 'canary%' ORDER BY 1",
	"COPY {} (id, body) TO STDOUT", "COPY (SELECT count(*) FROM {}) TO STDOUT (FORMAT csv)", "SELECT id FROM {} ORDER BY id FOR UPDATE",
	"INSERT INTO {} (id, body) VALUES ({id} + 500, 'mine')", "INSERT INTO {} (id, body) VALUES ({id} + 500, 'mine') ON CONFLICT DO NOTHING",
	"INSERT INTO {} (id, body) VALUES ({id} + 500, 'mine')", "INSERT INTO {} (tenant_id, id, body) VALUES ('{B}', {id} + 500, 'x')",
	"UPDATE {} SET body = body || '!' WHERE id >= {id}", "UPDATE {} SET id = id + 1 WHERE id = {id} + 500 RETURNING *", "DELETE FROM {} WHERE id > {id} + 400 RETURNING id",
	"DELETE FROM {} WHERE tenant_id = '{B}'", "MERGE INTO {} a USING (SELECT {id} + 600 AS id) s ON a.id = s.id WHEN NOT MATCHED THEN INSERT (id, body) VALUES (s.id, 'm')",
	"WITH x AS (DELETE FROM {} WHERE id = {id} + 600 RETURNING body) SELECT * FROM x", "SELECT nspname FROM pg_namespace ORDER BY 1", "SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace ORDER BY 1",
	"SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1", "SELECT count(*) FROM pg_stats WHERE schemaname = 'app'", "SELECT tablename FROM pg_policies ORDER BY 1, policyname",
	"SHOW server_version", "SHOW transaction_isolation", "SELECT current_user, session_user, current_database()", "SELECT isocore.tenant()", "SELECT isocore.principal()", "SELECT lastval()",
	"SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id) FROM {}", "SELECT count(DISTINCT tenant_id) FROM {}", "SELECT id / 0 FROM {} WHERE tenant_id <> isocore.tenant()",
	"BEGIN; DECLARE c CURSOR FOR SELECT * FROM {}; FETCH ALL FROM c; MOVE BACKWARD ALL FROM c; COMMIT", "BEGIN; SAVEPOINT s; DELETE FROM {}; ROLLBACK TO s; SELECT count(*) FROM {}; COMMIT",
	"SELECT relation FROM pg_locks", "SELECT sum(n_live_tup) FROM pg_stat_user_tables", "SELECT pg_relation_size('{}')", "EXPLAIN SELECT * FROM {}", "SELECT ctid FROM {}",
	"SELECT now() IS NOT NULL, pg_backend_pid() > 0, inet_client_port() > 0", "SELECT {} FROM {} WHERE id = {id}", "SELECT generate_series(1, 3), (SELECT count(*) FROM {})",
}

// The one difference of the workload that is allowed: rows for which no order
// was asked come as they lie in the table, which others fill as well. What a
// deployment shares and shows by its listed exceptions is not asked for here:
// pg_class.reltuples, the values of shared sequences, and time.

// ordered returns s with its rows sorted if text asks for no order.
func ordered(text string, s replies) replies {
	if strings.Contains(text, "ORDER BY") {
		return s
	}
	var rows replies
	var at []int
	for i, h := range s {
		if b := pgwire.Backend(h.kind); b == pgwire.BackendDataRow || b == pgwire.BackendCopyData {
			rows, at = append(rows, h), append(at, i)
		}
	}
	slices.SortFunc(rows, func(a, b spoken) int { return strings.Compare(a.body, b.body) })
	sorted := slices.Clone(s)
	for i, h := range rows {
		sorted[at[i]] = h
	}
	return sorted
}

// differential runs the workload without B and with it.
func (c *act) differential() (*prove.Finding, error) {
	b, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	if s, err := b.query("DELETE FROM %s", canaryTable); err != nil || s.failure() != nil {
		return nil, fmt.Errorf("postgres: B's rows do not go: %w %.200s", err, s)
	}
	without, err := c.workday()
	if err != nil {
		return nil, err
	}
	s, err := b.query("INSERT INTO %s (id, body) SELECT i, '%s ' || i FROM generate_series(%d, %d) i", canaryTable, c.t.B.Canary, c.id, c.id+4999)
	if err != nil || s.failure() != nil {
		return nil, fmt.Errorf("postgres: B's rows do not come: %w %.200s", err, s)
	}
	with, err := c.workday()
	if err != nil {
		return nil, err
	}
	if _, err := b.query("DELETE FROM %s", canaryTable); err != nil {
		return nil, err
	}
	for i, text := range workload {
		if f := c.differs("Execute select", text, ordered(text, with[i]), ordered(text, without[i])); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// workday plants A's rows alone and runs the workload on a new connection.
func (c *act) workday() ([]replies, error) {
	if err := c.again(); err != nil {
		return nil, err
	}
	if s, err := c.a.query("DELETE FROM %s", canaryTable); err != nil || s.failure() != nil {
		return nil, fmt.Errorf("postgres: A's rows do not go: %w %.200s", err, s)
	}
	if err := c.plant(c.a, &c.t.A, c.id, c.id+9); err != nil {
		return nil, err
	}
	var all []replies
	for _, text := range workload {
		s, err := c.a.query("%s", strings.NewReplacer("{}", canaryTable, "{id}", fmt.Sprint(c.id), "{B}", c.t.B.ID).Replace(text))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}
