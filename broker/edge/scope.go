package edge

import (
	"net/http"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// The rows that are not methods.
const (
	opToken     = "Token"
	opWebSocket = "Upgrade websocket"
	opUpgrade   = "Upgrade other"
	opMirror    = "Mirror"
)

// table is the posture of this broker: what a client may ask of an
// application. Every Confine comes to the same function: what says who the
// client is was taken out, and a Txn-Token for this one request put in. What
// an application does with it is its stores' to judge, which take nothing
// else.
var table = scope.Table[*request]{
	opToken:     {Verdict: scope.Allow, Why: "a token is shown; what it may do is asked of each request"},
	"GET":       {Verdict: scope.Confine, Needs: identity.HTTP, Why: "carries the tenant's Txn-Token and nothing a client says of itself", Confine: confine},
	"HEAD":      {Verdict: scope.Confine, Needs: identity.HTTP, Why: "carries the tenant's Txn-Token and nothing a client says of itself", Confine: confine},
	"POST":      {Verdict: scope.Confine, Needs: identity.HTTP, Why: "carries the tenant's Txn-Token and nothing a client says of itself", Confine: confine},
	"PUT":       {Verdict: scope.Confine, Needs: identity.HTTP, Why: "carries the tenant's Txn-Token and nothing a client says of itself", Confine: confine},
	"PATCH":     {Verdict: scope.Confine, Needs: identity.HTTP, Why: "carries the tenant's Txn-Token and nothing a client says of itself", Confine: confine},
	"DELETE":    {Verdict: scope.Confine, Needs: identity.HTTP, Why: "carries the tenant's Txn-Token and nothing a client says of itself", Confine: confine},
	"OPTIONS":   {Verdict: scope.Confine, Needs: identity.HTTP, Why: "carries the tenant's Txn-Token and nothing a client says of itself", Confine: confine},
	opWebSocket: {Verdict: scope.Confine, Needs: identity.HTTP, Why: "the Txn-Token is in its first request; it ends when the principal does", Confine: confineUpgrade},
	opMirror:    {Verdict: scope.Confine, Needs: identity.HTTP, Why: "shows what would be sent on, and sends nothing", Confine: confine},
	"CONNECT":   {Why: "a tunnel, in which nothing is judged"},
	"TRACE":     {Why: "would hand the Txn-Token to the client"},
	"TRACK":     {Why: "would hand the Txn-Token to the client"},
	"PRI":       {Why: "begins HTTP/2 in the middle of HTTP/1.1"},
	opUpgrade:   {Why: "a protocol that no row judges", Hint: "upgrade to websocket, or not at all"},
}

// A request is one request, as it came and as it goes on.
type request struct {
	in    *http.Request
	op    string
	fault error // what is wrong with it; its rule says so, so that it is recorded as any refusal
	visit visit
	route *route
	body  body

	out *http.Request // set by its rule

	one   [1]scope.Operation // room for what Operations returns
	names [4]string          // the same for its resources
}

var errUnconfined = refusal.New(refusal.Internal, "edge: a request that no rule has confined")

// Operations implements [scope.Request].
func (r *request) Operations() []scope.Operation {
	r.one = [1]scope.Operation{{Name: r.op, Class: uint16(audit.ClassRequest)}}
	op := &r.one[0]
	if r.in == nil {
		return r.one[:]
	}
	op.Resources = r.names[:0]
	if r.route != nil {
		op.Resources = append(op.Resources, r.route.Name)
	}
	op.Resources = append(op.Resources, r.in.Host, "request:"+r.visit.id, "txn:"+r.visit.txn)
	op.Text = []byte(r.in.Method + " " + r.in.RequestURI)
	return r.one[:]
}

// HTTP implements forward.HTTP.
func (r *request) HTTP() (*http.Request, error) {
	if r.out == nil {
		return nil, errUnconfined
	}
	return r.out, nil
}

// confine builds the request that goes on: whatever a client could say of
// itself is left out, and what is true is put in.
func confine(r *request, _ int, s scope.Scope) error {
	if r.fault != nil {
		return r.fault
	}
	header := outgoing(r.in.Header, r.route.strip)
	if err := r.visit.sign(header, s.Principal(), r.route); err != nil {
		return err
	}
	r.out = &http.Request{
		Method: r.in.Method, URL: r.in.URL, RequestURI: r.in.RequestURI, Host: r.in.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: r.body.reader, ContentLength: r.body.length,
	}
	return nil
}

// confineUpgrade is confine for a request that asks for a WebSocket.
func confineUpgrade(r *request, i int, s scope.Scope) error {
	if err := confine(r, i, s); err != nil {
		return err
	}
	r.out.Header["Connection"] = []string{"Upgrade"}
	r.out.Header["Upgrade"] = []string{"websocket"}
	return nil
}
