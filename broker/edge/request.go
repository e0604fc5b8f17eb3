package edge

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// An exchange is one request and its answer.
type exchange struct {
	*visitor
	w       http.ResponseWriter
	control http.ResponseController
	in      *http.Request
	id      string
	span    string
	host    string // asked for, without its port
	token   secret.Text
	ctx     context.Context // of what is done for it
	cancel  context.CancelCauseFunc
	first   stay   // in the session it begins in
	sending *paced // the body, if there is one
	pace    paced  // room for that

	mu      sync.Mutex // guards what follows
	begun   bool       // something of the answer may have been sent
	session *session   // whose life the exchange shares
	endless bool       // the answer ends with the token
	over    bool       // the exchange is
	undo    []func()   // when it is
}

// ServeHTTP implements [http.Handler].
func (v *visitor) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	v.running.Add(1)
	defer v.running.Done()
	x := v.exchange(w, in)
	defer x.recovered()
	x.serve()
}

// recovered tells the operator of a panic that is a mistake of ours: where it
// was and of what type, for what it says may be a request's. The connection is
// cut.
func (x *exchange) recovered() {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
		x.Log.Error("panic", "request", x.id, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	}
	panic(http.ErrAbortHandler)
}

func (v *visitor) exchange(w http.ResponseWriter, in *http.Request) *exchange {
	v.begun.Store(true)
	x := &exchange{visitor: v, w: w, control: *http.NewResponseController(w), in: in}
	x.id, x.span = v.draws.draw()
	return x
}

// serve answers, one way or the other. An answer that has begun and cannot be
// ended well is cut, so that nobody takes it for whole.
func (x *exchange) serve() {
	defer x.rest()
	ctx, cancel := context.WithCancelCause(x.in.Context())
	defer cancel(nil)
	x.ctx, x.cancel = ctx, cancel
	err := x.answer(ctx)
	if err == nil {
		return
	}
	if x.started() {
		x.Log.DebugContext(ctx, "answer cut", "remote", x.guest.Addr, "request", x.id, "err", err)
		panic(http.ErrAbortHandler)
	}
	x.refuse(err)
}

func (x *exchange) answer(ctx context.Context) error {
	var err error
	if x.token, err = x.examine(); err != nil {
		x.gate.Counter.Refused(Name, x.guest.Addr.Addr(), refusal.Of(err))
		return err
	}
	s, err := x.sessions.enter(ctx, x.token, x.peer())
	if err != nil {
		return err
	}
	x.first = stay{x: x, s: s}
	defer x.end()
	t := s.Scope().Tenant()
	if err := x.known(t); err != nil {
		return err
	}
	defer x.done(t)
	x.watch(&x.first)
	req := x.read(s)
	defer func() { req.body.free() }()
	// A client that has gone is refused in the records all the same.
	pass, err := broker.Admit(context.WithoutCancel(ctx), s.Session, table, req)
	if err != nil {
		return err
	}
	if req.op == opMirror {
		return x.mirror(ctx, pass)
	}
	return x.forward(ctx, req, pass)
}

// What examine asks, each a value, so that each can be weakened alone.
var (
	cleanPath       = h1.CleanPath
	cleanConnection = checkConnection
	tokenShown      = tokenIn
)

// examine refuses what is wrong whoever sends it, and returns the token.
func (x *exchange) examine() (secret.Text, error) {
	if err, refused := h1.Refused(x.in); refused {
		return secret.Text{}, err
	}
	if x.draining.Err() != nil {
		return secret.Text{}, errDraining
	}
	if x.in.ProtoMajor > 1 {
		if err := cleanStream(x.in); err != nil {
			return secret.Text{}, err
		}
	}
	var err error
	if x.host, err = parseHost(x.in.Host); err != nil {
		return secret.Text{}, err
	}
	if err := cleanPath(x.in.RequestURI); err != nil {
		return secret.Text{}, err
	}
	if err := cleanConnection(x.in.Header); err != nil {
		return secret.Text{}, err
	}
	if x.proto != "https" && !x.guest.IsLocal() {
		return secret.Text{}, refusal.Hinted(refusal.Unauthenticated, "use https", "edge: no TLS from %v", x.guest.Addr)
	}
	return tokenShown(x.in)
}

// checkConnection refuses a Connection header that would take from a request
// what it is judged by.
func checkConnection(h http.Header) error {
	for _, word := range named(h) {
		if protected.has([]byte(word)) || essential.has([]byte(word)) {
			return refusal.New(refusal.Malformed, "edge: Connection names %.40q", word)
		}
	}
	return nil
}

// read makes the request of s: which row it is of, where it goes, its body if
// that is small. What is wrong is noted in it, for its rule to say.
func (x *exchange) read(s *session) *request {
	p := s.Scope().Principal()
	r := &request{in: x.in, body: noBody(), visit: visit{
		id: x.id, span: x.span, txn: x.id, peer: x.peer(), proto: x.proto, host: x.in.Host, minter: x.Minter, tokens: &s.tokens, now: x.Now,
	}}
	own, there := x.Paths(p.Tenant())
	if there {
		r.visit.path = own
	}
	r.op, r.fault = operation(x.in)
	if r.fault != nil {
		return r
	}
	find := x.routes.Load().find
	if r.op == opMirror {
		find = x.routes.Load().any
	}
	if x.sni != "" && strings.ToLower(x.sni) != x.host {
		r.fault = refusal.New(refusal.NotFound, "edge: host %.100q: %w for %.100q", x.host, errMisdirected, x.sni)
		return r
	}
	if r.route, r.fault = find(x.host, x.in.URL.Path, own); r.fault != nil {
		return r
	}
	if token, txn, ok := s.tokens.find(r.route, x.Now()); ok {
		r.visit.token, r.visit.txn = token, txn
	}
	if _, listed := table[r.op]; listed {
		r.body, r.fault = x.load(p.Tenant(), r.route.MaxBody)
	}
	return r
}

func (x *exchange) peer() netip.Addr { return x.guest.Addr.Addr() }

// operation returns the row of a request.
func operation(in *http.Request) (string, error) {
	if in.URL.Path == mirrorPath {
		if in.Method == http.MethodGet && in.RequestURI == mirrorPath && in.ContentLength == 0 && in.Header["Upgrade"] == nil {
			return opMirror, nil
		}
		return "Mirror other", nil
	}
	upgrade := in.Header["Upgrade"]
	if len(upgrade) == 0 {
		return in.Method, nil
	}
	if len(upgrade) > 1 || !strings.EqualFold(upgrade[0], "websocket") {
		return opUpgrade, nil
	}
	key := in.Header["Sec-Websocket-Key"]
	if in.Method != http.MethodGet || in.ContentLength != 0 || len(key) != 1 || key[0] == "" || !slices.Contains(named(in.Header), "upgrade") {
		return opWebSocket, refusal.New(refusal.Malformed, "edge: half a handshake for a WebSocket")
	}
	return opWebSocket, nil
}
