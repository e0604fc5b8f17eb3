package postgres

import (
	"fmt"
	"strings"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
)

// A pair is a statement about one id: asked of a row of B's and of a row that
// nobody has, it must answer the same, byte for byte. In its text {} is the
// canary table, {id} the id, {own} the id of a row of A's, {B} B's tenant id,
// {canary} B's canary.
type pair struct {
	row  string
	text string
	refs []string
}

// pairs are run within a transaction that is rolled back.
var pairs = []pair{
	{"Execute select", "SELECT body FROM {} WHERE id = {id}", nil},
	{"Execute select", "SELECT count(*), min(body), max(id) FROM {} WHERE id BETWEEN {id} AND {id} + 4", nil},
	{"Execute select", "SELECT EXISTS (SELECT FROM {} WHERE id = {id})", nil},
	{"Execute select", "SELECT body FROM {} WHERE tenant_id = '{B}' AND id = {id}", []string{"museum 27"}},
	{"Execute select", "SELECT a.body FROM {} a FULL JOIN {} b ON a.id = b.id WHERE b.id = {id} OR a.id = {id}", nil},
	{"Execute select", "SELECT row_number() OVER (ORDER BY id) FROM {} WHERE id <= {id} AND id >= {own}", nil},
	{"Execute select", "SELECT id FROM {} WHERE id = {id} AND 1 / (CASE WHEN body LIKE '{canary}%' THEN 0 ELSE 1 END) = 1", []string{"postgres.md 22"}},
	{"Execute select", "SELECT id FROM {} WHERE id = {id} AND body::integer = 1", []string{"postgres.md 22"}},
	{"Execute select", "SELECT string_agg(body, ',') FROM {} WHERE id = {id} GROUP BY GROUPING SETS ((), (id))", nil},
	{"Execute select", "SELECT * FROM {} TABLESAMPLE BERNOULLI (100) WHERE id = {id}", nil},
	{"Execute select", "SELECT c FROM (SELECT {} AS c, id FROM {}) x WHERE id = {id}", nil},
	{"Execute values", "VALUES ((SELECT body FROM {} WHERE id = {id})), ('x')", nil},
	{"Execute table", "TABLE {}", nil},
	{"Execute with", "WITH RECURSIVE x(id, body) AS (SELECT id, body FROM {} WHERE id = {id} UNION SELECT c.id, c.body FROM {} c JOIN x ON c.id = x.id + 1) SELECT * FROM x", nil},
	{"Execute copy to stdout", "COPY (SELECT body FROM {} WHERE id = {id}) TO STDOUT", nil},
	{"Execute copy to stdout", "COPY {} (id, body) TO STDOUT (FORMAT csv)", nil},
	{"Execute select for update", "SELECT body FROM {} WHERE id = {id} FOR UPDATE", nil},
	{"Execute select for update", "SELECT body FROM {} WHERE id = {id} FOR KEY SHARE SKIP LOCKED", nil},
	{"Execute insert", "INSERT INTO {} (id, body) VALUES ({id}, 'x')", []string{"postgres.md 16"}},
	{"Execute insert", "INSERT INTO {} (id, body) VALUES ({id}, 'x') ON CONFLICT DO NOTHING", []string{"postgres.md 16"}},
	{"Execute insert", "INSERT INTO {} (id, body) VALUES ({id}, 'x') ON CONFLICT (tenant_id, id) DO UPDATE SET body = {}.body || 'y' RETURNING body", []string{"postgres.md 16"}},
	{"Execute insert", "INSERT INTO {} (tenant_id, id, body) VALUES ('{B}', {id}, 'x')", []string{"museum 24"}},
	{"Execute insert", "INSERT INTO {} (tenant_id, id, body) VALUES ('{B}', {id}, 'x') ON CONFLICT DO NOTHING", []string{"postgres.md 16"}},
	{"Execute insert", "INSERT INTO {} (tenant_id, id, body) VALUES ('{B}', {id}, 'x') ON CONFLICT (tenant_id, id) DO UPDATE SET body = 'y' RETURNING {}.body", []string{"postgres.md 16"}},
	{"Execute insert", "INSERT INTO {} (id, body) SELECT id + 90, body FROM {} WHERE id = {id} RETURNING body", nil},
	{"Execute insert", "INSERT INTO {} (id, body) VALUES ({own} + 950, (SELECT body FROM {} WHERE id = {id})) RETURNING body", nil},
	{"Execute update", "UPDATE {} SET body = 'x' WHERE id = {id} RETURNING id", nil},
	{"Execute update", "UPDATE {} SET body = 'x' WHERE id = {id} AND tenant_id = '{B}'", nil},
	{"Execute update", "UPDATE {} SET id = {id} WHERE id = {own}", []string{"postgres.md 16"}},
	{"Execute update", "UPDATE {} SET tenant_id = '{B}', id = {id} WHERE id = {own}", nil},
	{"Execute update", "UPDATE {} a SET body = b.body FROM {} b WHERE a.id = {own} AND b.id = {id} RETURNING a.body", nil},
	{"Execute delete", "DELETE FROM {} WHERE id = {id} RETURNING body", nil},
	{"Execute delete", "DELETE FROM {} a USING {} b WHERE a.id = {own} AND b.id = {id}", nil},
	{"Execute merge", "MERGE INTO {} a USING (SELECT {id} AS id) s ON a.id = s.id WHEN MATCHED THEN UPDATE SET body = 'x' WHEN NOT MATCHED THEN INSERT (id, body) VALUES (s.id, 'x')", nil},
	{"Execute merge", "MERGE INTO {} a USING (SELECT id, body FROM {} WHERE id = {id}) s ON a.id = {own} WHEN MATCHED THEN DELETE", nil},
	{"Execute merge", "MERGE INTO {} a USING (SELECT {id} AS id) s ON a.id = s.id WHEN NOT MATCHED THEN INSERT (tenant_id, id, body) VALUES ('{B}', s.id, 'x')", nil},
	{"Execute with write", "WITH x AS (DELETE FROM {} WHERE id = {id} RETURNING body) SELECT * FROM x", []string{"holes 24"}},
	{"Execute with write", "WITH x AS (UPDATE {} SET body = body || 'x' WHERE id = {id} RETURNING body) SELECT count(*) FROM x", []string{"holes 24"}},
	{"Execute copy write to stdout", "COPY (DELETE FROM {} WHERE id = {id} RETURNING body) TO STDOUT", []string{"holes 24"}},
	{"Execute copy write to stdout", "COPY (UPDATE {} SET body = 'x' WHERE id = {id} RETURNING id) TO STDOUT", []string{"holes 24"}},
	{"Execute declare", "DECLARE c SCROLL CURSOR FOR SELECT body FROM {} WHERE id = {id}; FETCH ALL FROM c", nil},
	{"Execute fetch", "DECLARE c CURSOR FOR SELECT body FROM {} WHERE id = {id} FOR UPDATE; FETCH ALL FROM c", nil},
	{"Execute move", "DECLARE c CURSOR FOR SELECT body FROM {} WHERE id = {id}; MOVE ALL FROM c", nil},
	{"Execute close", "DECLARE c CURSOR FOR SELECT body FROM {} WHERE id = {id}; FETCH c; CLOSE c; SELECT count(*) FROM {} WHERE id = {id}", nil},
	{"Execute savepoint", "SAVEPOINT s; DELETE FROM {} WHERE id = {id}; ROLLBACK TO s; RELEASE s; SELECT body FROM {} WHERE id = {id}", []string{"holes 1"}},
	{"Execute set constraints", "SET CONSTRAINTS ALL DEFERRED; INSERT INTO {} (id, body) VALUES ({id}, 'x'); SET CONSTRAINTS ALL IMMEDIATE", []string{"postgres.md 16"}},
}

func (p pair) text4(c *act, id int) string {
	return strings.NewReplacer("{}", canaryTable, "{id}", fmt.Sprint(id), "{own}", fmt.Sprint(c.id),
		"{B}", c.t.B.ID, "{canary}", c.t.B.Canary).Replace(p.text)
}

// pairAttacks returns one attack for each row that pairs are about.
func pairAttacks() []attack {
	byRow := map[string][]pair{}
	var rows []string
	for _, p := range pairs {
		if byRow[p.row] == nil {
			rows = append(rows, p.row)
		}
		byRow[p.row] = append(byRow[p.row], p)
	}
	var all []attack
	for _, row := range rows {
		k := attack{
			name: row + " tells B's row from none", rows: []string{row}, class: prove.CanaryOnly,
			what: "Ask for a row of B's and for one that nobody has, and compare the answers byte by byte; then look at B's rows.",
			run:  func(c *act) (*prove.Finding, error) { return c.pairs(row, byRow[row]) },
		}
		for _, p := range byRow[row] {
			for _, ref := range p.refs {
				k.refs = appendNew(k.refs, ref)
			}
		}
		all = append(all, k)
	}
	return all
}

func appendNew(to []string, s string) []string {
	for _, t := range to {
		if t == s {
			return to
		}
	}
	return append(to, s)
}

// pairs asks each of them about B's row and about nobody's, in the simple
// protocol and, where it is one statement, with its id as a parameter.
func (c *act) pairs(row string, ps []pair) (*prove.Finding, error) {
	for _, p := range ps {
		if f, err := c.pair(p); f != nil || err != nil {
			return f, err
		}
		if !strings.Contains(p.text, ";") && !strings.Contains(p.text, "CURSOR") && !strings.HasPrefix(p.text, "COPY") && strings.Contains(p.text, "{id}") {
			if f, err := c.prepared(p); f != nil || err != nil {
				return f, err
			}
		}
	}
	return c.intact(row, "asking for them")
}

func (c *act) pair(p pair) (*prove.Finding, error) {
	var answers []replies
	for _, id := range []int{c.id + 500, c.id + 910} {
		var all replies
		for _, text := range []string{"BEGIN", p.text4(c, id), "ROLLBACK"} {
			s, err := c.a.query("%s", text)
			if err != nil {
				return nil, err
			}
			all = append(all, s...)
		}
		answers = append(answers, anonymous(all, id))
	}
	if f := c.leaks(p.row, p.text, answers[0]); f != nil || !strings.Contains(p.text, "{id}") {
		return f, nil // A's other rows may have changed meanwhile
	}
	return c.differs(p.row, p.text, answers[0], answers[1]), nil
}

// prepared is pair in the extended protocol, by one prepared statement.
func (c *act) prepared(p pair) (*prove.Finding, error) {
	p.text = strings.ReplaceAll(p.text, "{id}", "$1::bigint")
	text := p.text4(c, 0)
	var answers []replies
	for _, id := range []int{c.id + 500, c.id + 910} {
		s, err := c.a.ask(
			&pgwire.Query{Text: "BEGIN"},
			&pgwire.Parse{Name: "pair", Query: text}, &pgwire.Describe{Target: pgwire.Statement, Name: "pair"},
			&pgwire.Bind{Statement: "pair", Params: [][]byte{[]byte(fmt.Sprint(id))}}, &pgwire.Execute{}, pgwire.Sync{},
			&pgwire.Query{Text: "ROLLBACK"},
			&pgwire.Close{Target: pgwire.Statement, Name: "pair"}, pgwire.Sync{},
		)
		if err != nil {
			return nil, err
		}
		answers = append(answers, anonymous(s, id))
	}
	return c.differs(p.row, p.text, answers[0], answers[1]), nil
}

// anonymous returns s without the id that was asked for: an answer may repeat it.
func anonymous(s replies, id int) replies {
	clean := make(replies, len(s))
	for i, h := range s {
		clean[i] = spoken{h.kind, strings.ReplaceAll(h.body, fmt.Sprint(id), "<id>")}
	}
	return clean
}
