// Command check is what CI runs before anything else: format, vet,
// staticcheck, the architecture, and that generated files are as generated.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// A step is one thing to run. Output where none is due is a failure too.
type step struct {
	name   string
	silent bool // what it prints is what is wrong
	args   []string
}

var steps = []step{
	{"format", true, []string{"go", "tool", "gofumpt", "-l", "."}},
	{"vet", false, []string{"go", "vet", "./..."}},
	{"vet of the mutants", false, []string{"go", "vet", "-tags", "mutant", "./..."}},
	{"staticcheck", false, []string{"go", "tool", "staticcheck", "./..."}},
	{"architecture", false, []string{"go", "test", "."}},
	{"generated files", true, []string{"sh", "-c", "go generate ./... && git status --porcelain docs/verdicts"}},
	{"modules", false, []string{"go", "mod", "tidy", "-diff"}},
}

func main() {
	failed := 0
	for _, s := range steps {
		out, err := exec.Command(s.args[0], s.args[1:]...).CombinedOutput()
		said := bytes.TrimSpace(out)
		if err == nil && (!s.silent || len(said) == 0) {
			fmt.Printf("check: %s: fine\n", s.name)
			continue
		}
		failed++
		fmt.Printf("check: %s: %s\n%s\n", s.name, strings.Join(s.args, " "), said)
	}
	if failed > 0 {
		fmt.Printf("check: %d of %d failed\n", failed, len(steps))
		os.Exit(1)
	}
}
