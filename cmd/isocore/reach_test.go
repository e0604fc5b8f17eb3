package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/isocore/isocore/config"
)

// A configuration is checked against the reaches that identity knows: the two
// packages stand beside each other, and neither may ask the other.
func TestConfigKnowsTheReachesOfIdentity(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../identity/reach.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !spec.Names[0].IsExported() {
			return true
		}
		for _, v := range spec.Values {
			lit, ok := v.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				t.Fatalf("%s is not a word", spec.Names[0])
			}
			w, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			words = append(words, w)
		}
		return true
	})
	slices.Sort(words)
	if got := slices.Sorted(slices.Values(config.Reaches())); !slices.Equal(got, words) {
		t.Errorf("config knows %v, identity %v", got, words)
	}
}
