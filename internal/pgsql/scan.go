package pgsql

import (
	"strings"
	"unicode/utf8"

	"github.com/isocore/isocore/refusal"
)

// A lexeme is the kind of a token.
type lexeme uint8

const (
	end      lexeme = iota
	word            // identifier or keyword, unquoted
	quoted          // "identifier"
	uquoted         // U&"identifier"
	str             // 'string'
	estr            // E'string'
	ustr            // U&'string'
	bstr            // B'string', X'string'
	dollar          // $tag$string$tag$
	number          // without a sign
	param           // $1
	operator        // as long as PostgreSQL makes it
	punct           // one of , ; ( ) [ ] . :
	other           // nothing the grammar knows
)

// A token is text[start:end] of what a scanner reads.
type token struct {
	lexeme     lexeme
	start, end int
}

// A scanner cuts text into tokens as PostgreSQL's scan.l does. It copies
// nothing. Where scan.l of one version fails and that of another does not
// (trailing junk after numbers), it goes on: the server decides.
type scanner struct {
	text  string
	pos   int
	signs int // up to here stand single signs, left over by an operator
}

// Classes of bytes.
const (
	isSpace = 1 << iota
	isStart // of an identifier
	isDigit
	isOp
	isPunct
)

var class = classes()

func classes() (t [256]uint8) {
	set := func(chars string, bit uint8) {
		for i := range len(chars) {
			t[chars[i]] |= bit
		}
	}
	set(" \t\n\r\f\v", isSpace)
	set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", isStart)
	set("0123456789", isDigit)
	set("~!@#^&|`?+-*/%<>=", isOp)
	set(",;()[].:", isPunct)
	for c := 0x80; c < 0x100; c++ {
		t[c] |= isStart
	}
	return t
}

func (s *scanner) is(i int, bits uint8) bool { return i < len(s.text) && class[s.text[i]]&bits != 0 }

func (s *scanner) at(i int) byte {
	if i < len(s.text) {
		return s.text[i]
	}
	return 0
}

// next returns the next token; at the end of the text, and from then on, end.
func (s *scanner) next() (token, error) {
	if err := s.space(); err != nil {
		return token{}, err
	}
	start := s.pos
	if start == len(s.text) {
		return token{end, start, start}, nil
	}
	lex, err := s.lex(s.text[start])
	return token{lex, start, s.pos}, err
}

func (s *scanner) lex(c byte) (lexeme, error) {
	switch {
	case class[c]&isStart != 0:
		return s.word(c)
	case c == '\'':
		return str, s.quote("quoted string", 0, 0)
	case c == '"':
		return quoted, s.identifier(0)
	case c == '$':
		return s.dollar()
	case class[c]&isDigit != 0 || c == '.' && s.is(s.pos+1, isDigit):
		s.number()
		return number, nil
	case class[c]&isPunct != 0:
		s.pos++
		return punct, nil
	case class[c]&isOp != 0:
		s.operator()
		return operator, nil
	default:
		s.pos++
		return other, nil
	}
}

// space moves to the next token, past white space and comments.
func (s *scanner) space() error {
	for {
		for s.is(s.pos, isSpace) {
			s.pos++
		}
		switch {
		case s.at(s.pos) == '-' && s.at(s.pos+1) == '-':
			s.pos = s.lineEnd(s.pos)
		case s.at(s.pos) == '/' && s.at(s.pos+1) == '*':
			if err := s.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// lineEnd returns where the line of i ends, at its newline.
func (s *scanner) lineEnd(i int) int {
	if n := strings.IndexAny(s.text[i:], "\n\r"); n >= 0 {
		return i + n
	}
	return len(s.text)
}

func (s *scanner) comment() error {
	start, depth := s.pos, 0
	for s.pos < len(s.text) {
		switch {
		case s.text[s.pos] == '/' && s.at(s.pos+1) == '*':
			s.pos += 2
			if depth++; depth > maxNesting {
				return refusal.New(refusal.TooLarge, "pgsql: comments nested deeper than %d", maxNesting)
			}
		case s.text[s.pos] == '*' && s.at(s.pos+1) == '/':
			s.pos += 2
			if depth--; depth == 0 {
				return nil
			}
		default:
			s.pos++
		}
	}
	return s.unterminated("comment", start)
}

// word reads an identifier, or the string or identifier its first letters
// introduce.
func (s *scanner) word(c byte) (lexeme, error) {
	switch next := s.at(s.pos + 1); {
	case next == '\'' && (c == 'e' || c == 'E'):
		s.pos++
		return estr, s.quote("quoted string", 1, '\\')
	case next == '\'' && (c == 'b' || c == 'B' || c == 'x' || c == 'X'):
		s.pos++
		return bstr, s.quote("bit string", 1, 0)
	case next == '&' && (c == 'u' || c == 'U') && s.at(s.pos+2) == '\'':
		s.pos += 2
		return ustr, s.quote("quoted string", 2, 0)
	case next == '&' && (c == 'u' || c == 'U') && s.at(s.pos+2) == '"':
		s.pos += 2
		return uquoted, s.identifier(2)
	}
	for s.is(s.pos, isStart|isDigit) || s.at(s.pos) == '$' {
		s.pos++
	}
	return word, nil
}

// quote reads a string from its opening quote, with all that white space
// holding a newline continues it with. Before the quote stand prefix bytes of
// the token; escape, unless it is 0, takes the byte behind it along.
func (s *scanner) quote(what string, prefix int, escape byte) error {
	start := s.pos - prefix
	s.pos++
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '\'' && s.at(s.pos+1) == '\'':
			s.pos += 2
		case c == '\'':
			s.pos++
			next := s.continuation()
			if next < 0 {
				return nil
			}
			s.pos = next
		case c == escape:
			s.pos = min(s.pos+2, len(s.text))
		default:
			s.pos++
		}
	}
	return s.unterminated(what, start)
}

// continuation returns where a string closed at s.pos goes on, behind the
// quote that opens it again, or -1. Between the two stand only white space and
// line comments, and a newline.
func (s *scanner) continuation() int {
	line := false
	for i := s.pos; i < len(s.text); {
		switch c := s.text[i]; {
		case c == '\n' || c == '\r':
			line = true
			i++
		case class[c]&isSpace != 0:
			i++
		case c == '-' && s.at(i+1) == '-':
			i = s.lineEnd(i)
		case c == '\'' && line:
			return i + 1
		default:
			return -1
		}
	}
	return -1
}

// identifier is quote for identifiers.
func (s *scanner) identifier(prefix int) error {
	start := s.pos - prefix
	s.pos++
	for {
		n := strings.IndexByte(s.text[s.pos:], '"')
		if n < 0 {
			return s.unterminated("quoted identifier", start)
		}
		s.pos += n + 1
		if s.at(s.pos) != '"' {
			return nil
		}
		s.pos++
	}
}

// dollar reads a parameter or a dollar-quoted string.
func (s *scanner) dollar() (lexeme, error) {
	start := s.pos
	s.pos++
	if s.is(s.pos, isDigit) {
		for s.is(s.pos, isDigit) {
			s.pos++
		}
		return param, nil
	}
	i := s.pos
	if s.is(i, isStart) {
		for s.is(i, isStart|isDigit) {
			i++
		}
	}
	if s.at(i) != '$' {
		return other, nil
	}
	tag := s.text[start : i+1]
	n := strings.Index(s.text[i+1:], tag)
	if n < 0 {
		return dollar, s.unterminated("dollar-quoted string", start)
	}
	s.pos = i + 1 + n + len(tag)
	return dollar, nil
}

func (s *scanner) number() {
	s.digits()
	if s.at(s.pos) == '.' && s.at(s.pos+1) != '.' {
		s.pos++
		s.digits()
	}
	if c := s.at(s.pos); c != 'e' && c != 'E' {
		return
	}
	i := s.pos + 1
	if c := s.at(i); c == '+' || c == '-' {
		i++
	}
	if s.is(i, isDigit) {
		s.pos = i
		s.digits()
	}
}

func (s *scanner) digits() {
	for s.is(s.pos, isDigit) {
		s.pos++
	}
}

// operator reads an operator: it stops where a comment starts, and leaves a
// sign at its end to what follows unless it holds a character that no operator
// of the SQL standard has.
func (s *scanner) operator() {
	if s.pos < s.signs {
		s.pos++
		return
	}
	start := s.pos
	special := false
	for s.is(s.pos, isOp) {
		c := s.text[s.pos]
		if next := s.at(s.pos + 1); s.pos > start && (c == '-' && next == '-' || c == '/' && next == '*') {
			break
		}
		special = special || strings.IndexByte("~!@#^&|`?%", c) >= 0
		s.pos++
	}
	if special {
		return
	}
	s.signs = s.pos
	for s.pos > start+1 && (s.text[s.pos-1] == '+' || s.text[s.pos-1] == '-') {
		s.pos--
	}
}

func (s *scanner) unterminated(what string, at int) error {
	s.pos = len(s.text)
	return &SyntaxError{What: what, Offset: at, Position: utf8.RuneCountInString(s.text[:at]) + 1}
}
