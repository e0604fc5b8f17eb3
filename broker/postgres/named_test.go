package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/internal/pgwire"
)

// x63 is as much of a name as the server looks at.
var x63 = strings.Repeat("x", maxNameLen)

const hear42622 = "Error C=42622 M=identifier too long"

// misnamed are plays in which a name once meant one thing to the broker and
// another to the server.
var misnamed = map[string]struct {
	play play
	want []string
}{
	"statements that agree in 63 bytes": {
		say(p(x63+"a", "SELECT 1"), syn, c(x63+"c"), syn, p(x63+"b", "DELETE FROM doc"), syn, b("", x63+"a"), e(""), syn),
		[]string{hear42622, hear42622, hear42622, hear42622},
	},
	"portals that agree in 63 bytes": {
		say(q("BEGIN"), p("a", "SELECT 1"), b(x63+"a", "a"), syn, q("ROLLBACK"), cp(x63+"c"), syn, dp(x63+"d"), syn, d(x63+"d"), syn, e(x63+"e"), syn),
		[]string{hear42622, "Ready E", "Complete ROLLBACK", hear42622, hear42622, hear42622, hear42622},
	},
	"a name of 63 bytes": {
		say(p(x63, "SELECT 63"), syn, b("", x63), e(""), syn, q("DEALLOCATE "+x63+"y"), b("", x63), e(""), syn),
		[]string{`Row "63"`, "Complete DEALLOCATE", "Error C=26000"},
	},
	"CLOSE, then DECLARE": {
		say(q("BEGIN"), p("s", "SELECT 1"), b("p", "s"), syn, q("CLOSE p"), q("DECLARE p CURSOR FOR SELECT title FROM doc"), e("p"), syn, q("ROLLBACK")),
		[]string{"Complete CLOSE", "Complete DECLARE", "Error C=34000", "Ready E"},
	},
	"CLOSE ALL, then DECLARE": {
		say(q("BEGIN"), p("s", "SELECT 1"), b("p", "s"), syn, q(`CLOSE ALL; DECLARE "p" CURSOR FOR SELECT title FROM doc`), e("p"), syn, q("ROLLBACK")),
		[]string{"Complete DECLARE", "Error C=34000", "Ready E"},
	},
	"CLOSE of 64 bytes": {
		say(q("BEGIN"), p("s", "SELECT 1"), b(x63, "s"), syn, q("CLOSE "+x63+"a; DECLARE "+x63+"b CURSOR FOR SELECT title FROM doc"), e(x63), syn, q("ROLLBACK")),
		[]string{"Complete DECLARE", "Error C=34000", "Ready E"},
	},
	"CLOSE in the same group": {
		say(all(one(q("BEGIN"), p("s", "SELECT 1"), b("p", "s")), run("CLOSE p"), run("DECLARE p CURSOR FOR SELECT title FROM doc"), one(e("p"), syn, q("ROLLBACK")))...),
		[]string{"Complete CLOSE", "Complete DECLARE", "Error C=34000", "Ready E"},
	},
	"ROLLBACK TO, then DECLARE": {
		say(q("BEGIN; SAVEPOINT a"), p("s", "SELECT 1"), b("p", "s"), syn, q("ROLLBACK TO a; DECLARE p CURSOR FOR SELECT title FROM doc"), e("p"), syn, q("ROLLBACK")),
		[]string{"Complete DECLARE", "Error C=34000", "Ready E"},
	},
}

func TestNamesMeanOneThing(t *testing.T) {
	f := newFixture(t)
	for name, c := range misnamed {
		t.Run(name, func(t *testing.T) {
			got := f.as(t).perform(t, c.play)
			if !contains(got, c.want) {
				t.Errorf("played:\n%sgot:\n\t%s\nwant among it:\n\t%s", c.play, strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}

// TestBindIsRecorded: what a FETCH may run, and what a Bind alone plans, is in
// the record with its text and parameters.
func TestBindIsRecorded(t *testing.T) {
	f := newFixture(t)
	const text = "SELECT title FROM doc WHERE id = $1"
	for name, play := range map[string]play{
		"fetched": say(all(one(q("BEGIN"), p("s", text), b("q", "s", "7")), run("SELECT 2"), one(syn, q("FETCH ALL FROM q"), q("COMMIT")))...),
		"alone":   say(p("", text), b("", "", "7"), syn),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(f.Records(t, f.A))
			f.as(t).perform(t, play)
			var binds []string
			for _, r := range f.ended(t, before) {
				if r.Kind == audit.Decision && r.Operation == rowBind {
					binds = append(binds, fmt.Sprintf("%s %s, %d parameters", r.Verdict, r.Text, len(r.Digests)))
				}
			}
			if want := []string{"confine " + text + ", 1 parameters"}; !slices.Equal(binds, want) {
				t.Errorf("Binds recorded: %q, want %q", binds, want)
			}
		})
	}
}

// TestUndoneBySavepoint reads in the trail what became of what a ROLLBACK TO
// has undone.
func TestUndoneBySavepoint(t *testing.T) {
	f := newFixture(t)
	const del = "DELETE FROM doc WHERE id = 1"
	for name, c := range map[string]struct {
		play play
		want string
	}{
		"in a group":      {queries("BEGIN; SELECT 1; SAVEPOINT a; " + del + "; ROLLBACK TO a; SELECT 2; COMMIT"), "begin ok, select ok, savepoint ok, delete rolled-back, rollback to ok, select ok, commit ok"},
		"the last one":    {queries("BEGIN; SAVEPOINT a; SELECT 1; SAVEPOINT b; " + del + "; ROLLBACK TO b; COMMIT"), "begin ok, savepoint ok, select ok, savepoint ok, delete rolled-back, rollback to ok, commit ok"},
		"an earlier one":  {queries("BEGIN; SAVEPOINT a", del+"; ROLLBACK TO a; SELECT 1", "COMMIT"), "begin ok, savepoint ok, delete rolled-back, rollback to ok, select ok, commit ok"},
		"one transaction": {queries("BEGIN; SAVEPOINT a; SELECT 1; COMMIT; BEGIN; SAVEPOINT a; " + del + "; ROLLBACK TO a; COMMIT"), "begin ok, savepoint ok, select ok, commit ok, begin ok, savepoint ok, delete rolled-back, rollback to ok, commit ok"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(f.Records(t, f.A))
			f.as(t).perform(t, c.play)
			var got []string
			for _, r := range f.ended(t, before) {
				if name := strings.TrimPrefix(r.Operation, "Execute "); r.Kind == audit.Outcome && name != "nested begin" {
					got = append(got, name+" "+r.Result.Status)
				}
			}
			want := strings.Split(strings.ReplaceAll(c.want, "begin ok, ", ""), ", ") // allowed, not confined
			if !slices.Equal(got, want) {
				t.Errorf("played:\n%sgot %q, want %q", c.play, got, want)
			}
		})
	}
}

// failsWith reports whether the group fails with code.
func (b *builder) failsWith(code string) bool {
	return b.skipping && slices.ContainsFunc(b.unit().body.expects, func(e expect) bool { return e.fault != nil && e.fault.code == code })
}

// TestKeptIsBounded: what has a name takes so much memory and no more, and
// gives it back.
func TestKeptIsBounded(t *testing.T) {
	big := &pgwire.Bind{Portal: "p", Statement: "s", Params: [][]byte{make([]byte, 1<<20)}}
	succeed := func(b *builder) {
		for _, n := range []*names{&b.statements, &b.portals} {
			for _, c := range n.pending {
				*c.done = true
			}
		}
	}
	prepared := func() *builder {
		b := new(builder)
		b.parse(&pgwire.Parse{Name: "s", Query: "SELECT $1"})
		succeed(b)
		return b
	}

	b := prepared()
	for i := 0; !b.skipping; i++ {
		if i > maxKept>>20 {
			t.Fatalf("%d portals of 1 MiB are kept", i)
		}
		m := *big
		m.Portal = fmt.Sprint("p", i)
		b.bind(&m)
	}
	if !b.failsWith("54000") {
		t.Error("the client is not told why")
	}
	succeed(b)
	b.settle(pgwire.Idle, false)
	if b.portals.kept != 0 || b.statements.kept != len("SELECT $1") {
		t.Errorf("after the transaction: %d bytes of portals, %d of statements", b.portals.kept, b.statements.kept)
	}

	// Statements count as well, and a COMMIT gives portals back at once.
	b = prepared()
	for range 40 {
		b.bind(big)
		b.dropped(statementOf(t, "COMMIT"))
	}
	b.bind(big)
	b.dropped(statementOf(t, "CLOSE p"))
	if b.skipping || b.portals.kept != 0 {
		t.Errorf("after COMMIT and CLOSE: %d bytes, failed: %v", b.portals.kept, b.skipping)
	}
	for i := 0; !b.skipping; i++ {
		if i > maxKept/(1<<19) {
			t.Fatalf("%d statements of 512 KiB are kept", i)
		}
		b.parse(&pgwire.Parse{Name: fmt.Sprint("t", i), Query: "SELECT '" + strings.Repeat("x", 1<<19) + "'"})
	}

	// What has no name is replaced, however long the group.
	b = prepared()
	m := *big
	m.Portal = ""
	for range 100 {
		b.u = nil
		b.bind(&m)
		if b.portals.unnamed > maxKept+2<<20 || b.skipping {
			t.Fatalf("%d bytes without a name, failed: %v", b.portals.unnamed, b.skipping)
		}
	}
	succeed(b)
	b.settle(pgwire.InTransaction, false)
	if b.portals.find("") == nil || b.portals.unnamed > 2<<20 {
		t.Errorf("after the group: %v, %d bytes", b.portals.find("") != nil, b.portals.unnamed)
	}
}

// TestTextsCountForTheUnit: Binds of a long statement do not make a record of
// any size.
func TestTextsCountForTheUnit(t *testing.T) {
	b := new(builder)
	b.parse(&pgwire.Parse{Query: "SELECT '" + strings.Repeat("x", 1<<19) + "'"})
	for range 64 {
		b.bind(&pgwire.Bind{})
	}
	if got := b.u.size(); got < maxUnit {
		t.Errorf("64 Binds of 512 KiB have a size of %d", got)
	}
}
