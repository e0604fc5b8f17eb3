package pgsql

import "strings"

// setting classifies SET, RESET and SHOW.
func (c *cursor) setting(lead string) Class {
	c.advance()
	switch lead {
	case "set":
		return c.set()
	case "reset":
		next := *c
		if next.word("all") && next.tok.lexeme == end {
			return Class{Kind: "reset all"}
		}
		return c.parameter("reset")
	default:
		return c.parameter("show")
	}
}

// parameter classifies what follows RESET or SHOW.
func (c *cursor) parameter(kind string) Class {
	next := *c
	switch {
	case next.word("time") && next.word("zone"):
		return next.ended(Class{Kind: kind, Name: "timezone"})
	case next.rest(c, "session", "authorization"):
		return next.ended(Class{Kind: kind, Name: "session_authorization"})
	case next.rest(c, "transaction", "isolation", "level"):
		return next.ended(Class{Kind: kind, Name: "transaction_isolation"})
	}
	name, ok := c.setName()
	if !ok {
		return Class{}
	}
	return c.ended(Class{Kind: kind, Name: name})
}

// rest sets c to from and reports whether the words follow there, moving past
// them.
func (c *cursor) rest(from *cursor, words ...string) bool {
	*c = *from
	for _, w := range words {
		if !c.word(w) {
			return false
		}
	}
	return true
}

// set classifies what follows SET.
func (c *cursor) set() Class {
	kind := "set"
	next := *c
	switch {
	case next.word("local") && !next.assigns():
		kind = "set local"
		*c = next
	case next.rest(c, "session") && !next.assigns():
		if class, ok := next.session(); ok {
			return class
		}
		*c = next
	}
	class := c.setRest(kind)
	class.Local = kind == "set local" && class.Kind != ""
	return class
}

// assigns reports whether tok is what follows the parameter of a SET.
func (c *cursor) assigns() bool {
	return c.isSymbol("=") || c.isSymbol(".") || c.isWord("to") || c.isWord("from")
}

// session classifies what SET SESSION begins, if it is more than a SET.
func (c *cursor) session() (Class, bool) {
	next := *c
	if next.word("characteristics") && next.word("as") {
		if !next.word("transaction") || next.tok.lexeme == end {
			return Class{}, true
		}
		return next.modes("set session characteristics"), true
	}
	if next.rest(c, "authorization") {
		return next.value(Class{Kind: "set session authorization", Name: "session_authorization"}), true
	}
	return Class{}, false
}

// setRest classifies what follows SET, SET LOCAL or SET SESSION.
func (c *cursor) setRest(kind string) Class {
	next := *c
	next.advance()
	if c.tok.lexeme != word || next.assigns() {
		return c.assignment(kind)
	}
	switch {
	case c.isWord("transaction"):
		return next.setTransaction()
	case c.isWord("session") && next.word("authorization"):
		return next.value(Class{Kind: "set session authorization", Name: "session_authorization"})
	case c.isWord("role"):
		return next.value(Class{Kind: "set role", Name: "role"})
	case c.isWord("constraints"):
		if kind != "set" {
			return Class{}
		}
		return Class{Kind: "set constraints"}
	case c.isWord("time") && next.word("zone"):
		return next.zone(Class{Kind: kind, Name: "timezone"})
	case c.isWord("names"):
		if next.tok.lexeme == end {
			return Class{Kind: kind, Name: "client_encoding", Value: Value{Simple: true, Default: true}}
		}
		return next.value(Class{Kind: kind, Name: "client_encoding"})
	case c.isWord("schema") && next.isString():
		return next.value(Class{Kind: kind, Name: "search_path"})
	case c.isWord("xml") && next.word("option"):
		return next.value(Class{Kind: kind, Name: "xmloption"})
	default:
		return Class{}
	}
}

func (c *cursor) setTransaction() Class {
	if c.word("snapshot") {
		return Class{Kind: "set transaction snapshot"}
	}
	if c.tok.lexeme == end {
		return Class{}
	}
	return c.modes("set transaction")
}

// assignment classifies name = value and name TO value. SET role = x is SET
// ROLE x: the kind is that of what it does.
func (c *cursor) assignment(kind string) Class {
	name, ok := c.setName()
	if !ok || !c.symbol("=") && !c.word("to") {
		return Class{}
	}
	switch name {
	case "role":
		kind = "set role"
	case "session_authorization":
		kind = "set session authorization"
	}
	return c.value(Class{Kind: kind, Name: name})
}

// zone is value for SET TIME ZONE, which has an expression of its own.
func (c *cursor) zone(class Class) Class {
	if c.isWord("interval") {
		return class
	}
	if c.word("local") {
		class.Value = Value{Simple: true, Default: true}
		return c.ended(class)
	}
	return c.value(class)
}

// value reads the value of class up to the end of the statement. A statement
// without one, or with something else behind it, is of no kind.
func (c *cursor) value(class Class) Class {
	if c.word("default") {
		class.Value = Value{Simple: true, Default: true}
		return c.ended(class)
	}
	simple := true
	for {
		w, plain, ok := c.setWord()
		if !ok {
			return Class{}
		}
		simple = simple && plain
		class.Value.Words = append(class.Value.Words, w)
		if !c.symbol(",") {
			break
		}
	}
	if !simple {
		class.Value = Value{}
		return c.ended(class)
	}
	class.Value.Simple = true
	return c.ended(class)
}

// setWord reads one word, string or number. It is not plain if what the
// server makes of it was not worked out.
func (c *cursor) setWord() (s string, plain, ok bool) {
	if c.isString() {
		s, plain = c.literal()
		return s, plain, true
	}
	sign := ""
	if c.isSymbol("+") || c.isSymbol("-") {
		sign = c.text[c.tok.start:c.tok.end]
		c.advance()
	}
	if c.tok.lexeme == number {
		s = sign + c.text[c.tok.start:c.tok.end]
		c.advance()
		return s, true, true
	}
	if sign != "" {
		return "", false, false
	}
	s, ok = c.name()
	return s, true, ok
}

// setName reads the name of a parameter, which may have parts. The server
// compares it without regard to case, in quotes or not.
func (c *cursor) setName() (string, bool) {
	name, ok := c.name()
	for parts := 1; ok && c.symbol("."); parts++ {
		var part string
		part, ok = c.name()
		name += "." + part
		ok = ok && parts < maxParts
	}
	return lower(name), ok
}

// lower folds A to Z and nothing else, as the server does.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
