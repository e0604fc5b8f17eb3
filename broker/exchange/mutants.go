//go:build mutant

package exchange

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
)

// A Lab is what mutants need of the exchange they weaken.
type Lab struct {
	Target   *prove.Target
	Gate     *broker.Gate // whose verifier mutants replace
	Exchange *Exchange    // whose minter mutants replace; it has to be an [identity.Minter]

	// Restart makes a change while nothing is served, and serves again where
	// Target says, what wrap makes of the handler.
	Restart func(ctx context.Context, change func(), wrap func(http.Handler) http.Handler) error
}

// Mutants returns a weakened exchange for each row of the table and for each
// of its defences.
func Mutants(l *Lab) []prove.Mutant {
	return slices.Concat(l.rowMutants(), l.minterMutants(), l.formMutants(), l.tokenMutants())
}

// MutantRows returns the names of the rows that a mutant must cover.
func MutantRows() []string {
	var rows []string
	for _, r := range table.Rows(Name) {
		rows = append(rows, prove.Row(r))
	}
	return rows
}

func mutant(name, row, probe string, apply change) prove.Mutant {
	return prove.Mutant{Name: name + ": " + probe, Rows: []string{Name + "/" + row}, By: []string{Name + ": " + probe}, Apply: apply}
}

// A change weakens something, and returns how to mend it.
type change = func(ctx context.Context) (undo func(context.Context) error, err error)

func plain(h http.Handler) http.Handler { return h }

// serving returns an Apply that makes a change between two servings.
func (l *Lab) serving(swap func() (undo func())) change {
	return func(ctx context.Context) (func(context.Context) error, error) {
		var undo func()
		if err := l.Restart(ctx, func() { undo = swap() }, plain); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return l.Restart(ctx, undo, plain) }, nil
	}
}

// rule replaces the rule of a row.
func (l *Lab) rule(row string, edit func(*scope.Rule[*request])) change {
	return l.serving(func() func() {
		was := table[row]
		is := was
		edit(&is)
		table[row] = is
		return func() { table[row] = was }
	})
}

func (l *Lab) rowMutants() []prove.Mutant {
	alone := mutant("the rule does not compare reaches", store, "more reach", nil)
	alone.Equivalent = "the minter compares them once more, and refuses in the same words: see the mutant in which it does not"
	return []prove.Mutant{
		mutant("whatever the audience, a token for the store", elsewhere, "other audiences", l.rule(elsewhere, func(r *scope.Rule[*request]) {
			r.Verdict, r.Needs = scope.Confine, identity.PGRead
			r.Confine = func(q *request, _ int, s scope.Scope) error {
				q.broker, q.granted = "postgres", s.Principal().Reach()
				return nil
			}
		})),
		mutant("the store's reach is not asked for", store, "reach that opens nothing", l.rule(store, func(r *scope.Rule[*request]) { r.Needs = identity.PGWrite })),
		alone,
	}
}

// A minting is a minter that is a function.
type minting func(p identity.Principal, n identity.Narrowing) (secret.Text, error)

// Narrow implements [Minter].
func (m minting) Narrow(p identity.Principal, n identity.Narrowing) (secret.Text, error) {
	return m(p, n)
}

// mints replaces the minter.
func (l *Lab) mints(by func(m *identity.Minter) minting) change {
	return l.serving(func() func() {
		was := l.Exchange.c.Minter
		l.Exchange.c.Minter = by(was.(*identity.Minter))
		return func() { l.Exchange.c.Minter = was }
	})
}

// someone returns whom a good Txn-Token of a tenant's speaks for.
func (l *Lab) someone(t *prove.Tenant) (identity.Principal, error) {
	token, err := t.Token(context.Background(), Name, identity.PGRead, identity.PGWrite)
	if err != nil {
		return identity.Principal{}, err
	}
	return l.Gate.Verifier.Verify(context.Background(), Name, token)
}

func (l *Lab) minterMutants() []prove.Mutant {
	const own, wider, longer = "whose token comes out", "more reach", "a longer life"
	forB := func(m *identity.Minter) minting {
		return func(p identity.Principal, n identity.Narrowing) (secret.Text, error) {
			b, err := l.someone(&l.Target.B)
			if err != nil {
				return secret.Text{}, err
			}
			return m.Narrow(b, n)
		}
	}
	last := func(m *identity.Minter) minting {
		var first atomic.Pointer[secret.Text]
		return func(p identity.Principal, n identity.Narrowing) (secret.Text, error) {
			token, err := m.Narrow(p, n)
			if err != nil || first.CompareAndSwap(nil, &token) {
				return token, err
			}
			return *first.Load(), nil
		}
	}
	anew := func(edit func(*identity.Grant)) func(m *identity.Minter) minting {
		return func(m *identity.Minter) minting {
			return func(p identity.Principal, n identity.Narrowing) (secret.Text, error) {
				g := identity.Grant{
					Tenant: p.Tenant(), Partner: p.Partner(), Principal: p.ID(), Subject: p.Subject(), ClientID: p.Client(), Broker: n.Broker, Reach: n.Reach,
					Txn: p.Txn(), TTL: n.TTL,
				}
				edit(&g)
				return m.Mint(g)
			}
		}
	}
	unnarrowed := func(q *request, _ int, s scope.Scope) error {
		if q.granted = slices.Clone(q.asked); len(q.asked) == 0 {
			q.granted = s.Principal().Reach()
		}
		return nil
	}
	widened := func(ctx context.Context) (func(context.Context) error, error) {
		undoRule, err := l.rule(store, func(r *scope.Rule[*request]) { r.Confine = unnarrowed })(ctx)
		if err != nil {
			return nil, err
		}
		undoMinter, err := l.mints(anew(func(*identity.Grant) {}))(ctx)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			if err := undoMinter(ctx); err != nil {
				return err
			}
			return undoRule(ctx)
		}, nil
	}
	return []prove.Mutant{
		mutant("nobody compares reaches", store, wider, widened),
		mutant("all there is, whatever was asked", store, own, l.mints(anew(func(g *identity.Grant) { g.Reach = []string{identity.PGRead, identity.PGWrite} }))),
		mutant("the token is B's", store, own, l.mints(forB)),
		mutant("the token is of who came first", store, "many at once", l.mints(last)),
		mutant("the token is for another store", store, own, l.mints(anew(func(g *identity.Grant) { g.Broker = "qdrant" }))),
		mutant("the token is of another txn", store, own, l.mints(anew(func(g *identity.Grant) { g.Txn = "" }))),
		mutant("the token lives as long as any", store, longer, l.mints(anew(func(g *identity.Grant) { g.TTL = identity.MaxLifetime }))),
		mutant("more parameters are passed over", store, longer, l.knows("ttl", "exp", "expires_in")),
		mutant("more parameters are passed over", store, "somebody who acts", l.knows("actor_token", "actor_token_type", "resource")),
	}
}

// knows has the form take more parameters.
func (l *Lab) knows(names ...string) change {
	return l.serving(func() func() {
		was := parameters
		parameters = append(slices.Clone(parameters), names...)
		return func() { parameters = was }
	})
}

// forms has forms changed before they are read, as a more forgiving reader
// would.
func (l *Lab) forms(edit func(r *http.Request, body string) string) change {
	return func(ctx context.Context) (func(context.Context) error, error) {
		nothing := func() {}
		wrap := func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
				if err != nil {
					return
				}
				r = r.Clone(r.Context())
				body := edit(r, string(b))
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
				h.ServeHTTP(w, r)
			})
		}
		if err := l.Restart(ctx, nothing, wrap); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return l.Restart(ctx, nothing, plain) }, nil
	}
}

// values has parameters changed before they are read.
func (l *Lab) values(edit func(r *http.Request, v url.Values)) change {
	return l.forms(func(r *http.Request, body string) string {
		v, err := url.ParseQuery(body)
		if err != nil {
			return body
		}
		edit(r, v)
		return v.Encode()
	})
}

func (l *Lab) formMutants() []prove.Mutant {
	set := func(name, value string) change {
		return l.values(func(_ *http.Request, v url.Values) {
			if v.Has(name) {
				v.Set(name, value)
			}
		})
	}
	const doubled, kinds, beside = "parameters twice", "kinds of tokens and grants", "a token elsewhere"
	return []prove.Mutant{
		mutant("the last of two counts", store, doubled, l.values(func(_ *http.Request, v url.Values) {
			for name, all := range v {
				v.Set(name, all[len(all)-1])
			}
		})),
		mutant("the query is read too", store, doubled, l.values(func(r *http.Request, v url.Values) {
			for name, all := range r.URL.Query() {
				v[name] = all
			}
			r.URL.RawQuery, r.URL.ForceQuery = "", false
		})),
		mutant("any type of body will do", store, doubled, l.forms(func(r *http.Request, body string) string {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Del("Content-Encoding")
			return body
		})),
		mutant("any kind of subject will do", store, kinds, set("subject_token_type", txnToken)),
		mutant("any kind is an access token", store, kinds, set("requested_token_type", accessToken)),
		mutant("any grant is an exchange", store, kinds, set("grant_type", grantType)),
		mutant("an empty scope is all there is", store, "more reach", l.forms(func(_ *http.Request, body string) string { return strings.TrimSuffix(body, "&scope=") })),
		mutant("scopes are of any case", store, "more reach", l.values(func(_ *http.Request, v url.Values) {
			if s := v.Get("scope"); s != "" {
				v.Set("scope", strings.ToLower(strings.Join(strings.Fields(strings.ReplaceAll(s, ",", " ")), " ")))
			}
		})),
		mutant("audiences are of any case", elsewhere, "other audiences", l.values(func(_ *http.Request, v url.Values) { v.Set("audience", strings.ToLower(v.Get("audience"))) })),
		mutant("a Txn-Token is taken from its header", store, beside, l.values(func(r *http.Request, v url.Values) {
			if s := r.Header.Get("Txn-Token"); s != "" {
				v.Set("subject_token", s)
			}
		})),
		mutant("an Authorization is passed over", store, beside, l.forms(func(r *http.Request, body string) string {
			r.Header.Del("Authorization")
			return body
		})),
		mutant("who acts is passed over", store, "somebody who acts", l.values(func(_ *http.Request, v url.Values) {
			for _, name := range []string{"actor_token", "actor_token_type", "act", "client_id"} {
				v.Del(name)
			}
		})),
	}
}

// lenient is a verifier that takes who fails for whoever came last.
type lenient struct {
	broker.Verifier
	last atomic.Pointer[identity.Principal]
}

// Verify implements [broker.Verifier].
func (l *lenient) Verify(ctx context.Context, name string, token secret.Text) (identity.Principal, error) {
	p, err := l.Verifier.Verify(ctx, name, token)
	if err == nil {
		l.last.Store(&p)
		return p, nil
	}
	if last := l.last.Load(); last != nil && last.Expires().After(time.Now()) {
		return *last, nil
	}
	return p, err
}

// Live implements [broker.Verifier].
func (*lenient) Live(identity.Principal) error { return nil }

func (l *Lab) tokenMutants() []prove.Mutant {
	var all []prove.Mutant
	for _, probe := range []string{
		"a token forged", "a token expired", "a token for another broker", "a token of an issuer nobody knows", "no token", "tokens of other doors", "a tenant that is suspended",
	} {
		all = append(all, mutant("who fails to verify is whoever verified last", store, probe, l.serving(func() func() {
			was := l.Gate.Verifier
			l.Gate.Verifier = &lenient{Verifier: was}
			return func() { l.Gate.Verifier = was }
		})))
	}
	return all
}
