package postgres

import (
	"errors"
	"slices"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/scope"
)

// A request is what one Pass holds: one or more statements, or the messages
// that prepare one.
type request struct {
	ops     []scope.Operation
	backend *backend
	script

	confined bool   // some operation runs in the store, so the context is required
	context  string // of the tenant, minted for the backend by the rule
}

// Operations implements [scope.Request].
func (r *request) Operations() []scope.Operation { return r.ops }

var errUnconfined = errors.New("postgres: a statement that no rule confined")

// Encode appends the messages of r with the context in its places. It fails
// if a statement would run that no rule has confined.
func (r *request) Encode(dst []byte) ([]byte, error) {
	if r.err != nil {
		return dst, r.err
	}
	if (r.confined || len(r.enters) > 0) && r.context == "" {
		return dst, errUnconfined
	}
	from := 0
	for _, at := range r.enters {
		dst = append(dst, r.wire[from:at]...)
		var err error
		if dst, err = encodeEnter(dst, r.context); err != nil {
			return dst, err
		}
		from = at
	}
	return append(dst, r.wire[from:]...), nil
}

// sent lets go of what r was, for its outcome may have to wait.
func (r *request) sent() {
	r.wire, r.enters, r.context = nil, nil, ""
	for i := range r.ops {
		r.ops[i].Text, r.ops[i].Parameters, r.ops[i].Resources = nil, nil, nil
	}
}

// heard lets go of what r expected.
func (r *request) heard() { r.expects = nil }

// enterText is the statement that gives the database the context and has it
// verified: if it fails, what follows in the same group is skipped.
const enterText = "SELECT isocore.enter($1)"

// oidText is the type of the context, so that the server infers nothing.
const oidText = 25

// encodeEnter appends the unnamed statement that sets context.
func encodeEnter(dst []byte, context string) ([]byte, error) {
	var s script
	s.say(&pgwire.Parse{Query: enterText, ParamTypes: []uint32{oidText}})
	s.say(&pgwire.Bind{Params: [][]byte{[]byte(context)}})
	s.say(&pgwire.Execute{})
	return append(dst, s.wire...), s.err
}

// ends reports whether r ends a group.
func (r *request) ends() bool {
	n := len(r.expects)
	return n > 0 && r.expects[n-1].what == ready
}

// A script is what a request sends, and what it expects in answer, in order.
type script struct {
	wire    []byte
	enters  []int // where in wire the context is set
	expects []expect
	err     error
}

// say appends a message that is sent.
func (s *script) say(m pgwire.Message) {
	wire, err := m.Encode(s.wire)
	s.wire, s.err = wire, errors.Join(s.err, err)
}

// expect appends an answer.
func (s *script) expect(e expect) { s.expects = append(s.expects, e) }

// enter sets the context here.
func (s *script) enter() {
	s.enters = append(s.enters, len(s.wire))
	s.unseen()
}

// run sends a statement of ours; the client does not see its answer.
func (s *script) run(text string) {
	s.say(&pgwire.Parse{Query: text})
	s.say(&pgwire.Bind{})
	s.say(&pgwire.Execute{})
	s.unseen()
}

// unseen expects the answer to a statement of ours.
func (s *script) unseen() {
	s.expect(expect{what: parsed, unseen: true})
	s.expect(expect{what: bound, unseen: true})
	s.expect(expect{what: ran, op: none, unseen: true})
}

// add appends another script.
func (s *script) add(t script) {
	for _, at := range t.enters {
		s.enters = append(s.enters, at+len(s.wire))
	}
	s.wire = append(s.wire, t.wire...)
	s.expects = slices.Concat(s.expects, t.expects)
	s.err = errors.Join(s.err, t.err)
}

// An answer is a kind of what the store says to one message.
type answer uint8

const (
	local     answer = iota // nothing: the broker says it
	parsed                  // ParseComplete
	bound                   // BindComplete
	closed                  // CloseComplete
	statement               // ParameterDescription, then RowDescription or NoData
	portal                  // RowDescription or NoData
	ran                     // rows or copy data, then CommandComplete or the like
	ready                   // ReadyForQuery
)

// none is the operation of what belongs to no operation.
const none = -1

// An expect is one answer that is due, and what becomes of it.
type expect struct {
	what   answer
	unseen bool   // the client does not see it, unless it is an error
	rows   bool   // the client sees a RowDescription, but no NoData
	after  bool   // the RowDescription is said when there are rows
	tag    string // of the CommandComplete that the broker says, if it is local; "": an empty query
	last   bool   // ran, local: what ends it is said when its transaction has ended
	op     int    // the operation whose result it is, or none
	shift  int    // characters before the statement in the client's text
	fault  *fault // what the client hears in the place of the store's error
	done   *bool  // set on success
	tried  *bool  // set unless it was skipped
	held   bool   // ready: a BEGIN that the store has not heard is held
}
