package postgres

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/internal/pgwire"
)

// failure reads up to a ReadyForQuery and returns the error before it, if any.
func (w *wire) failure(t *testing.T) *pgwire.ErrorResponse {
	t.Helper()
	var found *pgwire.ErrorResponse
	for {
		typ, body, err := w.in.ReadMessage(1 << 30)
		if err != nil {
			t.Fatal(err)
		}
		m, err := pgwire.DecodeBackend(pgwire.Backend(typ), body)
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *pgwire.ErrorResponse:
			found = m
		case *pgwire.ReadyForQuery:
			return found
		}
	}
}

// TestInnerLife looks for what the server says of itself: numbers that count
// what every tenant does.
func TestInnerLife(t *testing.T) {
	f := newFixture(t)
	for _, level := range []string{"debug5", "debug", "'LOG'", "info", "fatal", "notice, debug1"} {
		for _, how := range []string{"SET client_min_messages = ", "BEGIN; SET LOCAL client_min_messages TO ", `SET SESSION "client_min_messages" TO `} {
			if got := f.as(t).perform(t, queries(how+level)); !contains(got, []string{"Error C=42501"}) {
				t.Errorf("%s%s: %q", how, level, got)
			}
		}
	}
	got := f.as(t).perform(t, queries("SET client_min_messages = 'Warning'", "SET client_min_messages TO error", "SET client_min_messages TO DEFAULT", "SHOW client_min_messages"))
	if !contains(got, []string{"Complete SET", "Complete SET", "Complete SET", `Row "notice"`}) {
		t.Errorf("control: %q", got)
	}
	for _, level := range []string{"debug1", "Log", "notice "} {
		w := f.dial(t)
		w.send(t, startup("user", "u", "database", "app", "client_min_messages", level), &pgwire.Password{Password: f.Token(f.A)})
		if got := w.rest(t); !contains(got, []string{"Error S=FATAL C=42501"}) {
			t.Errorf("startup with %q: %q", level, got)
		}
	}
	// Whatever makes the server say it, the client does not hear it.
	f.exec(t, "ALTER ROLE isocore_login IN DATABASE "+f.Database+" SET client_min_messages = debug5")
	got = f.as(t).perform(t, queries("UPDATE doc SET body = 'x' WHERE id = 1", "SELECT 1 AS "+strings.Repeat("y", 70)))
	notices := slices.DeleteFunc(got, func(l string) bool { return !strings.HasPrefix(l, "Notice") })
	if len(notices) != 1 || !strings.Contains(notices[0], "will be truncated") {
		t.Errorf("notices: %q", notices)
	}
}

// TestDeadlock makes two connections of A the end of each other.
func TestDeadlock(t *testing.T) {
	f := newFixture(t)
	one, other := f.as(t), f.as(t)
	update := func(id string) pgwire.Message { return q("UPDATE doc SET body = body WHERE id = " + id) }
	for _, w := range []*wire{one, other} {
		w.send(t, q("BEGIN"))
		w.until(t, "Ready")
	}
	one.send(t, update("1"))
	one.until(t, "Ready")
	other.send(t, update("2"))
	other.until(t, "Ready")
	one.send(t, update("2"))
	other.send(t, update("1"))
	victims := 0
	for _, w := range []*wire{one, other} {
		m := w.failure(t)
		_ = w.Close() // the other waits for it
		if m == nil {
			continue
		}
		victims++
		for _, code := range "DWFLR" {
			if v := m.Value(pgwire.FieldCode(code)); v != "" {
				t.Errorf("%c is %q", code, v)
			}
		}
		if m.Value(pgwire.FieldSQLState) != codeDeadlock {
			t.Errorf("it is %v", m.Fields)
		}
	}
	if victims != 1 {
		t.Errorf("%d victims", victims)
	}
}

// TestBackpressure lets the store have more to say than the buffers between
// hold, while more is said to it than they hold.
func TestBackpressure(t *testing.T) {
	w := newFixture(t).as(t)
	first := []pgwire.Message{p("wait", "SELECT pg_sleep(1)"), p("big", "SELECT repeat('x', 1000000) FROM generate_series(1, 50)"), p("p", "SELECT length($1)", 25), syn}
	w.send(t, first...)
	w.until(t, "Ready")
	// What follows the wait has arrived when the wait is over.
	go func() {
		_, _ = w.Write(encode(t, b("", "wait"), e(""), syn, b("", "big"), e(""), b("", "p", strings.Repeat("y", 12<<20)), e(""), syn))
	}()
	w.until(t, "Ready")
	if got := w.until(t, "Ready"); !contains(got, []string{"Complete SELECT 50", `Row "12582912"`, "Ready I"}) {
		t.Errorf("%d messages, the last is %q", len(got), got[len(got)-1])
	}
}

// TestGroupKeepsNoParameters runs a group that goes on, and looks at what is
// kept of what ran in it.
func TestGroupKeepsNoParameters(t *testing.T) {
	w := newFixture(t).as(t)
	w.send(t, p("s", "SELECT 1 WHERE $1 IS NULL", 25), syn)
	w.until(t, "Ready")
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	message := encode(t, b("", "s", strings.Repeat("z", 15<<20)), e(""), flush)
	before, n := heap(), 12
	for range n {
		if _, err := w.Write(message); err != nil {
			t.Fatal(err)
		}
		if got := w.until(t, "Complete", "Error"); !contains(got, []string{"Complete SELECT 0"}) {
			t.Fatalf("%q", got)
		}
	}
	if kept := heap() - before; kept > 80<<20 {
		t.Errorf("%d MiB are kept of %d", kept>>20, n*15)
	}
	w.send(t, syn)
	w.until(t, "Ready")
}

// TestIdleExpiry looks at sessions that a token's end finds between two
// statements, and in one.
func TestIdleExpiry(t *testing.T) {
	f := newFixture(t)
	idle, block, begun, running := f.as(t), f.as(t), f.as(t), f.as(t)
	block.send(t, q("BEGIN; SELECT 1"))
	block.until(t, "Ready")
	begun.send(t, q("BEGIN"), p("s", "SELECT 1")) // and no Sync
	begun.until(t, "Ready")
	running.send(t, q("SELECT pg_sleep(1), 'over'"))
	for n := 0; n == 0; {
		f.must(t, f.Super.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()").Scan(&n))
	}
	f.Expire(f.A)
	const end = "Error S=FATAL C=28000 M=token expired; present a new one"
	for name, w := range map[string]*wire{"idle": idle, "in a block": block, "in a block that is held back": begun} {
		if got := w.rest(t); len(got) != 1 || got[0] != end {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := running.rest(t); !contains(got, []string{`"over"`, "Complete SELECT 1", "Ready I", "token expired"}) {
		t.Errorf("in a statement: %q", got)
	}
	for deadline := time.Now().Add(limitTime); ; runtime.Gosched() {
		ended := 0
		for _, r := range f.Records(t, f.A) {
			if r.Class == audit.ClassSessionEnded && r.Reason == "Expired" {
				ended++
			}
		}
		if ended == 4 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions ended", ended)
		}
	}
}

// TestLast ends a client whose statement is not over in time.
func TestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("over")
		token, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		ctx, end := context.WithCancelCause(t.Context())
		c := &client{token: token, grace: time.Hour}
		begin := time.Now()
		c.last(ctx, end)
		if context.Cause(ctx) != why || time.Since(begin) != time.Hour {
			t.Errorf("%v after %v", context.Cause(ctx), time.Since(begin))
		}
		c.last(ctx, nil) // one that has ended needs no end
	})
}
