package pgsql

import (
	_ "embed"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/isocore/isocore/refusal"
)

//go:embed testdata/statements.txt
var statements string

// A line is one text of testdata/statements.txt.
type line struct {
	kinds   []string
	text    string
	grammar bool // accepts it
}

func lines(t testing.TB) []line {
	t.Helper()
	marks := strings.NewReplacer("⏎", "\n", "␍", "\r", "⇥", "\t")
	var all []line
	for l := range strings.Lines(statements) {
		l = strings.TrimSuffix(l, "\n")
		if l == "" || strings.HasPrefix(l, "##") {
			continue
		}
		kinds, text, found := strings.Cut(l, ": ")
		if !found {
			t.Fatalf("%q has no kinds", l)
		}
		kinds, refused := strings.CutPrefix(kinds, "!")
		all = append(all, line{strings.Split(kinds, " ; "), marks.Replace(text), !refused})
	}
	return all
}

// TestStatements is the corpus: our kinds, and the real grammar's opinion.
func TestStatements(t *testing.T) {
	seen := map[string]bool{"": true}
	for _, l := range lines(t) {
		got, err := Split(l.text)
		if err != nil {
			t.Errorf("%q: %v", l.text, err)
			continue
		}
		var kinds []string
		for _, s := range got {
			kind := Classify(s.Text).Kind
			seen[kind] = true
			if kind == "" {
				kind = "-"
			}
			kinds = append(kinds, kind)
		}
		if !slices.Equal(kinds, l.kinds) {
			t.Errorf("%q is %q, not %q", l.text, kinds, l.kinds)
		}
		want, err := grammar(l.text)
		if (err == nil) != l.grammar {
			t.Errorf("%q: the grammar says %v", l.text, err)
		}
		if err == nil {
			agree(t, l.text, want)
		}
	}
	for _, k := range Kinds() {
		if !seen[k] {
			t.Errorf("no statement is %q", k)
		}
	}
	for k := range seen {
		if k != "" && !slices.Contains(Kinds(), k) {
			t.Errorf("%q is not listed", k)
		}
	}
}

func TestKindsAreSorted(t *testing.T) {
	if !slices.IsSorted(kinds[:]) || !slices.IsSorted(uncallable[:]) || !slices.IsSorted(leads[:]) {
		t.Error("they are not")
	}
}

func TestSplitRefuses(t *testing.T) {
	for text, want := range map[string]SyntaxError{
		"select '":                {"quoted string", 7, 8},
		"select 'é' 'x\\''":       {"quoted string", 12, 12},
		"select E'\\'":            {"quoted string", 7, 8},
		"select E'a\\":            {"quoted string", 7, 8},
		"select 'a'\n'b":          {"quoted string", 7, 8},
		"select B'1":              {"bit string", 7, 8},
		"select U&'x":             {"quoted string", 7, 8},
		"é \"x":                   {"quoted identifier", 3, 3},
		"select \"x\"\"":          {"quoted identifier", 7, 8},
		"select U&\"x":            {"quoted identifier", 7, 8},
		"select $$ $":             {"dollar-quoted string", 7, 8},
		"select $a$ $A$ $b$ $aa$": {"dollar-quoted string", 7, 8},
		"select 1 /* /* */":       {"comment", 9, 10},
		"/*/":                     {"comment", 0, 1},
	} {
		_, err := Split(text)
		if got, ok := errors.AsType[*SyntaxError](err); !ok || *got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if c := Classify(text); !reflect.DeepEqual(c, Class{Writes: true}) {
			t.Errorf("%q is %+v", text, c)
		}
		if _, err := Calls(text); err == nil {
			t.Errorf("%q has calls", text)
		}
		if _, err := grammar(text); err == nil {
			t.Errorf("the grammar reads %q", text)
		}
	}
}

func TestLimits(t *testing.T) {
	for text, want := range map[string]refusal.Reason{
		"select '\xff'":                           refusal.Malformed,
		"select 1\x00":                            refusal.Malformed,
		strings.Repeat(" ", MaxText+1):            refusal.TooLarge,
		strings.Repeat("/*", maxNesting+1):        refusal.TooLarge,
		strings.Repeat("begin;", MaxStatements+1): refusal.TooLarge,
	} {
		if _, err := Split(text); refusal.Of(err) != want {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	many, err := Split(strings.Repeat("begin;", MaxStatements))
	if err != nil || len(many) != MaxStatements || many[1].Start != 6 {
		t.Errorf("%d statements, %v", len(many), err)
	}
	nested := strings.Repeat("/*", maxNesting) + strings.Repeat("*/", maxNesting) + "select 1"
	if got := Classify(nested).Kind; got != "select" {
		t.Errorf("nested comments: %q", got)
	}
	if got, err := Split(strings.Repeat(";", MaxText)); err != nil || len(got) != 1 || !got[0].Empty() {
		t.Errorf("semicolons: %d, %v", len(got), err)
	}
	if got := Classify(strings.Repeat("(", MaxText-8) + "select 1").Kind; got != "select" {
		t.Errorf("parentheses: %q", got)
	}
}

// Large texts that repeat what a scanner may look at twice: each
// must take a time proportional to its length, which the test's own limit
// shows.
func TestNothingIsQuadratic(t *testing.T) {
	for _, unit := range []string{
		"+", "-+", "=+", "=-", "a.", "a(", "a1(", "'a'\n", "'a'--\n", "$a ", "$a$ $a$ ", "(", "((a)", ")", "for no ", "for ", "/**/", "--\n", "\"\"",
		"u&\"\"", "u&", "1.", ".", "1e", "x,", "select ", "begin;", ";", "create function begin atomic ", "@-", "é", "''", "e'\\''",
	} {
		for _, head := range []string{"select ", "set x = ", "set ", "copy ("} {
			text := head + strings.Repeat(unit, MaxText/16/len(unit))
			if _, err := Split(text); err != nil {
				continue
			}
			Classify(text)
			if _, err := Calls(text); err != nil {
				t.Errorf("%q...: %v", text[:30], err)
			}
		}
	}
}

func TestClassifyTakesOneStatement(t *testing.T) {
	for _, text := range []string{"select 1; select 2", "begin; commit", "set role a; select 1", "create table t (a int); drop table t"} {
		if c := Classify(text); c.Kind != "" || !c.Writes {
			t.Errorf("%q is %+v", text, c)
		}
	}
	if c := Classify("select 1 ; ; -- x"); c.Kind != "select" {
		t.Errorf("a semicolon behind: %+v", c)
	}
}

func TestClass(t *testing.T) {
	words := func(w ...string) Value { return Value{Simple: true, Words: w} }
	byDefault := Value{Simple: true, Default: true}
	for text, want := range map[string]Class{
		`set "A"."B" = 'x', Y, -1.50, "Z w"`: {Kind: "set", Name: "a.b", Value: words("x", "y", "-1.50", "Z w")},
		`set local time zone 'UTC'`:          {Kind: "set local", Name: "timezone", Local: true, Value: words("UTC")},
		`set time zone interval '1' hour`:    {Kind: "set", Name: "timezone"},
		`set names`:                          {Kind: "set", Name: "client_encoding", Value: byDefault},
		`set schema 'a'`:                     {Kind: "set", Name: "search_path", Value: words("a")},
		`set x = E'a\'b', 1`:                 {Kind: "set", Name: "x"},
		`set x = U&'\0061'`:                  {Kind: "set", Name: "x"},
		`set x = U&'a''b', $t$c'd$t$`:        {Kind: "set", Name: "x", Value: words("a'b", "c'd")},
		"set x = 'a'\n'b'":                   {Kind: "set", Name: "x"},
		`set U&"isocor\0065".ctx to default`: {Kind: "set", Name: "isocore.ctx", Value: byDefault},
		`set local "ROLE" to "A"`:            {Kind: "set role", Name: "role", Local: true, Value: words("A")},
		`reset time zone`:                    {Kind: "reset", Name: "timezone"},
		`show "Server_Version"`:              {Kind: "show", Name: "server_version"},
		`show all`:                           {Kind: "show", Name: "all"},
		`begin read only, isolation level read committed not deferrable`: {Kind: "begin", Modes: Modes{"read committed", "read only", "not deferrable"}},
		`set session characteristics as transaction read write`:          {Kind: "set session characteristics", Modes: Modes{Access: "read write"}},
		`prepare "P q" (int) as delete from t`:                           {Kind: "prepare", Name: "P q", Writes: true},
		`execute Pq(1)`:                                                  {Kind: "execute", Name: "pq", Writes: true},
		`deallocate prepare pq`:                                          {Kind: "deallocate", Name: "pq"},
		`deallocate all`:                                                 {Kind: "deallocate"},
		`declare c binary cursor with hold for select 1`:                 {Kind: "declare with hold", Name: "c", Binary: true},
		`declare c cursor for table t for share`:                         {Kind: "declare", Name: "c", Writes: true},
		`copy binary t from stdin`:                                       {Kind: "copy from stdin", Binary: true, Writes: true},
		`close ` + strings.Repeat("é", 40):                               {Kind: "close", Name: strings.Repeat("é", 31)},
	} {
		if got := Classify(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %+v, not %+v", text, got, want)
		}
	}
}

func TestCalls(t *testing.T) {
	for text, want := range map[string][]string{
		`select 1`:                                nil,
		`select f(1), F (2), "F"(3), s.f/**/(4)`:  {"f", "F", "s.f"},
		`select U&"pg_sl\0065ep"(1)`:              {"pg_sleep"},
		`select U&"pg_sl!0065ep" uescape '!' (1)`: {"pg_sleep"},
		`select * from t where a in (1) and (b or (c)) and exists (select 1) union (values (1))`: nil,
		`select pg_catalog . "set_config" --` + "\n" + `('a')`:                                   {"pg_catalog.set_config"},
		`select "in"(1), a.in(2)`:                   {"in", "a.in"},
		`select 'f(1)', $$g(2)$$ /* h(3) */`:        nil,
		`select t.*, (f).g, h[1](2)`:                nil,
		`select f(1); select g(2)`:                  {"f", "g"},
		`select ` + strings.Repeat("x", 70) + `(1)`: {strings.Repeat("x", 63)},
	} {
		got, err := Calls(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q calls %q, not %q, %v", text, got, want, err)
		}
	}
	for _, text := range []string{`select U&"\00"(1)`, `select U&"\D800"(1)`, `select U&"x" uescape '+' (1)`, `select a.U&"\0000"(1)`} {
		if got, err := Calls(text); err == nil {
			t.Errorf("%q calls %q", text, got)
		}
	}
}

func BenchmarkClassify(b *testing.B) {
	const text = `SELECT p.id, p.external_no, p.name, d.title, d.created FROM person p JOIN document d ON d.person_id = p.id ` +
		`WHERE p.external_no = $1 AND d.kind IN ('letter', 'note') ORDER BY d.created DESC LIMIT 20`
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if Classify(text).Kind != "select" {
			b.Fatal("not a select")
		}
	}
}

func TestClassifyAllocatesNothing(t *testing.T) {
	const text = "select a, 'b', $1 from t where c = $$x$$ for update"
	if n := testing.AllocsPerRun(100, func() { Classify(text) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
