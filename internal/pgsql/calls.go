package pgsql

import "slices"

// Calls returns the names text calls as functions, each once: identifiers
// right before an opening parenthesis, folded, with the schema if it is there.
// Type names and table names with column lists are among them; casts, operators
// and the functions behind them are not. A text that cannot be scanned to its
// end is an error.
func Calls(text string) ([]string, error) {
	if err := check(text); err != nil {
		return nil, err
	}
	var calls []string
	seen := map[string]bool{}
	c := newCursor(text)
	for {
		for c.tok.lexeme != end {
			name, called := c.call()
			if called && !seen[name] {
				seen[name] = true
				calls = append(calls, name)
			}
		}
		if !c.more() {
			return calls, c.err
		}
		c.begin()
	}
}

// maxParts bounds the parts of a name. A function has at most three, and no
// setting has as many.
const maxParts = 8

// call reads one token, or a name with its parts, and reports whether it is
// called.
func (c *cursor) call() (string, bool) {
	bare := c.tok.lexeme == word
	name, ok := c.name()
	if !ok {
		c.advance()
		return "", false
	}
	parts := 1
	for ; c.symbol("."); parts++ {
		part, ok := c.name()
		if !ok {
			return "", false
		}
		name += "." + part
		if parts >= maxParts {
			name = part
		}
	}
	if !c.isSymbol("(") {
		return "", false
	}
	if _, keyword := slices.BinarySearch(uncallable[:], name); keyword && parts == 1 && bare {
		return "", false
	}
	return name, true
}

// uncallable are keywords that cannot name a function unless quoted or
// qualified, in every version supported.
var uncallable = [...]string{
	"all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both", "case", "cast", "check", "collate",
	"column", "constraint", "create", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "exists",
	"false", "fetch", "for", "foreign", "from", "grant", "group", "having", "in", "initially", "intersect", "into", "lateral",
	"leading", "limit", "not", "null", "offset", "on", "only", "or", "order", "placing", "primary", "references", "returning",
	"row", "select", "some", "symmetric", "table", "then", "to", "trailing", "true", "union", "unique", "user", "using",
	"values", "variadic", "when", "where", "window", "with",
}
