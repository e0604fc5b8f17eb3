package postgres

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/internal/pgwire"
)

// ways are those to end a connection, before it is closed.
var ways = map[string]func(testing.TB, *wire){
	"says goodbye":        func(t testing.TB, w *wire) { w.send(t, q("SELECT 1"), pgwire.Terminate{}) },
	"hangs up":            func(testing.TB, *wire) {},
	"hangs up in a block": func(t testing.TB, w *wire) { w.send(t, q("BEGIN"), q("SELECT 1")) },
	"hangs up in a group": func(t testing.TB, w *wire) { w.send(t, append(run("SELECT pg_sleep(20)"), flush)...) },
	"hangs up mid-way":    func(t testing.TB, w *wire) { w.send(t, q("SELECT pg_sleep(20)"), q("SELECT 1"), q("SELECT 2")) },
	"does not read":       func(t testing.TB, w *wire) { w.send(t, q("SELECT repeat('x', 1000000) FROM generate_series(1, 50)")) },
	"says garbage":        func(t testing.TB, w *wire) { w.send(t, q("SELECT 1"), raw("garbage")) },
	"half a message":      func(t testing.TB, w *wire) { w.send(t, raw("Q\x00\x00")) },
	"denied, then gone":   func(t testing.TB, w *wire) { w.send(t, append(run("TRUNCATE doc"), flush)...) },
	"a goodbye in a group": func(t testing.TB, w *wire) {
		w.send(t, append(run("SELECT pg_sleep(20)"), pgwire.Terminate{})...)
	},
}

// TestNothingStays ends connections in every way and looks for what is left of
// them.
func TestNothingStays(t *testing.T) {
	f := newFixture(t)
	for _, end := range ways {
		for range 3 {
			w := f.as(t)
			end(t, w)
			_ = w.Close()
		}
	}
	left := func() []string {
		buf := make([]byte, 4<<20)
		var all []string
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "postgres.(*client)") || strings.Contains(g, "postgres.(*caller)") || strings.Contains(g, "broker.(*Session)") {
				all = append(all, g)
			}
		}
		return all
	}
	for end := time.Now().Add(3 * time.Second); len(left()) > 0 || f.backends(t) > 0; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d backends and %d goroutines stay:\n%s", f.backends(t), len(left()), strings.Join(left(), "\n\n"))
		}
	}
	f.stop()
	outcomes, decisions := 0, 0
	for _, r := range f.Records(t, f.A) {
		switch {
		case r.Kind.String() == "outcome":
			outcomes++
		case r.Kind.String() == "decision" && r.Verdict == "confine":
			decisions++
		}
	}
	if outcomes != decisions || outcomes == 0 {
		t.Errorf("%d decisions, %d outcomes", decisions, outcomes)
	}
}
