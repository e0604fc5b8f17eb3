package h1

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// text is what is parsed: a request from a buffer, an answer from a string.
type text interface{ ~string | ~[]byte }

// A class is what a byte may be part of.
type class uint8

const (
	inToken  class = 1 << iota // RFC 9110 5.6.2
	inValue                    // RFC 9110 5.5: no control byte but the tab
	inTarget                   // visible ASCII that no reader takes for anything else
	inHost                     // a name or an IPv4 address
	inHex
)

var classes = func() (t [256]class) {
	for b := range t {
		c := byte(b)
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		set := func(ok bool, to class) {
			if ok {
				t[b] |= to
			}
		}
		set(alnum || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0, inToken)
		set(c == '\t' || c >= ' ' && c != 0x7f, inValue)
		set(c > ' ' && c < 0x7f && strings.IndexByte(`#\"<>`, c) < 0, inTarget)
		set(alnum || c == '-' || c == '.' || c == '_', inHost)
		set(unhex(c) >= 0, inHex)
	}
	return t
}()

// all reports whether every byte of s is in c.
func all[S text](s S, c class) bool {
	for i := range len(s) {
		if classes[s[i]]&c == 0 {
			return false
		}
	}
	return true
}

// allValue is all(s, inValue), eight bytes at a time: most of what a client
// sends is values.
func allValue(s []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		x := binary.LittleEndian.Uint64(s)
		del := x ^ 0x7f*ones
		odd := (x-' '*ones)&^x | (del-ones)&^del // its top bits: bytes below a space, and DEL
		if odd&tops != 0 && !all(s[:8], inValue) {
			return false
		}
	}
	return all(s, inValue)
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

// A name is a field that this package reads.
type name uint8

const (
	other name = iota
	hostName
	expectName
	upgradeName
	trailerName
	connectionName
	lengthName
	codingName
)

// known returns which field s names. Its second result is false for a name
// that only a reader who takes `_` or `.` for a hyphen, as gateways to older
// interfaces do, would take for one that frames.
func known[S text](s S) (name, bool) {
	switch len(s) {
	case 4:
		return match(s, "host", hostName)
	case 6:
		return match(s, "expect", expectName)
	case 7:
		if n, ok := match(s, "upgrade", upgradeName); n != other {
			return n, ok
		}
		return match(s, "trailer", trailerName)
	case 10:
		return match(s, "connection", connectionName)
	case 14:
		return match(s, "content-length", lengthName)
	case 17:
		return match(s, "transfer-encoding", codingName)
	default:
		return other, true
	}
}

func match[S text](s S, lower string, n name) (name, bool) {
	exact := true
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c == lower[i] {
			continue
		}
		if lower[i] != '-' || c != '_' && c != '.' {
			return other, true
		}
		exact = false
	}
	return n, exact
}

// A frame is what the fields of one message say of where it ends.
type frame struct {
	hosts   int
	length  int64 // of the body, when sized
	sized   bool
	chunked bool
	upgrade bool
	trailer bool
}

// field reads one line of a message, without its CRLF, and returns where its
// name ends and its value begins.
func (f *frame) field(line []byte) (colon int, bad fault) {
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return 0, badFold
	}
	colon = bytes.IndexByte(line, ':')
	if colon <= 0 || !all(line[:colon], inToken) {
		return 0, badName
	}
	value := line[colon+1:]
	if !allValue(value) {
		return 0, badValue
	}
	n, exact := known(line[:colon])
	if n == other {
		return colon, none
	}
	if !exact {
		return 0, badAlias
	}
	for len(value) > 0 && value[0] == ' ' { // no tab, and none behind: readers differ in what they trim
		value = value[1:]
	}
	return colon, f.note(n, value)
}

// note takes in a field that frames.
func (f *frame) note(n name, value []byte) fault {
	switch n {
	case hostName:
		if f.hosts++; f.hosts > 1 {
			return twoHosts
		}
		if !validHost(value) {
			return badHost
		}
	case lengthName:
		if f.sized {
			return twoLengths
		}
		f.sized = true
		return f.size(value)
	case codingName:
		if f.chunked {
			return twoCodings
		}
		if string(value) != "chunked" {
			return badCoding
		}
		f.chunked = true
	case upgradeName:
		f.upgrade = true
	case expectName:
		if !bytes.EqualFold(value, []byte("100-continue")) {
			return badExpect
		}
	case trailerName:
		f.trailer = true
	case connectionName, other:
	}
	return none
}

// size reads a Content-Length: digits only, no zero before others, and at most
// what every reader's number can hold.
func (f *frame) size(value []byte) fault {
	const most = 1 << 53
	if len(value) == 0 || len(value) > 16 || value[0] == '0' && len(value) > 1 {
		return badLength
	}
	f.length = 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return badLength
		}
		f.length = f.length*10 + int64(c-'0')
	}
	if f.length > most {
		return badLength
	}
	return none
}

// IsAlias reports whether somebody could read the name as that of a field that
// frames, though it is spelled otherwise.
func IsAlias(name string) bool {
	_, exact := known(name)
	return !exact
}

// ValidField reports whether a field of this name and value is read as one.
func ValidField(name, value string) bool {
	return name != "" && all(name, inToken) && all(value, inValue)
}

// ValidHost reports whether s is a host as a request may name it: a name or an
// address, in brackets if it is of IPv6, and a port or none.
func ValidHost(s string) bool { return validHost(s) }

func validHost[S text](s S) bool {
	if len(s) == 0 || len(s) > 255 {
		return false
	}
	end := 0
	if s[0] == '[' {
		for end = 1; end < len(s) && s[end] != ']'; end++ {
			if c := s[end]; classes[c]&inHex == 0 && c != ':' && c != '.' {
				return false
			}
		}
		if end++; end > len(s) || end < 4 {
			return false
		}
		return validPort(s[end:])
	}
	for end < len(s) && classes[s[end]]&inHost != 0 {
		end++
	}
	return end > 0 && s[0] != '.' && validPort(s[end:])
}

// validPort reports whether s is empty, or a colon and a port.
func validPort[S text](s S) bool {
	if len(s) == 0 {
		return true
	}
	if s[0] != ':' || len(s) < 2 || len(s) > 6 || s[1] == '0' {
		return false
	}
	port := 0
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		port = port*10 + int(s[i]-'0')
	}
	return port < 1<<16
}

// chunkSize reads the line before a chunk, without its CRLF: no extension, no
// space, nothing but 1 to 8 digits.
func chunkSize(line []byte, most int64) (int64, fault) {
	if len(line) == 0 || len(line) > 8 {
		return 0, badChunk
	}
	var n int64
	for _, c := range line {
		d := unhex(c)
		if d < 0 {
			return 0, badChunk
		}
		n = n<<4 | int64(d)
	}
	if n > most {
		return 0, chunkTooLarge
	}
	return n, none
}
