package pgsql

import (
	"slices"
	"testing"
)

// Oracle: the real grammar. If it accepts a text, we split it into the same
// statements, and each of our kinds is one that its node may have, as are
// parameter names, values, modes, and the functions called. A text of which
// every statement has a kind we would forward is one the grammar splits as we
// do, or refuses.
func FuzzStatements(f *testing.F) {
	for _, l := range lines(f) {
		f.Add(l.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 || check(text) != nil {
			return
		}
		want, err := grammar(text)
		if err != nil {
			return
		}
		agree(t, text, want)
	})
}

// Oracle: statements put together with semicolons are taken apart again, and
// each alone is of the kind it was within the whole; a statement is never split
// further; nothing is lost between statements but space, comments and
// semicolons.
func FuzzSplit(f *testing.F) {
	for _, l := range lines(f) {
		f.Add(l.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Split(text)
		if err != nil {
			if Classify(text).Kind != "" {
				t.Errorf("%q is classified and not split: %v", text, err)
			}
			return
		}
		at := 0
		for _, s := range all {
			again, err := Split(s.Text)
			if err != nil || len(again) != 1 || again[0].Text != s.Text {
				t.Errorf("%q is split into %q, which is split into %+v, %v", text, s.Text, again, err)
			}
			if gap, err := Split(text[at:s.Start]); err != nil || len(gap) != 1 || !gap[0].Empty() {
				t.Errorf("%q: between statements stands %q", text, text[at:s.Start])
			}
			at = s.Start + len(s.Text)
			if kind := Classify(s.Text).Kind; kind != "" && !slices.Contains(Kinds(), kind) {
				t.Errorf("%q is %q", s.Text, kind)
			}
		}
		if len(all) > 1 && Classify(text).Kind != "" {
			t.Errorf("%q is several statements and has a kind", text)
		}
	})
}

// fragments are what FuzzFragments builds texts of: few enough that a good part
// of what comes out is SQL.
var fragments = []string{
	" ", "\n", "--", "/*", "*/", ";", "(", ")", ",", ".", "'", "\"", "$", "$$", "$a$", "\\", "1", "1.", ".5", "e", "E'", "U&'", "U&\"",
	"B'", "x'", "n'", "$1", "+", "-", "*", "/", "@", "=", ":=", "::", "[", "]", ":", "''", "'a'", "\"a\"", "a", "b$", "é", "_", "\r", "\f", "\v",
	" select ", " 1 ", " values (1) ", " table t ", " with a as ( ", " from t ", " insert into t ", " update t set a = 1 ", " delete from t ",
	" merge into t using a on true when matched then delete ", " into ", " for update ", " for no key update ", " for ", " update ",
	" insert ", " delete ", " merge ", " returning 1 ", " union ", " as ", " a ", " b ", " f( ", " uescape '!' ", " search depth first by a set b ",
	" recursive ", " copy ", " to ", " stdin ", " stdout ", " program ", " binary ", " begin ", " commit ", " end ", " rollback ", " and ", " chain ",
	" no ", " prepared ", " transaction ", " isolation level ", " serializable ", " repeatable read ", " read ", " only ", " write ", " deferrable ",
	" not ", " set ", " local ", " session ", " characteristics ", " authorization ", " role ", " time zone ", " names ", " schema ", " default ",
	" = ", " constraints ", " all ", " deferred ", " reset ", " show ", " declare ", " cursor ", " hold ", " scroll ", " without ", " prepare ", " execute ",
	" deallocate ", " close ", " fetch ", " move ", " savepoint ", " release ", " work ", " start ", " create ", " or replace ", " function f() ",
	" procedure ", " returns int ", " atomic ", " case when true then 1 ", " end ", " language sql ", " rule r as on insert to t do also ", " drop ",
	" table t (a int) ", " explain ", " vacuum ", " analyze ", " lock ", " truncate ", " do ", " call f() ", " order by 1 ", " limit 1 ", " where true ",
	" key share ", " of t ", " nowait ", " skip locked ", " on ", " default values ", " using ", " snapshot ", " interval ", " xml option document ",
}

// Oracle: as FuzzStatements.
func FuzzFragments(f *testing.F) {
	for _, seed := range []string{"\x30\x31\x05\x30\x31", "\x34\x30\x31\x07\x35\x30\x31\x36", "\x60\x61\x62", "\x80\x81\x82\x83\x84\x85\x86"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, picks []byte) {
		if len(picks) > 60 {
			return
		}
		text := ""
		for _, p := range picks {
			text += fragments[int(p)%len(fragments)]
		}
		want, err := grammar(text)
		if err != nil {
			return
		}
		agree(t, text, want)
	})
}
