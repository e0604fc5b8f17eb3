package pgsql

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wasilibs/go-pgquery/parser"
)

// A rawStmt is a statement as PostgreSQL's own grammar (version 17) sees it.
type rawStmt struct {
	Stmt     map[string]any `json:"stmt"`
	Location int            `json:"stmt_location"`
	Len      int            `json:"stmt_len"`
}

// node returns the type and the fields of the statement.
func (r rawStmt) node() (string, map[string]any) {
	for name, fields := range r.Stmt {
		m, _ := fields.(map[string]any)
		return name, m
	}
	return "", nil
}

// text returns the extent of r in all, without white space around it.
func (r rawStmt) text(all string) string {
	s := all[r.Location:]
	if r.Len > 0 {
		s = s[:r.Len]
	}
	return strings.Trim(s, spaces)
}

// grammar returns what PostgreSQL's grammar makes of text.
func grammar(text string) ([]rawStmt, error) {
	tree, err := parser.ParseToJSON(text)
	if err != nil {
		return nil, err
	}
	var result struct {
		Stmts []rawStmt `json:"stmts"`
	}
	err = json.Unmarshal([]byte(tree), &result)
	return result.Stmts, err
}

// agree checks everything this package says of text against the grammar,
// which accepts it. Where our kind is none the statement will be refused, and
// there is nothing to compare but its extent.
func agree(t *testing.T, text string, want []rawStmt) {
	t.Helper()
	got, err := Split(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if len(want) == 0 && len(got) == 1 && got[0].Empty() {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%q: %d statements, not %d", text, len(got), len(want))
	}
	for i, s := range got {
		if want := want[i].text(text); s.Text != want || text[s.Start:s.Start+len(s.Text)] != want {
			t.Errorf("%q: statement %d is %q, not %q", text, i, s.Text, want)
		}
		if s.Runes != len([]rune(text[:s.Start])) {
			t.Errorf("%q: statement %d begins at character %d", text, i, s.Runes)
		}
		name, fields := want[i].node()
		class := Classify(s.Text)
		if class.Kind != "" && !slices.Contains(kindsOf(name, fields), class.Kind) {
			t.Errorf("%q is %q, and %s %v", s.Text, class.Kind, name, fields)
		}
		compare(t, s.Text, class, name, fields)
	}
}

// compare checks what a Class says beyond its kind.
func compare(t *testing.T, text string, class Class, name string, fields map[string]any) {
	t.Helper()
	if class.Kind == "" {
		return
	}
	changes := has(fields, "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "lockingClause", "intoClause")
	if changes && !class.Writes {
		t.Errorf("%q writes, and is %+v", text, class)
	}
	// A column named like a command may look like one only beside WITH.
	if name == "SelectStmt" && class.Writes && !changes && !has(fields, "withClause") && class.Kind != "select for update" {
		t.Errorf("%q does not write, and is %+v", text, class)
	}
	calls, err := Calls(text)
	if err != nil {
		t.Errorf("%q: %v", text, err)
	}
	for _, f := range explicitCalls(fields, nil) {
		if !slices.Contains(calls, f) && !slices.Contains(bySyntax, f) {
			t.Errorf("%q calls %q, and Calls says %q", text, f, calls)
		}
	}
	switch name {
	case "VariableSetStmt":
		compareSet(t, text, class, fields)
	case "VariableShowStmt":
		equalName(t, text, class.Name, fields["name"])
	case "PrepareStmt", "ExecuteStmt", "DeallocateStmt":
		equalName(t, text, class.Name, fields["name"])
	case "DeclareCursorStmt", "ClosePortalStmt":
		equalName(t, text, class.Name, fields["portalname"])
		if options, _ := fields["options"].(float64); class.Binary != (int(options)&1 != 0) {
			t.Errorf("%q: binary is %v", text, class.Binary)
		}
	case "TransactionStmt":
		compareModes(t, text, class, fields["options"])
	}
}

func equalName(t *testing.T, text, got string, want any) {
	t.Helper()
	if w, _ := want.(string); got != w && !strings.EqualFold(got, w) {
		t.Errorf("%q is about %q, not %q", text, got, w)
	}
}

func compareSet(t *testing.T, text string, class Class, fields map[string]any) {
	t.Helper()
	name, _ := fields["name"].(string)
	kind, _ := fields["kind"].(string)
	if kind == "VAR_SET_MULTI" {
		if strings.HasPrefix(class.Kind, "set transaction") && name != "TRANSACTION SNAPSHOT" ||
			class.Kind == "set session characteristics" {
			compareModes(t, text, class, fields["args"])
		}
		return
	}
	if lower(name) != class.Name {
		t.Errorf("%q is about %q, not %q", text, class.Name, name)
	}
	if local, _ := fields["is_local"].(bool); local != class.Local {
		t.Errorf("%q: local is %v", text, class.Local)
	}
	if !class.Value.Simple {
		return
	}
	if class.Value.Default != (kind == "VAR_SET_DEFAULT") {
		t.Errorf("%q: default is %v, and it is %s", text, class.Value.Default, kind)
	}
	var words []string
	args, _ := fields["args"].([]any)
	for _, a := range args {
		words = append(words, constant(a))
	}
	if class.Name == "xmloption" {
		words = []string{lower(strings.Join(words, ""))}
	}
	if !slices.Equal(words, class.Value.Words) && !sameNumbers(words, class.Value.Words) {
		t.Errorf("%q sets %q, not %q", text, class.Value.Words, words)
	}
}

// sameNumbers compares words of which some are integers, which the grammar's
// tree has as numbers: 010 is 10 and +1 is 1.
func sameNumbers(tree, ours []string) bool {
	return slices.EqualFunc(tree, ours, func(a, b string) bool {
		if a == b || a == strings.TrimPrefix(b, "+") {
			return true
		}
		var n, m int64
		_, errN := fmt.Sscanf(a, "%d", &n)
		_, errM := fmt.Sscanf(strings.ReplaceAll(strings.TrimPrefix(b, "+"), "_", ""), "%d", &m)
		return errN == nil && errM == nil && n == m
	})
}

// constant returns the value of an A_Const as SET spells it.
func constant(a any) string {
	m, _ := a.(map[string]any)
	c, ok := m["A_Const"].(map[string]any)
	if !ok {
		return fmt.Sprint(a)
	}
	for kind, v := range c {
		m, ok := v.(map[string]any)
		if !ok {
			continue
		}
		if kind == "ival" && len(m) == 0 {
			return "0"
		}
		for _, v := range m {
			if n, ok := v.(float64); ok {
				return fmt.Sprintf("%.0f", n)
			}
			return fmt.Sprint(v)
		}
		return ""
	}
	return ""
}

func compareModes(t *testing.T, text string, class Class, options any) {
	t.Helper()
	list, _ := options.([]any)
	var want Modes
	for _, o := range list {
		m, _ := o.(map[string]any)
		d, _ := m["DefElem"].(map[string]any)
		arg := constant(d["arg"])
		switch d["defname"] {
		case "transaction_isolation":
			want.Isolation = arg
		case "transaction_read_only":
			want.Access = map[string]string{"1": "read only", "0": "read write"}[arg]
		case "transaction_deferrable":
			want.Deferrable = map[string]string{"1": "deferrable", "0": "not deferrable"}[arg]
		}
	}
	if class.Modes != want {
		t.Errorf("%q has modes %+v, not %+v", text, class.Modes, want)
	}
}

// has reports whether a field or node of one of the names is anywhere in v.
func has(v any, names ...string) bool {
	switch v := v.(type) {
	case map[string]any:
		for k, f := range v {
			if slices.Contains(names, k) || has(f, names...) {
				return true
			}
		}
	case []any:
		for _, f := range v {
			if has(f, names...) {
				return true
			}
		}
	}
	return false
}

// explicitCalls returns the names of functions that v calls by name, as far as
// the grammar marks them so.
func explicitCalls(v any, names []string) []string {
	switch v := v.(type) {
	case map[string]any:
		for k, f := range v {
			if m, ok := f.(map[string]any); ok && k == "FuncCall" && m["funcformat"] == "COERCE_EXPLICIT_CALL" {
				names = append(names, dotted(m["funcname"]))
			}
			names = explicitCalls(f, names)
		}
	case []any:
		for _, f := range v {
			names = explicitCalls(f, names)
		}
	}
	return names
}

// bySyntax are functions that the grammar calls for syntax of its own without
// marking them so.
var bySyntax = []string{"pg_catalog.like_escape", "pg_catalog.similar_to_escape"}

func dotted(v any) string {
	list, _ := v.([]any)
	var parts []string
	for _, p := range list {
		m, _ := p.(map[string]any)
		s, _ := m["String"].(map[string]any)
		name, _ := s["sval"].(string)
		parts = append(parts, name)
	}
	return strings.Join(parts, ".")
}
