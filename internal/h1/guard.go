package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A state is where in a request a guard is.
type state uint8

const (
	inHead state = iota
	inBody
	inChunkSize
	inChunk
	inChunkEnd
)

// firstBuffer is how much a guard reads at first; it grows as far as
// [Limits.Head] if a head needs it.
const firstBuffer = 4 << 10

// A guard frames what it reads, and passes on what has been framed.
type guard struct {
	net.Conn
	limits  Limits
	buf     []byte
	r, w    int // buf[r:w] was read and not passed on
	pass    int // of it, what may be
	seen    int // of it, whole lines of a head
	state   state
	frame   frame
	lines   int    // of the head
	late    bool   // the head has a deadline of its own
	asked   bool   // the last request asks for an upgrade
	left    int64  // of the body, or of the chunk
	total   int64  // of the chunks so far
	note    string // the request in place of the refused one, as far as it is not passed on
	err     error  // after that
	refused atomic.Bool

	mu     sync.Mutex // guards what follows: a server may set a deadline beside a Read
	until  time.Time  // the server's, for a Read
	headBy time.Time  // the whole head; zero: none has begun
}

// Guard returns c for a net/http server: it reads only requests that can be
// read in one way, unchanged. It is one reader's, as c is.
//
// A request that is refused is replaced by one that [Refused] recognizes, and
// the connection ends after it. Guard does not write, for an answer to an
// earlier request may be under way. What is wrong with a body, of which a part
// may have been passed on, is the error of the Read that finds it.
//
// Where a server grants an upgrade, it needs [Upgraded] before it says so.
func Guard(c net.Conn, l Limits) net.Conn {
	return &guard{Conn: c, limits: l}
}

// Read implements [net.Conn].
func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		switch {
		case g.pass > 0:
			n := copy(p, g.buf[g.r:g.r+g.pass])
			g.r += n
			g.pass -= n
			return n, nil
		case g.note != "":
			n := copy(p, g.note)
			g.note = g.note[n:]
			return n, nil
		case g.err != nil:
			return 0, g.err
		case g.left > 0 && g.r == g.w:
			n, err := g.Conn.Read(p[:min(int64(len(p)), g.left)])
			g.spend(int64(n))
			return n, err
		}
		bad, more := g.step()
		if bad != none {
			g.refuse(bad)
			continue
		}
		if !more {
			continue
		}
		if err := g.fill(); err != nil {
			return 0, err
		}
	}
}

// step goes on with what is in the buffer. It reports whether it needs more.
func (g *guard) step() (bad fault, more bool) {
	switch g.state {
	case inHead:
		return g.readHead()
	case inBody, inChunk:
		g.pass = int(min(int64(g.w-g.r), g.left))
		g.spend(int64(g.pass))
		return none, false
	case inChunkSize:
		return g.readChunkSize()
	case inChunkEnd:
		return g.readChunkEnd()
	default:
		return badStart, false
	}
}

// spend takes n bytes of the body, or chunk, as passed on.
func (g *guard) spend(n int64) {
	if g.left -= n; g.left > 0 {
		return
	}
	if g.state == inBody {
		g.state = inHead
		return
	}
	g.state = inChunkEnd
}

// readHead checks each line as soon as it is whole: what is wrong is refused
// even if the rest never comes.
func (g *guard) readHead() (bad fault, more bool) {
	for {
		line, bad, more := g.line()
		if bad != none || more {
			return bad, more
		}
		switch {
		case g.lines == 0:
			g.frame = frame{}
			bad = requestLine(line)
		case len(line) == 0:
			return g.endHead(), false
		case g.lines > g.limits.Fields:
			bad = tooManyFields
		default:
			_, bad = g.frame.field(line)
		}
		if bad != none {
			return bad, false
		}
		g.lines++
		g.seen += len(line) + 2
	}
}

// line returns the next line of the head, without its CRLF.
func (g *guard) line() (line []byte, bad fault, more bool) {
	rest := g.buf[g.r+g.seen : g.w]
	if g.seen == 0 && len(rest) > 0 && (rest[0] < 'A' || rest[0] > 'Z') {
		return nil, badStart, false
	}
	end := bytes.IndexByte(rest, '\n')
	if end < 0 && g.w-g.r >= g.limits.Head || g.seen+end+1 > g.limits.Head {
		return nil, headTooLarge, false
	}
	if end < 0 {
		return nil, none, true
	}
	if end == 0 || rest[end-1] != '\r' {
		return nil, badLineEnd, false
	}
	return rest[:end-1], none, false
}

// endHead decides how the request ends, now that its fields are known.
func (g *guard) endHead() fault {
	f := &g.frame
	switch {
	case f.hosts == 0:
		return noHost
	case f.sized && f.chunked:
		return lengthAndCoding
	case f.upgrade && (f.chunked || f.length > 0):
		return badUpgrade
	case f.trailer:
		return badTrailer
	case f.length > g.limits.Body:
		return bodyTooLarge
	}
	if g.late {
		g.late = false
		g.setHead(time.Time{}) //nolint:errcheck // a connection that is gone says so in the next Read
	}
	g.pass = g.seen + 2
	g.seen, g.lines, g.total = 0, 0, 0
	g.asked = f.upgrade
	g.left = f.length
	switch {
	case f.chunked:
		g.state = inChunkSize
	case f.length > 0:
		g.state = inBody
	}
	return none
}

// requestLine checks a request line without its CRLF.
func requestLine(line []byte) fault {
	end := bytes.IndexByte(line, ' ')
	if end < 0 || !validMethod(line[:end]) {
		return badMethod
	}
	line = line[end+1:]
	end = bytes.IndexByte(line, ' ')
	if end < 0 {
		return badVersion
	}
	if !validTarget(line[:end]) {
		return badTarget
	}
	if string(line[end+1:]) != "HTTP/1.1" {
		return badVersion
	}
	return none
}

// ValidRequest reports whether a request line may be made of method and target.
func ValidRequest(method, target string) bool { return validMethod(method) && validTarget(target) }

func validMethod[S text](s S) bool {
	if len(s) == 0 || len(s) > 20 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if (s[i] < 'A' || s[i] > 'Z') && s[i] != '-' {
			return false
		}
	}
	return true
}

// validTarget reports whether s is in origin form (RFC 9112 3.2.1).
func validTarget[S text](s S) bool {
	return len(s) > 0 && s[0] == '/' && all(s, inTarget) && validPercent(s)
}

// readChunkSize passes on the line before a chunk, or the end of the chunks,
// which is one more empty line: trailers are refused.
func (g *guard) readChunkSize() (bad fault, more bool) {
	const longest = len("12345678\r\n")
	rest := g.buf[g.r:g.w]
	end := bytes.IndexByte(rest, '\n')
	if end < 0 {
		if len(rest) >= longest {
			return badChunk, false
		}
		return none, true
	}
	if end == 0 || rest[end-1] != '\r' {
		return badLineEnd, false
	}
	n, bad := chunkSize(rest[:end-1], g.limits.Chunk)
	if bad != none {
		return bad, false
	}
	if n > 0 {
		if g.total += n; g.total > g.limits.Body {
			return bodyTooLarge, false
		}
		g.pass, g.left, g.state = end+1, n, inChunk
		return none, false
	}
	last := rest[end+1:]
	if len(last) > 0 && last[0] != '\r' || len(last) > 1 && last[1] != '\n' {
		return badTrailer, false
	}
	if len(last) < 2 {
		return none, true
	}
	g.pass, g.state = end+3, inHead
	return none, false
}

func (g *guard) readChunkEnd() (bad fault, more bool) {
	rest := g.buf[g.r:g.w]
	if len(rest) > 0 && rest[0] != '\r' || len(rest) > 1 && rest[1] != '\n' {
		return badChunkEnd, false
	}
	if len(rest) < 2 {
		return none, true
	}
	g.pass, g.state = 2, inChunkSize
	return none, false
}

// refuse ends the connection: after the request that stands for the refused
// one, or in the middle of a body.
func (g *guard) refuse(bad fault) {
	g.err = bad.refusal()
	if g.state == inHead {
		g.note, g.err = bad.request(), io.EOF
	}
	g.buf, g.r, g.w, g.pass, g.seen = nil, 0, 0, 0, 0
	g.refused.Store(true)
}

// SetReadDeadline implements [net.Conn]: the deadline of a head holds if it is
// sooner.
func (g *guard) SetReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = t
	return g.setSooner()
}

// SetDeadline implements [net.Conn].
func (g *guard) SetDeadline(t time.Time) error {
	return errors.Join(g.SetReadDeadline(t), g.SetWriteDeadline(t))
}

// setHead sets the deadline of a head; zero: there is none.
func (g *guard) setHead(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.headBy = t
	return g.setSooner()
}

// setSooner sets the sooner of both deadlines, for who holds the mutex.
func (g *guard) setSooner() error {
	t := g.until
	if t.IsZero() || !g.headBy.IsZero() && g.headBy.Before(t) {
		t = g.headBy
	}
	return g.Conn.SetReadDeadline(t)
}

// fill reads more, behind what is in the buffer. A head of which there is a
// part has its time from then on: the server, which sees whole heads only,
// takes its client for idle.
func (g *guard) fill() error {
	if g.r == g.w {
		g.r, g.w = 0, 0
	}
	if g.state == inHead && g.r < g.w && !g.late {
		g.late = true
		if err := g.setHead(time.Now().Add(g.limits.Time)); err != nil {
			return err
		}
	}
	switch {
	case g.w < len(g.buf):
	case g.r > 0:
		g.w = copy(g.buf, g.buf[g.r:g.w])
		g.r = 0
	default:
		more := make([]byte, max(min(2*len(g.buf), g.limits.Head), firstBuffer))
		copy(more, g.buf[:g.w])
		g.buf = more
	}
	n, err := g.Conn.Read(g.buf[g.w:])
	g.w += n
	switch {
	case n > 0 || err == nil:
		return nil
	case errors.Is(err, io.EOF) && (g.r < g.w || g.state != inHead):
		return io.ErrUnexpectedEOF
	}
	return err
}

// CloseWrite passes on to the connection, if it can.
func (g *guard) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// What a client still sends is read for so long, and so much of it, after a
// refusal: closing before would take the answer away from it.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// Close implements [net.Conn].
func (g *guard) Close() error {
	if g.refused.Swap(false) && g.CloseWrite() == nil && g.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		io.CopyN(io.Discard, g.Conn, lingerBytes) //nolint:errcheck // it is over either way
	}
	return g.Conn.Close()
}

var (
	errUnguarded = errors.New("h1: not a guarded connection")
	errNotAsked  = errors.New("h1: the last request asks for no upgrade")
	errAhead     = errors.New("h1: bytes before the upgrade was granted")
)

// Upgraded returns the connection under the guard c, whose last request asks
// for an upgrade that is about to be granted: what follows is no HTTP. A server
// that has taken c over calls it, with the reader it got beside c, before it
// answers. It fails if the client did not wait for the answer.
func Upgraded(c net.Conn, in *bufio.Reader) (net.Conn, error) {
	g, ok := c.(*guard)
	switch {
	case !ok:
		return nil, errUnguarded
	case in.Buffered() > 0 || g.r < g.w || g.state != inHead || g.err != nil:
		return nil, errAhead
	case !g.asked:
		return nil, errNotAsked
	}
	return g.Conn, nil
}
