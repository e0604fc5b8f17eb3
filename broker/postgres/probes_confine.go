package postgres

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/scope"
)

// A chained is a statement of a row that lets its client through, and where it
// can stand: with what is written before it, in messages of their own, it is
// the first of its message to need the tenant's context.
type chained struct {
	before []string // each a Query
	text   string   // {} is the canary table
	behind string   // between the statement and the read that follows; "" is ";"
}

// inBlock is behind for what stands in a transaction that has its context.
const inBlock = "; COMMIT; "

// chain are statements of each row that lets its client through, in the
// place where that row alone decides whose rows the read behind it shows.
var chain = map[string]chained{
	"Execute begin":                {text: "BEGIN"},
	"Execute nested begin":         {before: []string{"BEGIN"}, text: "BEGIN"},
	"Execute set transaction":      {before: []string{"BEGIN"}, text: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"},
	"Execute deallocate":           {text: "DEALLOCATE ALL"},
	"Execute unlisten":             {text: "UNLISTEN *"},
	"Execute set":                  {text: "SET application_name = 'prove'"},
	"Execute reset":                {text: "RESET application_name"},
	"Execute show":                 {text: "SHOW server_version"},
	"Execute select":               {text: "SELECT count(*) FROM {}"},
	"Execute values":               {text: "VALUES ((SELECT min(body) FROM {}))"},
	"Execute table":                {text: "TABLE {}"},
	"Execute with":                 {text: "WITH x AS (SELECT body FROM {}) SELECT * FROM x"},
	"Execute copy to stdout":       {text: "COPY {} (body) TO STDOUT"},
	"Execute declare":              {before: []string{"BEGIN"}, text: "DECLARE c CURSOR FOR SELECT body FROM {}", behind: "; FETCH ALL FROM c; COMMIT; "},
	"Execute fetch":                {before: []string{"BEGIN; DECLARE c CURSOR FOR SELECT body FROM {}"}, text: "FETCH ALL FROM c", behind: inBlock},
	"Execute move":                 {before: []string{"BEGIN; DECLARE c CURSOR FOR SELECT body FROM {}"}, text: "MOVE ALL FROM c", behind: inBlock},
	"Execute close":                {before: []string{"BEGIN; DECLARE c CURSOR FOR SELECT body FROM {}"}, text: "CLOSE c", behind: inBlock},
	"Execute commit":               {text: "COMMIT"},
	"Execute commit and chain":     {before: []string{"BEGIN; SELECT 1"}, text: "COMMIT AND CHAIN"},
	"Execute rollback":             {text: "ROLLBACK"},
	"Execute rollback and chain":   {before: []string{"BEGIN; SELECT 1"}, text: "ROLLBACK AND CHAIN"},
	"Execute savepoint":            {before: []string{"BEGIN"}, text: "SAVEPOINT s"},
	"Execute release":              {before: []string{"BEGIN; SAVEPOINT s"}, text: "RELEASE s", behind: inBlock},
	"Execute rollback to":          {before: []string{"BEGIN; SAVEPOINT s", "SELECT 1/0"}, text: "ROLLBACK TO s", behind: inBlock},
	"Execute select for update":    {text: "SELECT body FROM {} WHERE false FOR UPDATE"},
	"Execute with write":           {text: "WITH x AS (DELETE FROM {} WHERE false RETURNING body) SELECT * FROM x"},
	"Execute copy write to stdout": {text: "COPY (DELETE FROM {} WHERE false RETURNING body) TO STDOUT"},
	"Execute insert":               {text: "INSERT INTO {} (id, body) SELECT 1, '' WHERE false"},
	"Execute update":               {text: "UPDATE {} SET body = '' WHERE false"},
	"Execute delete":               {text: "DELETE FROM {} WHERE false"},
	"Execute merge":                {text: "MERGE INTO {} USING (SELECT 1 AS x WHERE false) s ON id = s.x WHEN MATCHED THEN DELETE"},
	"Execute set constraints":      {before: []string{"BEGIN"}, text: "SET CONSTRAINTS ALL IMMEDIATE"},
}

// chainRefs say where else an attack by a statement is known from.
var chainRefs = map[string][]string{
	"Execute set transaction": {"holes 15"}, "Execute commit and chain": {"holes 14"}, "Execute rollback and chain": {"holes 14"},
}

// confineAttacks returns one attack for each row that lets its client through.
func confineAttacks() []attack {
	var all []attack
	for _, row := range slices.Sorted(maps.Keys(table)) {
		if table[row].Verdict == scope.Deny {
			continue
		}
		k := attack{
			name: row + " stays with its tenant", rows: []string{row}, class: prove.CanaryOnly,
			what: "Read on behind it, in its own message: " + table[row].Why + ".",
		}
		sample, ok := chain[row]
		switch {
		case ok:
			k.refs = append([]string{"holes 1"}, chainRefs[row]...)
			k.run = func(c *act) (*prove.Finding, error) { return c.chained(row, sample) }
		case conversations[row] != nil:
			k.what = "Compare every byte of its answer with the one that is due: " + table[row].Why + "."
			k.refs = []string{"museum 14"}
			k.run = func(c *act) (*prove.Finding, error) { return c.converse(row, conversations[row]) }
		case row == "Startup":
			k.what = "Compare every byte of the greeting but the cancel key for A with B's: it tells nothing of anybody."
			k.run = (*act).greetings
		default:
			continue
		}
		all = append(all, k)
	}
	return all
}

// chained runs a statement and reads behind it in the same message: A sees its
// own rows, all of them, and nothing of B's.
func (c *act) chained(row string, s chained) (*prove.Finding, error) {
	for _, text := range s.before {
		if _, err := c.a.query("%s", onTable(text)); err != nil {
			return nil, err
		}
	}
	behind := s.behind
	if behind == "" {
		behind = "; "
	}
	text := onTable(s.text)
	got, err := c.a.query("%s%s%s", text, behind, c.rows())
	if err != nil {
		return nil, err
	}
	how := text + behind + "SELECT"
	if f := c.leaks(row, how, got); f != nil {
		return f, nil
	}
	own := make([]string, 10)
	for i := range own {
		own[i] = fmt.Sprintf("%s %d", c.t.A.Canary, c.id+i)
	}
	if v := got.values(); got.failure() != nil || len(v) < 10 || !slices.Equal(v[len(v)-10:], own) {
		return &prove.Finding{
			Row: Name + "/" + row, Got: fmt.Sprintf("to %s: %.300s", how, got), Want: "A's own rows last",
			Evidence: fmt.Sprintf("%.300q, not %.300q", v, own),
		}, nil
	}
	return c.intact(row, how)
}

// onTable writes the canary table for {}.
func onTable(text string) string { return strings.ReplaceAll(text, "{}", canaryTable) }

// rejects tries to log A in with params, and returns a finding unless the door
// says the given words and nothing else.
func (c *act) rejects(row, how string, words spoken, params ...pgwire.Param) (*prove.Finding, error) {
	token, err := c.t.A.Token(c, Name, read, write)
	if err != nil {
		return nil, err
	}
	a, err := enterWith(c, c.t, token, params...)
	if err == nil {
		defer a.close()
	}
	return c.turned(row, how, words, a, err)
}

// turned returns a finding unless the door turned somebody away with the given
// words and no others.
func (c *act) turned(row, how string, words spoken, a *attacker, err error) (*prove.Finding, error) {
	if err == nil {
		s, err := a.query("%s", c.rows())
		if err != nil {
			return nil, err
		}
		if f := c.leaks(row, how, s); f != nil {
			return f, nil
		}
		return &prove.Finding{Row: Name + "/" + row, Got: how + " is let in", Want: fmt.Sprintf("%q", words.body), Evidence: a.greeting.String()}, nil
	}
	r, ok := errors.AsType[*rejection](err)
	if !ok {
		return nil, err
	}
	last := slices.DeleteFunc(slices.Clone(r.replies), func(h spoken) bool {
		return h.kind == '!' || pgwire.Backend(h.kind) == pgwire.BackendAuthentication && h.body == "\x00\x00\x00\x03"
	})
	return c.differs(row, how, last, replies{words}), nil
}
