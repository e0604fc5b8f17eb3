package postgres

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
)

// forgeAttacks are those on the tenant context itself.
var forgeAttacks = []attack{
	{
		name: "forge the context", rows: []string{"Execute select", "Execute set unlisted"}, class: prove.Passive,
		refs: []string{"postgres.md 1", "postgres.md 3", "postgres.md 4", "postgres.md 5", "postgres.md 6", "holes 3", "museum 15", "museum 23"},
		what: "Put B's tenant id into A's own context and set it, in every way there is to set a parameter.",
		run: func(c *act) (*prove.Finding, error) {
			return c.setContext("Execute select", "a context with B's id", func() (string, error) { return c.flipped() })
		},
	},
	{
		name: "replay B's context", rows: []string{"Execute select", "Execute set unlisted"}, class: prove.Passive,
		refs: []string{"holes 3", "museum 15"},
		what: "Take a context that is B's this very moment, on another backend, and set it in every way there is.",
		run: func(c *act) (*prove.Finding, error) {
			b, err := c.enter(&c.t.B)
			if err != nil {
				return nil, err
			}
			return c.setContext("Execute select", "B's context", func() (string, error) { return c.contextOf(b) })
		},
	},
	{
		name: "replay B's context later", rows: []string{"Execute select", "Execute set unlisted"}, class: prove.Passive,
		refs: []string{"holes 3", "holes 13"},
		what: "Keep a context of B's until its moment is over, and set it in every way there is.",
		run: func(c *act) (*prove.Finding, error) {
			b, err := c.enter(&c.t.B)
			if err != nil {
				return nil, err
			}
			kept, err := c.contextOf(b)
			if err != nil {
				return nil, err
			}
			if err := c.wait(2500 * time.Millisecond); err != nil {
				return nil, err
			}
			return c.setContext("Execute select", "B's old context", func() (string, error) { return kept, nil })
		},
	},
	{
		name: "a second context in one transaction", rows: []string{"Execute select", "Execute fetch"}, class: prove.Passive,
		refs: []string{"holes 9"},
		what: "Open a cursor, then enter with another context, none, or the same one, and fetch.",
		run:  (*act).secondContext,
	},
	{
		name: "parameters that others believe", rows: []string{"Execute set unlisted", "Execute set"}, class: prove.Passive,
		refs: []string{"museum 23", "postgres.md 1", "postgres.md 21", "holes 8", "holes 18", "holes 36"},
		what: "Set the parameters that other systems take for the tenant, and those that change limits, roles or how text is read.",
		run:  (*act).believedParams,
	},
	{
		name: "set_config of the compatibility schema", rows: []string{"Execute select"}, class: prove.Passive,
		refs: []string{"holes 36", "postgres.md 6", "holes 18", "holes 5"},
		what: "Ask the set_config that drivers may call for what it must not set.",
		run:  (*act).compatSettings,
	},
	{
		name: "a statement that is read otherwise", rows: []string{"Execute select", "Execute update"}, class: prove.Passive,
		refs: []string{"holes 18"},
		what: "Turn standard_conforming_strings off by an UPDATE of pg_settings, then hide a statement in a string.",
		run:  (*act).otherReading,
	},
	{
		name: "the place of the context is not the client's", rows: []string{"Execute select", "Parse", "Bind"}, class: prove.Passive,
		refs: []string{"holes 7", "build.md R7"},
		what: "Prepare statements under the names and in the places that the context travels in.",
		run:  (*act).hijack,
	},
}

// contextOf returns the context of a transaction that a has just had, as it
// may read it.
func (c *act) contextOf(a *attacker) (string, error) {
	s, err := a.query("ROLLBACK; SELECT current_setting('isocore.ctx', true)")
	if err != nil {
		return "", err
	}
	v := s.values()
	if s.failure() != nil {
		return "", fmt.Errorf("postgres: a context is not to be read: %.300s", s)
	}
	if len(v) != 1 || v[0] == "" {
		return "", prove.Skip("a tenant cannot read its own context: there is nothing to replay")
	}
	return v[0], nil
}

// contextTenant is where the tenant id stands in a context: see Key.Context.
const contextTenant = 2 + 8

// flipped returns A's own last context with B's tenant id in it.
func (c *act) flipped() (string, error) {
	own, err := c.contextOf(c.a)
	if err != nil {
		return "", err
	}
	if len(own) < contextTenant+len(c.t.B.ID) {
		return "", prove.Skip("a context has another layout than this probe knows")
	}
	return own[:contextTenant] + c.t.B.ID + own[contextTenant+len(c.t.B.ID):], nil
}

// setters are ways to set a parameter, with {ctx} as its value. Each is one
// message; what it leaves behind is read in the same transaction.
var setters = []string{
	"SET LOCAL isocore.ctx = '{ctx}'",
	"SET isocore.ctx TO '{ctx}'",
	`SET SESSION "isocore.ctx" = '{ctx}'`,
	"SELECT set_config('isocore.ctx', '{ctx}', true)",
	"SELECT pg_catalog.set_config('isocore.ctx', '{ctx}', true)",
	"SELECT pg_catalog.set_config('isocore.ctx', '{ctx}', false)",
	"WITH x AS MATERIALIZED (SELECT pg_catalog.set_config('isocore.ctx', '{ctx}', true) AS s) SELECT s, (SELECT string_agg(body, ',') FROM {}) FROM x",
	"SELECT query_to_xml('SEL'||'ECT set_c'||'onfig(''isocore.ctx'',''{ctx}'',true)', true, true, '')",
	"SELECT query_to_xml('SEL'||'ECT pg_catalog.set_c'||'onfig(''isocore.ctx'',''{ctx}'',true)', true, true, '')",
	"SELECT * FROM ts_stat('select to_tsvector(pg_catalog.set_con'||'fig(''isocore.ctx'',''{ctx}'',true))')",
	"SELECT ts_rewrite('a'::tsquery, 'select to_tsquery(''a''), to_tsquery(pg_catalog.set_con'||'fig(''isocore.ctx'',''{ctx}'',true))')",
	"DO $$BEGIN EXECUTE 'SEL'||'ECT pg_catalog.set_c'||'onfig(''isocore.ctx'',''{ctx}'',true)'; END$$",
	"UPDATE pg_settings SET setting = '{ctx}' WHERE name = 'isocore.ctx'",
	"SELECT isocore.enter('{ctx}')",
	"SELECT isocore.enter('')",
	"SAVEPOINT s; SELECT isocore.enter('{ctx}')",
	"COMMIT; SELECT isocore.enter('{ctx}')",
	"COMMIT; BEGIN; SELECT isocore.enter('{ctx}')",
	"ROLLBACK AND CHAIN; SELECT isocore.enter('{ctx}')",
	"SET LOCAL ROLE isocore_owner; SELECT pg_catalog.set_config('isocore.ctx', '{ctx}', true)",
	"VALUES (isocore.enter('{ctx}'))",
	"EXPLAIN ANALYZE SELECT pg_catalog.set_config('isocore.ctx', '{ctx}', true)",
}

// setContext sets a context in every way, reads, and returns a finding if
// anything of B's is seen, or if a way is open at all.
func (c *act) setContext(row, what string, forge func() (string, error)) (*prove.Finding, error) {
	var open *prove.Finding
	for _, setter := range setters {
		ctx, err := forge()
		if err != nil && open != nil {
			return open, nil // what was set before stands in the way
		}
		if err != nil {
			return nil, err
		}
		text := strings.NewReplacer("{ctx}", ctx, "{}", canaryTable).Replace(setter)
		how := what + " by " + setter
		for _, asks := range [][]pgwire.Message{
			{&pgwire.Query{Text: text}, &pgwire.Query{Text: "ROLLBACK"}, &pgwire.Query{Text: c.rows()}},
			{&pgwire.Query{Text: text + "; " + c.rows()}, &pgwire.Query{Text: "ROLLBACK"}, &pgwire.Query{Text: c.rows()}},
			{&pgwire.Query{Text: "BEGIN"}, &pgwire.Query{Text: "SELECT 1"}, &pgwire.Query{Text: text}, &pgwire.Query{Text: c.rows()}, &pgwire.Query{Text: "COMMIT"}},
		} {
			got, err := c.a.ask(asks...)
			if err != nil {
				return nil, err
			}
			if f := c.leaks(row, how, got); f != nil {
				return f, nil
			}
			if open == nil && got.failure() == nil {
				open = &prove.Finding{Row: Name + "/" + row, Got: how + " works", Want: "an error", Evidence: got.String()}
			}
		}
	}
	return open, nil
}

// wait lets some time go by.
func (c *act) wait(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.Done():
		return c.Err()
	}
}

// secondContext enters again with a cursor open.
func (c *act) secondContext() (*prove.Finding, error) {
	b, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	theirs, err := c.contextOf(b)
	if err != nil {
		return nil, err
	}
	forged, err := c.flipped()
	if err != nil {
		return nil, err
	}
	for _, ctx := range []string{theirs, forged, "", "v1"} {
		for _, order := range []string{
			"BEGIN; DECLARE c CURSOR FOR SELECT body FROM {} ORDER BY id|SELECT isocore.enter('{ctx}')|FETCH ALL FROM c|COMMIT",
			"BEGIN; DECLARE c CURSOR FOR SELECT body FROM {} ORDER BY id; FETCH c|SAVEPOINT s|SELECT isocore.enter('{ctx}')|ROLLBACK TO s|FETCH ALL FROM c|COMMIT",
		} {
			refused := false
			for text := range strings.SplitSeq(order, "|") {
				got, err := c.a.query("%s", strings.NewReplacer("{ctx}", ctx, "{}", canaryTable).Replace(text))
				if err != nil {
					return nil, err
				}
				if f := c.leaks("Execute fetch", text, got); f != nil {
					return f, nil
				}
				refused = refused || strings.Contains(text, "enter") && got.code() == "42501"
			}
			if !refused {
				return &prove.Finding{
					Row: Name + "/Execute select", Got: fmt.Sprintf("isocore.enter(%.8q) in a transaction that has a context is not refused", ctx),
					Want: "42501", Evidence: "no error 42501",
				}, nil
			}
		}
	}
	return nil, nil
}

// believedParams sets parameters that must not be set.
func (c *act) believedParams() (*prove.Finding, error) {
	own, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	want := replies{refused("Execute set unlisted")("ERROR"), idle}
	for _, name := range []string{
		"app.tenant_id", "app.current_tenant", "isocore.tenant", "isocore.ctx", "request.jwt.claims", `"Isocore.Ctx"`, "U&\"isocore.ctx\"",
		"row_security", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "standard_conforming_strings", "client_encoding",
		"backslash_quote", "escape_string_warning", "session_replication_role", "work_mem", "temp_buffers", "synchronous_commit",
		"local_preload_libraries", "session_preload_libraries", "exit_on_error", "default_transaction_isolation", "zero_damaged_pages",
		"temp_tablespaces", "default_tablespace", "log_statement", "track_activities", "max_parallel_workers_per_gather",
	} {
		for _, form := range []string{"SET %s = '1'", "SET LOCAL %s TO '1'", "SET SESSION %s TO DEFAULT", "RESET %s"} {
			text := fmt.Sprintf(form, name)
			got, err := c.a.query("%s", text)
			if err != nil {
				return nil, err
			}
			if f := c.differs("Execute set unlisted", text, got, want); f != nil {
				return f, nil
			}
		}
	}
	after, err := c.a.query("RESET ALL; %s", c.rows())
	if err != nil {
		return nil, err
	}
	return c.differs("Execute set", "a read after RESET ALL", after[len(after)-min(len(after), len(own)):], own), nil
}

// compatSettings calls the set_config that drivers are given.
func (c *act) compatSettings() (*prove.Finding, error) {
	for _, name := range []string{
		"isocore.ctx", "ISOCORE.CTX", "role", "session_authorization", "row_security", "search_path", "standard_conforming_strings", "client_encoding",
		"statement_timeout", "work_mem", "synchronous_commit", "local_preload_libraries", "exit_on_error", "session_replication_role",
		"force_parallel_mode", "transaction_isolation", "transaction_read_only", "app.tenant_id", "isocore.ctx ", "",
	} {
		for _, function := range []string{"set_config", "isocore_compat.set_config", "pg_catalog.set_config"} {
			got, err := c.a.query("SELECT %s('%s', 'none', true)", function, name)
			if err != nil {
				return nil, err
			}
			if got.code() != "42501" {
				return &prove.Finding{
					Row: Name + "/Execute select", Got: fmt.Sprintf("%s('%s') answers %.200s", function, name, got), Want: "42501", Evidence: got.String(),
				}, nil
			}
		}
	}
	got, err := c.a.query("SELECT set_config(NULL, 'none', true)")
	if err != nil || got.failure() != nil {
		return nil, err
	}
	return &prove.Finding{Row: Name + "/Execute select", Got: "set_config(NULL) works", Want: "an error", Evidence: got.String()}, nil
}

// otherReading tries to have the server read a text other than we do.
func (c *act) otherReading() (*prove.Finding, error) {
	for _, text := range []string{
		"UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
		"UPDATE pg_catalog.pg_settings SET setting = 'SJIS' WHERE name = 'client_encoding'",
		"MERGE INTO pg_settings s USING (SELECT 1) x ON s.name = 'standard_conforming_strings' WHEN MATCHED THEN UPDATE SET setting = 'off'",
		"WITH x AS (UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings' RETURNING 1) SELECT * FROM x",
	} {
		got, err := c.a.query("%s", text)
		if err != nil {
			return nil, err
		}
		if got.failure() == nil {
			return &prove.Finding{Row: Name + "/Execute update", Got: text + " works", Want: "an error", Evidence: got.String()}, nil
		}
	}
	const hidden = `select 'a\', '; ; select ''two statements'' --'`
	got, err := c.a.query("%s", hidden)
	if err != nil {
		return nil, err
	}
	if v := got.values(); len(v) != 2 || v[0] != `a\` {
		return &prove.Finding{Row: Name + "/Execute select", Got: fmt.Sprintf("%.200s", got), Want: "one row of two strings", Evidence: got.String()}, nil
	}
	return nil, nil
}

// hijack prepares what the set-up of the context might run by mistake.
func (c *act) hijack() (*prove.Finding, error) {
	own, err := c.a.run(c.rows())
	if err != nil {
		return nil, err
	}
	decoy := "SELECT 'decoy'::text || $1::text"
	for _, name := range []string{"", "_iso", "isocore", "enter", "_isocore_ctx", "S_1"} {
		p := &pgwire.Parse{Name: name, Query: decoy, ParamTypes: []uint32{oidText}}
		for _, ask := range [][]pgwire.Message{
			{p, pgwire.Sync{}},
			{p, &pgwire.Bind{Portal: name, Statement: name, Params: [][]byte{[]byte("x")}}, pgwire.Flush{}, pgwire.Sync{}},
			{&pgwire.Close{Target: pgwire.Statement, Name: name}, pgwire.Sync{}},
			{p, &pgwire.Close{Target: pgwire.Portal, Name: name}, pgwire.Sync{}},
		} {
			if _, err := c.a.ask(ask...); err != nil {
				return nil, err
			}
		}
		got, err := c.a.run(c.rows())
		if err != nil {
			return nil, err
		}
		if f := c.differs("Parse", "a read after preparing "+name, got, own); f != nil {
			return f, nil
		}
	}
	got, err := c.a.ask(&pgwire.Parse{Query: decoy}, pgwire.Sync{}, &pgwire.Query{Text: "SELECT isocore.tenant()"},
		&pgwire.Parse{Query: decoy}, &pgwire.Bind{Params: [][]byte{[]byte("!")}}, &pgwire.Execute{}, pgwire.Sync{})
	if err != nil {
		return nil, err
	}
	id := c.t.A.ID
	uuid := id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	if v := got.values(); !slices.Equal(v, []string{uuid, "decoy!"}) {
		return &prove.Finding{Row: Name + "/Bind", Got: fmt.Sprintf("%q", v), Want: "A's id, and the statement as it was prepared", Evidence: got.String()}, nil
	}
	return nil, nil
}
