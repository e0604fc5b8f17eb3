package postgres

import "github.com/isocore/isocore/internal/pgwire"

// A transaction is where the store stands once everything sent in this group
// has succeeded. If something fails, the rest of the group is skipped, and the
// next group begins where the store's ReadyForQuery says.
type transaction struct {
	block   bool     // in a transaction block
	failed  bool     // which has failed
	entered bool     // the transaction, if there is one, has the context
	begun   bool     // the group has sent something: the store's clock for the transaction runs
	held    []string // BEGIN and SET TRANSACTION, answered and not sent
}

// settle takes the store's word at the end of a group. A block that goes on
// has the context: nothing opens one without.
func (t *transaction) settle(status pgwire.TxStatus, failed bool) {
	t.block = status != pgwire.Idle
	t.failed = status == pgwire.InFailed
	t.entered = t.block
	t.begun = false
	if failed {
		t.held = nil
	}
}

// holds reports whether running p now is answered by the broker and sent
// later, with the first statement that does something: the database accepts a
// context only at the moment its transaction begins, and a client may think
// for as long as it likes after BEGIN.
func (t *transaction) holds(p *prepared) bool {
	switch p.row {
	case rowBegin:
		return !t.block && !t.entered && len(t.held) == 0
	case rowMode:
		return len(t.held) > 0
	default:
		return false
	}
}

// open adds to s what must come before a statement that does something: the
// BEGIN held back, and the context if the transaction has none. It reports
// whether there was anything to add.
func (t *transaction) open(s *script) bool {
	if t.entered && len(t.held) == 0 {
		return false
	}
	for _, text := range t.held {
		s.run(text)
		t.block = true
	}
	t.held = nil
	if !t.entered {
		s.enter()
		t.entered = true
	}
	return true
}

// ran notes that p was sent.
func (t *transaction) ran(p *prepared) {
	switch p.row {
	case rowBegin:
		t.block = true
	case rowCommit, rowRollback:
		t.block, t.entered, t.failed = false, false, false
	case rowCommitChain, rowRollbackChain:
		t.entered, t.failed = false, false
	case rowRollbackTo:
		t.failed = false
	}
}

// chains reports whether p begins the next transaction at once, which must
// get its context behind it.
func chains(p *prepared) bool { return p.row == rowCommitChain || p.row == rowRollbackChain }

// sync notes the end of a group: a transaction outside a block ends.
func (t *transaction) sync() {
	if !t.block {
		t.entered = false
	}
}
