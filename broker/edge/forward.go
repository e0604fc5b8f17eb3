package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/refusal"
)

// Bounds of an answer.
const (
	copySize  = 32 << 10
	writeTime = 30 * time.Second // without progress
)

// forward sends the request on, and what is answered back.
func (x *exchange) forward(ctx context.Context, req *request, p *broker.Pass[*request]) error {
	resp, err := forward.RoundTrip(ctx, req.route.Upstream, p)
	if err != nil {
		return x.why(ctx, err)
	}
	defer resp.Body.Close() //nolint:errcheck // what can go wrong went wrong in a Read
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return x.why(ctx, x.reply(ctx, resp))
	}
	if req.op != opWebSocket || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		x.cancel(errNoUpgrade) // or the outcome would be an upgrade that went well
		return refusal.New(refusal.Unavailable, "edge: route %s switches to %.40q unasked", req.route.Name, resp.Header.Get("Upgrade"))
	}
	if err := x.upgrade(ctx, resp); err != nil {
		x.cancel(err) // as above
		return err
	}
	return nil
}

var errNoUpgrade = refusal.New(refusal.Unavailable, "edge: an upgrade that was not asked for")

// why returns the refusal behind err: that the session is over, or that the
// body failed, before what the upstream made of it.
func (x *exchange) why(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause, ok := errors.AsType[*refusal.Error](context.Cause(ctx)); ok {
		return cause
	}
	if p := x.sending; p != nil {
		if failed := p.failed(); failed != nil {
			return failed
		}
	}
	return err
}

// started reports whether something of the answer may have been sent.
func (x *exchange) started() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.begun
}

// start sends the head of the answer, unless the exchange was cut.
func (x *exchange) start(ctx context.Context, status int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	x.begun = true
	x.w.WriteHeader(status)
	return nil
}

// reply answers with resp.
func (x *exchange) reply(ctx context.Context, resp *http.Response) error {
	h := x.w.Header()
	answered(h, resp.Header)
	h["X-Request-Id"] = []string{x.id}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // or net/http would guess
	}
	room, ok := x.buffers.Get().(*[copySize]byte)
	if !ok {
		return refusal.New(refusal.Internal, "edge: a pool with something else in it")
	}
	defer x.buffers.Put(room)
	n := resp.ContentLength
	switch {
	case x.in.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified:
		return x.whole(ctx, resp, room[:0])
	case n >= 0 && n <= copySize:
		sized(h, n)
		return x.whole(ctx, resp, room[:n])
	case n > copySize:
		sized(h, n)
		if err := x.start(ctx, resp.StatusCode); err != nil {
			return err
		}
		return x.copy(ctx, resp.Body, n, room[:])
	default:
		delete(h, "Content-Length")
		return x.stream(ctx, resp, room[:])
	}
}

// sized has h say that the body has n bytes, as we spell it.
func sized(h http.Header, n int64) {
	var room [20]byte
	digits := strconv.AppendInt(room[:0], n, 10)
	if said := h["Content-Length"]; len(said) != 1 || said[0] != string(digits) {
		h["Content-Length"] = []string{string(digits)}
	}
}

// whole answers with a body that fits, once its end, and so its outcome, is
// there.
func (x *exchange) whole(ctx context.Context, resp *http.Response, b []byte) error {
	if _, err := io.ReadFull(resp.Body, b); err != nil {
		return short(err)
	}
	if err := ended(resp.Body); err != nil {
		return err
	}
	if err := x.start(ctx, resp.StatusCode); err != nil {
		return err
	}
	if len(b) == 0 {
		return nil
	}
	_, err := x.w.Write(b)
	return err
}

// stream answers with a body of which nobody knows the length: every part of
// it as it comes, and none once the token is over.
func (x *exchange) stream(ctx context.Context, resp *http.Response, b []byte) error {
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
		x.w.Header()["X-Accel-Buffering"] = []string{"no"}
		x.bind()
	} else {
		x.lend()
	}
	if err := x.start(ctx, resp.StatusCode); err != nil {
		return err
	}
	if err := x.control.Flush(); err != nil {
		return err
	}
	return x.copy(ctx, resp.Body, -1, b)
}

// copy answers with a body of length, -1 if that is not known. The end of it
// waits for the outcome, as forward has it.
func (x *exchange) copy(ctx context.Context, body io.Reader, length int64, b []byte) error {
	known := length >= 0
	for {
		n, err := body.Read(b)
		length -= int64(n)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if werr := x.write(ctx, b[:n], known); werr != nil {
			return werr
		}
		if err == nil {
			continue
		}
		if known && length > 0 {
			return short(err)
		}
		return nil
	}
}

// write sends b, at once unless it is part of a length that is known.
func (x *exchange) write(ctx context.Context, b []byte, known bool) error {
	if len(b) == 0 {
		return nil
	}
	if err := x.control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	if ctx.Err() != nil { // after the deadline was set: a cut sets another
		return context.Cause(ctx)
	}
	if _, err := x.w.Write(b); err != nil || known {
		return err
	}
	return x.control.Flush()
}

// ended reads the end of a body.
func ended(body io.Reader) error {
	var one [1]byte
	for {
		n, err := body.Read(one[:])
		switch {
		case n > 0:
			return refusal.New(refusal.Unavailable, "edge: an answer longer than it says")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// short returns the refusal for an answer that ends early because of err.
func short(err error) error {
	if _, ok := errors.AsType[*refusal.Error](err); ok {
		return err
	}
	return refusal.New(refusal.Unavailable, "edge: an answer shorter than it says: %w", err)
}
