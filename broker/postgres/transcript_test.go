package postgres

import (
	"bufio"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/internal/pgwire"
)

var update = flag.Bool("update", false, "write testdata/transcripts again")

// stories are those worth reading.
var stories = map[string]struct {
	title string
	steps [][]pgwire.Message
}{
	"search": {
		"A search is confined to the tenant.",
		[][]pgwire.Message{{p("", "SELECT id, title FROM doc WHERE id < $1 ORDER BY id", 20), b("", "", "3"), dp(""), e(""), syn}},
	},
	"refusal-in-a-pipeline": {
		"A refusal takes its turn in a pipeline: the store fails where it stood, and undoes what stood before it.",
		[][]pgwire.Message{all(run("UPDATE doc SET body = 'x' WHERE id = 1"), run("TRUNCATE doc"), run("SELECT 1"), one(syn)), {q("SELECT 2")}},
	},
	"begin-held-back": {
		"BEGIN is held back until the first statement that does something.",
		[][]pgwire.Message{{q("BEGIN ISOLATION LEVEL REPEATABLE READ")}, {q("SELECT count(*) FROM doc")}, {q("COMMIT")}},
	},
	"three-statements": {
		"A simple Query of three statements is three statements, in one transaction.",
		[][]pgwire.Message{{q("SELECT 1; UPDATE doc SET body = 'x' WHERE id = 1; SELECT nope")}},
	},
	"commit-and-chain": {
		"COMMIT AND CHAIN begins a transaction, which gets a context of its own.",
		[][]pgwire.Message{{q("BEGIN")}, {q("SELECT count(*) FROM doc")}, {q("COMMIT AND CHAIN")}, {q("ROLLBACK")}},
	},
}

// TestTranscripts tells the stories worth reading, as all four sides see them:
// from the client (>), to the store (=>), from the store (<=), to the client (<).
func TestTranscripts(t *testing.T) {
	tap := &tap{}
	f := newFixture(t, func(c *Config) {
		d := c.Databases["app"]
		d.Store.Address = tap.listen(t, d.Store.Address)
		c.Databases["app"] = d
	})
	for name, c := range stories {
		t.Run(name, func(t *testing.T) {
			before := len(f.Records(t, f.A))
			w := f.as(t)
			tap.take()
			text := "# " + c.title + "\nas A\n"
			for _, ms := range c.steps {
				for _, m := range ms {
					text += ">   " + said(m) + "\n"
				}
				w.send(t, ms...)
				answers := w.until(t, "Ready")
				text += tap.take()
				for _, a := range answers {
					text += "<   " + a + "\n"
				}
			}
			w.send(t, pgwire.Terminate{})
			for _, r := range f.ended(t, before) {
				switch r.Kind {
				case audit.Decision:
					text += fmt.Sprintf("log %s %q %s\n", r.Verdict, r.Operation, r.Text)
				case audit.Outcome:
					text += fmt.Sprintf("log outcome %q %s %s %d\n", r.Operation, r.Result.Status, r.Result.Code, r.Result.Rows)
				default:
				}
			}
			golden(t, filepath.Join("testdata", "transcripts", name+".txt"), f.stable(text))
		})
	}
}

// stable replaces what is different in every run.
func (f *fixture) stable(text string) string {
	text = regexp.MustCompile(`v1[0-9a-f]{100,}[^"]*`).ReplaceAllString(text, "<context>")
	u := f.A.UUID()
	return strings.NewReplacer(f.A.String(), "<A>", fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), "<A>").Replace(text)
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // a golden file
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s (go test -update writes it), %v:\n%s", path, err, got)
	}
}

// said writes a client's message as text.
func said(m pgwire.Message) string {
	switch m := m.(type) {
	case *pgwire.Query:
		return fmt.Sprintf("Query %q", m.Text)
	case *pgwire.Parse:
		return fmt.Sprintf("Parse %q %q", m.Name, m.Query)
	case *pgwire.Bind:
		return fmt.Sprintf("Bind %q %q %q", m.Portal, m.Statement, m.Params)
	case *pgwire.Describe:
		return fmt.Sprintf("Describe %c %q", m.Target, m.Name)
	case *pgwire.Execute:
		return fmt.Sprintf("Execute %q", m.Portal)
	case pgwire.FrontendMessage:
		return m.Type().String()
	default:
		return fmt.Sprint(m)
	}
}

// A tap stands between the broker and the store, and notes what passes.
type tap struct {
	mu       sync.Mutex
	to, from []string
}

// listen returns the address of a socket that leads to the one given.
func (p *tap) listen(t *testing.T, store string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "isocore-tap-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("unix", store)
			if err != nil {
				_ = c.Close()
				continue
			}
			all.Go(func() { p.pass(c, s, p.client); _ = s.Close() })
			all.Go(func() { p.pass(s, c, p.store); _ = c.Close() })
		}
	})
	return filepath.Join(dir, "s")
}

// pass copies messages and notes them before they go on.
func (p *tap) pass(from io.Reader, to io.Writer, note func(byte, []byte)) {
	in := bufio.NewReader(from)
	r := pgwire.NewReader(in)
	if b, err := in.Peek(1); err == nil && b[0] == 0 { // a startup message has no type
		m, err := r.ReadStartup(1 << 16)
		if err != nil {
			return
		}
		wire, _ := m.Encode(nil)
		_, _ = to.Write(wire)
	}
	for {
		h, err := r.ReadHeader(1 << 30)
		if err != nil {
			return
		}
		body, err := r.Body()
		if err != nil {
			return
		}
		note(h.Type, body)
		wire, _ := h.Encode(nil)
		if _, err := to.Write(append(wire, body...)); err != nil {
			return
		}
	}
}

func (p *tap) client(typ byte, body []byte) {
	m, err := pgwire.DecodeFrontend(pgwire.Frontend(typ), body)
	text := hex.EncodeToString(body)
	if err == nil {
		text = said(m)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = append(p.to, "=>  "+text+"\n")
}

func (p *tap) store(typ byte, body []byte) {
	m, err := pgwire.DecodeBackend(pgwire.Backend(typ), body)
	text := hex.EncodeToString(body)
	if err == nil {
		text = line(typ, m)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from = append(p.from, "<=  "+text+"\n")
}

// take returns what has passed since the last time.
func (p *tap) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := strings.Join(p.to, "") + strings.Join(p.from, "")
	p.to, p.from = nil, nil
	return text
}
