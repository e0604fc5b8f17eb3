package postgres

import (
	"context"
	"errors"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/internal/pgwire"
)

// outcomes are those of the statements of one group. They are not recorded
// before its end, because until then what was done may be undone: a
// transaction outside a block ends with its group. A statement in a block that
// goes on is recorded as done; the end of its block is a statement too, whose
// outcome says whether all of it was kept.
type outcomes []outcome

// An outcome is what came of the operations of one turn.
type outcome struct {
	turn
	results []audit.Result
}

// add notes what came of t.
func (o *outcomes) add(t turn, results []audit.Result) {
	*o = append(*o, outcome{t, results})
}

// settle records the outcomes of a group that ended as g.
func (o *outcomes) settle(ctx context.Context, g group) error {
	o.undo(g)
	return o.record(ctx)
}

// abandon records the outcomes of a group whose end nobody has seen: neither
// whether what was done was kept, nor, unless something failed before, whether
// the rest was done.
func (o *outcomes) abandon(ctx context.Context, failed bool) error {
	for _, d := range o.flat() {
		if d.Status == audit.StatusOK || d.Status == audit.StatusSkipped && !failed {
			d.Status = audit.StatusAbandoned
		}
	}
	return o.record(ctx)
}

func (o *outcomes) record(ctx context.Context) error {
	var errs []error
	for _, t := range *o {
		errs = append(errs, t.Settle(ctx, t.results...))
	}
	*o = nil
	return errors.Join(errs...)
}

// undo marks what was done and then undone, with its transaction or by a
// ROLLBACK TO. That undoes at least what was done since the last SAVEPOINT,
// or, if there is none among these, since one of an earlier group; which one
// it names is not looked at.
func (o *outcomes) undo(g group) {
	all, from, saved := o.flat(), 0, 0
	for i, r := range all {
		switch {
		case r.row == rowSavepoint && r.Status == audit.StatusOK:
			saved = i + 1
		case r.row == rowRollbackTo && r.Status == audit.StatusOK:
			mark(all[max(from, saved):i], audit.StatusRolledBack)
		case commits(r.row) && r.Status == audit.StatusOK:
			from = i + 1
		case rollsBack(r.row) && r.Status == audit.StatusOK, commits(r.row) && r.Status == audit.StatusRolledBack:
			mark(all[from:i], audit.StatusRolledBack)
			from = i + 1
		}
	}
	if g.failed && g.status == pgwire.Idle {
		mark(all[from:], audit.StatusRolledBack)
	}
}

// A done is the result of one operation.
type done struct {
	*audit.Result
	row string
}

// flat returns the results of all turns.
func (o *outcomes) flat() []done {
	var all []done
	for _, t := range *o {
		for i := range t.results {
			all = append(all, done{&t.results[i], t.req.ops[i].Name})
		}
	}
	return all
}

// mark gives the status to what was done with success.
func mark(all []done, status string) {
	for _, d := range all {
		if d.Status == audit.StatusOK {
			d.Status = status
		}
	}
}

// commits reports whether the row is that of a statement which keeps what its
// transaction did.
func commits(row string) bool { return row == rowCommit || row == rowCommitChain }

func rollsBack(row string) bool { return row == rowRollback || row == rowRollbackChain }
