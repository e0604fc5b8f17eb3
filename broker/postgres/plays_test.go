package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/isocore/isocore/internal/pgwire"
)

func all(parts ...[]pgwire.Message) []pgwire.Message { return slices.Concat(parts...) }

func one(m ...pgwire.Message) []pgwire.Message { return m }

func queries(texts ...string) play {
	var ms []pgwire.Message
	for _, t := range texts {
		ms = append(ms, q(t))
	}
	return say(ms...)
}

func repeat(n int, ms ...pgwire.Message) []pgwire.Message { return slices.Repeat(ms, n) }

// TestPlays compares the broker with a plain server, message by message.
func TestPlays(t *testing.T) {
	w := newTwin(t)
	for _, set := range []map[string]play{simplePlays, transactionPlays, extendedPlays, pipelinePlays, dataPlays} {
		for name, s := range set {
			t.Run(name, func(t *testing.T) {
				if strings.HasPrefix(name, "late") {
					t.Parallel()
				}
				w.compare(t, s)
			})
		}
	}
}

var differences = map[string]struct {
	play play
	want []string // of the lines that matter, in order
	why  string
}{
	"what nobody knows is not asked": {
		queries("SELECT 1; SELEC 2"),
		[]string{"Error C=0A000 M=not supported here", "Ready I"},
		"a statement of no known kind is not in the table",
	},
	"a cursor needs a block of the client's": {
		queries("SELECT 1; DECLARE c CURSOR FOR SELECT 2; FETCH c"),
		[]string{`Row "1"`, "Error C=25P01 M=DECLARE CURSOR can only be used in transaction blocks", "Ready I"},
		"statements of a Query are sent as the extended protocol's, which has no block for them",
	},
	"SET LOCAL warns": {
		queries("SELECT 1; SET LOCAL timezone = 'UTC'; SHOW timezone"),
		[]string{`Row "1"`, "Notice C=25P01", "Complete SET", `Row "UTC"`, "Ready I"},
		"the same",
	},
	"a mode is set before anything": {
		queries("BEGIN", "SHOW timezone", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "ROLLBACK"),
		[]string{"Complete BEGIN", "Complete SHOW", "Error C=25001", "Ready E", "Complete ROLLBACK"},
		"the context is given by a query, before the first statement",
	},
	"a binary cursor is fetched as text by a Query": {
		queries("BEGIN; DECLARE c BINARY CURSOR FOR SELECT 7; FETCH c; COMMIT"),
		[]string{`Row "7"`, "Complete COMMIT"},
		"a Query's answers are asked for as text",
	},
	"a cursor of SQL is no portal": {
		say(q("BEGIN; DECLARE c CURSOR FOR SELECT 7"), e("c"), syn, q("ROLLBACK")),
		[]string{"Error C=34000", "Ready E"},
		"what a portal's Execute would run was not judged",
	},
	"no detail of a violation": {
		queries("INSERT INTO doc (id, title) VALUES (1, 'x')"),
		[]string{"Error C=23505"},
		"the server leaves it out under row security",
	},
}

// TestDiffers says what the broker answers where it cannot or will not answer
// as the server does.
func TestDiffers(t *testing.T) {
	f := newFixture(t)
	for name, c := range differences {
		t.Run(name, func(t *testing.T) {
			if got := f.as(t).perform(t, c.play); !contains(got, c.want) {
				t.Errorf("%s\nplayed:\n%s\ngot:\n\t%s\nwant among it:\n\t%s", c.why, c.play, strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}

// contains reports whether lines has lines with the words of each of want, in
// this order.
func contains(lines, want []string) bool {
	for _, w := range want {
		at := slices.IndexFunc(lines, func(l string) bool {
			for _, word := range strings.Fields(w) {
				if !strings.Contains(l, word) {
					return false
				}
			}
			return true
		})
		if at < 0 {
			return false
		}
		lines = lines[at+1:]
	}
	return true
}

const ins = "INSERT INTO doc (id, title) VALUES (1001, 'x')"

var simplePlays = map[string]play{
	"no statement":          queries(""),
	"semicolons":            queries(";; ;"),
	"comment":               queries("-- nothing", "/* nothing */"),
	"one":                   queries("SELECT id, title FROM doc WHERE id < 4 ORDER BY id"),
	"several":               queries("SELECT 1; SELECT 'two'; SELECT id FROM doc WHERE id = 3"),
	"empty among":           queries("SELECT 1;; SELECT 2;"),
	"white space":           queries("  \n SELECT 1 \n ;\n  SELECT nope"),
	"error first":           queries("SELECT nope; SELECT 1", "SELECT 2"),
	"error in the middle":   queries("SELECT 1; SELECT nope; SELECT 2", "SELECT 3"),
	"position":              queries("SELECT 'ä'; /* ö */ SELECT nope, 1"),
	"position later":        queries("SELECT 1; SELECT 2;\n\n  SELECT id FROM doc WHERE nope = 1; SELECT 3"),
	"run-time error":        queries("SELECT 1/0"),
	"error after rows":      queries("SELECT 10/(5-i) FROM generate_series(3, 6) i"),
	"unterminated":          queries("SELECT 'abc", "SELECT 1; SELECT \"x", "SELECT /* 1", "SELECT $a$ x"),
	"not UTF-8":             queries("SELECT 'a\xff'"),
	"undone":                queries("INSERT INTO doc (id, title) VALUES (2001, 'x'); SELECT nope", "SELECT count(*) FROM doc"),
	"notice":                queries("SET client_min_messages = error; SET client_min_messages = notice", "SELECT 1 AS "+strings.Repeat("x", 70)),
	"set":                   queries("SET application_name = 'x'; SHOW application_name", "SET timezone = 'UTC'", "RESET timezone"),
	"set local":             queries("BEGIN; SET LOCAL timezone = 'UTC'; SHOW timezone; COMMIT; SHOW application_name"),
	"set and roll back":     queries("BEGIN; SET application_name = 'y'; ROLLBACK", "SHOW application_name"),
	"reset all":             queries("SET extra_float_digits = 0; RESET ALL; SHOW extra_float_digits", "BEGIN; SELECT count(*) FROM doc; RESET ALL; SELECT count(*) FROM doc; COMMIT"),
	"returning":             queries("BEGIN; INSERT INTO doc (id, title) VALUES (1002, 'y') RETURNING id, title, tenant_id; ROLLBACK"),
	"update delete":         queries("BEGIN; UPDATE doc SET body = 'z' WHERE id < 4; DELETE FROM doc WHERE id < 3 RETURNING id; ROLLBACK"),
	"with":                  queries("WITH a AS (SELECT id FROM doc WHERE id < 3) SELECT * FROM a ORDER BY 1"),
	"values and table":      queries("VALUES (1, 'a'), (2, NULL)", "TABLE wide"),
	"duplicate":             queries("INSERT INTO doc (id, title) VALUES (1, 'x')"),
	"null violation":        queries("INSERT INTO doc (id) VALUES (7)"),
	"unknown table":         queries("SELECT * FROM nowhere"),
	"deallocate unknown":    queries("DEALLOCATE nobody", "BEGIN; DEALLOCATE nobody; COMMIT", "ROLLBACK"),
	"deallocate all":        queries("DEALLOCATE ALL", "BEGIN", "SELECT nope", "DEALLOCATE ALL", "ROLLBACK"),
	"unlisten":              queries("UNLISTEN *"),
	"for update":            queries("BEGIN; SELECT id FROM doc WHERE id < 3 ORDER BY id FOR UPDATE; ROLLBACK"),
	"unreadable in a block": queries("BEGIN", "SELECT 'x", "SELECT 1", "ROLLBACK"),
	"long text":             queries("SELECT '" + strings.Repeat("x", 100_000) + "'"),
	"a hundred statements":  queries(strings.Repeat("SELECT 1;", 100)),
}

var transactionPlays = map[string]play{
	"begin":                       queries("BEGIN", "COMMIT"),
	"begin and roll back":         queries("BEGIN", "ROLLBACK"),
	"other words":                 queries("START TRANSACTION", "END", "BEGIN WORK", "ABORT", "BEGIN TRANSACTION", "COMMIT WORK"),
	"begin twice":                 queries("BEGIN", "BEGIN", "COMMIT"),
	"begin thrice":                queries("BEGIN; BEGIN; BEGIN; SELECT 1", "COMMIT"),
	"begin in mid-query":          queries("SELECT 1; BEGIN; SELECT 2", "SELECT 3", "COMMIT"),
	"begin last":                  queries("SELECT 1; BEGIN", "COMMIT"),
	"begin and empty":             queries("BEGIN", "", "-- x", "COMMIT"),
	"commit without":              queries("COMMIT", "ROLLBACK"),
	"commit without in a query":   queries("SELECT 1; COMMIT; SELECT 2", "SELECT 1; ROLLBACK; SELECT 2"),
	"commit in mid-query":         queries("INSERT INTO late (id) VALUES (50); COMMIT; SELECT nope", "SELECT id FROM late WHERE id = 50", "DELETE FROM late WHERE id = 50"),
	"several blocks in a query":   queries("BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; COMMIT; SELECT 3"),
	"mode":                        queries("BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SHOW transaction_isolation", "COMMIT"),
	"mode in begin":               queries("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", "SHOW transaction_isolation", "SHOW transaction_read_only", ins, "ROLLBACK"),
	"mode twice":                  queries("BEGIN; SET TRANSACTION READ ONLY; SET TRANSACTION READ WRITE; SELECT 1; COMMIT"),
	"mode without":                queries("SET TRANSACTION READ ONLY"),
	"mode too late":               queries("BEGIN", "SELECT id FROM doc WHERE id = 1", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "ROLLBACK"),
	"read only by setting":        queries("SET default_transaction_read_only = on", ins, "RESET default_transaction_read_only"),
	"error in a block":            queries("BEGIN", "SELECT nope", "SELECT 1", "ROLLBACK", "SELECT 1"),
	"error and commit":            queries("BEGIN", ins, "SELECT nope", "COMMIT", "SELECT count(*) FROM doc WHERE id = 1001"),
	"error at once":               queries("BEGIN; SELECT nope; SELECT 2", "ROLLBACK"),
	"error before begin":          queries("SELECT nope; BEGIN; SELECT 1", "SELECT 2"),
	"empty in a failed block":     queries("BEGIN", "SELECT nope", "", "ROLLBACK"),
	"begin in a failed block":     queries("BEGIN", "SELECT nope", "BEGIN", "ROLLBACK"),
	"set in a failed block":       queries("BEGIN", "SELECT nope", "SET TRANSACTION READ ONLY", "SET application_name = 'x'", "RESET ALL", "ROLLBACK"),
	"savepoint":                   queries("BEGIN", "SAVEPOINT a", ins, "SELECT nope", "ROLLBACK TO a", "SELECT count(*) FROM doc", "RELEASE a", "COMMIT"),
	"savepoints":                  queries("BEGIN; SAVEPOINT a; SAVEPOINT b; ROLLBACK TO SAVEPOINT a; ROLLBACK TO b", "ROLLBACK"),
	"savepoint without":           queries("SAVEPOINT a", "SELECT 1; SAVEPOINT a", "ROLLBACK TO a", "RELEASE a"),
	"chain":                       queries("BEGIN", "SELECT 1", "COMMIT AND CHAIN", "SELECT count(*) FROM doc", "ROLLBACK AND CHAIN", "SELECT count(*) FROM doc", "COMMIT AND NO CHAIN"),
	"chain at once":               queries("BEGIN; COMMIT AND CHAIN; SELECT count(*) FROM doc; ROLLBACK AND CHAIN; SELECT count(*) FROM doc", "ROLLBACK"),
	"chain keeps the mode":        queries("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "COMMIT AND CHAIN", "SHOW transaction_isolation", "SHOW transaction_read_only", "COMMIT"),
	"chain without":               queries("COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "SELECT 1; COMMIT AND CHAIN"),
	"chain after an error":        queries("BEGIN", "SELECT nope", "COMMIT AND CHAIN", "SELECT count(*) FROM doc", "ROLLBACK"),
	"roll back and chain failed":  queries("BEGIN", "SELECT nope", "ROLLBACK AND CHAIN", "SELECT count(*) FROM doc", "ROLLBACK"),
	"roll back in mid-query":      queries("INSERT INTO late (id) VALUES (51); ROLLBACK; SELECT count(*) FROM late WHERE id = 51"),
	"deferred at commit":          queries("BEGIN", "INSERT INTO late (id) VALUES (1), (1)", "COMMIT", "SELECT count(*) FROM late"),
	"deferred at the end":         queries("INSERT INTO late (id) VALUES (2), (2)", "SELECT count(*) FROM late"),
	"deferred in a query":         queries("INSERT INTO late (id) VALUES (2), (2); SELECT 1", "SELECT count(*) FROM late"),
	"deferred at commit, chained": queries("BEGIN; INSERT INTO late (id) VALUES (3), (3); COMMIT AND CHAIN; SELECT 1", "ROLLBACK"),
	"set constraints":             queries("BEGIN; SET CONSTRAINTS ALL IMMEDIATE; INSERT INTO late (id) VALUES (4), (4); SELECT 1", "ROLLBACK"),
	"cursor":                      queries("BEGIN", "DECLARE c CURSOR FOR SELECT id FROM doc ORDER BY id", "FETCH 2 FROM c", "MOVE 3 FROM c", "FETCH NEXT FROM c", "CLOSE c", "FETCH c", "ROLLBACK"),
	"cursor at once":              queries("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id FROM doc ORDER BY id; FETCH LAST FROM c; FETCH PRIOR FROM c; COMMIT"),
}

var extendedPlays = map[string]play{
	"unnamed":                 say(append(run("SELECT id, title FROM doc WHERE id = $1", "7"), syn)...),
	"unnamed again":           say(p("", "SELECT id FROM doc WHERE id = $1"), syn, b("", "", "3"), e(""), syn, b("", "", "4"), e(""), syn, q("SELECT 1"), b("", "", "5"), e(""), syn),
	"unnamed after an error":  say(p("", "SELECT id FROM doc WHERE id = $1"), syn, b("", "nobody"), syn, b("", "", "4"), e(""), syn, p("", "SELECT nope"), syn, b("", "", "5"), e(""), syn),
	"unnamed, described":      say(p("", "SELECT id FROM doc WHERE id = $1"), syn, d(""), syn, d(""), b("", "", "4"), dp(""), e(""), syn),
	"unnamed in a block":      say(p("", "SELECT 42"), syn, q("BEGIN"), p("", "SELECT 43"), syn, b("", ""), e(""), syn, q("COMMIT")),
	"unnamed across begin":    say(p("", "SELECT count(*) FROM doc"), syn, p("b", "BEGIN"), b("", "b"), e(""), syn, b("", ""), e(""), syn, q("COMMIT")),
	"described, then named":   say(p("n", "SELECT 2"), p("", "SELECT 1 AS one"), syn, d(""), b("", "n"), e(""), syn, d(""), p("", "SELECT 3 AS three"), b("", "n"), e(""), syn),
	"named":                   say(p("s", "SELECT id FROM doc WHERE id = $1"), d("s"), syn, b("", "s", "3"), e(""), syn, b("", "s", "4"), e(""), syn, c("s"), syn, b("", "s", "4"), e(""), syn),
	"named again":             say(p("s", "SELECT 1"), p("s", "SELECT 2"), b("", "s"), e(""), syn, b("", "s"), e(""), syn),
	"named, closed and again": say(p("s", "SELECT 1"), syn, c("s"), p("s", "SELECT 2"), b("", "s"), e(""), syn),
	"named deallocated":       say(p("s", "SELECT 1"), syn, q("DEALLOCATE s"), b("", "s"), e(""), syn, q("DEALLOCATE s")),
	"named, all deallocated":  say(p("s", "SELECT 1"), p("", "SELECT 5"), syn, p("x", "DEALLOCATE ALL"), b("", "x"), e(""), syn, b("", "s"), e(""), syn, b("", ""), e(""), syn),
	"failed names are not":    say(p("s", "SELECT nope"), syn, b("", "s"), e(""), syn, p("s", "SELECT 1"), b("", "s"), e(""), syn),
	"unknown statement":       say(b("", "nobody"), e(""), syn, d("nobody"), syn),
	"unknown portal":          say(e("nobody"), syn, dp("nobody"), syn, q("BEGIN"), e("nobody"), syn, q("SELECT 1"), q("ROLLBACK")),
	"close unknown":           say(c("nobody"), cp("nobody"), syn),
	"unknown in failed block": say(q("BEGIN"), q("SELECT nope"), b("", "nobody"), syn, e("x"), syn, p("", "SELECT 1; SELECT 2"), syn, q("ROLLBACK")),
	"several statements":      say(p("", "SELECT 1; SELECT 2"), b("", ""), e(""), syn),
	"empty":                   say(p("", ""), d(""), b("", ""), dp(""), e(""), syn, p("", "-- x"), b("", ""), e(""), syn),
	"trailing semicolon":      say(append(run("SELECT 1;"), syn)...),
	"parse error in a block":  say(q("BEGIN"), p("s", "SELECT nope"), syn, q("SELECT 1"), q("COMMIT")),
	"name taken in a block":   say(p("s", "SELECT 1"), syn, q("BEGIN"), p("s", "BEGIN"), syn, q("SELECT 1"), q("COMMIT")),
	"bind: too few":           say(p("", "SELECT $1::int"), b("", ""), e(""), syn),
	"bind: too many":          say(p("", "SELECT 1"), b("", "", "x"), e(""), syn),
	"bind: not a number":      say(p("", "SELECT $1::int"), b("", "", "x"), e(""), syn),
	"bind: portal exists":     say(q("BEGIN"), p("s", "SELECT 1"), b("p", "s"), b("p", "s"), e("p"), syn, q("ROLLBACK")),
	"bind: to begin":          say(q("BEGIN"), p("", "COMMIT"), b("", "", "x"), syn, q("ROLLBACK")),
	"run-time error":          say(all(run("SELECT 1/(id-5) FROM doc WHERE id BETWEEN 4 AND 6"), one(syn), run("SELECT 1"), one(syn))...),
	"row limit":               say(q("BEGIN"), p("", "SELECT id FROM doc ORDER BY id"), b("c", ""), en("c", 2), en("c", 3), syn, en("c", 1), syn, e("c"), e("c"), syn, q("COMMIT"), e("c"), syn),
	"row limit, no block":     say(p("", "SELECT id FROM doc ORDER BY id"), b("", ""), en("", 2), en("", 2), syn, en("", 2), syn),
	"row limit, exactly":      say(p("", "SELECT id FROM doc WHERE id < 3 ORDER BY id"), b("", ""), en("", 2), en("", 2), en("", 2), syn),
	"portals":                 say(q("BEGIN"), p("a", "SELECT id FROM doc ORDER BY id"), p("b", "SELECT id FROM doc ORDER BY id DESC"), b("x", "a"), b("y", "b"), dp("x"), en("x", 1), en("y", 1), en("x", 1), syn, cp("x"), e("x"), syn, q("ROLLBACK")),
	"portal of a query":       say(q("BEGIN"), p("", "SELECT id FROM doc ORDER BY id"), b("", ""), en("", 1), syn, q("SELECT 1"), en("", 1), syn, q("ROLLBACK")),
	"portal, fetched":         say(q("BEGIN"), p("", "SELECT id FROM doc ORDER BY id"), b("c", ""), syn, q("FETCH 2 FROM c"), en("c", 1), syn, q("ROLLBACK")),
	"written portal, fetched": say(q("BEGIN"), p("", "INSERT INTO doc (id, title) VALUES (5000, 'f') RETURNING id"), b("c", ""), syn, q("FETCH ALL FROM c"), q("ROLLBACK")),
	"insert portal again":     say(p("", ins), b("", ""), e(""), e(""), syn),
	"flush":                   say(p("", "SELECT id FROM doc WHERE id = 1"), d(""), flush).then("Columns", b("", ""), e(""), flush).then("Complete", syn),
	"flush alone":             say(flush, syn, flush, flush, syn),
	"flush of an error":       say(p("", "SELECT nope"), flush).then("Error", b("", ""), e(""), syn),
	"error without flush":     say(p("", "SELECT nope"), d(""), flush).then("Error", syn),
	"begin":                   say(all(run("BEGIN"), one(syn), run("SELECT 1"), one(syn), run("COMMIT"), one(syn))...),
	"begin and flush":         say(append(run("BEGIN"), flush)...).then("Complete", append(run("SELECT count(*) FROM doc"), flush)...).then("Complete", append(run("COMMIT"), syn)...),
	"begin in a group":        say(all(run("BEGIN"), run("SELECT count(*) FROM doc"), run("COMMIT"), one(syn))...),
	"begin after a statement": say(all(run(ins), run("BEGIN"), run("SELECT 1"), one(syn), run("ROLLBACK"), one(syn), one(q("SELECT count(*) FROM doc")))...),
	"begin executed twice":    say(p("", "BEGIN"), b("x", ""), e("x"), e("x"), syn, q("ROLLBACK")),
	"mode held":               say(all(run("BEGIN"), run("SET TRANSACTION READ ONLY"), run(ins), one(syn), run("ROLLBACK"), one(syn))...),
	"mode, extended":          say(all(run("SET TRANSACTION READ ONLY"), run(ins), one(syn))...),
	"commit in a group":       say(all(run(ins), run("COMMIT"), run("SELECT nope"), one(syn), one(q("DELETE FROM doc WHERE id = 1001")))...),
	"roll back in a group":    say(all(run(ins), run("ROLLBACK"), run("SELECT count(*) FROM doc WHERE id = 1001"), one(syn))...),
	"failed block in a group": say(all(one(q("BEGIN"), q("SELECT nope")), run("ROLLBACK"), run("SELECT count(*) FROM doc"), one(syn))...),
	"chain in a group":        say(all(run("BEGIN"), run("SELECT 1"), run("COMMIT AND CHAIN"), run("SELECT count(*) FROM doc"), run("ROLLBACK"), one(syn))...),
	"deferred at sync":        say(all(run("INSERT INTO late (id) VALUES (5), (5)"), run("SELECT 1"), one(syn), one(q("SELECT count(*) FROM late")))...),
	"deferred at commit":      say(all(run("BEGIN"), run("INSERT INTO late (id) VALUES (5), (5)"), run("COMMIT"), run("SELECT 1"), one(syn))...),
	"describe portal":         say(p("", "INSERT INTO doc (id, title) VALUES (6000, 'x') RETURNING id"), d(""), b("", ""), dp(""), syn),
	"describe begin":          say(p("", "BEGIN"), d(""), b("", ""), dp(""), e(""), syn, p("", "ROLLBACK"), d(""), b("", ""), dp(""), e(""), syn),
	"types given":             say(p("", "SELECT $1, $2", 23, 25), d(""), b("", "", "1", "x"), e(""), syn),
	"types unknown":           say(p("", "SELECT $1 = $2"), d(""), syn, p("", "SELECT $1", 99999), syn),
	"deallocate, extended":    say(p("s", "SELECT 1"), p("", "DEALLOCATE s"), b("", ""), dp(""), e(""), b("", "s"), syn),
}

var pipelinePlays = map[string]play{
	"error in the middle":    say(all(run("SELECT 1"), run("SELECT nope"), run("SELECT 2"), one(syn), run("SELECT 3"), one(syn))...),
	"undone":                 say(all(run(ins), run("SELECT nope"), one(syn), one(q("SELECT count(*) FROM doc WHERE id = 1001")))...),
	"several groups":         say(all(run("SELECT 1"), one(syn), run("SELECT nope"), one(syn), run("SELECT 2"), one(syn))...),
	"two hundred":            say(append(repeat(200, run("SELECT count(*) FROM doc")...), syn)...),
	"two hundred, named":     say(append([]pgwire.Message{p("s", "SELECT $1::int")}, append(repeat(200, b("", "s", "7"), e("")), syn)...)...),
	"two hundred groups":     say(repeat(200, append(run("SELECT 1"), syn)...)...),
	"many syncs":             say(repeat(50, syn)...),
	"mixed":                  say(all(run("SELECT 1"), one(q("SELECT 2")), run("SELECT 3"), one(syn), one(q("SELECT 4")))...),
	"mixed, no sync":         say(all(run(ins), one(q("SELECT count(*) FROM doc; SELECT nope")), one(q("SELECT count(*) FROM doc")))...),
	"failed, then a query":   say(all(run("SELECT nope"), one(q("SELECT 2"), q("SELECT 3")), run("SELECT 4"), one(syn), one(q("SELECT 5")))...),
	"refused name, query":    say(b("", "nobody"), q("SELECT 2"), syn, q("SELECT 3")),
	"begin, then a query":    say(append(run("BEGIN"), q("SELECT 2"), q("COMMIT"))...),
	"query, begin, error":    say(all(one(q("SELECT 1")), run("BEGIN"), run("SELECT nope"), one(q("SELECT 2")), one(syn), one(q("SELECT 3"), q("ROLLBACK")))...),
	"copy data dropped":      say(&pgwire.CopyData{Data: []byte("x")}, pgwire.CopyDone{}, q("SELECT 1"), &pgwire.CopyFail{Reason: "x"}, q("SELECT 2")),
	"sync in a block":        say(all(run("BEGIN"), one(syn, syn), run("SELECT 1"), one(syn, syn), run("COMMIT"), one(syn))...),
	"executes and no binds":  say(p("", "SELECT 1"), e(""), syn),
	"flushes among":          say(all(run("SELECT 1"), one(flush), run("SELECT 2"), one(flush), run("SELECT nope"), one(flush), run("SELECT 3"), one(flush, syn))...),
	"late commit":            say(all(run("SELECT pg_sleep(2.2)"), run("COMMIT"), run("SELECT count(*) FROM doc"), one(syn))...),
	"late commit in a query": queries("SELECT pg_sleep(2.2); COMMIT; SELECT count(*) FROM doc"),
	"late chain":             queries("BEGIN; SELECT pg_sleep(2.2); COMMIT AND CHAIN; SELECT count(*) FROM doc", "ROLLBACK"),
	"late bind":              say(p("", "SELECT pg_sleep(2.2)"), b("", ""), e(""), p("", "SELECT count(*) FROM doc"), flush).then("Complete", b("", ""), e(""), syn),
	"cursor, late":           queries("BEGIN", "SELECT pg_sleep(2.2)", "SELECT count(*) FROM doc", "COMMIT"),
}

var dataPlays = map[string]play{
	"binary":                say(p("", "SELECT * FROM wide WHERE id = $1"), &pgwire.Bind{ParamFormats: []pgwire.Format{1}, Params: [][]byte{{0, 0, 0, 3}}, ResultFormats: []pgwire.Format{1}}, dp(""), e(""), syn),
	"formats, one each":     say(p("", "SELECT id, small, raw FROM wide WHERE id = 3"), &pgwire.Bind{ResultFormats: []pgwire.Format{1, 0, 1}}, dp(""), e(""), syn),
	"formats, too many":     say(p("", "SELECT 1"), &pgwire.Bind{ResultFormats: []pgwire.Format{1, 0, 1}}, dp(""), e(""), syn),
	"NULL":                  say(p("", "SELECT $1::int, $2::text"), &pgwire.Bind{Params: [][]byte{nil, {}}}, e(""), syn),
	"every type":            queries("SELECT * FROM wide ORDER BY id"),
	"no rows":               queries("SELECT * FROM doc WHERE false"),
	"no columns":            queries("SELECT FROM doc WHERE id < 4", "SELECT"),
	"five megabytes":        queries("SELECT repeat('x', 5000000) FROM generate_series(1, 3)"),
	"hundred thousand rows": queries("SELECT i, 'row ' || i FROM generate_series(1, 100000) i"),
	"copy":                  queries("COPY doc TO STDOUT", "COPY (SELECT id, title FROM doc WHERE id < 4 ORDER BY id) TO STDOUT (FORMAT csv, HEADER)", "COPY wide (id, raw) TO STDOUT (FORMAT binary)"),
	"copy among":            queries("SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3"),
	"copy, extended":        say(all(run("COPY (SELECT id FROM doc WHERE id < 3 ORDER BY id) TO STDOUT"), run("SELECT 1"), one(syn))...),
	"copy with an error":    queries("COPY (SELECT 10/(5-i) FROM generate_series(2, 9) i) TO STDOUT", "SELECT 1"),
	"copy of nothing there": queries("COPY nowhere TO STDOUT", "COPY (SELECT nope) TO STDOUT"),
	"copy, many rows":       queries("COPY (SELECT i FROM generate_series(1, 50000) i) TO STDOUT"),
	"big parameter":         say(p("", "SELECT length($1)"), b("", "", strings.Repeat("ü", 1_000_000)), e(""), syn),
}
