package pgsql

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxName is the length in bytes to which a server cuts identifiers.
const maxName = 63

// name reads an identifier as the server folds it: unquoted in lower case,
// quotes and escapes resolved, cut to 63 bytes. An identifier with escapes
// that cannot be resolved is an error that sticks.
func (c *cursor) name() (string, bool) {
	s := c.text[c.tok.start:c.tok.end]
	switch c.tok.lexeme {
	case word:
		s = lower(s)
		c.advance()
	case quoted:
		s = unquote(s[1:len(s)-1], `"`)
		c.advance()
	case uquoted:
		start := c.tok.start
		escape, ok := c.escape()
		if ok {
			s, ok = unescape(unquote(s[3:len(s)-1], `"`), escape)
		}
		if !ok {
			c.err = c.unterminated("Unicode escape", start)
			c.tok = token{end, c.pos, c.pos}
			return "", false
		}
	default:
		return "", false
	}
	return cut(s), true
}

// escape moves past a U& string or identifier and returns its escape
// character: a backslash, or what UESCAPE says.
func (c *cursor) escape() (byte, bool) {
	c.advance()
	next := *c
	if !next.word("uescape") {
		return '\\', true
	}
	if next.tok.lexeme != str || next.tok.end-next.tok.start != 3 {
		return 0, false
	}
	e := next.text[next.tok.start+1]
	next.advance()
	*c = next
	return e, class[e]&isSpace == 0 && strings.IndexByte(`0123456789abcdefABCDEF+'"`, e) < 0
}

func unquote(s, q string) string {
	if strings.Contains(s, q) {
		return strings.ReplaceAll(s, q+q, q)
	}
	return s
}

// unescape resolves \XXXX and \+XXXXXX and a doubled escape character.
func unescape(s string, escape byte) (string, bool) {
	if strings.IndexByte(s, escape) < 0 {
		return s, true
	}
	var out strings.Builder
	high := rune(0)
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		if s[0] == escape {
			r, size = escaped(s, escape)
		}
		if size == 0 {
			return "", false
		}
		s = s[size:]
		switch {
		case high != 0:
			if r = utf16.DecodeRune(high, r); r == utf8.RuneError {
				return "", false
			}
			high = 0
		case utf16.IsSurrogate(r):
			high = r
			continue
		}
		out.WriteRune(r)
	}
	return out.String(), high == 0
}

// escaped returns the character s begins with and how many bytes spell it; no
// bytes if it is none.
func escaped(s string, escape byte) (rune, int) {
	digits, from := 4, 1
	switch {
	case len(s) > 1 && s[1] == escape:
		return rune(escape), 2
	case len(s) > 1 && s[1] == '+':
		digits, from = 6, 2
	}
	if len(s) < from+digits || s[from] == '+' || s[from] == '-' {
		return 0, 0
	}
	n, err := strconv.ParseUint(s[from:from+digits], 16, 32)
	if err != nil || n == 0 || n > utf8.MaxRune {
		return 0, 0
	}
	return rune(n), from + digits
}

// cut shortens s to what a server keeps of an identifier.
func cut(s string) string {
	if len(s) <= maxName {
		return s
	}
	n := maxName
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// isString reports whether tok is a string constant of any spelling.
func (c *cursor) isString() bool {
	switch c.tok.lexeme {
	case str, estr, ustr, dollar:
		return true
	default:
		return false
	}
}

// literal moves past a string constant and returns it. It is not plain if it
// has escapes or goes on in another line: what it says was not worked out.
func (c *cursor) literal() (s string, plain bool) {
	s = c.text[c.tok.start:c.tok.end]
	lex := c.tok.lexeme
	if lex == ustr {
		e, ok := c.escape()
		s = unquote(s[3:len(s)-1], "'")
		return s, ok && strings.IndexByte(s, e) < 0 && !strings.ContainsAny(s, "\n\r")
	}
	c.advance()
	if lex == dollar {
		tag := strings.IndexByte(s[1:], '$') + 2
		return s[tag : len(s)-tag], true
	}
	if lex == estr {
		s = s[1:]
		plain = strings.IndexByte(s, '\\') < 0
	}
	return unquote(s[1:len(s)-1], "'"), (plain || lex == str) && !strings.ContainsAny(s, "\n\r")
}
