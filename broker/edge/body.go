package edge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// Bounds of the body of a request.
const (
	smallBody  = 256 << 10 // read whole before it is judged
	heldBytes  = 64 << 20  // of such bodies, at once
	bodyGrace  = 10 * time.Second
	bodyPause  = 30 * time.Second
	bodyRate   = 1 << 10 // bytes a second, at least, beyond the grace
	unreadTime = 2 * time.Second
)

// A body is that of a request, as it goes on.
type body struct {
	reader io.ReadCloser
	length int64 // -1: not known

	held  *shares // of which it has some, unless nil
	owner tenant.ID
	room  int64
}

func noBody() body { return body{reader: http.NoBody} }

// free gives back what the body held. It is no use after.
func (b *body) free() {
	if b.held != nil {
		b.held.give(b.owner, b.room)
		b.held = nil
	}
}

// A loaded body is in memory.
type loaded struct{ bytes.Reader }

func newLoaded(b []byte) *loaded {
	l := &loaded{}
	l.Reset(b)
	return l
}

// Close implements [io.Closer].
func (*loaded) Close() error { return nil }

// load returns the body of the request, whole if it is small: so nothing is
// sent on of a request whose body never comes, or is not what it says.
func (x *exchange) load(t tenant.ID, most int64) (body, error) {
	n := x.in.ContentLength
	switch {
	case n == 0:
		return noBody(), nil
	case n > most:
		return noBody(), refusal.New(refusal.TooLarge, "edge: a body of %d bytes, %d at most", n, most)
	}
	paced := &x.pace
	paced.begin(x, most)
	x.sending = paced
	if n > smallBody {
		return x.streamed(paced, n)
	}
	room := n
	if n < 0 {
		room = smallBody + 1
	}
	if err := x.held.take(t, room); err != nil {
		return noBody(), err
	}
	whole := body{length: n, held: x.held, owner: t, room: room}
	if n > 0 {
		b := make([]byte, n)
		if _, err := io.ReadFull(paced, b); err != nil {
			return whole, why(err)
		}
		if err := paced.finish(); err != nil {
			return whole, err
		}
		whole.reader = newLoaded(b)
		return whole, nil
	}
	b, err := io.ReadAll(io.LimitReader(paced, room))
	if err != nil {
		return whole, why(err)
	}
	whole.reader, whole.length = newLoaded(b), int64(len(b))
	if int64(len(b)) == room {
		more, err := x.streamed(readCloser{io.MultiReader(bytes.NewReader(b), paced), paced}, -1)
		whole.reader, whole.length = more.reader, more.length
		return whole, err
	}
	return whole, nil
}

// streamed returns a body that is sent on as it comes. An application may
// answer before it has read all of it.
func (x *exchange) streamed(r io.ReadCloser, length int64) (body, error) {
	if err := x.control.EnableFullDuplex(); err != nil {
		return noBody(), refusal.New(refusal.Internal, "edge: %w", err)
	}
	return body{reader: r, length: length}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// A paced body is read only as long as its client keeps sending: for the time
// that is spent waiting for it there is a rate, and a grace.
type paced struct {
	*exchange
	left  int64 // that may come
	read  int64
	spent time.Duration
	until time.Time // the client has for the next part

	mu   sync.Mutex // guards what follows: an upstream may read in a goroutine of its own
	err  error      // why there is no more
	over bool       // the exchange is: nobody touches the connection
}

// begin has p read the body of x.
func (p *paced) begin(x *exchange, most int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exchange, p.left = x, most
}

// interrupt ends a Read that waits: the exchange was cut. If there is no body,
// it does nothing.
func (p *paced) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exchange != nil && p.err == nil && !p.over {
		p.control.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a connection without deadlines is a test's
	}
}

// Read implements [io.Reader].
func (p *paced) Read(b []byte) (int, error) {
	begin := time.Now()
	if err := p.wait(begin); err != nil {
		return 0, err
	}
	n, err := p.in.Body.Read(b)
	p.spent += time.Since(begin)
	p.read += int64(n)
	if p.left -= int64(n); p.left < 0 {
		n, err = 0, refusal.New(refusal.TooLarge, "edge: a body of more bytes than its route takes")
	}
	if err == nil {
		return n, nil
	}
	return n, p.stop(err)
}

// wait gives the client its time for the next part, from now on. What was set
// before stays if it is a little less: to set it costs more than to read.
func (p *paced) wait(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return errOver
	}
	if p.err != nil {
		return p.err
	}
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	allowed := min(bodyPause, bodyGrace+time.Duration(p.read)*time.Second/bodyRate-p.spent)
	until := now.Add(allowed)
	if more := until.Sub(p.until); more >= 0 && more < time.Second {
		return nil
	}
	p.until = until
	return p.control.SetReadDeadline(until)
}

var errOver = refusal.New(refusal.Internal, "edge: a body read after its exchange")

// stop notes why there is no more of the body.
func (p *paced) stop(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !errors.Is(err, io.EOF) {
		err = p.cause(err)
	}
	if p.err = err; !p.over {
		p.control.SetReadDeadline(time.Time{}) //nolint:errcheck // as it was before
	}
	return err
}

// cause returns why err ends the body: that the exchange was cut, first of all.
func (p *paced) cause(err error) error {
	if cut, ok := errors.AsType[*refusal.Error](context.Cause(p.ctx)); ok {
		return cut
	}
	return why(err)
}

// failed returns what went wrong with the body, if anything did.
func (p *paced) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(p.err, io.EOF) {
		return nil
	}
	return p.err
}

// ended reports whether the body was read to its end.
func (p *paced) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Is(p.err, io.EOF)
}

// Close implements [io.Closer]. Who closes it early has an answer already.
func (*paced) Close() error { return nil }

// finish reads the end of a body that was read whole.
func (p *paced) finish() error {
	var one [1]byte
	n, err := p.Read(one[:])
	if n > 0 {
		return refusal.New(refusal.Malformed, "edge: a body longer than it says")
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return why(err)
}

// why returns the refusal for a body that fails because of err.
func why(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return refusal.New(refusal.Malformed, "edge: a body that ends early")
	}
	if _, ok := errors.AsType[*refusal.Error](err); ok {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return refusal.New(refusal.TooLong, "edge: a body that does not come: %w", err)
	}
	return refusal.New(refusal.Malformed, "edge: a body that fails: %w", err)
}

// unread reports whether there may be a body that nobody has read.
func (x *exchange) unread() bool {
	if x.in.Body == nil || x.in.Body == http.NoBody || x.in.ContentLength == 0 {
		return false
	}
	return x.sending == nil || !x.sending.ended()
}

// rest gives a client little time for what nobody will read: the server looks
// for the next request behind it.
func (x *exchange) rest() {
	if p := x.sending; p != nil {
		p.mu.Lock()
		p.over = true
		p.mu.Unlock()
	}
	if x.unread() {
		x.control.SetReadDeadline(time.Now().Add(unreadTime)) //nolint:errcheck // it was hijacked, or is a test's
	}
}
