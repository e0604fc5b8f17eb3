package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/isocore/isocore/internal/pgwire"
)

func TestNames(t *testing.T) {
	one, two := &prepared{text: "one"}, &prepared{text: "two"}
	var n names
	n.set("s", one)
	if n.find("s") != one {
		t.Error("a name means nothing before the answer, within its group")
	}
	n.settle()
	if n.find("s") != nil {
		t.Error("a name that the store did not confirm is known")
	}
	*n.set("s", one) = true
	n.settle()
	// Taken: the store refuses the second, and the first goes on.
	n.set("s", two)
	n.settle()
	if n.find("s") != one {
		t.Error("a name that was taken changed its meaning")
	}
	*n.set("s", nil) = true
	*n.set("s", two) = true
	*n.set("", one) = true
	*n.set("gone", one) = true
	n.forget("gone")
	n.forget("never")
	n.settle()
	if n.find("s") != two || n.find("gone") != nil || !slices.Equal(n.all(), []string{"s"}) {
		t.Errorf("after close and parse: %v", n.all())
	}
	n.set("pending", one)
	n.set("s", nil)
	if got := n.all(); !slices.Equal(got, []string{"pending"}) {
		t.Errorf("within a group: %v", got)
	}
	n.forgetAll()
	if got := n.all(); len(got) != 0 || n.find("") != nil {
		t.Errorf("after all: %v", got)
	}
}

func TestNamesAreBounded(t *testing.T) {
	one := &prepared{text: "one"}
	var n names
	for i := range maxNames {
		if n.full() {
			t.Fatalf("full at %d", i)
		}
		*n.set(strings.Repeat("x", i+1), one) = true
	}
	if !n.full() {
		t.Error("there is no end of names")
	}
}

func statementOf(t *testing.T, text string) *prepared {
	t.Helper()
	p, f := prepare(&pgwire.Parse{Query: text})
	if f != nil {
		t.Fatal(f)
	}
	return p
}

// TestTransaction: BEGIN is held exactly while nothing of the transaction has
// been sent, and the context is opened exactly once in each.
func TestTransaction(t *testing.T) {
	begin, mode, commit, chain := statementOf(t, "BEGIN"), statementOf(t, "SET TRANSACTION READ ONLY"), statementOf(t, "COMMIT"), statementOf(t, "COMMIT AND CHAIN")
	var tx transaction
	if !tx.holds(begin) || tx.holds(mode) || tx.holds(commit) {
		t.Error("idle: BEGIN is held and nothing else")
	}
	tx.held = []string{"BEGIN"}
	if tx.holds(begin) || !tx.holds(mode) {
		t.Error("held: a mode joins, a second BEGIN does not")
	}
	var s script
	if !tx.open(&s) || len(s.enters) != 1 || !tx.block || !tx.entered || len(tx.held) != 0 {
		t.Errorf("opened: %+v", tx)
	}
	if tx.open(&s) || len(s.enters) != 1 {
		t.Error("a transaction gets its context twice")
	}
	if tx.holds(begin) || tx.holds(mode) {
		t.Error("open: nothing is held")
	}
	tx.ran(chain)
	if !tx.block || tx.entered {
		t.Errorf("chained: %+v", tx)
	}
	tx.entered = true
	tx.sync()
	if !tx.entered {
		t.Error("a block ends with its group")
	}
	tx.ran(commit)
	if tx.block || tx.entered {
		t.Errorf("over: %+v", tx)
	}
	tx.settle(pgwire.InFailed, true)
	if !tx.block || !tx.failed || !tx.entered {
		t.Errorf("failed: %+v", tx)
	}
	tx.settle(pgwire.Idle, false)
	if tx.block || tx.failed || tx.entered {
		t.Errorf("idle: %+v", tx)
	}
}
