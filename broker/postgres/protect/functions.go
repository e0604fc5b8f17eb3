package protect

import (
	"fmt"
	"strings"
)

// majors are the versions of PostgreSQL with a reviewed list of functions.
var majors = []int{15}

// A Function is one built-in of PostgreSQL and what was decided about it.
type Function struct {
	Signature  string // name(argument types), with its schema unless that is pg_catalog
	Volatility string // i, s or v
	Allow      bool   // PUBLIC may execute it
	Group      string // why: the groups are explained in generate.go
}

// Functions returns every function of that major version of PostgreSQL, sorted
// by name. A version nobody has reviewed is an error.
func Functions(major int) ([]Function, error) {
	var fs []Function
	lines, err := list("functions", major, 4)
	for _, l := range lines {
		fs = append(fs, Function{Signature: l[0], Volatility: l[1], Allow: l[2] == "allow", Group: l[3]})
	}
	return fs, err
}

// list returns the lines of a verdict list, each of n fields.
func list(what string, major, n int) ([][]string, error) {
	b, err := files.ReadFile(fmt.Sprintf("verdicts/%s-%d.txt", what, major))
	if err != nil {
		return nil, fmt.Errorf("protect: PostgreSQL %d has no reviewed list of %s", major, what)
	}
	var lines [][]string
	for l := range strings.Lines(string(b)) {
		if strings.HasPrefix(l, "#") {
			continue
		}
		fields := strings.Split(strings.TrimSuffix(l, "\n"), "\t")
		if len(fields) != n {
			return nil, fmt.Errorf("protect: %s-%d.txt: %q", what, major, l)
		}
		lines = append(lines, fields)
	}
	return lines, nil
}

// reviewed returns the newest reviewed version that is not newer than major.
// What a newer server has beyond it is unclassified, and so denied.
func reviewed(major int) int {
	best := majors[0]
	for _, m := range majors {
		if m <= major {
			best = m
		}
	}
	return best
}

// verdicts are the reviewed lists in a form to look things up in.
type verdicts struct {
	functions map[string]Function
	relations map[string]Function // of relations only Allow and Group are set
}

func loadVerdicts(major int) (verdicts, error) {
	v := verdicts{map[string]Function{}, map[string]Function{}}
	fs, err := Functions(reviewed(major))
	if err != nil {
		return v, err
	}
	for _, f := range fs {
		v.functions[f.Signature] = f
	}
	lines, err := list("relations", reviewed(major), 3)
	for _, l := range lines {
		v.relations[l[0]] = Function{Signature: l[0], Allow: l[1] == "allow", Group: l[2]}
	}
	return v, err
}

// function returns the verdict on a live function. One the list does not have,
// or has with another volatility, is unclassified: not allowed, without a group.
func (v verdicts) function(signature, volatility string) Function {
	f, ok := v.functions[signature]
	if !ok || f.Volatility != volatility {
		return Function{Signature: signature, Volatility: volatility}
	}
	return f
}

// relation returns the verdict on a live relation of pg_catalog.
func (v verdicts) relation(name string) Function {
	f, ok := v.relations[name]
	if !ok {
		return Function{Signature: name}
	}
	return f
}
