//go:build mutant

package edge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
)

// A Lab is what mutants need of the deployment they weaken. It holds nobody's
// data but the two tenants', and its application says whose request it got.
type Lab struct {
	Target *prove.Target
	Gate   *broker.Gate // whose verifier mutants replace
	Broker *Broker      // whose minter and routes mutants replace

	// Restart makes a change while nothing is served, and serves again where
	// Target says.
	Restart func(ctx context.Context, change func()) error

	verifier *changing
}

// changing is a verifier that can be replaced: sessions that have ended may
// still be asking it.
type changing struct {
	now atomic.Pointer[broker.Verifier]
}

// Verify implements [broker.Verifier].
func (c *changing) Verify(ctx context.Context, name string, token secret.Text) (identity.Principal, error) {
	return (*c.now.Load()).Verify(ctx, name, token)
}

// Live implements [broker.Verifier].
func (c *changing) Live(p identity.Principal) error { return (*c.now.Load()).Live(p) }

// Watch implements [broker.Verifier].
func (c *changing) Watch() <-chan struct{} { return (*c.now.Load()).Watch() }

// Mutants returns a weakened edge for each row of the table and for each of
// its defences. It must be called while nothing is served: from then on the
// verifier can be changed.
func Mutants(l *Lab) []prove.Mutant {
	l.verifier = &changing{}
	was := l.Gate.Verifier
	l.verifier.now.Store(&was)
	l.Gate.Verifier = l.verifier
	return slices.Concat(l.rowMutants(), l.headerMutants(), l.placeMutants(), l.shareMutants(), l.shownMutants(), l.tokenMutants())
}

// MutantRows returns the names of the rows that a mutant must cover.
func MutantRows() []string {
	var rows []string
	for _, r := range table.Rows(Name) {
		rows = append(rows, prove.Row(r))
	}
	return rows
}

// mutant returns one of a row that a probe must catch.
func mutant(name, row, probe string, apply change) prove.Mutant {
	return prove.Mutant{Name: name, Rows: []string{Name + "/" + row}, By: []string{Name + ": " + probe}, Apply: apply}
}

// A change weakens something, and returns how to mend it.
type change = func(ctx context.Context) (undo func(context.Context) error, err error)

// serving returns an Apply that makes a change to the program, between two
// servings.
func (l *Lab) serving(swap func() (undo func())) change {
	return func(ctx context.Context) (func(context.Context) error, error) {
		var undo func()
		if err := l.Restart(ctx, func() { undo = swap() }); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return l.Restart(ctx, undo) }, nil
	}
}

// replaced swaps a value.
func replaced[T any](l *Lab, at *T, by T) change {
	return l.serving(func() func() {
		was := *at
		*at = by
		return func() { *at = was }
	})
}

// rule replaces the rule of a row, which may be a new one.
func (l *Lab) rule(row string, edit func(*scope.Rule[*request])) change {
	return l.serving(func() func() {
		was, there := table[row]
		is := was
		edit(&is)
		table[row] = is
		return func() {
			table[row] = was
			if !there {
				delete(table, row)
			}
		}
	})
}

// letThrough makes of a rule that denies one that confines.
func letThrough(r *scope.Rule[*request]) {
	r.Verdict, r.Needs, r.Confine = scope.Confine, identity.HTTP, confine
}

func (l *Lab) rowMutants() []prove.Mutant {
	var all []prove.Mutant
	for _, row := range slices.Sorted(maps.Keys(table)) {
		switch rule := table[row]; {
		case row == opToken:
		case rule.Verdict == scope.Deny:
			all = append(all, mutant(row+" let through", row, row+" is refused", l.rule(row, letThrough)))
		default:
			probe := row + " carries nobody else"
			all = append(all, mutant(row+" needs no http", row, probe, l.rule(row, func(r *scope.Rule[*request]) { r.Needs = identity.PGRead })))
			if row != http.MethodHead { // whose answer has no body to see it in
				all = append(all, mutant(row+" signs for B", row, probe, l.rule(row, l.signsForB)))
			}
		}
	}
	return append(all, mutant("a method that nobody listed", http.MethodGet, "methods that no row lists", l.rule("PROPFIND", letThrough)))
}

// someone returns whom a tenant's token of the first provider speaks for.
func (l *Lab) someone(id string) (identity.Principal, error) {
	p := l.Target.Providers[0]
	token, err := p.Token(p.Good(id, life))
	if err != nil {
		return identity.Principal{}, err
	}
	return (*l.verifier.now.Load()).Verify(context.Background(), Name, token)
}

// signsForB puts a Txn-Token of B's into requests of A's.
func (l *Lab) signsForB(rule *scope.Rule[*request]) {
	was := rule.Confine
	rule.Confine = func(r *request, i int, s scope.Scope) error {
		if err := was(r, i, s); err != nil || s.Tenant().String() != l.Target.A.ID {
			return err
		}
		b, err := l.someone(l.Target.B.ID)
		if err != nil {
			return err
		}
		return r.visit.sign(r.out.Header, b, r.route)
	}
}

// passes has the mirror's rule pass on the headers of a client whose name is
// taken.
func (l *Lab) passes(taken func(name string) bool) change {
	return l.rule(opMirror, func(rule *scope.Rule[*request]) {
		was := rule.Confine
		rule.Confine = func(r *request, i int, s scope.Scope) error {
			if err := was(r, i, s); err != nil {
				return err
			}
			for name, values := range r.in.Header {
				if taken(name) && name != "Authorization" {
					r.out.Header[name] = values
				}
			}
			return nil
		}
	})
}

// headerMutants pass on each protected header, each class of spellings, and
// what else must not arrive.
func (l *Lab) headerMutants() []prove.Mutant {
	var all []prove.Mutant
	for _, p := range Protections {
		if p.Name == "authorization" {
			continue // in its own spelling it is the token; in others see the spellings
		}
		one := newNames([]Protected{p})
		all = append(all, mutant(p.Name+" is passed on", opMirror, "protected headers as they are",
			l.passes(func(name string) bool { return one.has([]byte(Fold(name))) })))
	}
	spelled := map[string]func(name string) bool{
		"with underscores":               func(s string) bool { return strings.Trim(s, "_") == s && strings.Contains(s, "_") },
		"with dots and other separators": func(s string) bool { return strings.Trim(s, ".") == s && strings.Contains(s, ".") },
		"with doubled separators":        func(s string) bool { return strings.Contains(s, "--") || strings.Contains(s, "__") },
		"with separators at an end":      func(s string) bool { return strings.Trim(s, "-_.~") != s },
	}
	for _, class := range slices.Sorted(maps.Keys(spelled)) {
		all = append(all, mutant("names are not folded "+class, opMirror, "protected headers "+class,
			l.passes(func(name string) bool { return protected.has([]byte(Fold(name))) && spelled[class](name) })))
	}
	anyOf := func(names ...string) func(string) bool {
		return func(s string) bool { return slices.Contains(names, Fold(s)) }
	}
	return append(all,
		mutant("authorization is passed on under another spelling", opMirror, "protected headers with separators at an end", l.passes(anyOf("authorization"))),
		mutant("the request's id is the client's", opMirror, "what the edge says of a request", l.passes(anyOf("x-request-id"))),
		mutant("the address is the client's word", opMirror, "what the edge says of a request", l.passes(anyOf("x-forwarded-for"))),
		mutant("the trace is the client's", opMirror, "what the edge says of a request", l.passes(anyOf("traceparent"))),
		mutant("another target is passed on", opMirror, "another target than the one that is judged", l.passes(anyOf("x-original-url", "x-rewrite-url"))),
		mutant("another host is passed on", opMirror, "another target than the one that is judged", l.passes(anyOf("x-host", "forwarded"))),
		mutant("headers of the connection are passed on", opMirror, "headers of the connection", l.passes(func(s string) bool { return hops.has([]byte(Fold(s))) })),
		mutant("what Connection names is passed on", opMirror, "headers of the connection", l.passes(anyOf("x-hop"))),
		mutant("Connection may name anything", opMirror, "Connection names headers", replaced(l, &cleanConnection, func(http.Header) error { return nil })),
		mutant("Connection may name what is essential", opMirror, "Connection names headers", replaced(l, &essential, newNames(nil))),
		mutant("trailers are taken", http.MethodPost, "trailers", replaced(l, &guarded, unguarded)),
	)
}

// unguarded lets through whatever net/http takes.
var unguarded guard = func(c net.Conn) net.Conn { return c }

// placeMutants are those of where a request goes.
func (l *Lab) placeMutants() []prove.Mutant {
	_, b, _ := strings.Cut(l.Target.B.Name, "/")
	// opened makes B's place everybody's.
	opened := func(of string, edit func(*Route)) change {
		return l.routes(func(r *router) *router {
			var more []Route
			for _, one := range r.of() {
				more = append(more, one.Route)
				if one.Name == of {
					extra := one.Route
					extra.Name = "opened"
					edit(&extra)
					more = append(more, extra)
				}
			}
			wider, err := newRouter(more)
			if err != nil {
				panic(err) // a mutant that is none
			}
			return wider
		})
	}
	return []prove.Mutant{
		mutant("B's host is everybody's", opMirror, "another tenant's place", opened("host", func(r *Route) { r.Host = strings.Replace(r.Host, ownTenant, b, 1) })),
		mutant("B's path is everybody's", http.MethodGet, "another tenant's place", opened("path", func(r *Route) { r.Path = strings.Replace(r.Path, ownTenant, b, 1) })),
		mutant("an unknown host is the first route's", opMirror, "hosts", l.routes(func(r *router) *router {
			wider := *r
			wider.hosts = maps.Clone(r.hosts)
			wider.hosts["nowhere.invalid"] = r.hosts["app.test"]
			return &wider
		})),
		mutant("paths are not judged", http.MethodGet, "paths in disguise", replaced(l, &cleanPath, func(string) error { return nil })),
		mutant("paths are judged before they are decoded", http.MethodGet, "paths in disguise", replaced(l, &cleanPath, func(raw string) error {
			if strings.Contains(raw, "%") {
				return nil
			}
			return h1.CleanPath(raw)
		})),
		mutant("requests are not guarded", http.MethodPost, "smuggling", replaced(l, &guarded, unguarded)),
		mutant("any version is taken", opToken, "half an HTTP", replaced(l, &guarded, unguarded)),
	}
}

// of returns the routes of r.
func (r *router) of() []*route {
	all := slices.Clone(r.open)
	for _, host := range slices.Sorted(maps.Keys(r.hosts)) {
		all = append(all, r.hosts[host]...)
	}
	return all
}

// routes replaces the router.
func (l *Lab) routes(edit func(*router) *router) change {
	return l.serving(func() func() {
		was := l.Broker.routes.Load()
		l.Broker.routes.Store(edit(was))
		return func() { l.Broker.routes.Store(was) }
	})
}

// shareMutants share with others what is one tenant's.
func (l *Lab) shareMutants() []prove.Mutant {
	peerOnly := func(_ secret.Text, peer netip.Addr) key { return key{peer: peer} }
	all := []prove.Mutant{
		mutant("answers go to who asks next", http.MethodGet, "answers of an application", l.upstreams(func(u forward.Upstream) forward.Upstream { return &stale{Upstream: u} })),
		mutant("what is left of a connection is read by the next", opMirror, "a request that is cut", l.leftovers()),
		mutant("a Txn-Token reaches what its route passes on", opMirror, "reach of a token", l.minter(func(m Minter) Minter { return &wide{m, l} })),
	}
	for _, probe := range []string{"turns on one connection", "turns in one write", "many at once"} {
		all = append(all, mutant("sessions are of an address, whatever the token: "+probe, opToken, probe, replaced(l, &keyOf, peerOnly)))
	}
	for _, probe := range []string{"turns on one connection", "many at once"} {
		all = append(all, mutant("a Txn-Token serves every session: "+probe, opMirror, probe, l.minter(func(m Minter) Minter { return &shared{Minter: m} })))
	}
	return all
}

func (l *Lab) minter(by func(Minter) Minter) change {
	return l.serving(func() func() {
		was := l.Broker.Minter
		l.Broker.Minter = by(was)
		return func() { l.Broker.Minter = was }
	})
}

// upstreams replaces what every route leads to.
func (l *Lab) upstreams(by func(forward.Upstream) forward.Upstream) change {
	return l.routes(func(r *router) *router {
		var all []Route
		for _, one := range r.of() {
			given := one.Route
			given.Upstream = by(given.Upstream)
			all = append(all, given)
		}
		other, err := newRouter(all)
		if err != nil {
			panic(err) // a mutant that is none
		}
		return other
	})
}

// stale is an upstream that answers with what was answered before.
type stale struct {
	forward.Upstream
	mu   sync.Mutex // guards what follows
	last []byte
}

// Do implements [forward.Upstream].
func (u *stale) Do(ctx context.Context, s scope.Scope, r *http.Request) (*http.Response, error) {
	resp, err := u.Upstream.Do(ctx, s, r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close() //nolint:errcheck // it was read
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = b
	}
	u.last, b = b, u.last
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return resp, nil
}

// shared makes one Txn-Token for each application.
type shared struct {
	Minter
	of sync.Map
}

// Txn implements [Minter].
func (m *shared) Txn(p identity.Principal, g identity.TxnGrant) (secret.Text, error) {
	token, err := m.Minter.Txn(p, g)
	if err != nil {
		return token, err
	}
	first, _ := m.of.LoadOrStore(g.Workload, token)
	return first.(secret.Text), nil
}

// wide makes Txn-Tokens of all that the first provider's people reach.
type wide struct {
	Minter
	lab *Lab
}

// Txn implements [Minter].
func (m *wide) Txn(p identity.Principal, g identity.TxnGrant) (secret.Text, error) {
	all, err := m.lab.someone(p.Tenant().String())
	if err != nil {
		return secret.Text{}, err
	}
	g.Reach = []string{identity.PGRead, identity.PGWrite}
	return m.Minter.Txn(all, g)
}

// leftovers gives the next connection what was cut off on the last.
func (l *Lab) leftovers() change {
	var mu sync.Mutex
	var left []byte
	return replaced(l, &guarded, func(c net.Conn) net.Conn {
		mu.Lock()
		defer mu.Unlock()
		one := &leaky{Conn: c, pending: left, keep: func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			left = b
		}}
		left = nil
		return one
	})
}

// leaky is a connection that begins with somebody else's bytes.
type leaky struct {
	net.Conn
	pending []byte
	keep    func([]byte)
	read    []byte
}

// Read implements [net.Conn].
func (c *leaky) Read(b []byte) (int, error) {
	if len(c.pending) > 0 {
		n := copy(b, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	c.read = append(c.read, b[:n]...)
	if err == io.EOF && len(c.read) > 0 && !bytes.HasSuffix(c.read, []byte("\r\n\r\n")) {
		c.keep(c.read)
		c.read = nil
	}
	return n, err
}

// hence is how JSON writes the time after d.
func hence(d time.Duration) float64 { return float64(time.Now().Add(d).Unix()) }

// said returns the claim of a name as a text.
func said(claims map[string]any, name string) string {
	s, ok := claims[name].(string)
	if !ok {
		return fmt.Sprint(claims[name])
	}
	return s
}
