package postgres

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/scope"
)

// FuzzBuilder feeds messages to the builder and what it makes of them to a
// store that keeps names, portals and the transaction as PostgreSQL does.
//
// Oracle: whatever comes, and wherever the store fails,
//   - what the table denies is in no Parse that the store gets,
//   - what runs was judged by its own row,
//   - nothing but what is free of tenants' data is planned or run in a
//     transaction that does not begin with the context,
//   - every answer that is expected has its message, and the other way round.
func FuzzBuilder(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	for i := range 40 {
		f.Add([]byte(fmt.Sprintf("%c%[1]cS%cQ%[1]c%cpbeS", 'a'+i, 'A'+i, '0'+i)), uint8(i))
		f.Add([]byte{0, byte(i), 1, 0, 3, 0, 5, 7, byte(i + 1), 7, byte(i + 2), 6, 0, 0, byte(i), 6}, uint8(i))
	}
	f.Add([]byte{0, 0, 6, 0, 1, 0, 3, 0, 6, 0}, uint8(0))                           // unnamed, across groups
	f.Add([]byte{7, 1, 0, 0, 1, 0, 6, 0, 7, 5, 3, 0, 6, 0}, uint8(0))               // a portal that a Query takes
	f.Add([]byte{0, 3, 1, 3, 6, 0, 0, 0, 2, 0, 1, 1, 3, 0, 6, 0, 7, 20}, uint8(11)) // described, then ours
	f.Fuzz(drive)
}

func drive(t *testing.T, script []byte, failAt uint8) {
	d := &driver{t: t, store: newStore(t, int(failAt))}
	for i := 0; i+1 < len(script) && i < 400; i += 2 {
		d.say(script[i], script[i+1])
	}
	d.sync()
}

// TestBuilderAtRandom is the fuzz test without a corpus.
func TestBuilderAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 4_000 {
		script := make([]byte, 2*(4+r.IntN(30)))
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		if drive(t, script, uint8(r.IntN(60))); t.Failed() {
			t.Fatal(script)
		}
	}
}

// texts are the statements of the fuzz test.
var texts = []string{
	"SELECT 1", "BEGIN", "COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "INSERT INTO doc VALUES (1)", "TRUNCATE doc", "", "DEALLOCATE ALL", "DEALLOCATE s",
	"SET TRANSACTION READ ONLY", "SAVEPOINT a", "ROLLBACK TO a", "FETCH c", "SET timezone = 'UTC'", "RESET ALL", "UNLISTEN *", "EXPLAIN SELECT 1", "SELECT 'x",
	"BEGIN; SELECT 1", "SELECT 1; COMMIT; DELETE FROM doc", "SELECT 1; TRUNCATE doc", "COMMIT; BEGIN; COMMIT AND CHAIN; SELECT 2", "PREPARE x AS SELECT 1", "FROBNICATE",
}

// A driver does what a client's loop does, without a gate and at once.
type driver struct {
	t     *testing.T
	b     builder
	store *store
}

func (d *driver) say(kind, arg byte) {
	name := []string{"", "s", "t"}[arg%3]
	portal := []string{"", "c", "p"}[arg/3%3]
	text := texts[int(arg)%len(texts)]
	if d.b.skipping && kind%8 != 6 {
		return
	}
	if u := d.b.u; u != nil && u.executed && kind%8 != 6 {
		if d.admit(); d.b.skipping {
			return
		}
	}
	switch kind % 8 {
	case 0:
		d.b.parse(&pgwire.Parse{Name: name, Query: text})
	case 1:
		d.b.bind(&pgwire.Bind{Portal: portal, Statement: name})
	case 2:
		d.b.describe(&pgwire.Describe{Target: []pgwire.Target{pgwire.Statement, pgwire.Portal}[arg%2], Name: name})
	case 3:
		d.b.execute(&pgwire.Execute{Portal: portal})
	case 4:
		d.b.close(&pgwire.Close{Target: []pgwire.Target{pgwire.Statement, pgwire.Portal}[arg%2], Name: name})
	case 5:
		d.b.flush()
		d.admit()
	case 6:
		d.sync()
	case 7:
		d.query(text)
	}
}

func (d *driver) query(text string) {
	if d.admit(); d.b.tx.begun {
		d.b.skipping = d.b.skipping || d.store.failed
	}
	if d.b.skipping {
		return
	}
	for _, p := range d.b.query(&pgwire.Query{Text: text}) {
		if d.b.late(p) {
			d.admit()
		}
		if d.b.skipping {
			break
		}
		d.b.simple(p)
	}
	d.sync()
}

func (d *driver) sync() {
	d.b.sync()
	d.admit()
	d.b.settle(d.store.status(), d.store.lastFailed)
}

// admit gives the finished unit to the store, or what stands for it.
func (d *driver) admit() {
	u := d.b.take()
	if u == nil {
		return
	}
	r := u.request(&backend{})
	if d.refused(r) {
		r = d.b.refuse(u, &fault{code: "42501", message: "no"}).request(&backend{})
		if d.refused(r) {
			d.t.Fatalf("the refusal is refused: %v", r.ops)
		}
	}
	for _, op := range r.ops {
		if table[op.Name].Verdict == scope.Confine {
			r.context = "context"
		}
	}
	wire, err := r.Encode(nil)
	if err != nil {
		d.t.Fatalf("%v: %v", r.ops, err)
	}
	d.store.take(wire, r)
}

func (d *driver) refused(r *request) bool {
	for _, op := range r.ops {
		if table[op.Name].Verdict == scope.Deny {
			return true
		}
	}
	return false
}

// A store keeps what PostgreSQL keeps of one connection.
type store struct {
	t                   *testing.T
	statements, portals map[string]string
	block, broken       bool // in a block; which failed
	entered, saved      bool // the transaction has the context, a savepoint
	failed              bool // the rest of the group is skipped
	lastFailed          bool // the last group was
	failAt              int  // which message fails for no reason
}

func newStore(t *testing.T, failAt int) *store {
	return &store{t: t, statements: map[string]string{}, portals: map[string]string{}, failAt: failAt}
}

func (s *store) status() pgwire.TxStatus {
	switch {
	case s.broken:
		return pgwire.InFailed
	case s.block:
		return pgwire.InTransaction
	default:
		return pgwire.Idle
	}
}

// take runs the messages of a request, each against the answer expected.
func (s *store) take(wire []byte, r *request) {
	in := pgwire.NewReader(bufio.NewReader(bytes.NewReader(wire)))
	expects := r.expects
	next := func() *expect {
		for len(expects) > 0 {
			e := &expects[0]
			expects = expects[1:]
			if e.what != local {
				return e
			}
		}
		s.t.Fatalf("a message without an answer, in %q", wire)
		return nil
	}
	for {
		typ, body, err := in.ReadMessage(1 << 24)
		if err == io.EOF {
			break
		}
		m, err := pgwire.DecodeFrontend(pgwire.Frontend(typ), body)
		if err != nil {
			s.t.Fatalf("%q: %v", wire, err)
		}
		if _, ok := m.(pgwire.Flush); !ok {
			s.message(m, next(), r)
		}
	}
	for _, e := range expects {
		if e.what != local {
			s.t.Fatalf("an answer without a message: %+v", e)
		}
	}
}

func (s *store) message(m pgwire.FrontendMessage, e *expect, r *request) {
	if p, ok := m.(*pgwire.Parse); ok && p.Query != failText && p.Query != enterText {
		if c, f := prepare(p); f != nil || table[c.row].Verdict == scope.Deny {
			s.t.Fatalf("%q reaches the store", p.Query)
		}
	}
	if _, sync := m.(pgwire.Sync); sync {
		s.end()
		return
	}
	if s.failed {
		return
	}
	ok := s.run(m, e, r)
	if s.failAt--; s.failAt == 0 {
		ok = false
	}
	if e.tried != nil {
		*e.tried = true
	}
	if !ok {
		s.failed, s.broken = true, s.block
		return
	}
	if e.done != nil {
		*e.done = true
	}
}

// run carries out one message and reports success.
func (s *store) run(m pgwire.FrontendMessage, e *expect, r *request) bool {
	switch m := m.(type) {
	case *pgwire.Parse:
		if m.Name == "" {
			delete(s.statements, "")
		}
		if _, taken := s.statements[m.Name]; taken || m.Query == failText || s.broken && !s.ends(m.Query) {
			return false
		}
		s.statements[m.Name] = m.Query
	case *pgwire.Bind:
		text, ok := s.statements[m.Statement]
		if !ok || s.broken && !s.ends(text) {
			return false
		}
		if _, taken := s.portals[m.Portal]; taken && m.Portal != "" {
			return false
		}
		s.portals[m.Portal] = text
		s.mayRun(text, "planned")
	case *pgwire.Describe:
		if m.Target == pgwire.Portal {
			_, ok := s.portals[m.Name]
			return ok
		}
		text, ok := s.statements[m.Name]
		if ok && text == enterText {
			s.t.Fatal("a client is told of our statement")
		}
		return ok
	case *pgwire.Close:
		if m.Target == pgwire.Portal {
			delete(s.portals, m.Name)
		} else {
			delete(s.statements, m.Name)
		}
	case *pgwire.Execute:
		return s.execute(m, e, r)
	default:
		s.t.Fatalf("the store gets a %v", m.Type())
	}
	return true
}

func (s *store) ends(text string) bool {
	p, f := prepare(&pgwire.Parse{Query: text})
	return f == nil && p.ends()
}

// mayRun fails the test if text does something and there is no context.
func (s *store) mayRun(text, what string) {
	if text == enterText {
		return
	}
	p, f := prepare(&pgwire.Parse{Query: text})
	if f == nil && !p.free() && !s.entered && !s.broken {
		s.t.Fatalf("%q is %s without the context", text, what)
	}
}

func (s *store) execute(m *pgwire.Execute, e *expect, r *request) bool {
	text, ok := s.portals[m.Portal]
	if !ok || s.broken && !s.ends(text) {
		return false
	}
	if text == enterText {
		if !e.unseen {
			s.t.Fatal("a client runs our statement")
		}
		s.entered = true
		return true
	}
	s.mayRun(text, "run")
	p, _ := prepare(&pgwire.Parse{Query: text})
	if name := p.row; !e.unseen && r.ops[e.op].Name != name && (name != rowBegin || r.ops[e.op].Name != rowNested) {
		s.t.Fatalf("%q runs as %q", text, r.ops[e.op].Name)
	}
	switch p.row {
	case rowBegin:
		s.block = true
	case rowCommit, rowRollback:
		s.block, s.broken, s.entered = false, false, false
		clear(s.portals)
	case rowCommitChain, rowRollbackChain:
		s.broken, s.entered, s.saved = false, false, false
		clear(s.portals)
		return s.block
	case "Execute savepoint":
		s.saved = s.saved || s.block
		return s.block
	case rowRollbackTo:
		s.broken = s.broken && !s.saved
		return s.saved
	}
	s.saved = s.saved && s.block
	return true
}

// end ends a group.
func (s *store) end() {
	s.lastFailed, s.failed = s.failed, false
	if !s.block {
		s.entered, s.broken = false, false
		clear(s.portals)
	}
}

// FuzzStartup reads the settings of a startup message.
//
// Oracle: every setting that is sent is in the closed list, and the value is
// one string or a list of strings of the statement.
func FuzzStartup(f *testing.F) {
	f.Add("options", "-c a=b --c-d=e")
	f.Add("search_path", `"$user", public`)
	f.Add("timezone", `x'; TRUNCATE doc; --`)
	f.Add("client_encoding", "'utf-8'")
	f.Fuzz(func(t *testing.T, name, value string) {
		c := &caller{startup: startup("user", "u", name, value)}
		r, err := c.settings(&backend{})
		if err != nil {
			return
		}
		in := pgwire.NewReader(bufio.NewReader(bytes.NewReader(r.wire)))
		for {
			typ, body, err := in.ReadMessage(1 << 24)
			if err != nil {
				return
			}
			if pgwire.Frontend(typ) != pgwire.FrontendParse {
				continue
			}
			m, err := pgwire.DecodeFrontend(pgwire.FrontendParse, body)
			if err != nil {
				t.Fatal(err)
			}
			p, fault := prepare(m.(*pgwire.Parse))
			if fault != nil {
				continue // not UTF-8, or too long: the server refuses it as well
			}
			if p.row != "Execute set" || !p.class.Value.Simple {
				t.Fatalf("%q=%q sends %q", name, value, p.text)
			}
		}
	})
}
