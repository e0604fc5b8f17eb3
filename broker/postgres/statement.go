package postgres

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/internal/pgsql"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// A prepared is a statement as the client wrote it, and what was judged of
// it: the meaning of a statement's or portal's name.
type prepared struct {
	parse pgwire.Parse
	text  string // of the statement alone
	bytes []byte // text, shared by all that is recorded of it
	class pgsql.Class
	row   string // the row its Execute is judged by
	shift int    // characters before the statement in the client's text
	last  bool   // of a simple Query
	spent bool   // a portal that ran, and cannot again

	params [][]byte // what a portal was given
	beside int      // bytes of the Bind that its parameters keep
}

// given returns p as the portal of m.
func (p *prepared) given(m *pgwire.Bind) *prepared {
	portal := *p
	portal.params = m.Params
	portal.beside = len(m.Portal) + 2*(len(m.ParamFormats)+len(m.ResultFormats))
	return &portal
}

// size returns about how many bytes p takes.
func (p *prepared) size() int {
	if p == nil {
		return 0
	}
	n := len(p.parse.Query) + 4*len(p.parse.ParamTypes) + p.beside
	for _, v := range p.params {
		n += len(v) + headerSize
	}
	return n
}

// headerSize is what a parameter takes besides its bytes.
const headerSize = 24

// prepare classifies the one statement of a Parse.
func prepare(m *pgwire.Parse) (*prepared, *fault) {
	statements, err := pgsql.Split(m.Query)
	if err != nil {
		return nil, unreadable(m.Query, err)
	}
	if len(statements) != 1 {
		return nil, severalStatements()
	}
	return classify(*m, statements[0]), nil
}

// classify names the row of a statement.
func classify(m pgwire.Parse, s pgsql.Statement) *prepared {
	c := pgsql.Classify(s.Text)
	return &prepared{parse: m, text: s.Text, bytes: []byte(s.Text), class: c, row: row(c)}
}

// row returns the row of the table that judges a statement of class c.
func row(c pgsql.Class) string {
	kind := c.Kind
	switch kind {
	case "":
		kind = "unknown"
	case "begin", "start transaction":
		kind = "begin"
		if c.Modes.Isolation == "serializable" {
			kind = "serializable"
		}
	case "set transaction":
		if c.Modes.Isolation == "serializable" {
			kind = "serializable"
		}
	case "set", "set local":
		kind = "set"
		if !settable[c.Name] {
			kind = "set unlisted"
		}
	case "reset":
		if !settable[c.Name] {
			kind = "set unlisted"
		}
	case "reset all":
		kind = "reset"
	case "show":
		if !settable[c.Name] && !showable[c.Name] {
			kind = "show unlisted"
		}
	}
	return "Execute " + kind
}

// unreadable returns what the client hears of a text that the scanner cannot
// read: the server's own words.
func unreadable(text string, err error) *fault {
	if s, ok := errors.AsType[*pgsql.SyntaxError](err); ok {
		what := s.What
		if what == "comment" {
			what = "/* comment"
		}
		return &fault{
			code: "42601", message: fmt.Sprintf(`unterminated %s at or near "%s"`, what, text[s.Offset:]),
			position: s.Position, server: true,
		}
	}
	if refusal.Of(err) == refusal.TooLarge {
		return faultOf(err)
	}
	return &fault{code: "22021", message: `invalid byte sequence for encoding "UTF8": ` + invalid(text), server: true}
}

// invalid returns the first bytes of text that are no character, as the server
// writes them.
func invalid(text string) string {
	for i, r := range text {
		if r != utf8.RuneError {
			continue
		}
		if _, n := utf8.DecodeRuneInString(text[i:]); n != 1 {
			continue
		}
		n := max(1, bits.LeadingZeros8(^text[i]))
		if n > 4 {
			n = 1
		}
		var words []string
		for _, c := range []byte(text[i:min(i+n, len(text))]) {
			words = append(words, fmt.Sprintf("0x%02x", c))
		}
		return strings.Join(words, " ")
	}
	return "0x00"
}

// operation returns what running p is recorded as.
func (p *prepared) operation() scope.Operation {
	class := audit.ClassStatement
	if transactional[p.row] {
		class = audit.ClassTransaction
	}
	return scope.Operation{Name: p.row, Text: p.bytes, Class: uint16(class), Parameters: p.params}
}

// binding returns what the Bind that made p is recorded as.
func (p *prepared) binding(row string) scope.Operation {
	op := p.operation()
	op.Name = row
	return op
}

// transactional are the rows that begin, end or mark a transaction.
var transactional = map[string]bool{
	rowBegin: true, rowNested: true, rowMode: true,
	rowCommit: true, rowCommitChain: true, rowRollback: true, rowRollbackChain: true,
	rowSavepoint: true, "Execute release": true, rowRollbackTo: true,
}

// free reports whether p may run without the context: it says nothing of any
// table and does not begin the tenant's work.
func (p *prepared) free() bool {
	switch p.row {
	case rowEmpty, rowBegin, rowMode, rowDeallocate, "Execute unlisten":
		return true
	default:
		return false
	}
}

// opens reports whether p, if it is sent, must find the transaction open.
func (p *prepared) opens() bool { return !p.free() || p.row == rowBegin }

// ends reports whether p may end a failed transaction, or what failed in it.
func (p *prepared) ends() bool {
	return commits(p.row) || rollsBack(p.row) || p.row == rowRollbackTo
}

// writes reports whether p takes the reach to write.
func (p *prepared) writes() bool { return table[p.row].Needs == write }

// stores reports whether the server runs all of p before it answers a Query
// with the first row, or the columns.
func (p *prepared) stores() bool {
	switch p.class.Kind {
	case "insert", "update", "delete", "merge", "with write":
		return true
	default:
		return false
	}
}

// The rows that the broker itself has to know.
const (
	rowOpen          = "Open"
	rowBind          = "Bind"
	rowBindWrite     = "Bind write"
	rowEmpty         = "Execute empty"
	rowBegin         = "Execute begin"
	rowNested        = "Execute nested begin" // a BEGIN that is not the first
	rowMode          = "Execute set transaction"
	rowDeallocate    = "Execute deallocate"
	rowReset         = "Execute reset"
	rowCommit        = "Execute commit"
	rowCommitChain   = "Execute commit and chain"
	rowRollback      = "Execute rollback"
	rowRollbackChain = "Execute rollback and chain"
	rowSavepoint     = "Execute savepoint"
	rowRollbackTo    = "Execute rollback to"
	rowDeclare       = "Execute declare"
	rowClose         = "Execute close"
)

// tagOf returns the tag the server gives a statement that was held back.
func tagOf(p *prepared) string {
	switch {
	case p.row == rowMode:
		return "SET"
	case p.class.Kind == "start transaction":
		return "START TRANSACTION"
	default:
		return "BEGIN"
	}
}
