// Command test runs every test there is and prints what matters: a line a
// package, whatever failed in full, every skip by name. A skip that
// docs/compat/skips.txt does not list is a failure.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"
)

// skipsFile lists the tests that may be skipped: a line each, package and
// test, with the reason behind a #.
const skipsFile = "docs/compat/skips.txt"

// runs are the go test commands, in order.
var runs = [][]string{
	{"-race", "-shuffle=on", "-timeout", "30m", "./..."},
	{"-tags", "mutant", "-run", "Mutant", "-timeout", "30m", "./broker/..."},
}

// An event is a line of go test -json.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// A tally is what came of all tests.
type tally struct {
	passed, failed, skipped int
	output                  map[string]*strings.Builder // of tests and packages in progress
	skips                   []string
	allowed                 map[string]bool
}

func main() {
	allowed, err := readSkips()
	if err != nil {
		fmt.Println("test:", err)
		os.Exit(1)
	}
	t := &tally{output: map[string]*strings.Builder{}, allowed: allowed}
	broken := false
	started := time.Now()
	if err := run("go", "run", "./tools/check"); err != nil {
		broken = true
	}
	for _, args := range runs {
		fmt.Println("go test", strings.Join(args, " "))
		if err := t.run(args); err != nil {
			fmt.Println("test:", err)
			broken = true
		}
	}
	if err := run("make", "tour"); err != nil {
		broken = true
	}
	broken = !t.settleSkips() || broken || t.failed > 0
	fmt.Printf("%v in all\n", time.Since(started).Round(time.Second))
	fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if broken {
		os.Exit(1)
	}
}

func run(name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stdout
	return c.Run()
}

// run runs go test and counts.
func (t *tally) run(args []string) error {
	c := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	c.Stderr = os.Stdout
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Println(lines.Text())
			continue
		}
		t.see(e)
	}
	return errors.Join(lines.Err(), c.Wait())
}

func (t *tally) see(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "output":
		if t.output[key] == nil {
			t.output[key] = &strings.Builder{}
		}
		t.output[key].WriteString(e.Output)
		return
	case "skip":
		if e.Test != "" {
			t.skipped++
			t.skips = append(t.skips, key+" # "+t.said(key))
		}
	case "fail":
		if e.Test != "" {
			t.failed++
		}
		fmt.Printf("FAIL %s (%.1fs)\n%s", key, e.Elapsed, t.said(key))
	case "pass":
		if e.Test != "" {
			t.passed++
			break
		}
		fmt.Printf("ok   %s(%.1fs)\n", key, e.Elapsed)
	default:
		return
	}
	delete(t.output, key)
}

func (t *tally) said(key string) string {
	if b := t.output[key]; b != nil {
		return b.String()
	}
	return ""
}

// settleSkips prints every skip and reports whether all are listed.
func (t *tally) settleSkips() bool {
	fine := true
	for _, s := range t.skips {
		name, said, _ := strings.Cut(s, " # ")
		why := strings.Join(strings.Fields(said), " ")
		if t.allowed[name] {
			fmt.Println("skipped, as listed:", name, why)
			continue
		}
		fmt.Println("FAIL skipped, and not in", skipsFile+":", name, why)
		fine = false
	}
	return fine
}

func readSkips() (map[string]bool, error) {
	b, err := os.ReadFile(skipsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	allowed := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		name, _, _ := strings.Cut(line, "#")
		if words := strings.Fields(name); len(words) > 0 {
			allowed[strings.Join(words, " ")] = true
		}
	}
	delete(allowed, "")
	return allowed, nil
}
