package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// A page is docs/performance.md: the text of each bench, by its name. What
// stands between the markers of a section is its bench's; a bench that did not
// run leaves its section as it was.
type page map[string]string

func markers(name string) (begin, end string) {
	return "<!-- " + name + ": begin -->\n", "<!-- " + name + ": end -->\n"
}

// readPage reads the sections of the page at path. There need not be one.
func readPage(path string) (page, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	p := page{}
	for _, x := range benches {
		begin, end := markers(x.name)
		_, rest, found := strings.Cut(string(b), begin)
		text, _, ended := strings.Cut(rest, end)
		if found != ended {
			return nil, fmt.Errorf("%s: the section of %s has no end", path, x.name)
		}
		if found {
			p[x.name] = text
		}
	}
	return p, nil
}

func (p page) String() string {
	var b strings.Builder
	b.WriteString("# Performance\n\nWritten by `make bench`, a section a bench. Everything shares one small machine: trust the ratios.\n")
	for _, x := range benches {
		if text := p[x.name]; text != "" {
			begin, end := markers(x.name)
			fmt.Fprintf(&b, "\n## %s\n\n%s%s%s", x.title, begin, text, end)
		}
	}
	return b.String()
}
