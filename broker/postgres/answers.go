package postgres

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
)

// answers gives the client what the store says, in turn. It is for one
// goroutine, which owns the client's writer meanwhile.
type answers struct {
	out    *bufio.Writer
	failed bool                    // something in this group failed: the rest is skipped
	status pgwire.TxStatus         // as of the last ReadyForQuery
	last   *pgwire.CommandComplete // waits for the end of its transaction
	header []byte                  // a RowDescription that waits for its rows
	dst    []byte
}

// maxError bounds an error, notice or parameter of the store.
const maxError = 1 << 20

// maxInt lets a body through whatever its length: it is streamed.
const maxInt = 1<<31 - 1

// read gives the client the answers to r and returns what came of each
// operation, also beside an error.
func (a *answers) read(store *bufio.Reader, r *request) ([]audit.Result, error) {
	results := make([]audit.Result, len(r.ops))
	for i := range results {
		results[i].Status = audit.StatusSkipped
	}
	in := &reply{answers: a, in: pgwire.NewReader(store), store: store, request: r, results: results}
	for i := range r.expects {
		e := &r.expects[i]
		if a.failed && e.what != ready {
			continue
		}
		if err := in.one(e); err != nil {
			return results, err
		}
	}
	if !a.failed { // what only prepares has no end of its own
		for i := range results {
			if results[i].Status == audit.StatusSkipped {
				results[i].Status = audit.StatusOK
			}
		}
	}
	return results, nil
}

// A reply is what the store says to one request.
type reply struct {
	*answers
	in      *pgwire.Reader
	store   *bufio.Reader
	request *request
	results []audit.Result
}

// result returns that of e's operation.
func (a *reply) result(e *expect) *audit.Result {
	if e.op == none || e.op >= len(a.results) {
		return new(audit.Result)
	}
	return &a.results[e.op]
}

// commits reports whether e's operation is to keep what its transaction did.
func (a *reply) commits(e *expect) bool {
	return e.op != none && e.op < len(a.results) && commits(a.request.ops[e.op].Name)
}

// one reads the messages that answer e.
func (a *reply) one(e *expect) error {
	if e.what == local {
		a.result(e).Status, a.result(e).Code = audit.StatusOK, e.tag
		if e.tag == "" {
			return a.empty()
		}
		return a.tag(e, &pgwire.CommandComplete{Tag: e.tag})
	}
	for {
		h, err := a.next()
		if err != nil {
			return err
		}
		done, err := a.message(e, h)
		if done || err != nil {
			return err
		}
	}
}

// next reads a header. Before it blocks, the client gets what there is.
func (a *reply) next() (pgwire.Header, error) {
	if a.store.Buffered() == 0 {
		if err := a.out.Flush(); err != nil {
			return pgwire.Header{}, lost(err)
		}
	}
	h, err := a.in.ReadHeader(maxInt)
	return h, unreachable(err)
}

// message passes one message on and reports whether e is answered.
func (a *reply) message(e *expect, h pgwire.Header) (done bool, err error) {
	switch b := pgwire.Backend(h.Type); b {
	case pgwire.BackendNoticeResponse:
		return false, a.notice(h)
	case pgwire.BackendNotificationResponse:
		return false, unreachable(a.in.DropBody())
	case pgwire.BackendParameterStatus:
		return false, a.parameter(e, h)
	case pgwire.BackendErrorResponse:
		return e.what != ready, a.error(e, h) // a commit may fail at the Sync
	case pgwire.BackendReadyForQuery:
		if e.what != ready {
			return false, outOfStep(e, b)
		}
		return true, a.ready(e, h)
	default:
		return a.expected(e, h, b)
	}
}

// expected passes on a message that e is made of.
func (a *reply) expected(e *expect, h pgwire.Header, b pgwire.Backend) (done bool, err error) {
	switch e.what {
	case parsed:
		done = b == pgwire.BackendParseComplete
	case bound:
		done = b == pgwire.BackendBindComplete
	case closed:
		done = b == pgwire.BackendCloseComplete
	case statement, portal:
		done = b == pgwire.BackendRowDescription || b == pgwire.BackendNoData
		if !done && (e.what == portal || b != pgwire.BackendParameterDescription) {
			return false, outOfStep(e, b)
		}
		if e.rows && b == pgwire.BackendNoData {
			return true, unreachable(a.in.DropBody())
		}
		if e.after {
			return true, a.columns(h)
		}
		return done, a.pass(h)
	case ran:
		if err := a.headed(); err != nil {
			return false, err
		}
		return a.running(e, h, b)
	case local, ready:
	}
	if !done {
		return false, outOfStep(e, b)
	}
	if e.done != nil {
		*e.done = true
	}
	if e.tried != nil {
		*e.tried = true
	}
	return true, a.show(e, h)
}

// columns keeps a RowDescription back until something follows that is no error.
func (a *reply) columns(h pgwire.Header) error {
	if h.Len > maxError {
		return a.pass(h)
	}
	head, err := h.Encode(nil)
	if err != nil {
		return err
	}
	body, err := a.in.Body()
	a.header = append(head, body...)
	return unreachable(err)
}

// headed says the RowDescription that was kept back.
func (a *reply) headed() error {
	if a.header == nil {
		return nil
	}
	_, err := a.out.Write(a.header)
	a.header = nil
	return lost(err)
}

// running passes on what a statement returns.
func (a *reply) running(e *expect, h pgwire.Header, b pgwire.Backend) (done bool, err error) {
	r := a.result(e)
	switch b {
	case pgwire.BackendDataRow, pgwire.BackendCopyData:
		r.Rows++
		r.BytesOut += int64(h.Len)
		return false, a.show(e, h)
	case pgwire.BackendCopyOutResponse, pgwire.BackendCopyDone:
		return false, a.show(e, h)
	case pgwire.BackendEmptyQueryResponse, pgwire.BackendPortalSuspended:
		r.Status = audit.StatusOK
		return true, a.show(e, h)
	case pgwire.BackendCommandComplete:
		return true, a.complete(e, h)
	default:
		return false, outOfStep(e, b)
	}
}

// complete passes on the tag of a statement, and notes its number of rows and
// whether a COMMIT was one.
func (a *reply) complete(e *expect, h pgwire.Header) error {
	m := new(pgwire.CommandComplete)
	if err := decode(a.in, h, &m); err != nil {
		return err
	}
	r := a.result(e)
	r.Status, r.Code = audit.StatusOK, m.Tag
	if verb, rows := m.Count(); rows >= 0 {
		r.Rows, r.Code = rows, verb
	}
	if m.Tag == "ROLLBACK" && a.commits(e) {
		r.Status = audit.StatusRolledBack
	}
	if e.unseen {
		return nil
	}
	return a.tag(e, m)
}

// tag says that a statement is complete. The last of a simple Query is not
// before its transaction has ended: where that fails, the server never says so.
func (a *reply) tag(e *expect, m *pgwire.CommandComplete) error {
	if e.last {
		a.last = m
		return nil
	}
	return a.say(m)
}

func (a *reply) empty() error {
	m, err := pgwire.BackendEmptyQueryResponse.Encode(nil)
	if err != nil {
		return err
	}
	_, err = a.out.Write(m)
	return lost(err)
}

// error passes on a failure. The rest of the group is skipped.
func (a *reply) error(e *expect, h pgwire.Header) error {
	m := new(pgwire.ErrorResponse)
	if err := decode(a.in, h, &m); err != nil {
		return err
	}
	m.Fields = discreet(m.Fields)
	a.failed, a.last, a.header = true, nil, nil
	if e.tried != nil {
		*e.tried = true
	}
	r := a.result(e)
	r.Status, r.Code = audit.StatusFailed, m.Value(pgwire.FieldSQLState)
	if s := m.Value(pgwire.FieldSeverityInvariant); s == "FATAL" || s == "PANIC" {
		return errors.Join(a.say(m), a.flush(), refusal.New(refusal.Unavailable, "%w: %s", errSaid, r.Code))
	}
	if f := e.fault; f != nil && (r.Code == codeFailText || f.server && r.Code == codeAborted) {
		r.Status = audit.StatusRefused
		return a.fault(f)
	}
	if e.shift > 0 {
		m.Fields = m.WithPosition(func(n int) int { return n + e.shift })
	}
	return a.say(m)
}

func (a *reply) fault(f *fault) error {
	var err error
	if a.dst, err = f.encode(a.dst[:0], "ERROR"); err != nil {
		return err
	}
	_, err = a.out.Write(a.dst)
	return lost(err)
}

// ready ends a group. A BEGIN that is held back counts for the client.
func (a *reply) ready(e *expect, h pgwire.Header) error {
	m := new(pgwire.ReadyForQuery)
	if err := decode(a.in, h, &m); err != nil {
		return err
	}
	a.status = m.Status
	if e.held && !a.failed && m.Status == pgwire.Idle {
		m.Status = pgwire.InTransaction
	}
	if e.unseen {
		return nil
	}
	if err := a.completed(); err != nil {
		return err
	}
	return a.say(m)
}

// completed says the tag that waited for the end of its transaction.
func (a *reply) completed() error {
	m := a.last
	if a.last = nil; m == nil {
		return nil
	}
	return a.say(m)
}

// parameter passes on a parameter, if the scanner can live with it.
func (a *reply) parameter(e *expect, h pgwire.Header) error {
	m := new(pgwire.ParameterStatus)
	if err := decode(a.in, h, &m); err != nil {
		return err
	}
	if err := pinned(m); err != nil {
		return err
	}
	if e.what == ready {
		if err := a.completed(); err != nil {
			return err
		}
	}
	return a.say(m)
}

func (a *reply) show(e *expect, h pgwire.Header) error {
	if e.unseen {
		return unreachable(a.in.DropBody())
	}
	return a.pass(h)
}

// pass streams a message to the client as it is.
func (a *reply) pass(h pgwire.Header) error {
	var err error
	if a.dst, err = h.Encode(a.dst[:0]); err != nil {
		return err
	}
	if _, err := a.out.Write(a.dst); err != nil {
		return lost(err)
	}
	return unreachable(a.in.CopyBody(writer{a.out}))
}

// A writer is the way to the client, whose failures are the client's.
type writer struct{ w io.Writer }

func (w writer) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	return n, lost(err)
}

func (a *answers) say(m pgwire.Message) error {
	var err error
	if a.dst, err = m.Encode(a.dst[:0]); err != nil {
		return err
	}
	_, err = a.out.Write(a.dst)
	return lost(err)
}

func (a *answers) flush() error { return lost(a.out.Flush()) }

// decode reads the body of h as an M.
func decode[M pgwire.Message](in *pgwire.Reader, h pgwire.Header, into *M) error {
	if h.Len > maxError {
		return fmt.Errorf("postgres: the store says a %v of %d bytes", pgwire.Backend(h.Type), h.Len)
	}
	p, err := in.Body()
	if err != nil {
		return unreachable(err)
	}
	m, err := pgwire.DecodeBackend(pgwire.Backend(h.Type), p)
	if err != nil {
		return refusal.New(refusal.Internal, "%w", err)
	}
	t, ok := m.(M)
	if !ok {
		return errStep
	}
	*into = t
	return nil
}

var (
	errStep = errors.New("postgres: the store is out of step")
	errSaid = errors.New("postgres: the store ended the connection, and said so")
)

func outOfStep(e *expect, b pgwire.Backend) error {
	return fmt.Errorf("%w: %v where answer %d was due", errStep, b, e.what)
}

// lost marks err, of a write to the client, as the client's end.
func lost(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errGone, err)
}

// unreachable marks err, of a read from the store, as the store's end.
func unreachable(err error) error {
	if err == nil || errors.Is(err, errGone) {
		return err
	}
	return refusal.New(refusal.Unavailable, "postgres: the store: %w", err)
}
