package pgsql

// transaction classifies the statements that begin and end transactions and
// savepoints. They are read whole: what the grammar does not have is no kind.
func (c *cursor) transaction(lead string) Class {
	c.advance()
	switch lead {
	case "begin":
		c.noise()
		return c.modes("begin")
	case "start":
		if !c.word("transaction") {
			return Class{}
		}
		return c.modes("start transaction")
	case "savepoint":
		return c.savepoint("savepoint")
	case "release":
		c.savepointWord()
		return c.savepoint("release")
	case "commit", "end":
		if lead == "commit" && c.word("prepared") {
			return c.prepared("commit prepared")
		}
		c.noise()
		return c.chain("commit", "commit and chain")
	default:
		return c.rollback(lead)
	}
}

// noise moves past the optional WORK or TRANSACTION.
func (c *cursor) noise() { _ = c.word("work") || c.word("transaction") }

// savepointWord moves past the optional SAVEPOINT before a name, which may be
// savepoint itself.
func (c *cursor) savepointWord() {
	next := *c
	if next.word("savepoint") && next.tok.lexeme != end {
		*c = next
	}
}

func (c *cursor) savepoint(kind string) Class {
	if _, ok := c.name(); !ok {
		return Class{}
	}
	return c.ended(Class{Kind: kind})
}

func (c *cursor) prepared(kind string) Class {
	if !c.isString() {
		return Class{}
	}
	c.literal()
	return c.ended(Class{Kind: kind, Writes: true})
}

func (c *cursor) chain(plain, chained string) Class {
	if !c.word("and") {
		return c.ended(Class{Kind: plain})
	}
	kind := chained
	if c.word("no") {
		kind = plain
	}
	if !c.word("chain") {
		return Class{}
	}
	return c.ended(Class{Kind: kind})
}

// rollback classifies ROLLBACK, or ABORT, which has fewer forms.
func (c *cursor) rollback(lead string) Class {
	whole := lead == "rollback"
	if whole && c.word("prepared") {
		return c.prepared("rollback prepared")
	}
	c.noise()
	if whole && c.word("to") {
		c.savepointWord()
		return c.savepoint("rollback to")
	}
	return c.chain("rollback", "rollback and chain")
}

// modes reads the modes up to the end of the statement. One that is named
// twice makes it no kind.
func (c *cursor) modes(kind string) Class {
	class := Class{Kind: kind}
	for first := true; c.tok.lexeme != end; first = false {
		if !first {
			c.symbol(",")
		}
		if !c.mode(&class.Modes) {
			return Class{}
		}
	}
	return class
}

func (c *cursor) mode(m *Modes) bool {
	switch {
	case c.word("isolation"):
		return c.word("level") && setOnce(&m.Isolation, c.isolation())
	case c.word("read"):
		return setOnce(&m.Access, c.either("only", "read only", "write", "read write"))
	case c.word("not"):
		return c.word("deferrable") && setOnce(&m.Deferrable, "not deferrable")
	case c.word("deferrable"):
		return setOnce(&m.Deferrable, "deferrable")
	default:
		return false
	}
}

func (c *cursor) isolation() string {
	switch {
	case c.word("serializable"):
		return "serializable"
	case c.word("repeatable"):
		return c.either("read", "repeatable read", "", "")
	case c.word("read"):
		return c.either("committed", "read committed", "uncommitted", "read uncommitted")
	default:
		return ""
	}
}

// either moves past one of two words and returns what stands for it, or "".
func (c *cursor) either(a, forA, b, forB string) string {
	switch {
	case c.word(a):
		return forA
	case b != "" && c.word(b):
		return forB
	default:
		return ""
	}
}

func setOnce(to *string, v string) bool {
	if *to != "" || v == "" {
		return false
	}
	*to = v
	return true
}
