// Command tour starts an IsoCore, walks through the session of the README with
// real clients, checks every answer and stops everything.
//
// What it runs is tour.txt; what that printed is the README's session:
//
//	tour          runs it, and fails if an answer is wrong or the README shows another session
//	tour -update  runs it, and writes the session into the README
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

//go:embed tour.txt
var script string

// The session stands in the README between these lines.
const (
	begin = "<!-- tour: what make tour printed; go run ./tools/tour -update writes it -->\n"
	end   = "<!-- end of the tour -->\n"
)

func main() {
	update := flag.Bool("update", false, "write the session into the README")
	readme := flag.String("readme", "README.md", "where the session stands")
	bin := flag.String("bin", "bin", "where the programs are")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *readme, *update); err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, readme string, update bool) (err error) {
	steps, err := parse(script)
	if err != nil {
		return err
	}
	t, err := newTour(bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	var session strings.Builder
	for _, s := range steps {
		shown, err := t.walk(ctx, s)
		if err != nil {
			return err
		}
		session.WriteString(shown)
	}
	if update {
		return write(readme, session.String())
	}
	return compare(readme, session.String())
}

// A tour is one walk, in a folder of its own.
type tour struct {
	dir    string
	env    []string
	behind []*exec.Cmd       // what was started with & and has to end
	logs   bytes.Buffer      // what these said
	ports  *strings.Replacer // from the usual ports to those of this walk
	usual  *strings.Replacer // and back
	flags  string            // by which the example learns of the ports of this walk
}

func newTour(bin string) (*tour, error) {
	abs, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "isocore-tour-*")
	if err != nil {
		return nil, err
	}
	none := strings.NewReplacer()
	return &tour{
		dir: dir, ports: none, usual: none,
		env: append(os.Environ(), "PATH="+abs+string(os.PathListSeparator)+os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PAGER=", "PSQLRC=/dev/null"),
	}, os.Chmod(dir, 0o711) // the account of the store passes through
}

// close ends whatever still runs, also after a step that failed.
func (t *tour) close() error {
	var errs []error
	for _, c := range t.behind {
		c.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
		c.Wait()                       //nolint:errcheck // how it ended does not matter any more
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, _, err := t.shell(ctx, "isocore down --quiet"); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, os.RemoveAll(t.dir))...)
}

// stepTime is how long one command may take: the first installs a store.
const stepTime = 5 * time.Minute

// walk carries out one step and returns it as the README shows it.
func (t *tour) walk(ctx context.Context, s step) (string, error) {
	if s.command == "" {
		return s.prose, nil
	}
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	fmt.Printf("\x1b[1m$ %s\x1b[0m\n", s.command)
	command := t.ports.Replace(s.command)
	if program, ok := strings.CutSuffix(command, " &"); ok {
		return s.show(""), t.start(program + t.flags)
	}
	out, code, err := t.shell(ctx, command)
	for again := 0; err == nil && s.patient && s.check(out, code) != nil && again < 100; again++ {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return "", ctx.Err()
		}
		out, code, err = t.shell(ctx, command)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.command, err)
	}
	if strings.HasPrefix(s.command, "isocore up") {
		if err := t.learn(ctx); err != nil {
			return "", err
		}
	}
	out = t.usual.Replace(strings.ReplaceAll(out, t.dir+"/", ""))
	fmt.Print(strings.TrimSuffix(out, "\n") + "\n")
	if err := s.check(out, code); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", s.command, err, out, tail(t.logs.String()))
	}
	return s.show(out), nil
}

// shell runs a command as a person would type it.
func (t *tour) shell(ctx context.Context, command string) (out string, code int, err error) {
	c := exec.CommandContext(ctx, "bash", "-c", command)
	c.Dir, c.Env = t.dir, t.env
	b, err := c.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return string(b), exit.ExitCode(), nil
	}
	return string(b), 0, err
}

// start runs a program beside the walk.
func (t *tour) start(command string) error {
	c := exec.Command("bash", "-c", "exec "+command)
	c.Dir, c.Env = t.dir, t.env
	c.Stdout, c.Stderr = &t.logs, &t.logs
	if err := c.Start(); err != nil {
		return err
	}
	t.behind = append(t.behind, c)
	return nil
}

// learn finds out at which ports this walk's IsoCore answers, where others
// may have the usual ones.
func (t *tour) learn(ctx context.Context) error {
	out, _, err := t.shell(ctx, "isocore endpoints && isocore routes")
	if err != nil {
		return err
	}
	usual := map[string]string{"edge": "7080", "postgres": "7432", "public": "7900", "notes": "7081"}
	var there, back []string
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		at := address.FindStringSubmatch(line)
		if len(words) == 0 || at == nil || usual[words[0]] == "" {
			continue
		}
		there = append(there, ":"+usual[words[0]], ":"+at[1])
		back = append(back, ":"+at[1], ":"+usual[words[0]])
	}
	t.ports, t.usual = strings.NewReplacer(there...), strings.NewReplacer(back...)
	t.flags = t.ports.Replace(" --listen 127.0.0.1:7081 --postgres 127.0.0.1:7432" +
		" --jwks http://127.0.0.1:7900/.well-known/jwks.json --token-endpoint http://127.0.0.1:7900/v1/token")
	return nil
}

var address = regexp.MustCompile(`127\.0\.0\.1:(\d+)`)

// tail returns the last lines of a log.
func tail(log string) string {
	lines := strings.SplitAfter(log, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

// write puts the session into the README.
func write(path, session string) error {
	before, _, after, err := split(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(before+begin+session+end+after), 0o644)
}

// compare fails if the README shows another session than this one, but for
// what is different each time.
func compare(path, session string) error {
	_, shown, _, err := split(path)
	if err != nil {
		return err
	}
	was, is := strings.Split(mask(shown), "\n"), strings.Split(mask(session), "\n")
	for i := range max(len(was), len(is)) {
		if a, b := line(was, i), line(is, i); a != b {
			return fmt.Errorf("%s shows another session: %q, not %q; go run ./tools/tour -update writes it", path, a, b)
		}
	}
	_, err = io.WriteString(os.Stdout, "tour: every answer as it should be, and as the README shows it\n")
	return err
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

func split(path string) (before, session, after string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", "", "", err
	}
	before, rest, found := strings.Cut(string(b), begin)
	session, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return "", "", "", fmt.Errorf("%s has no place for the session: %s", path, strings.TrimSpace(begin))
	}
	return before, session, after, nil
}
