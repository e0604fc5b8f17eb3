package pgsql

import "slices"

// A Class is what can be said of a statement from its text.
type Class struct {
	// Kind is one of [Kinds], or "" for a statement that is none of them or
	// is not plainly one.
	Kind string

	// Writes is false only for statements that by their text change neither
	// data nor the schema nor take locks; what the functions they call do is
	// not in it. Transaction control and session settings do not write.
	Writes bool

	// Name is the parameter of a SET, RESET or SHOW in lower case, or the
	// name of the statement or cursor that PREPARE, EXECUTE, DEALLOCATE,
	// DECLARE and CLOSE concern, folded as the server does; "" is all.
	Name string

	Local  bool  // SET LOCAL, in all its forms
	Value  Value // of a SET
	Modes  Modes // of BEGIN, START TRANSACTION, SET TRANSACTION and SET SESSION CHARACTERISTICS
	Binary bool  // DECLARE BINARY, COPY BINARY
}

// A Value is what a SET sets. The zero Value is one that is not simple: it
// must be judged by nobody.
type Value struct {
	Simple  bool     // Words are all there is, or it is Default
	Default bool     // SET ... TO DEFAULT
	Words   []string // strings without quotes; unquoted words in lower case; numbers as written
}

// Modes are the modes of a transaction; "" is one not mentioned.
type Modes struct {
	Isolation  string // serializable, repeatable read, read committed, read uncommitted
	Access     string // read only, read write
	Deferrable string // deferrable, not deferrable
}

// Kinds returns all kinds there are, sorted.
func Kinds() []string {
	return slices.Sorted(slices.Values(kinds[:]))
}

var kinds = [...]string{
	"alter", "analyze", "begin", "call", "checkpoint", "close", "cluster", "comment", "commit", "commit and chain",
	"commit prepared", "copy file", "copy from stdin", "copy to stdout", "copy write to stdout", "create", "deallocate",
	"declare", "declare with hold", "delete", "discard", "do", "drop", "empty", "execute", "explain", "fetch", "grant",
	"import", "insert", "listen", "load", "lock", "merge", "move", "notify", "prepare", "prepare transaction", "reassign",
	"refresh", "reindex", "release", "reset", "reset all", "revoke", "rollback", "rollback and chain", "rollback prepared",
	"rollback to", "savepoint", "security label", "select", "select for update", "select into", "set", "set constraints",
	"set local", "set role", "set session authorization", "set session characteristics", "set transaction",
	"set transaction snapshot", "show", "start transaction", "table", "truncate", "unlisten", "update", "vacuum", "values",
	"with", "with write",
}

// Classify returns the class of text, which is one statement as [Split]
// returns it. Two statements, a text Split would refuse and a statement nobody
// knows have no kind, and are taken to write.
func Classify(text string) Class {
	if check(text) != nil {
		return Class{Writes: true}
	}
	c := newCursor(text)
	class := c.statement()
	if !c.alone() || class.Kind == "" {
		return Class{Writes: true}
	}
	return class
}

// alone moves to the end of the text and reports whether only empty
// statements stood there.
func (c *cursor) alone() bool {
	c.drain()
	for c.more() {
		c.begin()
		if c.tok.lexeme != end {
			return false
		}
	}
	return c.err == nil
}

// word reports whether tok is the keyword, and moves past it if so.
func (c *cursor) word(keyword string) bool {
	if !c.isWord(keyword) {
		return false
	}
	c.advance()
	return true
}

func (c *cursor) isWord(keyword string) bool {
	return c.tok.lexeme == word && equal(c.text[c.tok.start:c.tok.end], keyword)
}

// symbol reports whether tok is the operator or punctuation, and moves past
// it if so.
func (c *cursor) symbol(s string) bool {
	if !c.isSymbol(s) {
		return false
	}
	c.advance()
	return true
}

func (c *cursor) isSymbol(s string) bool {
	return (c.tok.lexeme == operator || c.tok.lexeme == punct) && c.text[c.tok.start:c.tok.end] == s
}

// ended returns class if the statement ends at tok, else the zero Class.
func (c *cursor) ended(class Class) Class {
	if c.tok.lexeme != end {
		return Class{}
	}
	return class
}

// statement classifies from the first token on. It may stop anywhere.
func (c *cursor) statement() Class {
	switch {
	case c.tok.lexeme == end:
		return Class{Kind: "empty"}
	case c.isSymbol("("):
		return c.query()
	case c.tok.lexeme != word:
		return Class{}
	}
	switch lead := c.lead(); lead {
	case "select", "values", "table", "with":
		return c.query()
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release":
		return c.transaction(lead)
	case "set", "reset", "show":
		return c.setting(lead)
	case "copy":
		c.advance()
		return c.copy()
	case "declare":
		c.advance()
		return c.declare()
	case "prepare", "execute", "deallocate", "close", "security", "analyse":
		return c.named(lead)
	default:
		return simple(lead)
	}
}

// lead returns the keyword tok is in lower case, or "" if no statement begins
// with it.
func (c *cursor) lead() string {
	i, found := slices.BinarySearchFunc(leads[:], c.text[c.tok.start:c.tok.end], folded)
	if !found {
		return ""
	}
	return leads[i]
}

// folded compares keyword with the unquoted word s.
func folded(keyword, s string) int {
	for i := range min(len(keyword), len(s)) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if keyword[i] != c {
			return int(keyword[i]) - int(c)
		}
	}
	return len(keyword) - len(s)
}

var leads = [...]string{
	"abort", "alter", "analyse", "analyze", "begin", "call", "checkpoint", "close", "cluster", "comment", "commit", "copy",
	"create", "deallocate", "declare", "delete", "discard", "do", "drop", "end", "execute", "explain", "fetch", "grant", "import",
	"insert", "listen", "load", "lock", "merge", "move", "notify", "prepare", "reassign", "refresh", "reindex", "release", "reset",
	"revoke", "rollback", "savepoint", "security", "select", "set", "show", "start", "table", "truncate", "unlisten", "update",
	"vacuum", "values", "with",
}

// simple classifies the statements whose first word is their kind.
func simple(lead string) Class {
	switch lead {
	case "fetch", "move", "listen", "unlisten", "discard":
		return Class{Kind: lead}
	case "insert", "update", "delete", "merge", "explain", "notify", "lock", "truncate", "do", "call", "create", "alter",
		"drop", "grant", "revoke", "comment", "vacuum", "analyze", "cluster", "reindex", "checkpoint", "load", "refresh",
		"import", "reassign":
		return Class{Kind: lead, Writes: true}
	default:
		return Class{}
	}
}

// named classifies PREPARE, EXECUTE, DEALLOCATE, CLOSE and SECURITY LABEL.
func (c *cursor) named(lead string) Class {
	c.advance()
	switch lead {
	case "analyse":
		return Class{Kind: "analyze", Writes: true}
	case "security":
		if c.isWord("label") {
			return Class{Kind: "security label", Writes: true}
		}
		return Class{}
	case "prepare":
		return c.prepare()
	case "deallocate":
		next := *c
		if next.word("prepare") && next.tok.lexeme != end {
			*c = next
		}
	}
	if lead != "execute" && c.word("all") {
		return c.ended(Class{Kind: lead})
	}
	name, ok := c.name()
	if !ok {
		return Class{}
	}
	class := Class{Kind: lead, Writes: lead == "execute", Name: name}
	if lead == "execute" {
		return class
	}
	return c.ended(class)
}

func (c *cursor) prepare() Class {
	next := *c
	if next.word("transaction") && next.isString() {
		return Class{Kind: "prepare transaction", Writes: true}
	}
	name, ok := c.name()
	if !ok || !c.isWord("as") && !c.isSymbol("(") {
		return Class{}
	}
	return Class{Kind: "prepare", Writes: true, Name: name}
}
