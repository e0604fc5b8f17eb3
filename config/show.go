package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

//go:embed example.yaml
var example []byte

//go:embed schema.json
var schema []byte

// Example returns a commented isocore.yaml.
func Example() []byte { return bytes.Clone(example) }

// Schema returns the JSON Schema of isocore.yaml, made from [Config] and its
// comments; a test keeps the two together.
func Schema() []byte { return bytes.Clone(schema) }

// Show returns what c amounts to, defaults included, as a file that parses to
// c. It names files and shows nothing of what is in them.
func (c *Config) Show() []byte {
	var b bytes.Buffer
	show(&b, 0, reflect.ValueOf(c).Elem())
	return b.Bytes()
}

func show(b *bytes.Buffer, depth int, v reflect.Value) {
	for i := range v.NumField() {
		showSetting(b, depth, v.Type().Field(i).Tag.Get("yaml"), v.Field(i))
	}
}

func showSetting(b *bytes.Buffer, depth int, key string, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
		if v.IsZero() { // a section that is there runs
			fmt.Fprintf(b, "%s%s: {}\n", strings.Repeat("  ", depth), key)
			return
		}
	}
	lead := strings.Repeat("  ", depth) + key + ":"
	if s, ok := v.Addr().Interface().(scalar); ok {
		if text := s.String(); text != "" {
			fmt.Fprintf(b, "%s %s\n", lead, strconv.Quote(text))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if v.IsZero() {
			return
		}
		fmt.Fprintln(b, lead)
		show(b, depth+1, v)
	case reflect.Map:
		fmt.Fprintln(b, lead)
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			one := reflect.New(v.Type().Elem()).Elem()
			one.Set(v.MapIndex(k))
			showSetting(b, depth+1, strconv.Quote(k.String()), one)
		}
	case reflect.Slice:
		var words []string
		for _, s := range v.Interface().([]string) {
			words = append(words, strconv.Quote(s))
		}
		fmt.Fprintf(b, "%s [%s]\n", lead, strings.Join(words, ", "))
	case reflect.Int:
		fmt.Fprintf(b, "%s %d\n", lead, v.Int())
	default:
		if v.Kind() == reflect.String && v.String() != "" {
			fmt.Fprintf(b, "%s %s\n", lead, strconv.Quote(v.String()))
		}
	}
}
