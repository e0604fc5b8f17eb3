package h1

import (
	"strings"
	"unicode/utf8"

	"github.com/isocore/isocore/refusal"
)

// CleanPath refuses a request target, path and query as the client wrote them,
// that a router and an application could take for two different ones: dot
// segments, empty segments, parameters, separators and dots in disguise, and
// what is not UTF-8 behind its percent signs.
func CleanPath(raw string) error {
	if raw == "" || raw[0] != '/' || !all(raw, inTarget) {
		return unclean("it is not in origin form")
	}
	path, query, _ := strings.Cut(raw, "?")
	if !validPercent(path) || !validPercent(query) {
		return unclean("a percent sign without two digits")
	}
	if strings.IndexByte(path, ';') >= 0 {
		return unclean("path parameters")
	}
	for rest := path[1:]; ; {
		segment, after, more := strings.Cut(rest, "/")
		switch {
		case segment == "" && more:
			return unclean("an empty segment")
		case segment == "." || segment == "..":
			return unclean("a dot segment")
		case !more:
			return cleanEscapes(path)
		}
		rest = after
	}
}

// cleanEscapes checks what path is once it is decoded.
func cleanEscapes(path string) error {
	if strings.IndexByte(path, '%') < 0 {
		return nil
	}
	decoded := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			decoded = append(decoded, c)
			continue
		}
		c = byte(unhex(path[i+1])<<4 | unhex(path[i+2]))
		i += 2
		if !cleanByte(c) {
			return unclean("a separator, a dot or a control byte in disguise")
		}
		decoded = append(decoded, c)
	}
	for i, c := range decoded {
		if c == '%' && i+2 < len(decoded) && unhex(decoded[i+1]) >= 0 && unhex(decoded[i+2]) >= 0 {
			return unclean("an escape in disguise, for an application that decodes twice")
		}
	}
	if !utf8.Valid(decoded) {
		return unclean("it is not UTF-8")
	}
	return nil
}

// cleanByte reports whether c may be written with a percent sign.
func cleanByte(c byte) bool {
	return c >= ' ' && c != 0x7f && c != '/' && c != '\\' && c != '.'
}

func validPercent[S text](s S) bool {
	for i := range len(s) {
		if s[i] != '%' {
			continue
		}
		if i+2 >= len(s) || classes[s[i+1]]&classes[s[i+2]]&inHex == 0 {
			return false
		}
	}
	return true
}

func unclean(what string) error {
	return refusal.New(refusal.Malformed, "h1: the target: %s", what)
}
