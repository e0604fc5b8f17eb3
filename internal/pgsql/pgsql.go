// Package pgsql says where SQL statements begin and end and what kind each is,
// without understanding them.
//
// Its scanner follows the lexical rules of PostgreSQL 15 to 18, with
// standard_conforming_strings on and UTF-8: who uses it pins both. It reads a
// statement no further than its kind needs, and where the grammar leaves room
// for doubt it answers with the kind that can do more, or with none: the empty
// kind, which no table lists. It sees no further than the text: what a
// function does, or EXECUTE within one, is for the database's own locks.
package pgsql

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/isocore/isocore/refusal"
)

// Bounds of a text.
const (
	MaxText       = 1 << 20 // bytes
	MaxStatements = 1000
	maxNesting    = 100 // of comments
)

// A SyntaxError is a text that ends within a quote or comment, or an
// identifier with Unicode escapes that spell nothing. The server would refuse
// it as well, with SQLSTATE 42601.
type SyntaxError struct {
	What     string // "quoted string", "comment", "Unicode escape"
	Offset   int    // in bytes, from 0
	Position int    // in characters, from 1, as a server reports it
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("pgsql: unterminated %s at character %d", e.What, e.Position)
}

// check refuses a text that no scanner should see: too long, not UTF-8, or
// holding NUL.
func check(text string) error {
	if len(text) > MaxText {
		return refusal.New(refusal.TooLarge, "pgsql: a text of %d bytes", len(text))
	}
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return refusal.New(refusal.Malformed, "pgsql: a text that is not UTF-8")
	}
	return nil
}
