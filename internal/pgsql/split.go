package pgsql

import (
	"strings"
	"unicode/utf8"

	"github.com/isocore/isocore/refusal"
)

// A Statement is one statement of a text.
type Statement struct {
	Text  string // without white space around it and without its semicolon; comments stay
	Start int    // in bytes from the start of the text
	Runes int    // in characters from the start of the text
}

// Empty reports whether there is nothing in s but comments.
func (s Statement) Empty() bool {
	c := newCursor(s.Text)
	return c.err == nil && c.tok.lexeme == end
}

// Split returns the statements of text in order, without the empty ones, as a
// server does; of a text that holds none it returns one, which is empty. The
// error is a [*SyntaxError], or a [refusal.Error] for a text that is too large
// or not UTF-8.
func Split(text string) ([]Statement, error) {
	if err := check(text); err != nil {
		return nil, err
	}
	var all []Statement
	seen, runes := 0, 0
	add := func(from, to int) {
		from += len(text[from:to]) - len(strings.TrimLeft(text[from:to], spaces))
		runes += utf8.RuneCountInString(text[seen:from])
		seen = from
		all = append(all, Statement{strings.TrimRight(text[from:to], spaces), from, runes})
	}
	from := 0
	c := newCursor(text)
	for {
		filled := c.tok.lexeme != end
		c.drain()
		if c.err != nil {
			return nil, c.err
		}
		if filled {
			add(from, c.tok.start)
		}
		if len(all) > MaxStatements {
			return nil, refusal.New(refusal.TooLarge, "pgsql: more than %d statements", MaxStatements)
		}
		if !c.more() {
			break
		}
		from = c.pos
		c.begin()
	}
	if len(all) == 0 {
		add(0, len(text))
	}
	return all, nil
}

const spaces = " \t\n\r\f\v"

// A cursor walks over the tokens of one statement after another. At the
// semicolon behind a statement, as at the end of the text, tok is end. The
// first error sticks and is an end as well.
type cursor struct {
	scanner
	tok   token
	err   error
	depth int // of parentheses open, that of tok included

	routine routine
}

// newCursor returns a cursor at the first token of text.
func newCursor(text string) cursor {
	c := cursor{scanner: scanner{text: text}}
	c.begin()
	return c
}

// begin moves to the first token of the next statement.
func (c *cursor) begin() {
	c.depth, c.routine, c.tok = 0, routine{}, token{}
	c.advance()
}

// more reports whether tok is the semicolon of a statement.
func (c *cursor) more() bool { return c.err == nil && c.tok.start < c.tok.end }

// advance moves to the next token, and not past an end.
func (c *cursor) advance() {
	if c.err != nil {
		return
	}
	tok, err := c.next()
	if err != nil {
		c.err = err
		c.tok = token{end, len(c.text), len(c.text)}
		return
	}
	if tok.lexeme == punct {
		tok = c.nest(tok)
	}
	c.routine.see(c.text, tok)
	c.tok = tok
}

// nest counts parentheses and makes a semicolon outside them an end.
func (c *cursor) nest(tok token) token {
	switch c.text[tok.start] {
	case '(':
		c.depth++
	case ')':
		c.depth = max(c.depth-1, 0)
	case ';':
		if c.depth == 0 && !c.routine.inBody {
			tok.lexeme = end
		}
	}
	return tok
}

// drain moves to the end of the statement.
func (c *cursor) drain() {
	for c.tok.lexeme != end {
		c.advance()
	}
}

// A routine follows whether a statement is inside the BEGIN ATOMIC ... END of
// a CREATE FUNCTION or PROCEDURE, where semicolons end nothing.
type routine struct {
	state  uint8 // how far the head was read
	inBody bool
	opened int // where the ATOMIC stands
	prev   token
}

// The states of a routine.
const (
	headCreate  uint8 = iota // expects CREATE
	headOr                   // after CREATE
	headReplace              // after OR
	headKind                 // after REPLACE
	inRoutine
	notRoutine
)

func (r *routine) see(text string, tok token) {
	switch r.state {
	case notRoutine:
		return
	case inRoutine:
		r.body(text, tok)
	default:
		r.state = r.head(text[tok.start:tok.end])
	}
	r.prev = tok
}

func (r *routine) head(s string) uint8 {
	switch {
	case r.state == headCreate && equal(s, "create"):
		return headOr
	case r.state == headOr && equal(s, "or"):
		return headReplace
	case r.state == headReplace && equal(s, "replace"):
		return headKind
	case (r.state == headOr || r.state == headKind) && (equal(s, "function") || equal(s, "procedure")):
		return inRoutine
	default:
		return notRoutine
	}
}

// body opens the body at BEGIN ATOMIC and closes it at an END where a statement
// could begin: anywhere else, END belongs to a CASE or is a name.
func (r *routine) body(text string, tok token) {
	if tok.lexeme != word {
		return
	}
	s, prev := text[tok.start:tok.end], text[r.prev.start:r.prev.end]
	if !r.inBody {
		r.inBody = equal(s, "atomic") && equal(prev, "begin")
		r.opened = tok.start
		return
	}
	if equal(s, "end") && (prev == ";" || r.prev.start == r.opened) {
		r.inBody = false
	}
}

// equal reports whether the unquoted word s is keyword, which is in lower case.
func equal(s, keyword string) bool {
	if len(s) != len(keyword) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != keyword[i] {
			return false
		}
	}
	return true
}
