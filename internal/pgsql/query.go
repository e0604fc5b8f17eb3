package pgsql

// traits are what the tokens of a query show of it at any depth.
type traits struct {
	with    bool
	changes bool // a data-modifying keyword
	locks   bool // FOR UPDATE and its kin
	into    bool // SELECT INTO
}

// query classifies a SELECT, VALUES, TABLE or WITH, in parentheses or not.
func (c *cursor) query() Class {
	for c.isSymbol("(") {
		c.advance()
	}
	lead := ""
	for _, k := range [...]string{"select", "values", "table", "with"} {
		if c.isWord(k) {
			lead = k
		}
	}
	if lead == "" {
		return Class{}
	}
	switch t := c.traits(0); {
	case t.into:
		return Class{Kind: "select into", Writes: true}
	case t.with && t.changes:
		return Class{Kind: "with write", Writes: true}
	case t.locks:
		return Class{Kind: "select for update", Writes: true}
	default:
		return Class{Kind: lead}
	}
}

// traits reads from tok to the end of the statement, or to the parenthesis that
// closes depth floor.
//
// INTO is reserved: it belongs to an INSERT or MERGE, or else to a SELECT. A
// column may be named insert, so the word before INTO is taken for the command
// only where a query may begin: where its parenthesis has had no command yet.
// What follows a period or AS is a name, whatever it looks like.
func (c *cursor) traits(floor int) traits {
	var t traits
	var seen depths
	named := false   // tok is right behind a period or AS
	command := false // tok is right behind an INSERT or MERGE that may be one
	for c.tok.lexeme != end && c.depth >= floor {
		behind, name := command, named
		command, named = false, c.isSymbol(".") || c.isWord("as")
		switch {
		case c.isSymbol("("):
			seen.reset(c.depth)
		case c.tok.lexeme != word || name:
		case c.isWord("with"):
			t.with = true
		case c.isWord("insert"), c.isWord("merge"):
			t.changes = true
			command = !seen.has(c.depth)
			seen.set(c.depth)
		case c.isWord("update"), c.isWord("delete"):
			t.changes = true
			seen.set(c.depth)
		case c.isWord("select"), c.isWord("values"), c.isWord("table"):
			seen.set(c.depth)
		case c.isWord("into"):
			t.into = t.into || !behind
		case c.isWord("for"):
			if c.lock() {
				t.locks = true
				continue
			}
		}
		c.advance()
	}
	return t
}

// lock reports whether FOR at tok begins a locking clause, and moves past its
// strength if so.
func (c *cursor) lock() bool {
	next := *c
	next.advance()
	if next.word("no") && !next.isWord("key") {
		return false
	}
	_ = next.word("key")
	if !next.word("share") && !next.word("update") {
		return false
	}
	*c = next
	return true
}

// depths is a set of depths of parentheses. Depths beyond its size are always
// in it.
type depths uint64

func (d depths) has(n int) bool { return n >= 64 || d&(1<<n) != 0 }
func (d *depths) set(n int)     { *d |= 1 << n }
func (d *depths) reset(n int)   { *d &^= 1 << n }

// copy classifies what follows COPY. The server takes STDIN and STDOUT for one
// another.
func (c *cursor) copy() Class {
	class := Class{Binary: c.word("binary")}
	kind := "copy to stdout"
	if c.isSymbol("(") && c.copyQuery() {
		kind = "copy write to stdout"
	}
	for c.tok.lexeme != end && (c.depth > 0 || !c.isWord("from") && !c.isWord("to")) {
		c.advance()
	}
	if c.isWord("from") {
		kind = "copy from stdin"
	}
	c.advance()
	switch {
	case c.isWord("stdin"), c.isWord("stdout"):
		class.Kind, class.Writes = kind, kind != "copy to stdout"
		return class
	case c.isWord("program"), c.isString():
		class.Kind, class.Writes = "copy file", true
		return class
	default:
		return Class{}
	}
}

// copyQuery reads the query of COPY (query) TO and reports whether it may
// write or lock.
func (c *cursor) copyQuery() bool {
	next := *c
	for next.isSymbol("(") {
		next.advance()
	}
	reads := next.isWord("select") || next.isWord("values") || next.isWord("table")
	t := c.traits(1)
	return t.into || t.locks || t.changes || !reads && !t.with
}

// declare classifies what follows DECLARE.
func (c *cursor) declare() Class {
	name, ok := c.name()
	if !ok {
		return Class{}
	}
	class := Class{Kind: "declare", Name: name}
	for !c.isWord("cursor") {
		switch {
		case c.word("binary"):
			class.Binary = true
		case c.word("insensitive"), c.word("asensitive"), c.word("scroll"):
		case c.word("no") && c.word("scroll"):
		default:
			return Class{}
		}
	}
	c.advance()
	hold := c.isWord("with")
	if (hold || c.isWord("without")) && !c.holds() {
		return Class{}
	}
	if hold {
		class.Kind = "declare with hold"
	}
	if !c.word("for") {
		return Class{}
	}
	switch q := c.query(); q.Kind {
	case "", "select into", "with write":
		return Class{}
	default:
		class.Writes = q.Writes
		return class
	}
}

// holds moves past WITH HOLD or WITHOUT HOLD.
func (c *cursor) holds() bool {
	c.advance()
	return c.word("hold")
}
