package postgres

import (
	"slices"
	"strconv"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
)

// A fault is an error as the client hears it.
type fault struct {
	code    string // SQLSTATE
	message string
	hint    string

	position int  // in characters of the client's text, from 1; 0 is none
	server   bool // the server's own words: it says them in a failed transaction too
}

// states gives every Reason its SQLSTATE.
var states = map[refusal.Reason]string{
	refusal.Internal:        "XX000",
	refusal.Unauthenticated: "28000",
	refusal.Expired:         "28000",
	refusal.Suspended:       "28000",
	refusal.Narrow:          "42501",
	refusal.Denied:          "42501",
	refusal.Unlisted:        "0A000",
	refusal.NotFound:        "42P01",
	refusal.Malformed:       "08P01",
	refusal.TooLarge:        "54000",
	refusal.TooMany:         "53300",
	refusal.TooFast:         "53400",
	refusal.OverBudget:      "53400",
	refusal.TooLong:         "57014",
	refusal.Unrecorded:      "58030",
	refusal.Unavailable:     "08006",
	refusal.Draining:        "57P01",
}

// stateLogin is the SQLSTATE of a password that is not a good token.
const stateLogin = "28P01"

// fatal are the Reasons after which the connection cannot go on.
var fatal = map[refusal.Reason]bool{
	refusal.Internal: true, refusal.Unauthenticated: true, refusal.Expired: true, refusal.Suspended: true,
	refusal.Malformed: true, refusal.Unavailable: true, refusal.Draining: true,
}

// faultOf returns err in words a client may hear.
func faultOf(err error) *fault {
	r := refusal.Of(err)
	code, ok := states[r]
	if !ok {
		r, code = refusal.Internal, states[refusal.Internal]
	}
	return &fault{code: code, message: r.Text(), hint: refusal.HintOf(err)}
}

// encode appends f as an ErrorResponse.
func (f *fault) encode(dst []byte, severity string) ([]byte, error) {
	e := pgwire.NewError(severity, f.code, f.message, f.hint)
	if f.position > 0 {
		e.Fields = append(e.Fields, pgwire.Field{Code: pgwire.FieldPosition, Value: strconv.Itoa(f.position)})
	}
	return e.Encode(dst)
}

// The faults that are the server's own words, where the broker must say them:
// the store is never asked about a statement that nobody judged.
func noStatement(name string) *fault {
	if name == "" {
		return &fault{code: "26000", message: "unnamed prepared statement does not exist", server: true}
	}
	return &fault{code: "26000", message: `prepared statement "` + name + `" does not exist`, server: true}
}

func noPortal(name string) *fault {
	return &fault{code: "34000", message: `portal "` + name + `" does not exist`, server: true}
}

func tooManyStatements() *fault {
	return &fault{code: states[refusal.TooLarge], message: refusal.TooLarge.Text(), hint: "close prepared statements"}
}

func severalStatements() *fault {
	return &fault{code: "42601", message: "cannot insert multiple commands into a prepared statement", server: true}
}

func aborted() *fault {
	return &fault{code: codeAborted, message: "current transaction is aborted, commands ignored until end of transaction block"}
}

// notice passes on a notice that is meant for a client. What the server says
// to those who look into it, and what is too long to be read here, is dropped.
func (a *reply) notice(h pgwire.Header) error {
	if h.Len > maxError {
		return unreachable(a.in.DropBody())
	}
	m := new(pgwire.NoticeResponse)
	if err := decode(a.in, h, &m); err != nil {
		return err
	}
	switch m.Value(pgwire.FieldSeverityInvariant) {
	case "INFO", "NOTICE", "WARNING":
		m.Fields = discreet(m.Fields)
		return a.say(m)
	default:
		return nil
	}
}

// discreet leaves out of an error or notice where in the server it happened:
// its context tells of places on disk, and the detail of a deadlock of
// transactions and processes, which count what all tenants do.
func discreet(fs pgwire.Fields) pgwire.Fields {
	deadlock := fs.Value(pgwire.FieldSQLState) == codeDeadlock
	return slices.DeleteFunc(slices.Clone(fs), func(f pgwire.Field) bool {
		switch f.Code {
		case 'W', 'F', 'L', 'R': // context; file, line and routine of the source
			return true
		case pgwire.FieldDetail:
			return deadlock
		default:
			return false
		}
	})
}

// The SQLSTATEs that the broker has to know.
const (
	codeFailText = "42703" // how [failText] fails: no such column
	codeAborted  = "25P02" // how anything fails in a failed transaction
	codeDeadlock = "40P01"
)
