package postgres

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// samples are statements of each kind that is denied, harmless should they
// run.
var samples = map[string]string{
	"Execute copy from stdin":             "COPY app.isocore_canary (id, body) FROM STDIN",
	"Execute copy file":                   "COPY (SELECT 1) TO '/dev/null'",
	"Execute serializable":                "BEGIN ISOLATION LEVEL SERIALIZABLE",
	"Execute set transaction snapshot":    "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
	"Execute set session characteristics": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
	"Execute set unlisted":                "SET work_mem = 65536",
	"Execute show unlisted":               "SHOW work_mem",
	"Execute set role":                    "SET ROLE isocore_rt",
	"Execute set session authorization":   "SET SESSION AUTHORIZATION DEFAULT",
	"Execute declare with hold":           "DECLARE canary CURSOR WITH HOLD FOR SELECT 1",
	"Execute select into":                 "SELECT 1 AS x INTO TEMP isocore_canary_into",
	"Execute explain":                     "EXPLAIN SELECT body FROM app.isocore_canary",
	"Execute prepare":                     "PREPARE canary AS SELECT 1",
	"Execute execute":                     "EXECUTE canary",
	"Execute discard":                     "DISCARD PLANS",
	"Execute prepare transaction":         "PREPARE TRANSACTION 'isocore_canary'",
	"Execute commit prepared":             "COMMIT PREPARED 'isocore_canary'",
	"Execute rollback prepared":           "ROLLBACK PREPARED 'isocore_canary'",
	"Execute listen":                      "LISTEN isocore_canary",
	"Execute notify":                      "NOTIFY isocore_canary",
	"Execute lock":                        "LOCK TABLE app.isocore_canary IN ACCESS SHARE MODE NOWAIT",
	"Execute truncate":                    "TRUNCATE app.isocore_canary",
	"Execute do":                          "DO $$BEGIN NULL; END$$",
	"Execute call":                        "CALL app.isocore_canary_none()",
	"Execute create":                      "CREATE TABLE app.isocore_canary_new (x int)",
	"Execute alter":                       "ALTER TABLE app.isocore_canary SET (fillfactor = 100)",
	"Execute drop":                        "DROP TABLE IF EXISTS app.isocore_canary_new",
	"Execute grant":                       "GRANT SELECT (id) ON app.isocore_canary TO isocore_rt",
	"Execute revoke":                      "REVOKE TRUNCATE ON app.isocore_canary FROM PUBLIC",
	"Execute comment":                     "COMMENT ON COLUMN app.isocore_canary.id IS NULL",
	"Execute security label":              "SECURITY LABEL ON TABLE app.isocore_canary IS NULL",
	"Execute import":                      "IMPORT FOREIGN SCHEMA canary FROM SERVER isocore_canary_none INTO app",
	"Execute reassign":                    "REASSIGN OWNED BY isocore_rt TO isocore_rt",
	"Execute refresh":                     "REFRESH MATERIALIZED VIEW app.isocore_canary_none",
	"Execute vacuum":                      "VACUUM app.isocore_canary",
	"Execute analyze":                     "ANALYZE app.isocore_canary",
	"Execute cluster":                     "CLUSTER app.isocore_canary",
	"Execute reindex":                     "REINDEX TABLE app.isocore_canary",
	"Execute checkpoint":                  "CHECKPOINT",
	"Execute load":                        "LOAD 'plpgsql'",
}

// sampleRefs say where an attack by a kind of statement is known from.
var sampleRefs = map[string][]string{
	"Execute copy from stdin":             {"build.md R1"},
	"Execute declare with hold":           {"postgres.md 8"},
	"Execute discard":                     {"holes 7"},
	"Execute prepare":                     {"postgres.md 10", "holes 7"},
	"Execute execute":                     {"holes 7", "holes 24"},
	"Execute explain":                     {"postgres.md 17", "holes 19"},
	"Execute serializable":                {"holes 23"},
	"Execute prepare transaction":         {"holes 28"},
	"Execute commit prepared":             {"holes 28"},
	"Execute rollback prepared":           {"holes 28"},
	"Execute listen":                      {"postgres.md 12"},
	"Execute notify":                      {"postgres.md 12"},
	"Execute lock":                        {"postgres.md 19"},
	"Execute truncate":                    {"postgres.md 15"},
	"Execute do":                          {"postgres.md 3"},
	"Execute call":                        {"holes 14"},
	"Execute create":                      {"postgres.md 9", "holes 6"},
	"Execute select into":                 {"postgres.md 9"},
	"Execute alter":                       {"postgres.md 18"},
	"Execute set role":                    {"postgres.md 2", "museum 19"},
	"Execute set session authorization":   {"postgres.md 2"},
	"Execute set unlisted":                {"postgres.md 1", "holes 36"},
	"Execute set session characteristics": {"postgres.md 18"},
}

// denyAttacks returns one attack for each row that denies.
func denyAttacks() []attack {
	var all []attack
	for _, row := range slices.Sorted(maps.Keys(table)) {
		if table[row].Verdict != scope.Deny {
			continue
		}
		k := attack{
			name: row + " is refused", rows: []string{row}, refs: sampleRefs[row], class: prove.CanaryOnly,
			what: "Ask for what the table denies, in each way the protocol has: " + table[row].Why + ".",
		}
		want := refused(row)
		switch row {
		case "FunctionCall":
			k.refs = []string{"holes 17"}
			k.run = func(c *act) (*prove.Finding, error) { return c.callFunction(want) }
		case "CopyData":
			k.run = (*act).copyData
		case "Replication":
			k.refs = []string{"holes 17"}
			k.run = func(c *act) (*prove.Finding, error) { return c.replicate(want) }
		default:
			text, ok := samples[row]
			if !ok {
				continue // the test of this package and prove.Check say so
			}
			k.run = func(c *act) (*prove.Finding, error) { return c.denied(row, text, want) }
		}
		all = append(all, k)
	}
	return all
}

// refused returns the refusal of a row that denies, as the client hears it.
// It is computed before anything can change the table.
func refused(row string) func(severity string) spoken {
	rule := table[row]
	f := fault{code: states[refusal.Denied], message: refusal.Denied.Text(), hint: cmp.Or(rule.Hint, rule.Why)}
	return f.spoken
}

// spoken returns f as an attacker hears it.
func (f *fault) spoken(severity string) spoken {
	p, err := f.encode(nil, severity)
	if err != nil || len(p) < 5 {
		return spoken{'!', "cannot be said"}
	}
	return spoken{p[0], string(p[5:])}
}

// idle, open and broken are the ReadyForQuery of each state.
var (
	idle   = spoken{byte(pgwire.BackendReadyForQuery), string(pgwire.Idle)}
	broken = spoken{byte(pgwire.BackendReadyForQuery), string(pgwire.InFailed)}
)

// denied asks for one statement in each way the protocol has: alone, between
// two others, prepared only, prepared and run, in a transaction. Each time the
// answer is the refusal and nothing else, and the connection goes on as before.
func (c *act) denied(row, text string, words func(string) spoken) (*prove.Finding, error) {
	own, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	if len(own.values()) == 0 {
		return nil, errControl
	}
	parse := &pgwire.Parse{Query: text}
	between := &pgwire.Query{Text: c.rows() + "; " + text + "; " + c.rows()}
	no := words("ERROR")
	for _, try := range []struct {
		how  string
		ask  []pgwire.Message
		want replies
	}{
		{"Query", []pgwire.Message{&pgwire.Query{Text: text}}, replies{no, idle}},
		{"Query of three statements", []pgwire.Message{between}, replies{no, idle}},
		{"Query, disguised", []pgwire.Message{&pgwire.Query{Text: "/* a /* b */ */ -- c\n\t" + swapCase(text) + " ;"}}, replies{no, idle}},
		{"Parse", []pgwire.Message{parse, pgwire.Sync{}}, replies{no, idle}},
		{"Parse to Execute", []pgwire.Message{parse, &pgwire.Bind{}, &pgwire.Execute{}, pgwire.Sync{}}, replies{no, idle}},
		{"Query in a failed transaction", []pgwire.Message{
			&pgwire.Query{Text: "BEGIN"}, &pgwire.Query{Text: text}, &pgwire.Query{Text: "ROLLBACK"},
		}, replies{{'C', "BEGIN\x00"}, {'Z', "T"}, no, broken, {'C', "ROLLBACK\x00"}, idle}},
	} {
		got, err := c.a.ask(try.ask...)
		if err != nil {
			return nil, err
		}
		if f := c.differs(row, try.how+" "+text, got, try.want); f != nil {
			return f, nil
		}
	}
	after, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	return c.differs(row, "a read after "+text, after, own), nil
}

// swapCase changes the case of keywords: of all letters outside quotes.
func swapCase(text string) string {
	if strings.ContainsAny(text, `"'$`) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// callFunction calls pg_postmaster_start_time by its OID, past every statement.
func (c *act) callFunction(words func(string) spoken) (*prove.Finding, error) {
	for _, oid := range []uint32{2560, 2078} { // pg_postmaster_start_time, set_config
		body := []byte{byte(oid >> 24), byte(oid >> 16), byte(oid >> 8), byte(oid), 0, 0, 0, 0, 0, 0}
		got, err := c.a.ask(append(rawMessage{'F', 0, 0, 0, byte(4 + len(body))}, body...))
		if err != nil {
			return nil, err
		}
		if f := c.differs("FunctionCall", fmt.Sprintf("FunctionCall of %d", oid), got, replies{words("ERROR"), idle}); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// copyData sends COPY data where no COPY is in progress: it is dropped, as
// the server drops it, and nothing of it is taken for a row or a statement.
func (c *act) copyData() (*prove.Finding, error) {
	own, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	line := fmt.Sprintf("%d\tcopied\n", c.id+950)
	no := refused("Execute copy from stdin")("ERROR")
	got, err := c.a.ask(
		&pgwire.CopyData{Data: []byte(line)}, pgwire.CopyDone{},
		&pgwire.Query{Text: samples["Execute copy from stdin"]}, &pgwire.CopyData{Data: []byte(line)}, pgwire.CopyDone{},
		&pgwire.Query{Text: c.rows()},
	)
	if err != nil {
		return nil, err
	}
	return c.differs("CopyData", "CopyData", got, append(replies{no, idle}, own...)), nil
}

// replicate asks for the stream of everybody's changes.
func (c *act) replicate(words func(string) spoken) (*prove.Finding, error) {
	for _, value := range []string{"true", "on", "1", "database", "false"} {
		f, err := c.rejects("Replication", "startup with replication="+value, words("FATAL"), pgwire.Param{Name: "replication", Value: value})
		if f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}
