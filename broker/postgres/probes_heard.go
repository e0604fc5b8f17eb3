package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
)

// heardAttacks are those on what the server and the broker could take for one
// thing each, and on what the server says besides its answers.
var heardAttacks = []attack{
	{
		name: "names that agree in 63 bytes", rows: []string{"Parse", "Bind", "Describe statement", "Close"}, class: prove.Passive,
		what: "Name statements and portals so that the server, which keeps 63 bytes of a name, takes two for one.",
		run:  (*act).longNames,
	},
	{
		name: "a cursor in the place of a portal", rows: []string{"Execute declare", "Execute close", "Execute rollback to", "Bind"}, class: prove.Passive,
		what: "Drop a portal by SQL, give its name to a cursor, and execute what the broker may still hold for the portal.",
		run:  (*act).takenPortals,
	},
	{
		name: "notices of how the server works", rows: []string{"Execute set", "Execute select", "Startup"}, class: prove.CanaryOnly, refs: []string{"holes 36"},
		what: "Ask for messages below NOTICE, which tell of what all tenants share, in each way there is.",
		run:  (*act).lowNotices,
	},
	{
		name: "a deadlock of one's own", rows: []string{"Execute update"}, class: prove.CanaryOnly,
		what: "Let two connections wait for each other: the error names no process and no transaction.",
		run:  (*act).deadlock,
	},
	{
		name: "where an error happened", rows: []string{"Execute select", "Execute update"}, class: prove.CanaryOnly, refs: []string{"holes 21"},
		what: "Fail within functions and rows: the error does not say where.",
		run:  (*act).errorContext,
	},
	{
		name: "advisory locks are few", rows: []string{"Execute select"}, class: prove.CanaryOnly, alone: true, refs: []string{"postgres.md 20"},
		what: "Hold every advisory lock that A can: no key is left that would take more room, and B still takes its own.",
		run:  (*act).allLocks,
	},
}

// longNames uses names that the server would cut.
func (c *act) longNames() (*prove.Finding, error) {
	name := strings.Repeat("x", 63)
	text := &pgwire.Parse{Query: "SELECT 1"}
	for row, ask := range map[string][]pgwire.Message{
		"Parse":              {&pgwire.Parse{Name: name + "a", Query: "SELECT 1"}},
		"Bind":               {text, &pgwire.Bind{Portal: name + "a"}},
		"Describe statement": {&pgwire.Describe{Target: pgwire.Statement, Name: name + "a"}},
		"Close":              {&pgwire.Close{Target: pgwire.Statement, Name: name + "a"}},
	} {
		got, err := c.a.ask(append(ask, pgwire.Sync{})...)
		if err != nil {
			return nil, err
		}
		if code := got.code(); code != "42622" && code != "54000" {
			return &prove.Finding{Row: Name + "/" + row, Got: fmt.Sprintf("a name of 64 bytes: %.200s", got), Want: "an error", Evidence: got.String()}, nil
		}
	}
	got, err := c.a.ask(
		&pgwire.Parse{Name: name + "a", Query: "SELECT 'said'"}, pgwire.Sync{}, &pgwire.Close{Target: pgwire.Statement, Name: name + "c"}, pgwire.Sync{},
		&pgwire.Parse{Name: name + "b", Query: "SELECT 'ran'"}, pgwire.Sync{}, &pgwire.Bind{Statement: name + "a"}, &pgwire.Execute{}, pgwire.Sync{},
	)
	if err != nil {
		return nil, err
	}
	if v := got.values(); len(v) > 0 {
		return &prove.Finding{Row: Name + "/Bind", Got: strings.Join(v, " "), Want: "errors", Evidence: got.String()}, nil
	}
	return nil, nil
}

// takenPortals gives the name of a portal to a cursor.
func (c *act) takenPortals() (*prove.Finding, error) {
	declare := "DECLARE taken CURSOR FOR " + c.rows()
	for _, steps := range [][]string{
		{"CLOSE taken", declare},
		{"CLOSE ALL", declare},
		{"CLOSE taken; " + declare},
		{"ROLLBACK TO before_taken", declare},
		{"CLOSE taken"},
		{"ROLLBACK TO before_taken"},
		{"ROLLBACK", "BEGIN", declare},
		{"COMMIT; BEGIN; " + declare},
	} {
		got, err := c.a.ask(&pgwire.Query{Text: "BEGIN; SAVEPOINT before_taken"}, &pgwire.Parse{Query: "SELECT 1"}, &pgwire.Bind{Portal: "taken"}, pgwire.Sync{})
		if err != nil {
			return nil, err
		}
		if e := got.failure(); e != nil {
			return nil, fmt.Errorf("postgres: no portal: %s", e.Value(pgwire.FieldMessage))
		}
		for _, text := range steps {
			if got, err = c.a.query("%s", text); err != nil {
				return nil, err
			}
			if f := c.leaks("Execute declare", text, got); f != nil {
				return f, nil
			}
		}
		got, err = c.a.ask(&pgwire.Execute{Portal: "taken"}, pgwire.Sync{})
		if err != nil {
			return nil, err
		}
		if f := c.leaks("Bind", "Execute", got); f != nil {
			return f, nil
		}
		if got.code() != "34000" {
			return &prove.Finding{Row: Name + "/Bind", Got: fmt.Sprintf("Execute after %s: %.200s", strings.Join(steps, " | "), got), Want: "34000", Evidence: got.String()}, nil
		}
		if _, err := c.a.query("ROLLBACK"); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// fieldContext is the field of an error that says where it happened.
const fieldContext pgwire.FieldCode = 'W'

// lowMessages are ways to ask for messages below NOTICE.
var lowMessages = []string{
	"SET client_min_messages = debug5", "SET client_min_messages TO 'DEBUG1'", "SET SESSION client_min_messages = debug", "SET client_min_messages = log",
	`SET client_min_messages = E'd\145bug5'`, `SET client_min_messages = U&'d\0065bug5'`, `SET "client_min_messages" = "debug5"`,
	"BEGIN; SET LOCAL client_min_messages = debug5", "SELECT set_config('client_min_messages', 'debug5', false)",
	"SELECT isocore_compat.set_config('Client_Min_Messages', 'LOG', true)",
}

// lowNotices asks for them, and listens.
func (c *act) lowNotices() (*prove.Finding, error) {
	for _, text := range lowMessages {
		got, err := c.a.query("%s", text)
		if err != nil {
			return nil, err
		}
		if got.failure() == nil {
			return &prove.Finding{Row: Name + "/Execute set", Got: fmt.Sprintf("%s answers %.200s", text, got), Want: "a refusal", Evidence: got.String()}, nil
		}
		if f, err := c.quiet(c.a, text); f != nil || err != nil {
			return f, err
		}
	}
	token, err := c.t.A.Token(c, Name, read, write)
	if err != nil {
		return nil, err
	}
	for _, p := range []pgwire.Param{{Name: "client_min_messages", Value: "debug5"}, {Name: "options", Value: "-c client_min_messages=debug5"}} {
		a, err := enterWith(c, c.t, token, p)
		if r, ok := errors.AsType[*rejection](err); ok && r.failure() != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.more = append(c.more, a)
		if f, err := c.quiet(a, "startup with "+p.Name); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

// quiet writes and reads on a, where nothing of the server's own may be heard.
func (c *act) quiet(a *attacker, how string) (*prove.Finding, error) {
	got, err := a.query("ROLLBACK; BEGIN; UPDATE %s SET body = body WHERE id = %d; COMMIT; %s", canaryTable, c.id, c.rows())
	if err != nil {
		return nil, err
	}
	for _, h := range append(slices.Clone(a.greeting), got...) {
		n, ok := notice(h)
		if !ok {
			continue
		}
		severity := n.Value(pgwire.FieldSeverityInvariant)
		if strings.HasPrefix(severity, "DEBUG") || severity == "LOG" || severity == "" {
			return &prove.Finding{Row: Name + "/Execute set", Got: "a notice after " + how, Want: "none below NOTICE", Evidence: h.body}, nil
		}
	}
	return nil, nil
}

// notice reads h as a notice, if it is one.
func notice(h spoken) (*pgwire.NoticeResponse, bool) {
	if pgwire.Backend(h.kind) != pgwire.BackendNoticeResponse {
		return nil, false
	}
	m, err := pgwire.DecodeBackend(pgwire.BackendNoticeResponse, []byte(h.body))
	n, ok := m.(*pgwire.NoticeResponse)
	return n, ok && err == nil
}

// deadlock makes one of A's two connections the victim of the other.
func (c *act) deadlock() (*prove.Finding, error) {
	other, err := c.enter(&c.t.A)
	if err != nil {
		return nil, err
	}
	update := func(id int) *pgwire.Query {
		return &pgwire.Query{Text: fmt.Sprintf("UPDATE %s SET body = body WHERE id = %d RETURNING body", canaryTable, id)}
	}
	for i, a := range []*attacker{c.a, other} {
		got, err := a.ask(&pgwire.Query{Text: "BEGIN"}, update(c.id+i))
		if err != nil {
			return nil, err
		}
		if f := c.leaks("Execute update", "UPDATE", got); f != nil {
			return f, nil
		}
	}
	if err := c.a.say(update(c.id + 1)); err != nil {
		return nil, err
	}
	got, err := other.ask(update(c.id))
	if err != nil {
		return nil, err
	}
	first, err := c.a.hear(1)
	if err != nil {
		return nil, err
	}
	for _, s := range []replies{first, got} {
		e := s.failure()
		if e == nil || s.code() != "40P01" {
			continue
		}
		if e.Value(pgwire.FieldDetail) != "" || e.Value(fieldContext) != "" {
			return &prove.Finding{Row: Name + "/Execute update", Got: "details of a deadlock", Want: "the error alone", Evidence: s.String()}, nil
		}
		return nil, nil
	}
	return nil, fmt.Errorf("postgres: no deadlock: %.200s, %.200s", first, got)
}

// errorContext fails in places that the server would name.
func (c *act) errorContext() (*prove.Finding, error) {
	for _, text := range []string{
		"SELECT isocore_compat.set_config('role', 'none', true)", "SELECT isocore.enter('x')",
		"SELECT body::integer FROM " + canaryTable, "UPDATE " + canaryTable + " SET id = body::bigint", `SELECT '{"a": x}'::json`,
	} {
		got, err := c.a.query("%s", text)
		if err != nil {
			return nil, err
		}
		e := got.failure()
		if e == nil {
			return &prove.Finding{Row: Name + "/Execute select", Got: fmt.Sprintf("%s answers %.200s", text, got), Want: "an error", Evidence: got.String()}, nil
		}
		if where := e.Value(fieldContext); where != "" {
			return &prove.Finding{Row: Name + "/Execute select", Got: text + " fails in " + where, Want: "no place", Evidence: got.String()}, nil
		}
	}
	return nil, nil
}

// allLocks holds what A can hold. Should there be no bound, it is few enough
// to harm nobody.
func (c *act) allLocks() (*prove.Finding, error) {
	const keys = "SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 2000) g"
	got, err := c.a.query(keys)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(got.values(), []string{"2000"}) {
		return nil, fmt.Errorf("postgres: %s: %.200s", keys, got)
	}
	other, err := c.enter(&c.t.A)
	if err != nil {
		return nil, err
	}
	got, err = other.query("SELECT g FROM generate_series(2001, 2400) g WHERE pg_try_advisory_lock(g) OR pg_try_advisory_xact_lock(g, g)")
	if err != nil {
		return nil, err
	}
	if v := got.values(); len(v) > 0 || got.failure() != nil {
		return &prove.Finding{Row: Name + "/Execute select", Got: fmt.Sprintf("%d locks besides 2000 others", len(v)), Want: "none", Evidence: got.String()}, nil
	}
	b, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	got, err = b.query("SELECT pg_advisory_lock(1), pg_advisory_lock(1, 2); %s", c.rows())
	if err != nil {
		return nil, err
	}
	if v := got.values(); len(v) != 22 || got.failure() != nil {
		return &prove.Finding{Row: Name + "/Execute select", Got: "B is held up", Want: "B's locks and rows", Evidence: got.String()}, nil
	}
	return nil, nil
}
