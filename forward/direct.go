package forward

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// A direct is an [Upstream] without a goroutine of its own: who asks writes
// the request and reads the answer.
type direct struct{ links links }

// NewDirect returns an upstream reached on a path of our own: HTTP/1.1 only,
// written and read by the goroutine that asks, with a strict reader of answers.
//
// A connection is used again only if nothing about it is in doubt: the request
// was sent and the answer read to the byte, no interim answer came, and nobody
// cancelled. A request that a connection dies of before a byte of the answer,
// having been used before, is sent once more, if that cannot do harm.
func NewDirect(c UpstreamConfig) (Upstream, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &direct{links: links{c: c, places: make(map[tenant.ID]*place)}}, nil
}

// Close implements [Upstream].
func (d *direct) Close() { d.links.close() }

// Do implements [Upstream].
func (d *direct) Do(ctx context.Context, s scope.Scope, r *http.Request) (*http.Response, error) {
	to, err := target(s, r)
	if err != nil {
		return nil, err
	}
	if l := d.links.reuse(s.Tenant()); l != nil {
		resp, heard, err := d.exchange(ctx, l, to, r)
		if err == nil || heard || !repeatable(r) || refusal.Of(err) != refusal.Unavailable || ctx.Err() != nil {
			return resp, err
		}
	}
	l, err := d.links.fresh(ctx, s.Tenant())
	if err != nil {
		return nil, failed(ctx, err)
	}
	resp, _, err := d.exchange(ctx, l, to, r)
	return resp, err
}

// repeatable reports whether r may be sent twice.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return length(r) == 0
	default:
		return false
	}
}

// exchange sends r on l, which it takes over, and reads the head of the
// answer. It reports whether a byte of one was heard.
func (d *direct) exchange(ctx context.Context, l *link, to string, r *http.Request) (resp *http.Response, heard bool, err error) {
	e := &exchange{links: &d.links, link: l, ctx: ctx, stop: context.AfterFunc(ctx, l.cut)}
	whole, err := l.send(to, r)
	if _, unread := errors.AsType[errBody](err); unread {
		return nil, true, e.fail(err)
	}
	within := d.links.c.Header
	if err != nil { // an application that closes may have said why, and it would be here
		within = min(within, time.Second)
	}
	heard, herr := e.hear(r, within)
	if herr != nil {
		return nil, heard, e.fail(errors.Join(err, herr))
	}
	e.reuse = e.reuse && whole && err == nil
	return e.answer(r), true, nil
}
