package postgres

import (
	"slices"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/scope"
)

// The messages of the extended protocol, as the builder takes them.

func (b *builder) parse(m *pgwire.Parse) {
	if !b.named(m) {
		return
	}
	p, f := prepare(m)
	if m.Name == "" && (f != nil || table[p.row].Verdict == scope.Deny) {
		b.statements.forget("") // as at the server, where any Parse ends it
	}
	if f == nil {
		f = b.room(&b.statements, m.Name, p)
	}
	if f != nil {
		b.fail(f)
		return
	}
	u := b.unit()
	if table[p.row].Verdict == scope.Deny {
		u.ops = append(u.ops, p.operation()) // its text is not for the store
		u.executed = true
		return
	}
	if len(b.tx.held) > 0 && (m.Name != "" || !p.free()) {
		b.open() // it may fail, and then in the client's transaction
	}
	e := expect{what: parsed, op: len(u.ops)}
	if m.Name == "" {
		u.parses, b.unnamed = true, p
		e.tried = b.statements.set("", nil)
	}
	e.done = b.statements.set(m.Name, p)
	u.body.say(m)
	u.body.expect(e)
	u.note("Parse")
}

func (b *builder) bind(m *pgwire.Bind) {
	if !b.named(m) {
		return
	}
	p := b.statements.find(m.Statement)
	if p == nil {
		b.fail(noStatement(m.Statement))
		return
	}
	given := p.given(m)
	if f := b.room(&b.portals, m.Portal, given); f != nil {
		b.fail(f)
		return
	}
	u := b.unit()
	if !p.free() || len(b.tx.held) > 0 && (m.Portal != "" || len(m.Params) > 0) {
		b.open()
	}
	if !b.again(m.Statement, p) {
		return
	}
	u.body.say(m)
	u.body.expect(expect{what: bound, op: len(u.ops), done: b.portals.set(m.Portal, given)})
	u.binds = u.binds || m.Portal == ""
	switch {
	case p.free():
		u.note("Parse")
	case m.Portal != "":
		// A FETCH runs what a named portal holds: it is judged and recorded here.
		row := rowBind
		if p.writes() {
			row = rowBindWrite
		}
		u.ops = append(u.ops, given.binding(row))
		u.texts += len(p.text)
	default:
		u.bound = append(u.bound, given)
		u.texts += len(p.text)
	}
}

func (b *builder) describe(m *pgwire.Describe) {
	if !b.named(m) {
		return
	}
	u := b.unit()
	if m.Target == pgwire.Portal {
		if b.portals.find(m.Name) == nil {
			b.fail(noPortal(m.Name))
			return
		}
		u.body.say(m)
		u.body.expect(expect{what: portal, op: len(u.ops)})
		u.note("Parse")
		return
	}
	p := b.statements.find(m.Name)
	if p == nil {
		b.fail(noStatement(m.Name))
		return
	}
	if !b.again(m.Name, p) {
		return
	}
	u.body.say(m)
	u.body.expect(expect{what: statement, op: len(u.ops)})
	u.note("Describe statement")
}

func (b *builder) close(m *pgwire.Close) {
	if !b.named(m) {
		return
	}
	u := b.unit()
	n := &b.statements
	if m.Target == pgwire.Portal {
		n = &b.portals
	}
	u.body.say(m)
	u.body.expect(expect{what: closed, op: none, done: n.set(m.Name, nil)})
	u.note("Close")
}

func (b *builder) execute(m *pgwire.Execute) {
	if !b.named(m) {
		return
	}
	p := b.portals.find(m.Portal)
	if p == nil {
		b.fail(noPortal(m.Portal))
		return
	}
	u := b.unit()
	u.executed = true
	if p.spent {
		b.fail(&fault{code: "55000", message: `portal "` + m.Portal + `" cannot be run`, server: true})
		return
	}
	if b.answer(p) {
		spent := *p
		spent.spent = true
		*b.portals.set(m.Portal, &spent) = true
		return
	}
	if p.opens() {
		b.open()
	}
	if b.portals.find(m.Portal) == nil { // ours took its place
		b.fail(noPortal(m.Portal))
		return
	}
	u.body.say(m)
	b.run(p)
}

// flush lets the client have the answers so far. It may then think for as long
// as it likes, so the transaction that the store has begun gets its context now.
func (b *builder) flush() {
	u := b.unit()
	if b.tx.begun || slices.ContainsFunc(u.body.expects, func(e expect) bool { return e.what != closed }) {
		b.open()
	}
	u.body.say(pgwire.Flush{})
	u.note("Flush")
	b.unflushed = 0
}
