package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strings"
)

// Bounds of what an application may answer.
const (
	maxHead     = 64 << 10
	maxFields   = 256
	maxTrailers = 8 << 10
	maxChunk    = 1<<31 - 1
)

// An Answer is the head of an answer, and what it says of its end.
type Answer struct {
	Status  string // "200 OK"
	Code    int
	Header  http.Header
	Length  int64 // what Content-Length says, or -1
	Chunked bool
	Last    bool // no other answer follows on the connection
	Old     bool // it is of HTTP/1.0
}

// A Reader reads answers. The zero Reader is ready; it keeps a buffer between two.
type Reader struct{ head []byte }

// ReadAnswer reads the head of one answer from in: at most 64 KiB, by the rules
// that a [Guard] has for requests.
func (r *Reader) ReadAnswer(in *bufio.Reader) (*Answer, error) {
	fields, err := r.readHead(in)
	if err != nil {
		return nil, err
	}
	a := &Answer{Length: -1, Header: make(http.Header, fields)}
	whole, rest := string(r.head), r.head
	values := make([]string, fields)
	var f frame
	for at, n := 0, 0; len(rest) > len("\r\n"); n++ {
		end := bytes.IndexByte(rest, '\n')
		line := rest[:end-1]
		bad := none
		if n == 0 {
			bad = a.statusLine(whole[:len(line)])
		} else {
			bad = a.field(&f, line, whole[at:at+len(line)], values[n-1:n:n])
		}
		if bad != none {
			return nil, bad
		}
		at, rest = at+end+1, rest[end+1:]
	}
	if bad := a.end(&f); bad != none {
		return nil, bad
	}
	return a, nil
}

// readHead fills r.head up to the empty line, and counts the fields.
func (r *Reader) readHead(in *bufio.Reader) (fields int, err error) {
	r.head = r.head[:0]
	for start := 0; ; {
		part, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, unexpected(err)
		}
		if len(r.head)+len(part) > maxHead {
			return 0, headTooLarge
		}
		if r.head = append(r.head, part...); err != nil {
			continue
		}
		line := r.head[start:]
		switch {
		case len(line) < 2 || line[len(line)-2] != '\r':
			return 0, badLineEnd
		case len(line) == 2 && fields == 0:
			return 0, badStatus
		case len(line) == 2:
			return fields - 1, nil
		case fields > maxFields:
			return 0, tooManyFields
		}
		fields++
		start = len(r.head)
	}
}

// unexpected returns err, which ended what had no end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// statusLine reads "HTTP/1.1 200 OK".
func (a *Answer) statusLine(s string) fault {
	version, status, _ := strings.Cut(s, " ")
	switch version {
	case "HTTP/1.1":
	case "HTTP/1.0":
		a.Old, a.Last = true, true
	default:
		return badVersion
	}
	if len(status) < 3 || len(status) > 3 && status[3] != ' ' || !all(status, inValue) {
		return badStatus
	}
	for _, c := range []byte(status[:3]) {
		if c < '0' || c > '9' {
			return badStatus
		}
		a.Code = a.Code*10 + int(c-'0')
	}
	if a.Code < 100 || a.Code > 599 {
		return badStatus
	}
	a.Status = status
	return none
}

// field reads one line, of which text is the same as a string, and keeps its
// value in place.
func (a *Answer) field(f *frame, line []byte, text string, place []string) fault {
	colon, bad := f.field(line)
	if bad != none {
		return bad
	}
	name, value := text[:colon], strings.Trim(text[colon+1:], " \t")
	if n, _ := known(name); n == connectionName && hasToken(value, "close") {
		a.Last = true
	}
	key := textproto.CanonicalMIMEHeaderKey(name)
	if before, again := a.Header[key]; again {
		a.Header[key] = append(before, value)
		return none
	}
	place[0] = value
	a.Header[key] = place
	return none
}

// end checks what the fields say together.
func (a *Answer) end(f *frame) fault {
	switch {
	case f.sized && f.chunked:
		return lengthAndCoding
	case f.chunked && a.Old:
		return badCoding
	case f.sized:
		a.Length = f.length
	}
	a.Chunked = f.chunked
	return none
}

// hasToken reports whether the list has the token, which is in lower case.
func hasToken(list, token string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(one, " \t"), token) {
			return true
		}
	}
	return false
}

// Chunks reads a chunked body as strictly as a [Guard] does, but for trailers:
// they are read and dropped.
type Chunks struct {
	In    *bufio.Reader
	left  int64
	begun bool
	err   error
}

// Read implements [io.Reader]. After io.EOF the next byte of In is not the
// body's.
func (c *Chunks) Read(p []byte) (n int, err error) {
	if len(p) == 0 || c.err != nil {
		return 0, c.err
	}
	if c.left == 0 {
		if c.err = c.next(); c.err != nil {
			return 0, c.err
		}
	}
	n, err = c.In.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err != nil {
		c.err = unexpected(err)
	}
	return n, c.err
}

// next reads what stands between two chunks, or ends them.
func (c *Chunks) next() error {
	if c.begun {
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return badChunkEnd
		}
	}
	c.begun = true
	line, err := c.line()
	if err != nil {
		return err
	}
	n, bad := chunkSize(line, maxChunk)
	if bad != none {
		return bad
	}
	if n == 0 {
		return c.end()
	}
	c.left = n
	return nil
}

// end drops the trailers. It returns io.EOF if they are what trailers are.
func (c *Chunks) end() error {
	for size := 0; ; {
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return io.EOF
		}
		if size += len(line) + 2; size > maxTrailers {
			return headTooLarge
		}
		var f frame
		if _, bad := f.field(line); bad != none {
			return bad
		}
		if f != (frame{}) {
			return badTrailer
		}
	}
}

// line returns one line without its CRLF.
func (c *Chunks) line() ([]byte, error) {
	line, err := c.In.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, headTooLarge
	}
	if err != nil {
		return nil, unexpected(err)
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, badLineEnd
	}
	return line[:len(line)-2], nil
}
