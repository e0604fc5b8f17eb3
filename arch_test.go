package isocore

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/isocore/isocore"

// layers are the packages from the ground up: each imports those of lines
// before its own, and none beside it.
var layers = []struct {
	packages string
	why      string
}{
	{"tenant refusal secret", "leaf words import nothing of ours"},
	{"internal/jws internal/pgwire internal/pgsql internal/h1 audit/trail", "codecs and formats know words, and nothing of what runs"},
	{"audit/tree identity config", "identity needs no log; a tree needs no log either"},
	{"audit/segment audit/bundle audit/view audit scope", "a verifier needs formats and trees only; a scope is made of a principal"},
	{"limit registry identity/identitytest identity/published identity/preset broker/postgres/protect prove prove/ports", "what is limited, what exists, what others publish, how a database is locked, how attacks are run: none needs a broker"},
	{"keyring accept", "keys are wrapped into the registry"},
	{"broker", "the order of the rooms is written once, above what it orders"},
	{"forward", "takes a Pass, so it stands above who makes one"},
	{"broker/brokertest local", "tests and stores of brokers"},
	{"local/localtest local/demo", "a real server for tests"},
	{"broker/postgres broker/edge broker/exchange", "a broker stands on forward; brokers never import each other"},
	{"admin", "the operator's door changes what exists"},
	{"node", "assembles all rooms"},
	{"cmd/isocore", "the command line starts and asks a node"},
	{"workload", "what applications import: it verifies with the same reader, and knows no broker"},
	{"workload/postgres", "the part of it that knows pgx"},
	{"examples/notes", "an application as anybody would write one"},
	{". bench tools/check tools/test tools/fuzz tools/verdicts tools/tour e2e", "the map, the tools and the tests of the whole"},
}

// beside are imports within one line of layers, each with its reason.
var beside = map[string]string{
	"audit -> audit/trail":        "the log writes the formats",
	"audit/bundle -> audit/trail": "the bundle holds records",
	"keyring -> registry":         "wrapped keys live in the registry",
}

// sealed are selectors that only certain files may use.
var sealed = []struct {
	selector string // regular expression; a call of it ends in ()
	where    string // regular expression of file paths
	why      string
}{
	{`^net\.(Dial|DialTimeout|Dialer)$`, `^(forward/|broker/[a-z]+/forward\.go|identity/published/|node/|cmd/isocore/|local/|prove/|bench/)`, "nothing reaches a store without a Pass: the rest dials the operator's socket, our own database, what identity providers publish and the prover's front door"},
	{`^context\.WithValue$`, `^(admin/peer_linux\.go|workload/)`, "identity travels as an argument; the kernel's word on a unix socket is one exception, and applications, which have net/http, the other"},
	{`^slog\.Default$`, `^$`, "loggers are passed, not found"},
	{`^(os\.Getenv|os\.LookupEnv)$`, `^(local/|tools/)`, "there is no environment but PATH, for finding binaries"},
	{`^time\.Sleep$`, `^$`, "who waits also listens for the end"},
	{`^(http\.DefaultClient|http\.Get|http\.Post|http\.ListenAndServe)$`, `^$`, "no timeouts"},
	{`^rand\.(Int|IntN|Uint64)$`, `^(local/demo/)`, "chance that somebody relies on comes from crypto/rand"},
	{`\.(Take|Recorded|Free)\(\)$`, `^(forward/|broker/pass\.go)`, "only forward takes a request out of its Pass"},
}

func TestImportsGoDown(t *testing.T) {
	level := map[string]int{}
	for i, l := range layers {
		for _, p := range strings.Fields(l.packages) {
			level[p] = i
		}
	}
	for file, f := range sources(t) {
		from := path.Dir(file)
		if _, ok := level[from]; !ok {
			t.Errorf("%s: package %s has no place in the house: give it one in layers", file, from)
			continue
		}
		for _, im := range f.Imports {
			to := relative(im)
			if to == "" {
				continue
			}
			if at, ok := level[to]; !ok || at > level[from] || at == level[from] && beside[from+" -> "+to] == "" {
				t.Errorf("%s imports %s, which does not go down: %s", file, to, layers[level[from]].why)
			}
		}
	}
}

// relative returns the path of one of our packages within the module.
func relative(im *ast.ImportSpec) string {
	p, _ := strconv.Unquote(im.Path.Value)
	if p == module {
		return "."
	}
	to, ours := strings.CutPrefix(p, module+"/")
	if !ours {
		return ""
	}
	return to
}

func TestSealedSelectors(t *testing.T) {
	for file, f := range sources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			name := selector(n)
			if name == "" {
				return true
			}
			for _, rule := range sealed {
				if regexp.MustCompile(rule.selector).MatchString(name) && !regexp.MustCompile(rule.where).MatchString(file) {
					t.Errorf("%s uses %s: %s", file, name, rule.why)
				}
			}
			return true
		})
	}
}

// selector returns how n spells a selector, or the call of one; "" is neither.
func selector(n ast.Node) string {
	call, isCall := n.(*ast.CallExpr)
	if isCall {
		n = call.Fun
	}
	s, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	name := "." + s.Sel.Name
	if x, ok := s.X.(*ast.Ident); ok {
		name = x.Name + name
	}
	if isCall {
		return name + "()"
	}
	return name
}

func TestNothingRegistersItself(t *testing.T) {
	for file, f := range sources(t) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init: what runs is written in main", file)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said := map[string]bool{}
	all := map[string]bool{}
	for file, f := range sources(t) {
		all[path.Dir(file)] = true
		if f.Doc != nil {
			said[path.Dir(file)] = true
		}
	}
	for p := range all {
		if !said[p] {
			t.Errorf("package %s has no doc", p)
		}
	}
}

// TestExportedNamesAreDocumented leaves out what an interface says of a method.
func TestExportedNamesAreDocumented(t *testing.T) {
	known := []string{"String", "Error", "Unwrap"}
	for file, f := range sources(t) {
		if strings.HasPrefix(file, "cmd/") || strings.HasPrefix(file, "tools/") {
			continue
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Name.IsExported() && fn.Doc == nil && !slices.Contains(known, fn.Name.Name) && exportedReceiver(fn) {
				t.Errorf("%s: %s is not documented", file, fn.Name.Name)
			}
		}
	}
}

func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	exported := false
	ast.Inspect(fn.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && !exported {
			exported = id.IsExported()
		}
		return true
	})
	return exported
}

// TestDependenciesHaveReasons compares go.mod's direct requirements with
// DEPENDENCIES.md: a line each, and no line for what is gone.
func TestDependenciesHaveReasons(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("DEPENDENCIES.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s+(\S+\.\S+/\S+) v\S+$`).FindAllSubmatch(mod, -1) {
		direct[string(m[1])] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+/cmd/\S+|mvdan\.cc/gofumpt)$`).FindAllSubmatch(mod, -1) {
		for d := range direct {
			if strings.HasPrefix(string(m[1]), d) {
				direct[d] = true
			}
		}
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(doc, -1) {
		listed[string(m[1])] = true
	}
	for d := range direct {
		if !listed[d] {
			t.Errorf("go.mod requires %s, and DEPENDENCIES.md does not say why", d)
		}
	}
	for l := range listed {
		if !bytes.Contains(mod, []byte(l+" v")) {
			t.Errorf("DEPENDENCIES.md has %s, and go.mod does not", l)
		}
	}
}

// TestDocumentsAreReached finds documents that nothing names.
func TestDocumentsAreReached(t *testing.T) {
	var text strings.Builder
	var docs []string
	walk(t, func(file string) {
		if !strings.HasSuffix(file, ".md") && !strings.HasSuffix(file, ".go") {
			return
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".md") && strings.HasPrefix(file, "docs/") {
			docs = append(docs, file)
			return
		}
		text.Write(b)
	})
	for _, d := range docs {
		if !strings.Contains(text.String(), path.Base(d)) && !strings.Contains(text.String(), "("+path.Dir(d)+"/)") {
			t.Errorf("%s: no test, reader or generator would miss it", d)
		}
	}
}

// parsed are the files of the house, read once.
var parsed map[string]*ast.File

// sources returns the Go files of the house that are not tests, by path.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	if parsed != nil {
		return parsed
	}
	files := map[string]*ast.File{}
	walk(t, func(file string) {
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range f.Comments {
			if c.Pos() < f.Package && strings.Contains(c.List[0].Text, "//go:build ignore") {
				return
			}
		}
		files[file] = f
	})
	parsed = files
	return files
}

func walk(t *testing.T, visit func(file string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		visit(filepath.ToSlash(p))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
