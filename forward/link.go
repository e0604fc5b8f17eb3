package forward

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// linkBuffer is that of each direction of a link.
const linkBuffer = 8 << 10

// past is a deadline that is over: what is not here already does not come.
var past = time.Unix(1, 0)

// A link is a connection to an application, of one tenant for good. One
// goroutine at a time uses it; any may cut it.
type link struct {
	net.Conn
	raw    *net.TCPConn
	fd     syscall.RawConn
	in     *bufio.Reader
	out    *bufio.Writer
	reader h1.Reader
	owner  tenant.ID
	pause  time.Duration // the longest one
	chunk  []byte        // room for a chunk, once a body had any

	peek   func(fd uintptr)        // kept, so that a look makes no garbage
	peeked [len("HTTP/1.1 2")]byte // what it saw
	n      int
	err    error

	older, newer *link     // when idle
	since        time.Time // when it became so
}

func newLink(conn net.Conn, raw *net.TCPConn, owner tenant.ID, pause time.Duration) (*link, error) {
	fd, err := raw.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &link{
		Conn: conn, raw: raw, fd: fd, owner: owner, pause: pause,
		in: bufio.NewReaderSize(conn, linkBuffer), out: bufio.NewWriterSize(conn, linkBuffer),
	}
	l.peek = func(fd uintptr) {
		l.n, _, l.err = unix.Recvfrom(int(fd), l.peeked[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	}
	return l, nil
}

// cut ends l for good, whoever is using it.
func (l *link) cut() { l.raw.Close() } //nolint:errcheck // it is gone either way

// look peeks at what has arrived and was not read. It does not wait.
func (l *link) look() error {
	if err := l.fd.Control(l.peek); err != nil {
		return err
	}
	return l.err
}

// silent reports whether l is open and nothing has arrived that nobody asked for.
func (l *link) silent() bool {
	return errors.Is(l.look(), unix.EAGAIN)
}

// drained reports whether everything that was received has been read, by TLS
// too, which may hold a record more than it gave.
func (l *link) drained() bool {
	if l.in.Buffered() > 0 {
		return false
	}
	if _, ok := l.Conn.(*tls.Conn); !ok {
		return true
	}
	if err := l.SetReadDeadline(past); err != nil {
		return false
	}
	_, err := l.in.Peek(1)
	slow, ok := errors.AsType[net.Error](err)
	return ok && slow.Timeout()
}

// turnedDown reports whether the application answers already, and not to say
// that all is well. Behind TLS it cannot be seen.
func (l *link) turnedDown() bool {
	if l.Conn != net.Conn(l.raw) || l.look() != nil || l.n < len(l.peeked) {
		return false
	}
	return l.peeked[l.n-1] >= '3'
}

// errBody is what ended a request whose body could not be read.
type errBody struct{ err error }

func (e errBody) Error() string { return "forward: the request's body: " + e.err.Error() }
func (e errBody) Unwrap() error { return e.err }

// failedBody returns err, by which the body of a request ended too early.
func failedBody(err error) error {
	if _, ok := errors.AsType[*refusal.Error](err); ok {
		return errBody{err}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBody{refusal.New(refusal.TooLarge, "%w", err)}
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		return errBody{refusal.New(refusal.TooLong, "%w", err)}
	}
	return errBody{refusal.New(refusal.Malformed, "%w", err)}
}

// send writes r to the target to. It reports whether all of it was sent: an
// application that turns down what it has not read may keep the rest to us.
func (l *link) send(to string, r *http.Request) (whole bool, err error) {
	n := length(r)
	l.head(to, r, n)
	if n == 0 {
		return true, l.flush()
	}
	if n > 0 {
		return l.sendSized(r.Body, n)
	}
	return l.sendChunks(r.Body)
}

// head writes the head of r, whose body has n bytes, into the buffer. The
// names and values were checked.
func (l *link) head(to string, r *http.Request, n int64) {
	w := l.out // whose error comes with the flush
	w.WriteString(r.Method)
	w.WriteByte(' ')
	w.WriteString(to)
	w.WriteString(" HTTP/1.1\r\nHost: ")
	w.WriteString(r.Host)
	w.WriteString("\r\n")
	for name, values := range r.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue
		}
		for _, value := range values {
			w.WriteString(name)
			w.WriteString(": ")
			w.WriteString(value)
			w.WriteString("\r\n")
		}
	}
	switch {
	case n < 0:
		w.WriteString("Transfer-Encoding: chunked\r\n")
	case n > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch:
		w.WriteString("Content-Length: ")
		w.Write(strconv.AppendInt(w.AvailableBuffer(), n, 10))
		w.WriteString("\r\n")
	}
	w.WriteString("\r\n")
}

// flush sends what is buffered; the application must take it before the pause
// gets too long.
func (l *link) flush() error {
	if err := l.SetWriteDeadline(time.Now().Add(l.pause)); err != nil {
		return err
	}
	return l.out.Flush()
}

func (l *link) sendSized(body io.Reader, left int64) (whole bool, err error) {
	for {
		if l.out.Available() == 0 {
			if err := l.flush(); err != nil {
				return false, err
			}
		}
		room := l.out.AvailableBuffer()
		n, err := body.Read(room[:min(int64(cap(room)), left)])
		left -= int64(n)
		l.out.Write(room[:n]) //nolint:errcheck // it fits
		switch {
		case left == 0:
			return true, l.flush()
		case errors.Is(err, io.EOF):
			return false, failedBody(io.ErrUnexpectedEOF)
		case err != nil:
			return false, failedBody(err)
		}
		if err := l.flush(); err != nil {
			return false, err
		}
		if l.turnedDown() {
			return false, nil
		}
	}
}

func (l *link) sendChunks(body io.Reader) (whole bool, err error) {
	if l.chunk == nil {
		l.chunk = make([]byte, linkBuffer)
	}
	for {
		n, err := body.Read(l.chunk)
		if n > 0 {
			l.out.Write(strconv.AppendInt(l.out.AvailableBuffer(), int64(n), 16))
			l.out.WriteString("\r\n")
			l.out.Write(l.chunk[:n])
			l.out.WriteString("\r\n")
		}
		switch {
		case errors.Is(err, io.EOF):
			l.out.WriteString("0\r\n\r\n")
			return true, l.flush()
		case err != nil:
			return false, failedBody(err)
		}
		if err := l.flush(); err != nil {
			return false, err
		}
		if l.turnedDown() {
			return false, nil
		}
	}
}
