//go:build mutant

package postgres

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A Lab is what mutants need of the deployment they weaken. It holds nobody's
// data but the two tenants'.
type Lab struct {
	Super  *pgx.Conn // superuser of the database that is attacked
	Target *prove.Target
	Gate   *broker.Gate // whose verifier mutants replace

	// Restart makes a change while nothing is served, and serves again at the
	// same address.
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

// Mutants returns a weakened deployment for each row of the table, and those
// that people have thought of, in the broker and in the database. It must be
// called before anything is served: from then on the verifier can be changed.
func Mutants(l *Lab) []prove.Mutant {
	l.verifier = &changing{}
	was := l.Gate.Verifier
	l.verifier.now.Store(&was)
	l.Gate.Verifier = l.verifier
	return slices.Concat(l.rowMutants(), l.brokerMutants(), l.lockMutants(), l.closedMutants())
}

// MutantRows returns the names of the rows that a mutant must cover.
func MutantRows() []string {
	var rows []string
	for _, r := range table.Rows(Name) {
		rows = append(rows, prove.Row(r))
	}
	return rows
}

// Mutate applies the mutant of that name for good: it is for a program that
// does not serve yet, whose Restart is the change alone.
func Mutate(ctx context.Context, l *Lab, name string) error {
	for _, m := range Mutants(l) {
		if m.Name != name {
			continue
		}
		if m.Equivalent != "" {
			return fmt.Errorf("postgres: mutant %q is equivalent: %s", name, m.Equivalent)
		}
		_, err := m.Apply(ctx)
		return err
	}
	return fmt.Errorf("postgres: no mutant is called %q", name)
}

// onRows returns rows as probes and mutants name them.
func onRows(rows ...string) []string {
	all := make([]string, 0, len(rows))
	for _, r := range rows {
		all = append(all, Name+"/"+r)
	}
	return all
}

// byProbe names a probe in full.
func byProbe(name string) []string { return []string{Name + ": " + name} }

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

// within are the rows that run in a transaction that has its context, or in
// none: whom their rule would enter as does not matter.
var within = []string{
	"Execute unlisten",
	"Execute fetch", "Execute move", "Execute close", "Execute commit", "Execute rollback", "Execute release", "Execute rollback to",
}

// rowMutants returns one mutant for each row: one that denies lets its client
// through; one that lets through enters as B, or, where no context is given,
// answers with what was B's.
func (l *Lab) rowMutants() []prove.Mutant {
	var all []prove.Mutant
	for _, row := range slices.Sorted(maps.Keys(table)) {
		m := prove.Mutant{Rows: onRows(row)}
		_, runs := chain[row]
		switch {
		case row == "CopyData":
			m.Name = row + " let through"
			m.Equivalent = "COPY data that no COPY asked for is dropped, as the server does it, before any row is asked"
		case table[row].Verdict == scope.Deny:
			m.Name = row + " let through"
			m.Apply = l.rule(row, func(r *scope.Rule[*request]) { r.Verdict, r.Needs, r.Confine = scope.Confine, read, enter })
		case runs && !slices.Contains(within, row) || row == "Bind" || row == "Bind write" || row == "Open":
			m.Name, m.Canary = row+" enters as B", true
			m.Apply = l.rule(row, func(r *scope.Rule[*request]) {
				r.Verdict, r.Needs, r.Confine = scope.Confine, cmp.Or(r.Needs, read), l.enterAsB
			})
		default:
			m.Name, m.Canary = row+" answers with B's", true
			m.Apply = l.rule(row, l.crosses)
		}
		all = append(all, m)
	}
	return append(all, prove.Mutant{
		Name: "COPY FROM STDIN let through, with its data", Rows: onRows("CopyData"),
		Apply: l.rule("Execute copy from stdin", func(r *scope.Rule[*request]) { r.Verdict, r.Needs, r.Confine = scope.Confine, read, enter }),
	})
}

// crosses puts an answer of B's before those to the row.
func (l *Lab) crosses(rule *scope.Rule[*request]) {
	was := rule.Confine
	rule.Verdict, rule.Needs = scope.Confine, cmp.Or(rule.Needs, read)
	rule.Confine = func(r *request, i int, s scope.Scope) error {
		r.ops[i].Class = max(r.ops[i].Class, uint16(audit.ClassStatement))
		if s.Tenant().String() == l.Target.A.ID {
			r.expects = slices.Insert(slices.Clone(r.expects), 0, expect{what: local, op: none, tag: "SELECT 1 " + l.Target.B.Canary})
		}
		if was == nil {
			return nil
		}
		return was(r, i, s)
	}
}

// enterAsB gives A the context of B, signed for A's own backend.
func (l *Lab) enterAsB(r *request, i int, s scope.Scope) error {
	other, err := tenant.Parse(l.Target.B.ID)
	if err != nil || s.Tenant().String() != l.Target.A.ID {
		return errors.Join(err, enter(r, i, s))
	}
	if r.context != "" {
		return nil
	}
	key, err := r.backend.keys.current()
	if err != nil {
		return err
	}
	p := s.Principal()
	r.context = key.Context(protect.Claims{
		Tenant: other, Principal: p.ID(), Reach: p.Reach(),
		IssuedAt: time.Now().Add(r.backend.skew), Expires: p.Expires().Add(r.backend.skew),
	}, r.backend.key.PID, r.backend.start)
	return nil
}

// brokerMutants are those of the broker besides its rows.
func (l *Lab) brokerMutants() []prove.Mutant {
	forgetful := func(r *scope.Rule[*request]) {
		r.Confine = func(r *request, i int, s scope.Scope) error {
			if s.Tenant().String() == l.Target.A.ID {
				r.forget()
			}
			return enter(r, i, s)
		}
	}
	all := []prove.Mutant{
		{Name: "audience not checked", Rows: onRows("Startup"), By: byProbe("a token for another broker"), Apply: l.verifies(func(v broker.Verifier) broker.Verifier { return anywhere{v} })},
		{Name: "standing not checked", Rows: onRows("Startup"), By: byProbe("a tenant that is suspended"), Apply: l.verifies(func(v broker.Verifier) broker.Verifier { return undying{v} })},
		{Name: "set constraints needs no pg:write", Rows: onRows("Execute set constraints"), By: byProbe("write with a token that reads"), Apply: l.rule("Execute set constraints", func(r *scope.Rule[*request]) { r.Needs = read })},
	}
	for _, name := range []string{"a token forged", "a token expired", "a token of an issuer nobody knows", "no token"} {
		all = append(all, prove.Mutant{
			Name: "who fails to verify is whoever verified last: " + name, Rows: onRows("Startup"), By: byProbe(name),
			Apply: l.verifies(func(v broker.Verifier) broker.Verifier { return &lenient{Verifier: v} }),
		})
	}
	for _, row := range []string{"Execute commit and chain", "Execute rollback and chain"} {
		all = append(all, prove.Mutant{Name: row + " forgets the context", Rows: onRows(row), Apply: l.rule(row, forgetful)},
			prove.Mutant{
				Name: row + " forgets the context, and the policy lets nobody see everything", Rows: onRows(row), Canary: true,
				Apply: both(l.rule(row, forgetful), l.sql(
					"ALTER POLICY isocore_tenant ON "+canaryTable+" USING (tenant_id = (SELECT isocore.tenant()) OR (SELECT isocore.tenant()) IS NULL)",
					tenantPolicyBack)),
			})
	}
	for _, name := range []string{"isocore.ctx", "app.tenant_id", "row_security", "statement_timeout", "standard_conforming_strings", "work_mem", "session_replication_role"} {
		all = append(all, prove.Mutant{Name: "a client may set " + name, Rows: onRows("Execute set unlisted"), By: byProbe("parameters that others believe"), Apply: l.sets(name)})
	}
	return append(all, prove.Mutant{
		Name: "role may be asked for in the startup message", Rows: onRows("Startup"), By: byProbe("parameters of the connection"), Apply: l.sets("role"),
	}, prove.Mutant{
		Name: "a client may set the context, and nobody checks its MAC", Rows: onRows("Execute set unlisted"), By: byProbe("forge the context"), Canary: true,
		Apply: both(l.sets("isocore.ctx"), l.function("isocore.tenant()", withoutMAC)),
	})
}

// sets lets clients set a parameter.
func (l *Lab) sets(name string) change {
	return l.serving(func() func() {
		was, there := settable[name]
		settable[name] = true
		return func() {
			settable[name] = was
			if !there {
				delete(settable, name)
			}
		}
	})
}

// verifies replaces the verifier.
func (l *Lab) verifies(v func(broker.Verifier) broker.Verifier) change {
	return func(context.Context) (func(context.Context) error, error) {
		was := l.verifier.now.Load()
		is := v(*was)
		l.verifier.now.Store(&is)
		return func(context.Context) error { l.verifier.now.Store(was); return nil }, nil
	}
}

// forget takes out the last place where r sets the context, with the answers
// that were expected of it.
func (r *request) forget() {
	for i := len(r.expects) - 3; i >= 0; i-- {
		e := r.expects[i : i+3]
		if len(r.enters) > 0 && e[0].what == parsed && e[0].unseen && e[1].what == bound && e[2].what == ran && e[2].unseen {
			r.expects = slices.Delete(slices.Clone(r.expects), i, i+3)
			r.enters = r.enters[:len(r.enters)-1]
			return
		}
	}
}

// anywhere is a verifier that takes tokens for any broker.
type anywhere struct{ broker.Verifier }

func (a anywhere) Verify(ctx context.Context, name string, token secret.Text) (identity.Principal, error) {
	var claims struct {
		Audience string `json:"aud"`
	}
	if parts := strings.Split(token.Reveal(), "."); len(parts) == 3 {
		if p, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil && json.Unmarshal(p, &claims) == nil {
			if _, audience, ok := strings.Cut(claims.Audience, ":"); ok {
				name = audience
			}
		}
	}
	return a.Verifier.Verify(ctx, name, token)
}

// undying is a verifier that asks once, as long as a token was verified.
type undying struct{ broker.Verifier }

func (undying) Live(identity.Principal) error { return nil }

// lenient is a verifier that takes who fails for whoever came last.
type lenient struct {
	broker.Verifier
	last atomic.Pointer[identity.Principal]
}

func (l *lenient) Verify(ctx context.Context, name string, token secret.Text) (identity.Principal, error) {
	p, err := l.Verifier.Verify(ctx, name, token)
	if err == nil {
		l.last.Store(&p)
		return p, nil
	}
	if last := l.last.Load(); last != nil {
		return *last, nil
	}
	return p, err
}

// both applies two changes.
func both(first, second change) change {
	return func(ctx context.Context) (func(context.Context) error, error) {
		undoFirst, err := first(ctx)
		if err != nil {
			return nil, err
		}
		undoSecond, err := second(ctx)
		if err != nil {
			return nil, errors.Join(err, undoFirst(ctx))
		}
		return func(ctx context.Context) error { return errors.Join(undoSecond(ctx), undoFirst(ctx)) }, nil
	}
}
