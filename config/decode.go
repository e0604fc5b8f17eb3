package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The most a file, a text and a list in it may measure.
const (
	maxFile = 64 << 10
	maxText = 4096
	maxList = 1000
)

type position struct{ line, column int }

// A scalar is a setting with a notation of its own.
type scalar interface {
	parse(string) error
	String() string
}

// A decoder fills a Config from a syntax tree and goes on after an error.
type decoder struct {
	file, dir string
	disk      disk
	at        map[string]position // of each setting that is there, by path
	failed    map[string]bool     // settings about which something was said
	problems  Problems
}

// document returns the one mapping in data, or nil when the syntax, which is
// then reported, has none.
func (d *decoder) document(data []byte) ast.Node {
	d.at[""] = position{1, 1}
	if len(data) > maxFile || !utf8.Valid(data) {
		d.fail("", "is not UTF-8 text of at most 64 KiB", "")
		return nil
	}
	tree, err := d.syntax(data)
	if err != nil {
		d.problems = append(d.problems, syntaxProblem(d.file, err))
		return nil
	}
	var docs []*ast.DocumentNode
	for _, doc := range tree.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			docs = append(docs, doc)
		}
	}
	if len(docs) == 0 {
		d.fail("", "is empty", "")
		return nil
	}
	for _, doc := range docs[1:] {
		d.failAt(place(doc.Body), "", "is a second document; there is one in a file", "")
	}
	return docs[0].Body
}

// syntax keeps a panic of the library from being one of ours.
func (d *decoder) syntax(data []byte) (f *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("is not YAML: %v", r)
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

func syntaxProblem(file string, err error) Problem {
	p := Problem{File: file, Line: 1, Column: 1, What: "is not YAML: " + strings.TrimSpace(err.Error())}
	var at interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &at) && at.GetToken() != nil {
		p.What = "is not YAML: " + at.GetMessage()
		p.Line, p.Column = at.GetToken().Position.Line, at.GetToken().Position.Column
	}
	return p
}

func place(n ast.Node) position {
	if n == nil || reflect.ValueOf(n).IsNil() || n.GetToken() == nil || n.GetToken().Position == nil {
		return position{1, 1}
	}
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return place(m.Values[0].Key)
	}
	p := n.GetToken().Position
	return position{p.Line, p.Column}
}

// fail reports what is wrong with the setting path, at its place or the
// nearest one above it.
func (d *decoder) fail(path, what, hint string) {
	above := path
	for {
		if at, ok := d.at[above]; ok {
			d.failAt(at, path, what, hint)
			return
		}
		above = above[:max(0, strings.LastIndexByte(above, '.'))]
	}
}

func (d *decoder) failAt(at position, path, what, hint string) {
	d.failed[path] = true
	d.problems = append(d.problems, Problem{d.file, at.line, at.column, path, what, hint})
}

// ok reports whether nothing was said about path or anything it lies in.
func (d *decoder) ok(path string) bool {
	for ; path != ""; path = path[:max(0, strings.LastIndexByte(path, '.'))] {
		if d.failed[path] {
			return false
		}
	}
	return true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// value fills v, a field with the tag, from n.
func (d *decoder) value(path string, n ast.Node, v reflect.Value, tag reflect.StructTag) {
	if s, ok := v.Addr().Interface().(scalar); ok {
		d.scalar(path, n, s, tag)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.section(path, n, v.Elem())
	case reflect.Struct:
		d.section(path, n, v)
	case reflect.Map:
		d.table(path, n, v)
	case reflect.Slice:
		d.list(path, n, v)
	case reflect.Int:
		d.number(path, n, v, tag)
	case reflect.String:
		d.text(path, n, v, tag)
	default:
		panic("config: a setting of type " + v.Type().String())
	}
}

// entries returns what n, a mapping, holds, in its order and without the
// second of two equal keys, which is reported.
func (d *decoder) entries(path string, n ast.Node) (keys []string, values map[string]ast.Node, ok bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		d.fail(path, "has to be a section, not "+kind(n), "")
		return nil, nil, false
	}
	values = make(map[string]ast.Node)
	for it := m.MapRange(); it.Next(); {
		key, ok := it.Key().(*ast.StringNode)
		if !ok || !printable(key.Value) || key.Value == "" || len(keys) >= maxList {
			d.failAt(place(it.Key()), path, "has a key that is not plain text", "")
			continue
		}
		name := join(path, key.Value)
		if _, twice := values[key.Value]; twice {
			d.failAt(place(key), name, fmt.Sprintf("is there twice, first on line %d", d.at[name].line), "")
			continue
		}
		d.at[name] = place(key)
		keys, values[key.Value] = append(keys, key.Value), it.Value()
	}
	return keys, values, true
}

func (d *decoder) section(path string, n ast.Node, v reflect.Value) {
	var keys []string
	var values map[string]ast.Node
	if n != nil {
		var ok bool
		if keys, values, ok = d.entries(path, n); !ok {
			return
		}
	}
	var known []string
	for i := range v.NumField() {
		known = append(known, v.Type().Field(i).Tag.Get("yaml"))
	}
	for _, k := range keys {
		if !slices.Contains(known, k) {
			d.fail(join(path, k), "is not a setting", meant(nearest(k, known)))
		}
	}
	for i, k := range known {
		tag, name := v.Type().Field(i).Tag, join(path, k)
		given := values[k]
		switch {
		case given == nil, given.Type() == ast.NullType && v.Field(i).Kind() != reflect.Pointer:
			d.absent(name, v.Field(i), tag)
		case given.Type() == ast.NullType:
			d.value(name, ast.Mapping(given.GetToken(), true), v.Field(i), tag)
		default:
			d.value(name, given, v.Field(i), tag)
		}
	}
}

// absent fills v with what stands for a setting that is not there. A key
// without a value is not there.
func (d *decoder) absent(path string, v reflect.Value, tag reflect.StructTag) {
	if tag.Get("need") == "true" {
		d.fail(path, "is missing", "")
		return
	}
	if def := tag.Get("default"); def != "" {
		d.value(path, ast.String(token.String(def, def, &token.Position{Line: 1, Column: 1})), v, tag)
		return
	}
	if _, ok := v.Addr().Interface().(scalar); !ok && v.Kind() == reflect.Struct {
		d.section(path, nil, v)
	}
}

func (d *decoder) table(path string, n ast.Node, v reflect.Value) {
	keys, values, ok := d.entries(path, n)
	if ok && len(keys) == 0 {
		d.fail(path, "is empty", "")
	}
	if len(keys) == 0 {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, k := range keys {
		if strings.Contains(k, ".") {
			d.fail(join(path, k), "has a dot in its name", "")
			continue
		}
		one := reflect.New(v.Type().Elem()).Elem()
		if values[k].Type() == ast.NullType {
			d.section(join(path, k), nil, one)
		} else {
			d.value(join(path, k), values[k], one, "")
		}
		v.SetMapIndex(reflect.ValueOf(k), one)
	}
}

func (d *decoder) list(path string, n ast.Node, v reflect.Value) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(path, "has to be a list, not "+kind(n), "write [one, two]")
		return
	}
	var list []string
	for _, item := range seq.Values {
		s, ok := word(item)
		if !ok || !printable(s) || s == "" || len(list) >= maxList {
			d.failAt(place(item), path, "holds something that is not plain text", "")
			continue
		}
		if slices.Contains(list, s) {
			d.failAt(place(item), path, strconv.Quote(s)+" is there twice", "")
			continue
		}
		list = append(list, s)
	}
	v.Set(reflect.ValueOf(list))
}

// word returns the text of an item of a list. The parser takes [a:b] within a
// flow mapping for a mapping, which it is only with a space behind the colon
// (YAML 1.2, 7.3.3).
func word(item ast.Node) (string, bool) {
	if s, ok := item.(*ast.StringNode); ok {
		return s.Value, true
	}
	m, ok := item.(*ast.MappingNode)
	if !ok || m.IsFlowStyle || len(m.Values) != 1 {
		return "", false
	}
	key, okKey := ast.Node(m.Values[0].Key).(*ast.StringNode)
	value, okValue := m.Values[0].Value.(*ast.StringNode)
	if !okKey || !okValue {
		return "", false
	}
	from, to := key.GetToken().Position, value.GetToken().Position
	touch := from.Line == to.Line && to.Column == from.Column+len(key.GetToken().Value)+1
	return key.Value + ":" + value.Value, touch && key.GetToken().Type == token.StringType && value.GetToken().Type == token.StringType
}

func (d *decoder) scalar(path string, n ast.Node, s scalar, tag reflect.StructTag) {
	text, ok := d.plain(path, n)
	if !ok {
		return
	}
	err := s.parse(text)
	if r, ok := s.(interface{ resolve(dir string) error }); ok && err == nil {
		err = r.resolve(d.dir)
	}
	if l, ok := s.(interface{ load(disk) error }); ok && err == nil {
		err = l.load(d.disk)
	}
	if err == nil {
		err = inRange(s, tag)
	}
	if err != nil {
		d.fail(path, err.Error(), hintOf(err))
	}
}

// plain returns the text of n. A number is text too: that it has no unit is
// for the setting to say.
func (d *decoder) plain(path string, n ast.Node) (string, bool) {
	var text string
	switch n := n.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.IntegerNode, *ast.FloatNode:
		text = n.GetToken().Value
	default:
		d.fail(path, "has to be text, not "+kind(n), "")
		return "", false
	}
	if !printable(text) {
		d.fail(path, "has to be printable text of at most 4096 bytes on one line", "")
		return "", false
	}
	return text, true
}

func (d *decoder) text(path string, n ast.Node, v reflect.Value, tag reflect.StructTag) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		d.fail(path, "has to be text, not "+kind(n), "")
		return
	}
	if !printable(s.Value) || s.Value == "" {
		d.fail(path, "has to be printable text of 1 to 4096 bytes on one line", "")
		return
	}
	if words := strings.Split(tag.Get("enum"), ","); words[0] != "" && !slices.Contains(words, s.Value) {
		d.fail(path, strconv.Quote(s.Value)+" is not one of "+strings.Join(words, ", "), meant(nearest(s.Value, words)))
		return
	}
	v.SetString(s.Value)
}

func (d *decoder) number(path string, n ast.Node, v reflect.Value, tag reflect.StructTag) {
	text, ok := "", false
	switch n := n.(type) {
	case *ast.IntegerNode:
		text, ok = n.GetToken().Value, true
	case *ast.StringNode: // only where a default stands for what is not there
		text, ok = n.Value, n.Value == tag.Get("default")
	}
	if !ok || !digits(text) {
		d.fail(path, "has to be a whole number, not "+kind(n), "")
		return
	}
	low, high, _ := strings.Cut(tag.Get("range"), ",")
	least, _ := strconv.Atoi(low)
	most, _ := strconv.Atoi(high)
	i, err := strconv.Atoi(text)
	if err != nil || i < least || i > most {
		d.fail(path, text+" is not "+between(low, high), "")
		return
	}
	v.SetInt(int64(i))
}

// inRange reports that s is outside the range of its tag.
func inRange(s scalar, tag reflect.StructTag) error {
	d, ok := s.(*Duration)
	low, high, found := strings.Cut(tag.Get("range"), ",")
	if !ok || !found {
		return nil
	}
	var least, most Duration
	if err := errors.Join(least.parse(low), most.parse(high)); err != nil {
		return err
	}
	if *d < least || *d > most {
		return fmt.Errorf("%s is not %s", s, between(low, high))
	}
	return nil
}

func between(low, high string) string {
	if low == high {
		return low
	}
	return "between " + low + " and " + high
}

func kind(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "a section"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "an anchor, alias or tag"
	default:
		return "this"
	}
}

func meant(word string) string {
	if word == "" {
		return ""
	}
	return "did you mean " + word + "?"
}

func printable(s string) bool {
	return len(s) <= maxText && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
