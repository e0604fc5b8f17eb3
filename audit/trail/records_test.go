package trail

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// rows returns the cells of the table under the heading, from the n-th such
// table on.
func rows(t *testing.T, doc, heading string, n int) [][]string {
	t.Helper()
	_, doc, ok := strings.Cut(doc, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/records.md has no %s", heading)
	}
	doc, _, _ = strings.Cut(doc, "\n## ")
	var all [][]string
	for _, line := range strings.Split(strings.Split(doc, "|---")[n], "\n")[1:] {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			all = append(all, cells[1:len(cells)-1])
		}
	}
	return all
}

// tables returns doc with each table's rule turned into one mark.
func tables(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/records.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "|---") {
			lines[i] = "|---"
		}
	}
	return strings.Join(lines, "\n")
}

func TestDocument(t *testing.T) {
	doc := tables(t)
	var kinds, classes [][]string
	for _, k := range Kinds {
		kinds = append(kinds, []string{fmt.Sprint(uint8(k)), k.String()})
	}
	for _, c := range Classes {
		var names []string
		for _, k := range c.Kinds {
			names = append(names, k.String())
		}
		classes = append(classes, []string{fmt.Sprintf("%#04x", uint16(c.Class)), c.Name, strings.Join(names, ", "), c.Tells})
	}
	for _, c := range []struct {
		heading string
		table   int
		columns int
		want    [][]string
	}{
		{"Kinds", 1, 2, kinds},
		{"Classes", 1, 4, classes},
		{"Payload", 1, 3, keysOf(reflect.TypeFor[payload]())},
		{"Payload", 2, 3, keysOf(reflect.TypeFor[result]())},
	} {
		var got [][]string
		for _, row := range rows(t, doc, c.heading, c.table) {
			if len(row) >= c.columns && row[0] != "key" {
				got = append(got, row[:c.columns])
			}
		}
		if !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s, table %d:\n%v in docs/records.md,\n%v in the code", c.heading, c.table, got, c.want)
		}
	}
}

// keysOf returns number, name and type of the keys of a CBOR map.
func keysOf(typ reflect.Type) [][]string {
	types := map[string]string{
		"[]uint8": "bytes", "int64": "integer", "string": "text", "[]string": "array of text", "bool": "bool",
		"*trail.result": "map", "[][]uint8": "array of bytes",
	}
	var keys [][]string
	for i := range typ.NumField() {
		f := typ.Field(i)
		n, _, _ := strings.Cut(f.Tag.Get("cbor"), ",")
		keys = append(keys, []string{n, f.Name, types[f.Type.String()]})
	}
	return keys
}

func TestClassesAreOrderedAndNamedOnce(t *testing.T) {
	names := make(map[string]bool)
	for i, c := range Classes {
		if i > 0 && Classes[i-1].Class >= c.Class || names[c.Name] || c.Tells == "" || len(c.Kinds) == 0 || c.Class.String() != c.Name {
			t.Errorf("class %v", c)
		}
		names[c.Name] = true
	}
	if Class(0).Fits(Decision) || ClassBoot.Fits(0) || ClassBoot.Fits(Decision) || !ClassBoot.Fits(System) {
		t.Error("Fits")
	}
}
