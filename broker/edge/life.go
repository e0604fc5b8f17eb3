package edge

import (
	"context"
	"time"

	"github.com/isocore/isocore/refusal"
)

var errDraining = refusal.New(refusal.Draining, "edge: the node goes away")

// renewals are how often a token that was good is tried again when it is none
// any more.
const renewals = 2

// later has f called when the exchange is over.
func (x *exchange) later(f func()) {
	x.mu.Lock()
	over := x.over
	if !over {
		x.undo = append(x.undo, f)
	}
	x.mu.Unlock()
	if over {
		f()
	}
}

// end undoes what was done for the exchange.
func (x *exchange) end() {
	x.mu.Lock()
	x.over = true
	undo := x.undo
	x.undo = nil
	x.mu.Unlock()
	for _, f := range undo {
		f()
	}
	x.sessions.part(&x.first)
}

// watch cuts the exchange when the principal of the session of y, which the
// exchange has entered, is over: at expiry only an answer of no known length,
// any other [afterExpiry] later. A principal that is over because its provider was registered anew,
// say for one more tenant, is no reason if the token is still good.
func (x *exchange) watch(y *stay) {
	x.mu.Lock()
	x.session = y.s
	endless := x.endless
	x.mu.Unlock()
	x.sessions.stay(y)
	if endless {
		x.expire(y.s)
	}
}

// ended is told that the session of y is over.
func (x *exchange) ended(y *stay) {
	why := context.Cause(y.s.life)
	if refusal.Of(why) != refusal.Unauthenticated || !x.renew(y.s) {
		x.cut(why)
	}
}

// renew goes on under what the token says now, if that is the same person.
func (x *exchange) renew(s *session) bool {
	again, err := x.sessions.enter(x.ctx, x.token, x.peer())
	for range renewals { // it may change again meanwhile
		if refusal.Of(err) != refusal.Unauthenticated {
			break
		}
		again, err = x.sessions.enter(x.ctx, x.token, x.peer())
	}
	if err != nil {
		return false
	}
	was, is := s.Scope().Principal(), again.Scope().Principal()
	if was.Tenant() != is.Tenant() || was.ID() != is.ID() {
		x.sessions.release(again)
		return false
	}
	y := &stay{x: x, s: again}
	x.watch(y)
	x.later(func() { x.sessions.part(y) })
	return true
}

// bind ends an answer that has no end of its own with the token, and with the
// node.
func (x *exchange) bind() {
	stop := context.AfterFunc(x.draining, func() { x.cut(errDraining) })
	x.later(func() { stop() })
	x.lend()
}

// lend ends an answer of which nobody knows how long it is with the token.
// Others have [afterExpiry].
func (x *exchange) lend() {
	x.mu.Lock()
	x.endless = true
	s := x.session
	x.mu.Unlock()
	x.expire(s)
}

// expire cuts the exchange when the token of s is over. What else there is to
// know of s, watch does.
func (x *exchange) expire(s *session) {
	token, forget := s.Context(x.ctx, refusal.Unauthenticated)
	stop := context.AfterFunc(token, func() { x.cut(context.Cause(token)) })
	x.later(func() {
		stop()
		forget()
	})
}

// cut ends the exchange because of why, even if its client reads nothing.
func (x *exchange) cut(why error) {
	x.cancel(why)
	x.pace.interrupt()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.begun && !x.over {
		x.control.SetWriteDeadline(time.Unix(1, 0)) //nolint:errcheck // a connection without deadlines is a test's
	}
}
