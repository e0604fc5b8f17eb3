package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write schema.json")

func TestSchemaIsOfTheStruct(t *testing.T) {
	docs := comments(t)
	root := object(t, docs, reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "isocore.yaml"
	want, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(Schema(), want) {
		t.Error("schema.json is not of Config: go test ./config -run Schema -update")
	}
}

// comments returns what is written above each field, by type and field.
func comments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		st, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, f := range st.Fields.List {
			docs[spec.Name.Name+"."+f.Names[0].Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
		}
		return true
	})
	return docs
}

func object(t *testing.T, docs map[string]string, typ reflect.Type) map[string]any {
	t.Helper()
	properties, required := map[string]any{}, []string{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		key := f.Tag.Get("yaml")
		doc := docs[typ.Name()+"."+f.Name]
		if doc == "" || key == "" {
			t.Errorf("%s.%s has no comment or no key", typ.Name(), f.Name)
		}
		p := property(t, docs, f.Type, f.Tag)
		p["description"] = doc
		properties[key] = p
		if f.Tag.Get("need") == "true" {
			required = append(required, key)
		}
	}
	o := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

func property(t *testing.T, docs map[string]string, typ reflect.Type, tag reflect.StructTag) map[string]any {
	t.Helper()
	if _, ok := reflect.New(typ).Interface().(scalar); ok {
		return scalarProperty(typ, tag)
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return object(t, docs, typ.Elem())
	case reflect.Struct:
		return object(t, docs, typ)
	case reflect.Map:
		return map[string]any{"type": "object", "minProperties": 1, "additionalProperties": object(t, docs, typ.Elem())}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "uniqueItems": true}
	case reflect.Int:
		low, high, _ := strings.Cut(tag.Get("range"), ",")
		least, errLow := strconv.Atoi(low)
		most, errHigh := strconv.Atoi(high)
		if errLow != nil || errHigh != nil {
			t.Errorf("the number %q has no range", tag)
		}
		p := map[string]any{"type": "integer", "minimum": least, "maximum": most}
		if n, err := strconv.Atoi(tag.Get("default")); err == nil {
			p["default"] = n
		}
		return p
	default:
		return scalarProperty(typ, tag)
	}
}

func scalarProperty(typ reflect.Type, tag reflect.StructTag) map[string]any {
	patterns := map[string]string{
		"Duration": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$`,
		"Rate":     `^[0-9]+/(s|min|h|day)$`,
		"Budget":   `^[0-9]+(B|KiB|MiB|GiB|TiB)/day$`,
		"Size":     `^[0-9]+(B|KiB|MiB|GiB|TiB)$`,
		"Upstream": `^https?://[^/]+:[0-9]+$`,
		"Percent":  `^[0-9]{1,2}(\.[0-9]+)?%$`,
	}
	p := map[string]any{"type": "string"}
	if pattern := patterns[typ.Name()]; pattern != "" {
		p["pattern"] = pattern
	}
	if d := tag.Get("default"); d != "" {
		p["default"] = d
	}
	if e := tag.Get("enum"); e != "" {
		p["enum"] = strings.Split(e, ",")
	}
	return p
}
