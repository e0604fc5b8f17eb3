package forward

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/refusal"
)

// maxInterim is how many interim answers may come before the answer.
const maxInterim = 5

// maxRest is how much of a body that nobody reads is dropped, so that its
// connection can be used again.
const maxRest = 4 << 10

var (
	errInterim = errors.New("forward: more interim answers than anybody needs, or one that is none")
	errClosed  = errors.New("forward: the body was closed")
)

// An exchange is one request on a link, and the body of its answer.
type exchange struct {
	links  *links
	link   *link
	ctx    context.Context // of the request: what it waits for ends with it
	stop   func() bool     // ends the watch over ctx
	head   *h1.Answer
	reuse  bool // the link, after the last byte of the answer
	resp   http.Response
	kind   bodyKind
	left   int64 // of a sized body
	chunks h1.Chunks

	reading sync.Mutex // held by who reads or closes the body, and guards err
	err     error      // of the body, once it is over

	parting sync.Mutex // guards parted, against a Close beside a Read
	parted  bool       // from the link, which may be somebody else's
}

// A bodyKind is how the end of a body is found.
type bodyKind uint8

const (
	sized bodyKind = iota
	chunked
	untilClose
)

// hear reads the head of the answer to r. It reports whether a byte of it came.
func (e *exchange) hear(r *http.Request, within time.Duration) (heard bool, err error) {
	l := e.link
	if err := l.SetReadDeadline(time.Now().Add(within)); err != nil {
		return false, err
	}
	if _, err := l.in.Peek(1); err != nil {
		return false, err
	}
	e.reuse = !r.Close
	for range maxInterim + 1 {
		if e.head, err = l.reader.ReadAnswer(l.in); err != nil {
			return true, err
		}
		switch code := e.head.Code; {
		case code == http.StatusContinue || code == http.StatusEarlyHints:
			e.reuse = false
			continue
		case code == http.StatusSwitchingProtocols && r.Header.Get("Upgrade") == "":
			return true, errUnasked
		case code < http.StatusOK && code != http.StatusSwitchingProtocols:
			return true, errInterim
		}
		return true, nil
	}
	return true, errInterim
}

// answer returns what was heard, with the body that is still to come.
func (e *exchange) answer(r *http.Request) *http.Response {
	a := e.head
	e.reuse = e.reuse && !a.Last
	delete(a.Header, "Transfer-Encoding")
	e.resp = http.Response{
		Status: a.Status, StatusCode: a.Code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.Header, ContentLength: a.Length, Close: a.Last, Request: r, Body: e,
	}
	e.left = a.Length
	switch {
	case a.Code == http.StatusSwitchingProtocols:
		e.resp.Body = newTunnel(e)
	case a.Code == http.StatusNoContent && (a.Chunked || a.Length > 0): // it says that there is none, and one
		e.reuse = false
		e.empty()
	case r.Method == http.MethodHead || a.Code == http.StatusNotModified || a.Code == http.StatusNoContent || a.Length == 0:
		e.empty()
	case a.Chunked:
		e.kind, e.chunks = chunked, h1.Chunks{In: e.link.in}
	case a.Length < 0:
		e.kind, e.reuse = untilClose, false
	}
	return &e.resp
}

// empty ends e where the answer has no body.
func (e *exchange) empty() {
	e.resp.Body = http.NoBody
	e.part()
}

// part gives up the link: for another request, if nothing is in doubt.
func (e *exchange) part() {
	e.parting.Lock()
	defer e.parting.Unlock()
	e.parted = true
	if e.stop() && e.reuse && e.link.drained() {
		e.links.keep(e.link)
		return
	}
	e.links.destroy(e.link)
}

// fail gives up the link for good, because of err.
func (e *exchange) fail(err error) error {
	e.reuse = false
	e.part()
	return failed(e.ctx, err)
}

// Read implements [io.Reader].
func (e *exchange) Read(p []byte) (int, error) {
	e.reading.Lock()
	defer e.reading.Unlock()
	if e.err != nil || len(p) == 0 {
		return 0, e.err
	}
	if e.kind != sized || e.link.in.Buffered() == 0 {
		if err := e.link.SetReadDeadline(time.Now().Add(e.link.pause)); err != nil {
			e.err = e.fail(err)
			return 0, e.err
		}
	}
	n, err := e.read(p)
	switch {
	case errors.Is(err, io.EOF):
		e.err = io.EOF
		e.part()
	case err != nil:
		e.err = e.fail(err)
	}
	return n, e.err
}

// read reads what the kind of the body says is its own.
func (e *exchange) read(p []byte) (int, error) {
	switch e.kind {
	case chunked:
		return e.chunks.Read(p)
	case untilClose:
		return e.link.in.Read(p)
	case sized:
		n, err := e.link.in.Read(p[:min(int64(len(p)), e.left)])
		if e.left -= int64(n); e.left == 0 {
			return n, io.EOF
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	default:
		return 0, io.ErrUnexpectedEOF
	}
}

// Close implements [io.Closer]. It may be called beside a Read, which it ends.
func (e *exchange) Close() error {
	if !e.reading.TryLock() {
		e.interrupt()
		e.reading.Lock()
	}
	defer e.reading.Unlock()
	if e.err != nil {
		return nil
	}
	e.err = refusal.New(refusal.Internal, "%w", errClosed)
	e.reuse = e.reuse && e.restIsHere()
	e.part()
	return nil
}

// interrupt cuts the link, if e still has it.
func (e *exchange) interrupt() {
	e.parting.Lock()
	defer e.parting.Unlock()
	if !e.parted {
		e.link.cut()
	}
}

// restIsHere drops what is left of the body, if it is little and has arrived.
func (e *exchange) restIsHere() bool {
	if e.kind == untilClose || e.kind == sized && e.left > maxRest || e.link.SetReadDeadline(past) != nil {
		return false
	}
	rest := make([]byte, maxRest)
	for size := 0; size < maxRest; {
		n, err := e.read(rest[size:])
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		size += n
	}
	return false
}

// A tunnel is the body of an answer that granted an upgrade: the link, which
// is nobody's after.
type tunnel struct {
	e    *exchange
	once sync.Once
}

func newTunnel(e *exchange) *tunnel {
	e.reuse = false
	e.link.SetDeadline(time.Time{}) //nolint:errcheck // a closed connection says so when it is used
	return &tunnel{e: e}
}

// Read implements [io.Reader].
func (t *tunnel) Read(p []byte) (int, error) { return t.e.link.in.Read(p) }

// Write implements [io.Writer].
func (t *tunnel) Write(p []byte) (int, error) { return t.e.link.Write(p) }

// CloseWrite ends one direction.
func (t *tunnel) CloseWrite() error {
	if c, ok := t.e.link.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements [io.Closer].
func (t *tunnel) Close() error {
	t.once.Do(t.e.part)
	return nil
}
