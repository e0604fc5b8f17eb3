package postgres

import (
	"slices"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/internal/pgsql"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// A unit is the messages that are admitted together: those of a simple Query,
// as far as its next COMMIT, or of the extended protocol up to an Execute, a
// Flush or a Sync.
type unit struct {
	ops      []scope.Operation // what runs, or would
	minor    []scope.Operation // what stands for the unit if nothing runs
	bound    []*prepared       // the same: what the unnamed portal was given
	texts    int               // bytes of what its Binds are recorded with
	prefix   script            // the held BEGIN, the context, a statement to parse again
	body     script
	before   transaction // where the store stood when the unit began
	parses   bool        // the body parses the unnamed statement
	uses     *prepared   // the unnamed statement that the body uses without parsing it
	binds    bool        // the body binds the unnamed portal
	confined bool        // runs in the tenant's transaction
	executed bool        // has an Execute: whatever but a Sync begins the next unit
	synced   bool        // ends with a Sync
}

// request returns what is admitted.
func (u *unit) request(b *backend) *request {
	r := &request{ops: u.ops, backend: b, confined: u.confined}
	if len(r.ops) == 0 {
		r.ops = u.minor
		for _, p := range u.bound {
			r.ops = append(r.ops, p.binding(rowBind))
		}
	}
	if u.confined && !slices.ContainsFunc(r.ops, func(o scope.Operation) bool { return table[o.Name].Verdict != scope.Allow }) {
		r.ops = append(r.ops, scope.Operation{Name: rowOpen, Class: uint16(audit.ClassTransaction)})
	}
	r.add(u.prefix)
	r.add(u.body)
	return r
}

func (u *unit) note(message string) {
	if slices.ContainsFunc(u.minor, func(o scope.Operation) bool { return o.Name == message }) {
		return
	}
	u.minor = append(u.minor, scope.Operation{Name: message, Class: uint16(audit.ClassStatement)})
}

// size returns about how much memory u takes.
func (u *unit) size() int {
	return u.texts + len(u.prefix.wire) + len(u.body.wire) + expectSize*(len(u.prefix.expects)+len(u.body.expects))
}

// expectSize is about what an expected answer takes.
const expectSize = 128

// builder turns a client's messages into units. It knows what the client's
// names mean and where the transaction stands.
type builder struct {
	statements names
	portals    names
	tx         transaction
	u          *unit
	unnamed    *prepared // the client's statement that the store's unnamed one is, if any
	skipping   bool      // something failed: everything up to the next Sync is dropped
	unflushed  int       // units of this group that no Flush followed
	messages   int       // of this group
}

// Bounds of one group.
const (
	// flushEvery is how many units of one group go by before a Flush: a store
	// keeps its answers until then, and somebody must make room for more turns.
	flushEvery = 16
	// maxGroup is how many messages a group may have: the outcomes of its
	// statements wait for its end.
	maxGroup = 1 << 18
)

// unit returns the unit being built.
func (b *builder) unit() *unit {
	if b.u == nil {
		b.u = &unit{before: b.tx}
		b.u.before.held = slices.Clone(b.tx.held)
	}
	return b.u
}

// take returns the finished unit, if there is one.
func (b *builder) take() *unit {
	u := b.u
	b.u = nil
	if u == nil {
		return nil
	}
	if b.unflushed++; b.unflushed >= flushEvery && !u.synced {
		u.body.say(pgwire.Flush{})
		b.unflushed = 0
	}
	b.tx.begun = b.tx.begun || !u.synced && len(u.prefix.wire)+len(u.body.wire)+len(u.prefix.enters) > 0
	return u
}

// took counts a message of the group, and makes the group fail that has too
// many.
func (b *builder) took() {
	if b.messages++; b.messages == maxGroup {
		b.fail(&fault{code: states[refusal.TooLarge], message: refusal.TooLarge.Text(), hint: "say Sync more often"})
	}
}

// fail makes the store fail here, in the client's words of f.
func (b *builder) fail(f *fault) {
	u := b.unit()
	for _, text := range b.tx.held {
		u.body.run(text)
	}
	b.tx.held = nil
	u.body.fail(f, len(u.ops))
	u.note("Refusal")
	u.executed = true // the client need not ask for an error
	b.clobber()
	b.skipping = true
}

// clobber notes that a statement of ours has taken the place of the client's
// unnamed statement and portal.
func (b *builder) clobber() {
	b.unnamed = nil
	b.portals.forget("")
}

// failText is a statement that parses and fails, in a failed transaction as
// any other would. What the client hears is the fault, not the store's words.
const failText = "SELECT isocore_refused"

// fail adds the statement that fails, as operation op.
func (s *script) fail(f *fault, op int) {
	s.say(&pgwire.Parse{Query: failText})
	s.expect(expect{what: parsed, op: op, fault: f})
}

// open makes sure the transaction has its context before the unit's messages.
func (b *builder) open() {
	u := b.unit()
	u.confined = true
	if !b.tx.open(&u.prefix) {
		return
	}
	if !u.binds {
		b.portals.forget("")
	}
	if u.uses != nil {
		u.prefix.reparse(u.uses)
	}
	if !u.parses {
		b.unnamed = u.uses
	}
}

// again parses the client's unnamed statement once more where ours has taken
// its place at the store. It reports whether that is possible.
func (b *builder) again(name string, p *prepared) bool {
	u := b.unit()
	switch {
	case name != "" || u.parses:
		return true
	case b.unnamed != p && b.tx.failed && !p.ends():
		b.fail(aborted())
		return false
	case b.unnamed != p:
		u.prefix.reparse(p)
	}
	b.unnamed, u.uses = p, p
	return true
}

// reparse parses a statement of the client's that the store has forgotten.
func (s *script) reparse(p *prepared) {
	s.say(&p.parse)
	s.expect(expect{what: parsed, unseen: true, op: none})
}

// late reports whether running p begins a transaction after the group has sent
// something else. How long that takes nobody knows, and a context is good for
// two seconds: it must not be made before.
func (b *builder) late(p *prepared) bool {
	sent := b.tx.begun || b.u != nil && len(b.u.body.wire) > 0
	return sent && (chains(p) || !b.tx.entered && p.opens() && !b.tx.holds(p))
}

// query returns the statements of a simple Query, or nil if it cannot be
// split: then the store fails in its place. A Query ends the client's unnamed
// statement and portal in any case.
func (b *builder) query(m *pgwire.Query) []*prepared {
	b.statements.forget("")
	b.clobber()
	statements, err := pgsql.Split(m.Text)
	if err != nil {
		b.fail(unreadable(m.Text, err))
		return nil
	}
	ps := make([]*prepared, len(statements))
	for i, s := range statements {
		ps[i] = classify(pgwire.Parse{Query: s.Text}, s)
		ps[i].shift, ps[i].last = s.Runes, i == len(statements)-1
	}
	return ps
}

// simple adds one statement of a simple Query, as the messages of the extended
// protocol, which take one statement only.
func (b *builder) simple(p *prepared) {
	if b.answer(p) {
		return
	}
	u := b.unit()
	if p.opens() {
		u.confined = true
		b.tx.open(&u.body)
	}
	op, shift := len(u.ops), p.shift
	u.body.say(&p.parse)
	u.body.say(&pgwire.Bind{})
	u.body.say(&pgwire.Describe{Target: pgwire.Portal})
	u.body.say(&pgwire.Execute{})
	u.body.expect(expect{what: parsed, unseen: true, op: op, shift: shift})
	u.body.expect(expect{what: bound, unseen: true, op: op, shift: shift})
	u.body.expect(expect{what: portal, rows: true, after: p.stores(), op: op, shift: shift})
	b.run(p)
	b.clobber()
}

// answer runs p if that is the broker's to do, and reports whether it did.
func (b *builder) answer(p *prepared) bool {
	u := b.unit()
	switch {
	case b.tx.holds(p):
		b.tx.held = append(b.tx.held, p.parse.Query)
		u.body.expect(expect{what: local, op: len(u.ops), tag: tagOf(p), last: p.last})
		u.ops = append(u.ops, p.operation())
	case p.row == rowEmpty && p.last:
		// An empty Query is answered in a failed transaction too.
		u.body.expect(expect{what: local, op: len(u.ops)})
		u.ops = append(u.ops, p.operation())
	case p.row == rowDeallocate:
		b.deallocate(p)
	case p.row == rowReset && p.class.Kind == "reset all":
		b.reset(p)
	default:
		return false
	}
	return true
}

// deallocate closes what a DEALLOCATE names: SQL's prepared statements are
// the protocol's.
func (b *builder) deallocate(p *prepared) {
	u, name := b.unit(), p.class.Name
	gone, tag := []string{name}, "DEALLOCATE"
	switch {
	case b.tx.failed && b.tx.block:
		b.fail(aborted())
		return
	case name == "":
		gone, tag = b.statements.all(), "DEALLOCATE ALL"
	case b.statements.find(name) == nil:
		b.fail(noStatement(name))
		return
	}
	for _, name := range gone {
		u.body.say(&pgwire.Close{Target: pgwire.Statement, Name: name})
		u.body.expect(expect{what: closed, unseen: true, op: none, done: b.statements.set(name, nil)})
	}
	u.body.expect(expect{what: local, op: len(u.ops), tag: tag, last: p.last})
	u.ops = append(u.ops, p.operation())
}

// reset resets every parameter a client may set. The server's own RESET ALL
// would reset the context as well.
func (b *builder) reset(p *prepared) {
	u := b.unit()
	u.confined = true
	b.tx.open(&u.body)
	for _, name := range resettable() {
		u.body.run("RESET " + name)
	}
	u.body.expect(expect{what: local, op: len(u.ops), tag: "RESET", last: p.last})
	u.ops = append(u.ops, p.operation())
	b.clobber()
}

// run notes that p was sent, as the unit's next operation, and gives the
// transaction that it begins its context.
func (b *builder) run(p *prepared) {
	u := b.unit()
	op := p.operation()
	if p.row == rowBegin {
		op.Name = rowNested
	}
	u.confined = u.confined || !p.free()
	u.body.expect(expect{what: ran, op: len(u.ops), shift: p.shift, last: p.last})
	u.ops = append(u.ops, op)
	b.tx.ran(p)
	b.dropped(p)
	if chains(p) {
		u.body.enter()
		b.tx.entered = true
		b.clobber()
	}
}

// foreign builds the unit of a message that only its row can answer.
func (b *builder) foreign(message string) {
	u := b.unit()
	u.ops = append(u.ops, scope.Operation{Name: message, Class: uint16(audit.ClassStatement)})
	u.confined = true
}

// sync ends the group.
func (b *builder) sync() {
	u := b.unit()
	u.body.say(pgwire.Sync{})
	u.body.expect(expect{what: ready, op: none, held: len(b.tx.held) > 0})
	u.note("Sync")
	u.synced = true
	b.tx.sync()
	b.skipping = false
	b.unflushed, b.messages = 0, 0
}

// refuse builds what is sent in the place of a refused unit: a statement that
// fails, so that turn, abort and transaction status are the server's own.
func (b *builder) refuse(u *unit, f *fault) *unit {
	b.tx = u.before
	b.u = &unit{before: u.before}
	b.fail(f)
	if u.synced {
		b.sync()
	}
	r := b.u
	b.u = nil
	return r
}

// settle takes the store's word at the end of a group.
func (b *builder) settle(status pgwire.TxStatus, failed bool) {
	b.skipping = false
	b.tx.settle(status, failed)
	b.statements.settle()
	b.portals.settle()
	if failed {
		b.unnamed = nil
	}
	if status == pgwire.Idle {
		b.portals.clear()
	}
}
