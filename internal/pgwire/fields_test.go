package pgwire

import (
	"bytes"
	"strings"
	"testing"
)

func TestPosition(t *testing.T) {
	plus := func(n int) func(int) int { return func(p int) int { return p + n } }
	for _, c := range []struct {
		in, want Fields
		move     func(int) int
	}{
		{Fields{{'S', "ERROR"}, {'P', "8"}, {'R', "x"}}, Fields{{'S', "ERROR"}, {'P', "15"}, {'R', "x"}}, plus(7)},
		{Fields{{'P', "8"}, {'M', "m"}}, Fields{{'M', "m"}}, plus(-8)},
		{Fields{{'P', "8x"}}, Fields{{'P', "8x"}}, plus(1)},
		{Fields{{'P', "-1"}}, Fields{{'P', "-1"}}, plus(1)},
		{Fields{{'M', "\xff"}}, Fields{{'M', "\xff"}}, plus(1)},
		{nil, nil, plus(1)},
	} {
		before := encode(t, &ErrorResponse{c.in})
		got := encode(t, &ErrorResponse{c.in.WithPosition(c.move)})
		if want := encode(t, &ErrorResponse{c.want}); !bytes.Equal(got, want) {
			t.Errorf("%v: got %q, want %q", c.in, got, want)
		}
		if !bytes.Equal(encode(t, &ErrorResponse{c.in}), before) {
			t.Errorf("%v was changed", c.in)
		}
	}
}

func TestNewError(t *testing.T) {
	e := NewError("FATAL", "28000", "token expired", "")
	if e.Value(FieldSQLState) != "28000" || e.Value(FieldSeverityInvariant) != "FATAL" || e.Value(FieldHint) != "" {
		t.Errorf("%+v", e)
	}
	if strings.Contains(string(encode(t, e)), "H\x00") {
		t.Error("an empty hint is said")
	}
}

func TestCount(t *testing.T) {
	for tag, want := range map[string]struct {
		verb string
		rows int64
	}{
		"INSERT 0 5":          {"INSERT", 5},
		"INSERT 16384 1":      {"INSERT", 1},
		"SELECT 3":            {"SELECT", 3},
		"UPDATE 0":            {"UPDATE", 0},
		"COPY 12":             {"COPY", 12},
		"CREATE TABLE":        {"CREATE TABLE", -1},
		"CREATE TABLE AS":     {"CREATE TABLE AS", -1},
		"BEGIN":               {"BEGIN", -1},
		"":                    {"", -1},
		"SELECT -3":           {"SELECT -3", -1},
		"SELECT 99e9":         {"SELECT 99e9", -1},
		"ROLLBACK PREPARED 1": {"ROLLBACK PREPARED", 1},
	} {
		if verb, rows := (&CommandComplete{tag}).Count(); verb != want.verb || rows != want.rows {
			t.Errorf("%q: %q, %d", tag, verb, rows)
		}
	}
}
