package edge

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A visit is what is true of one request, whatever it says: where it came
// from, and by what name it is known from here on.
type visit struct {
	id     string // of the request
	span   string // of its trace
	txn    string // of its Txn-Token
	peer   netip.Addr
	proto  string
	host   string // as the client wrote it
	path   tenant.Path
	minter Minter
	tokens *tokens
	token  secret.Text // a Txn-Token made earlier; empty: one is to be made
	now    func() time.Time
}

// tokens are the Txn-Tokens that a session uses again, by route.
type tokens struct {
	mu sync.Mutex // guards what follows
	of map[*route]reused
}

type reused struct {
	token secret.Text
	txn   string
	until time.Time
}

// maxTokens bounds the routes of which a session keeps a Txn-Token.
const maxTokens = 64

// find returns a Txn-Token for r that may be used again.
func (t *tokens) find(r *route, now time.Time) (token secret.Text, txn string, ok bool) {
	if r == nil || r.Reuse == 0 {
		return secret.Text{}, "", false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	one, ok := t.of[r]
	return one.token, one.txn, ok && now.Before(one.until)
}

// keep remembers a Txn-Token for as long as r uses one again.
func (t *tokens) keep(r *route, one reused) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil || len(t.of) >= maxTokens {
		t.of = map[*route]reused{}
	}
	t.of[r] = one
}

// Lengths in bytes of what names a request: the id of a trace, and that of a
// span of it.
const (
	idBytes   = 16
	spanBytes = 8
)

// draws are random bytes, fetched for many requests at once. The zero draws
// fetches its first.
type draws struct {
	mu   sync.Mutex // guards what follows
	room [64 * (idBytes + spanBytes)]byte
	left []byte // of room, and not used
}

// draw returns a random id and a random span in hexadecimal digits.
func (d *draws) draw() (id, span string) {
	var b [idBytes + spanBytes]byte
	d.mu.Lock()
	if len(d.left) == 0 {
		d.left = d.room[:]
		rand.Read(d.left) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	}
	n := copy(b[:], d.left)
	clear(d.left[:n])
	d.left = d.left[n:]
	d.mu.Unlock()
	var digits [2 * len(b)]byte
	hex.Encode(digits[:], b[:])
	text := string(digits[:])
	return text[:2*idBytes], text[2*idBytes:]
}

// mint returns the Txn-Token of the request, of p at r.
func (v *visit) mint(p identity.Principal, r *route) (secret.Text, error) {
	if !v.token.IsZero() {
		return v.token, nil
	}
	var reach []string
	for _, word := range r.Reach {
		if p.Has(word) {
			reach = append(reach, word)
		}
	}
	if len(reach) == 0 {
		return secret.Text{}, refusal.New(refusal.Narrow, "edge: the token reaches nothing of what route %s passes on", r.Name)
	}
	peer := ""
	if v.peer.IsValid() {
		peer = v.peer.String()
	}
	token, err := v.minter.Txn(p, identity.TxnGrant{Txn: v.txn, Workload: r.Name, Reach: reach, Peer: peer, TTL: r.ttl})
	if err == nil && r.Reuse > 0 {
		v.tokens.keep(r, reused{token, v.txn, v.now().Add(r.Reuse)})
	}
	return token, err
}

// sign puts into h what is true of the request of p at r.
func (v *visit) sign(h http.Header, p identity.Principal, r *route) error {
	token, err := v.mint(p, r)
	if err != nil {
		return err
	}
	// The trace is new, for its caller is nobody's to trust, and has the id of
	// the request, so that one number finds both.
	values := [signed]string{token.Reveal(), v.id, "00-" + v.id + "-" + v.span + "-01", v.baggage(p.Tenant()), v.proto, v.host}
	names := [signed]string{"Txn-Token", "X-Request-Id", "Traceparent", "Baggage", "X-Forwarded-Proto", "X-Forwarded-Host"}
	n := signed - 1
	if v.peer.IsValid() {
		names[n], values[n] = "X-Forwarded-For", v.peer.String()
		n++
	}
	for i := range n {
		h[names[i]] = values[i : i+1 : i+1]
	}
	return nil
}

// signed is how many headers sign sets at the most.
const signed = 7

// baggage names the tenant by the attributes of OpenTelemetry. A name has no
// byte that would have to be escaped.
func (v *visit) baggage(t tenant.ID) string {
	if v.path == (tenant.Path{}) {
		return "tenant.id=" + t.String()
	}
	return "tenant.id=" + t.String() + ",tenant.name=" + v.path.String()
}
