package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// printJSON prints v as the answer for a program.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table prints rows under a head.
func table(w io.Writer, head string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for _, r := range rows {
		for i, cell := range r {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, cell)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// isTerminal reports whether a person looks at f.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// step says on stderr what is being done.
func (o *options) step(format string, args ...any) {
	if !o.quiet {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// progress returns what long work calls, and what ends it. Without a terminal
// it says what there is to do once.
func (o *options) progress(what string, total int) (update func(done int), finish func()) {
	if o.quiet {
		return func(int) {}, func() {}
	}
	if !isTerminal(os.Stderr) {
		o.step("%s", what)
		return func(int) {}, func() {}
	}
	bar := progressbar.NewOptions(total, progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(24), progressbar.OptionClearOnFinish())
	return func(done int) { bar.Set(done) }, func() { bar.Finish() } //nolint:errcheck // a bar is not worth a failure
}

// free returns an error if something is at path and it is not said that it may
// be replaced.
func (o *options) free(path string) error {
	if _, err := os.Lstat(path); err == nil && !o.yes {
		return hint(fmt.Errorf("%s exists", path), "say --yes to replace it")
	}
	return nil
}

// save writes what comes to path, whole or not at all.
func save(path string, in io.Reader) (int64, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".isocore-*")
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, in)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(f.Name()))
	}
	return n, nil
}
