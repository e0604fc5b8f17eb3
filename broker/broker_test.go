package broker_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

var peer = netip.MustParseAddrPort("127.0.0.1:4000")

// A request names the operations it asks for.
type request struct {
	names    []string
	confined []string
}

func ask(names ...string) *request { return &request{names: names} }

func (r *request) Operations() []scope.Operation {
	var ops []scope.Operation
	for _, n := range r.names {
		ops = append(ops, scope.Operation{Name: n, Text: []byte("text of " + n), Class: uint16(audit.ClassStatement)})
	}
	return ops
}

func confine(r *request, i int, s scope.Scope) error {
	r.confined = append(r.confined, r.names[i]+" of "+s.Tenant().String())
	return nil
}

var table = scope.Table[*request]{
	"ping":  {Verdict: scope.Allow, Why: "carries nothing"},
	"get":   {Verdict: scope.Confine, Effect: scope.Read, Needs: identity.PGRead, Why: "prefixed", Confine: confine},
	"set":   {Verdict: scope.Confine, Needs: identity.PGWrite, Why: "prefixed", Confine: confine},
	"flush": {Why: "everybody's", Hint: "delete one by one"},
	"fails": {Verdict: scope.Confine, Needs: identity.PGRead, Why: "prefixed", Confine: func(*request, int, scope.Scope) error {
		return refusal.New(refusal.TooLarge, "no room for a prefix")
	}},
}

func enter(t *testing.T, w *brokertest.World, reach ...string) *broker.Session {
	t.Helper()
	s, err := w.Gate.Enter(t.Context(), "postgres", peer, w.Token(w.A, reach...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// decisions returns the decisions in a log, as text.
func decisions(t *testing.T, w *brokertest.World, id tenant.ID) []string {
	t.Helper()
	var all []string
	for _, r := range w.Records(t, id) {
		if r.Kind == audit.Decision {
			all = append(all, strings.TrimSpace(r.Verdict+" "+r.Operation+" "+r.Reason))
		}
	}
	return all
}

func TestAdmit(t *testing.T) {
	for name, c := range map[string]struct {
		ask  *request
		want refusal.Reason // Draining: admitted
		logs []string
	}{
		"allowed":           {ask("ping"), refusal.Draining, nil},
		"confined":          {ask("get"), refusal.Draining, []string{"confine get"}},
		"several":           {ask("get", "ping", "set"), refusal.Draining, []string{"confine get", "confine set"}},
		"denied":            {ask("flush"), refusal.Denied, []string{"deny flush Denied"}},
		"unlisted":          {ask("frobnicate"), refusal.Unlisted, []string{"deny frobnicate Unlisted"}},
		"all or nothing":    {ask("get", "flush", "ping"), refusal.Denied, []string{"deny get Denied", "deny flush Denied", "deny ping Denied"}},
		"a rule that fails": {ask("fails"), refusal.TooLarge, []string{"deny fails TooLarge"}},
		"nothing":           {ask(), refusal.Internal, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := brokertest.New(t, "postgres", brokertest.Limits())
			s := enter(t, w)
			p, err := broker.Admit(t.Context(), s, table, c.ask)
			if (err == nil) != (c.want == refusal.Draining) || err != nil && refusal.Of(err) != c.want {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				if err := p.Recorded(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := decisions(t, w, w.A); !slices.Equal(got, c.logs) { // a refusal is durable on return
				t.Errorf("recorded %q, want %q", got, c.logs)
			}
			for _, said := range c.ask.confined {
				if !strings.HasSuffix(said, w.A.String()) {
					t.Errorf("%s", said)
				}
			}
		})
	}
}

func TestAdmitInOrder(t *testing.T) {
	limits := brokertest.Limits()
	limits.Rate, limits.Burst = 0.001, 2 // to enter is an operation too
	w := brokertest.New(t, "postgres", limits)
	s := enter(t, w, identity.PGRead)
	if _, err := broker.Admit(t.Context(), s, table, ask("set")); refusal.Of(err) != refusal.Narrow {
		t.Errorf("a narrow token: %v", err)
	}
	// Limits come before the table, and the first refusal of a second is recorded.
	for range 50 {
		if _, err := broker.Admit(t.Context(), s, table, ask("flush")); refusal.Of(err) != refusal.TooFast {
			t.Errorf("too fast: %v", err)
		}
	}
	if got := decisions(t, w, w.A); len(got) > 5 || !slices.Contains(got, "deny flush TooFast") {
		t.Errorf("recorded %q", got)
	}
	// Being alive comes before everything.
	w.Standing.Suspend(w.A.UUID())
	if _, err := broker.Admit(t.Context(), s, table, ask("flush")); refusal.Of(err) != refusal.Suspended {
		t.Errorf("suspended: %v", err)
	}
	w.Standing.Resume(w.A.UUID())
	w.Commits.Fail(brokertest.ErrDisk)
	if _, err := broker.Admit(t.Context(), s, table, ask("ping")); err != nil {
		t.Errorf("what is not recorded needs no disk: %v", err)
	}
}

func TestUnrecorded(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	s := enter(t, w)
	w.Commits.Fail(brokertest.ErrDisk)
	for _, name := range []string{"set", "flush", "set"} {
		p, err := broker.Admit(t.Context(), s, table, ask(name))
		if err == nil {
			_, err = p.Take(t.Context())
		}
		if refusal.Of(err) != refusal.Unrecorded {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Gate.Enter(t.Context(), "postgres", peer, w.Token(w.B)); refusal.Of(err) != refusal.Unrecorded {
		t.Errorf("a session: %v", err)
	}
}

func TestPassOnce(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	p, err := broker.Admit(t.Context(), enter(t, w), table, ask("get", "set"))
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := p.Take(t.Context())
	_, err2 := p.Take(t.Context())
	receipt, err3 := p.Close(t.Context(), audit.Result{Status: audit.StatusOK})
	_, err4 := p.Close(t.Context())
	if err1 != nil || err2 == nil || err3 != nil || err4 == nil {
		t.Errorf("%v, %v, %v, %v", err1, err2, err3, err4)
	}
	if _, err := receipt.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	rs := w.Records(t, w.A)
	for _, r := range rs[len(rs)-2:] {
		of := rs[r.Of.Seq]
		if r.Kind != audit.Outcome || of.Kind != audit.Decision || of.Operation != r.Operation {
			t.Errorf("%+v is of %+v", r, of)
		}
	}
	if last := rs[len(rs)-1]; last.Operation != "set" || last.Result.Status != audit.StatusAbandoned {
		t.Errorf("what nobody says of an operation: %+v", last)
	}
}

func TestQueueIsFreed(t *testing.T) {
	limits := brokertest.Limits()
	limits.Queue = 1
	w := brokertest.New(t, "postgres", limits)
	s := enter(t, w)
	for i := range 6 {
		p, err := broker.Admit(t.Context(), s, table, ask("get"))
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if _, err := broker.Admit(t.Context(), s, table, ask("get")); refusal.Of(err) != refusal.TooFast {
			t.Errorf("two at once: %v", err)
		}
		if i%2 == 0 {
			p.Free()
			p.Free()
		}
		if _, err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		_, _ = broker.Admit(t.Context(), s, table, ask("flush")) // a refusal keeps nothing
	}
}

func TestSession(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	s := enter(t, w)
	why := refusal.New(refusal.TooLong, "said nothing for long")
	if err := errors.Join(s.Leave(t.Context(), why), s.Leave(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	rs := w.Records(t, w.A)
	if len(rs) != 2 || rs[0].Class != audit.ClassSessionBegun || rs[1].Class != audit.ClassSessionEnded || rs[1].Reason != "TooLong" || rs[0].Session != s.ID() {
		t.Errorf("the tenant's log: %+v", rs)
	}
	for _, r := range w.Records(t, tenant.ID{}) {
		if r.Kind == audit.Entry && (r.Subject != "" || r.Issuer != "" || !slices.Equal(r.Resources, []string{w.A.String()})) {
			t.Errorf("the operator's log knows who: %+v", r)
		}
	}
	if _, err := w.Gate.Enter(t.Context(), "postgres", peer, w.Forged(w.A)); refusal.Of(err) != refusal.Unauthenticated || w.Counts.Of(refusal.Unauthenticated) != 1 {
		t.Errorf("a forgery: %v, counted %d times", err, w.Counts.Of(refusal.Unauthenticated))
	}
	if got := len(w.Records(t, w.A)); got != 2 {
		t.Errorf("a forgery is in the log of whom it names: %d records", got)
	}
}

func TestContext(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	s := enter(t, w)
	all, stopAll := s.Context(t.Context())
	patient, stopPatient := s.Context(t.Context(), refusal.Expired)
	defer stopAll()
	defer stopPatient()
	w.Expire(w.A)
	<-all.Done()
	if refusal.Of(context.Cause(all)) != refusal.Expired || patient.Err() != nil {
		t.Errorf("expired: %v, %v", context.Cause(all), context.Cause(patient))
	}
	again, stop := s.Context(t.Context())
	defer stop()
	select {
	case <-again.Done():
	case <-time.After(10 * time.Second):
		t.Error("a context of somebody who is over goes on")
	}
}

func TestCheck(t *testing.T) {
	err := new(broker.Gate).Check()
	for _, what := range []string{"verifier", "limiter", "log", "counter", "clock"} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v does not name the %s", err, what)
		}
	}
}
