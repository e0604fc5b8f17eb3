package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A step is a command with what it has to answer, or words between commands.
type step struct {
	prose   string
	command string
	want    []*regexp.Regexp // each has to be in the output
	never   []*regexp.Regexp // none may be
	exit    int
	patient bool // it may take a moment until it is so
	hidden  bool // not shown: it only checks
}

// parse reads a script. A line that begins with "$ " is a command, those
// behind it say what is to come of it:
//
//	~ PATTERN   has to be in the output
//	! PATTERN   must not be in it
//	= CODE      it ends with this code, not 0
//	wait        it is tried again until it is so, for some seconds
//	hide        it is not shown
//
// All others are words for the reader. A blank line ends a group of commands.
func parse(text string) ([]step, error) {
	var steps []step
	var errs []error
	for n, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if err := add(&steps, l); err != nil {
			errs = append(errs, fmt.Errorf("tour.txt:%d: %w", n+1, err))
		}
	}
	return steps, errors.Join(errs...)
}

func add(steps *[]step, l string) error {
	if command, ok := strings.CutPrefix(l, "$ "); ok {
		*steps = append(*steps, step{command: command})
		return nil
	}
	last := &step{}
	if len(*steps) > 0 {
		last = &(*steps)[len(*steps)-1]
	}
	mark, rest, _ := strings.Cut(l, " ")
	if last.command == "" && (mark == "~" || mark == "!" || mark == "=" || l == "wait" || l == "hide") {
		return fmt.Errorf("%q without a command before", l)
	}
	var err error
	switch {
	case mark == "~" || mark == "!":
		var re *regexp.Regexp
		if re, err = regexp.Compile("(?m)" + rest); err != nil {
			return err
		}
		if mark == "~" {
			last.want = append(last.want, re)
			return nil
		}
		last.never = append(last.never, re)
	case mark == "=":
		last.exit, err = strconv.Atoi(rest)
	case l == "wait":
		last.patient = true
	case l == "hide":
		last.hidden = true
	default:
		*steps = append(*steps, step{prose: l + "\n"})
	}
	return err
}

// check reports that out is not what the step has to answer.
func (s *step) check(out string, code int) error {
	if code != s.exit {
		return fmt.Errorf("it ended with %d, not %d", code, s.exit)
	}
	for _, re := range s.want {
		if !re.MatchString(out) {
			return fmt.Errorf("it does not say %v", re)
		}
	}
	for _, re := range s.never {
		if m := re.FindString(out); m != "" {
			return fmt.Errorf("it says %q", m)
		}
	}
	return nil
}

// show returns the step as it stands in the README.
func (s *step) show(out string) string {
	if s.hidden {
		return ""
	}
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	var b strings.Builder
	b.WriteString("$ " + s.command + "\n")
	for l := range strings.Lines(out) {
		b.WriteString(strings.TrimRight(l, " \n\r") + "\n")
	}
	return b.String()
}

// What is different each time, and what stands for it when two sessions are
// compared.
var changing = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "UUID"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|s)\b`), "DURATION"},
	{regexp.MustCompile(`\b\d+ bytes`), "N bytes"},
	{regexp.MustCompile(`\b\d+ probes, \d+ held`), "N probes, N held"},
	{regexp.MustCompile(`records? \d+ to \d+ of \d+`), "records N to N of N"},
	{regexp.MustCompile(`checkpoint \d+`), "checkpoint N"},
	{regexp.MustCompile(`(?m)^ +\d+  TIME`), "N  TIME"},
	{regexp.MustCompile(`PostgreSQL \d+\.\d+`), "PostgreSQL N"},
	{regexp.MustCompile(`runs as \w+`), "runs as ACCOUNT"},
}

// mask returns a session without what is different each time.
func mask(session string) string {
	for _, c := range changing {
		session = c.what.ReplaceAllString(session, c.as)
	}
	return session
}
