package view

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/isocore/isocore/audit/trail"
)

// whole returns a record in which nothing is left out.
func whole(t *testing.T) trail.Record {
	t.Helper()
	var r trail.Record
	fill(t, reflect.ValueOf(&r).Elem())
	r.Kind, r.Class, r.Time = trail.Outcome, trail.ClassStatement, time.Unix(1e9, 0)
	return r
}

// fill gives every field of a struct a value, and a text its own name.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		switch f.Interface().(type) {
		case string:
			f.SetString("the " + name)
		case []string:
			f.Set(reflect.ValueOf([]string{"the " + name}))
		case []byte:
			f.SetBytes([]byte("the " + name))
		case int64:
			f.SetInt(int64(1000 + i))
		case trail.Result:
			fill(t, f)
		}
	}
}

// Of shows every text and number that a record has.
func TestOf(t *testing.T) {
	r := whole(t)
	o := trail.Opened{Record: r}
	o.Header = trail.Header{Kind: r.Kind, Class: r.Class, Seq: 7, Of: 6}
	o.Raw = make([]byte, trail.HeaderSize)
	b, err := json.Marshal(Of(o))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Subject", "Issuer", "Txn", "Peer", "Session", "Broker", "Operation", "Verdict", "Reason", "Detail", "Actors", "Resources", "Text", "Status", "Code"} {
		if !strings.Contains(string(b), `"the `+name+`"`) {
			t.Errorf("%s is not shown: %s", name, b)
		}
	}
	if !strings.Contains(string(b), `"of":6`) || !strings.Contains(string(b), `"time":"2001-09-09T01:46:40Z"`) {
		t.Errorf("%s", b)
	}
	o.Record = trail.Record{} // a record that was not opened
	if b, err = json.Marshal(Of(o)); err != nil || strings.Contains(string(b), "the ") || !strings.Contains(string(b), `"seq":7`) {
		t.Errorf("%s, %v", b, err)
	}
}

// A line says what there is to say in one line of a terminal, whatever a
// client wrote.
func TestLine(t *testing.T) {
	for _, x := range []struct {
		v    Record
		want string
	}{
		{
			Record{Seq: 3, Kind: "decision", Verdict: "confine", Operation: "Execute select", Subject: "ada", Text: "SELECT\n\t1"},
			"     3  0001-01-01T00:00:00.000Z  decision  confine    Execute select  ada  SELECT  1",
		},
		{
			Record{Kind: "outcome", Verdict: "confine", Status: "ok", Operation: "Execute select", Code: "SELECT", Rows: 2, Micros: 9},
			"     0  0001-01-01T00:00:00.000Z  outcome   ok         Execute select  SELECT 2 rows, 9 us",
		},
		{
			Record{Kind: "system", Class: "boot", Resources: []string{"a", "b"}},
			"     0  0001-01-01T00:00:00.000Z  system               boot  a b",
		},
		{
			Record{Kind: "admin", Status: "failed", Operation: "tenant delete", Reason: "Denied"},
			"     0  0001-01-01T00:00:00.000Z  admin     failed     tenant delete  Denied",
		},
	} {
		if got := x.v.Line(); got != x.want {
			t.Errorf("%q, want %q", got, x.want)
		}
	}
	long := Record{Text: strings.Repeat("\u00e4", 1000)}
	if got := long.Line(); !strings.Contains(got, "\u00e4... (1000 characters)") || strings.Count(got, "\u00e4") != maxLine {
		t.Errorf("%q", got)
	}
}

// FuzzPrintable's oracle: as many characters as there were, none of which does
// anything to a terminal, and the printable ones as they were.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"", "SELECT 1", "a\nb", "\x1b[2J", "\u202e", "\xff", "\u00e4\u0085"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, was := []rune(Printable(s)), []rune(s)
		if len(got) != len(was) {
			t.Fatalf("%q became %q", s, string(got))
		}
		for i, r := range got {
			if !unicode.IsPrint(r) && r != unicode.ReplacementChar || unicode.IsPrint(was[i]) && r != was[i] {
				t.Errorf("%q became %q", s, string(got))
			}
		}
	})
}
