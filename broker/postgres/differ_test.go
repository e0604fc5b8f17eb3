package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/secret"
)

// A twin is a fixture beside a plain database with the tables and rows of
// tenant A, and nothing of ours: what a client of a plain server would meet.
type twin struct {
	*fixture
	plain string // how to connect to the plain one
}

const plainPassword = "plain-of-a-test"

func newTwin(t testing.TB) *twin {
	t.Helper()
	f := newFixture(t)
	name := localtest.Database(t)
	super := localtest.Super(t, name)
	role := "plain_" + name
	text := schema + fmt.Sprintf(fill, f.A, "A") + fmt.Sprintf(`
		CREATE ROLE %[1]s LOGIN PASSWORD '%[2]s';
		GRANT USAGE ON SCHEMA app TO %[1]s;
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO %[1]s;
		ALTER ROLE %[1]s IN DATABASE %[3]s SET search_path = app;`, role, plainPassword, name)
	for _, table := range tables {
		text += fmt.Sprintf("ALTER TABLE app.%s ALTER tenant_id SET DEFAULT '%s';", table, f.A)
	}
	if _, err := super.Exec(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	return &twin{fixture: f, plain: localtest.Postgres(t).DSN(role, secret.New(plainPassword), name).Reveal() + " application_name=isocore"}
}

// A script is what a client says, in steps: after each it waits for a message
// whose line begins with until; "" does not wait.
type play []step

type step struct {
	say   []pgwire.Message
	until string
}

// say is a play of one step.
func say(ms ...pgwire.Message) play { return play{{ms, ""}} }

// then adds a step that is said when a message came whose line begins with until.
func (s play) then(until string, ms ...pgwire.Message) play {
	s[len(s)-1].until = until
	return append(s, step{ms, ""})
}

// final asks for something that fails in the same way wherever a session
// stands: its answer ends a play.
const final = "no_such_statement_at_the_end"

// perform plays s and returns everything that was answered.
func (w *wire) perform(t testing.TB, s play) []string {
	t.Helper()
	var lines []string
	for _, st := range s {
		w.send(t, st.say...)
		if st.until != "" {
			lines = append(lines, w.until(t, st.until)...)
			lines = append(lines, "--")
		}
	}
	w.send(t, syn, d(final), syn)
	for {
		got := w.until(t, "Ready", "Error")
		if last := got[len(got)-1]; strings.Contains(last, final) || last == "end" {
			lines = append(append(lines, got...), w.until(t, "Ready")...)
			w.send(t, pgwire.Terminate{})
			_ = w.Close()
			return lines
		}
		lines = append(lines, got...)
	}
}

// compare plays s on both sides, each from the same rows, and reports the
// first difference. Lines are compared as the functions of as leave them.
func (w *twin) compare(t *testing.T, s play, as ...func(string) string) {
	t.Helper()
	want := hijack(t, w.plain).perform(t, s)
	got := hijack(t, w.dsn(w.Token(w.A))).perform(t, s)
	for _, f := range as {
		for _, lines := range [][]string{want, got} {
			for i := range lines {
				lines[i] = f(lines[i])
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("played:\n%s\nserver says:\n\t%s\nbroker says:\n\t%s", s, strings.Join(want, "\n\t"), strings.Join(got, "\n\t"))
	}
}

func (s play) String() string {
	var b strings.Builder
	for _, st := range s {
		for _, m := range st.say {
			text := fmt.Sprintf("%T%+v", m, m)
			if len(text) > 300 {
				text = text[:300] + "..."
			}
			fmt.Fprintf(&b, "\t%s\n", strings.TrimPrefix(strings.TrimPrefix(text, "*"), "pgwire."))
		}
		if st.until != "" {
			fmt.Fprintf(&b, "\t(wait for %s)\n", st.until)
		}
	}
	return b.String()
}
