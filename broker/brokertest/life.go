package brokertest

import (
	"slices"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// records: one decision and one outcome for every confined operation.
func records(t *testing.T, h Harness) {
	x := h.start(t)
	c := x.dial(t, x.Token(x.A))
	for _, what := range []Ask{Read, Write, Denied, Begin, Write, End, Unlisted, Read} {
		_, _ = c.Ask(within(t), what)
	}
	c.Hang()
	x.Stop()
	confined, refused := x.pairs(t, x.A)
	if confined < 5 || refused != 2 {
		t.Errorf("%d confined, %d refused", confined, refused)
	}
	if n, _ := x.pairs(t, x.B); n != 0 {
		t.Errorf("%d operations in the log of who did nothing", n)
	}
}

// pairs checks that every confined operation of a log has one outcome and
// every refused one none, and counts them.
func (x *Target) pairs(t *testing.T, id tenant.ID) (confined, refused int) {
	t.Helper()
	outcomes := map[audit.Ref]int{}
	rs := x.Records(t, id)
	for _, r := range rs {
		if r.Kind == audit.Outcome {
			outcomes[r.Of]++
			d := rs[r.Of.Seq]
			if d.Kind != audit.Decision || d.Operation != r.Operation || d.Session != r.Session {
				t.Errorf("the outcome %+v is of %+v", r, d)
			}
			if r.Result.Status == "" {
				t.Errorf("%s has no status", r.Operation)
			}
		}
	}
	for i, r := range rs {
		if r.Kind != audit.Decision {
			continue
		}
		want := 0
		if r.Verdict == "confine" {
			confined++
			want = 1
		} else if r.Reason == "" {
			t.Errorf("%s was refused for nothing", r.Operation)
		} else {
			refused++
		}
		if n := outcomes[audit.Ref{Log: id, Seq: uint64(i)}]; n != want {
			t.Errorf("%s %q %s has %d outcomes", r.Operation, r.Text, r.Verdict, n)
		}
	}
	return confined, refused
}

// slow returns a client that waits for something slow, which has begun.
func (h Harness) slow(t *testing.T, x *Target) Client {
	t.Helper()
	c := x.dial(t, x.Token(x.A))
	before := x.decisions(t)
	if err := c.Send(within(t), Slow); err != nil {
		t.Fatal(err)
	}
	x.decided(t, before+1)
	return c
}

// decided waits until n decisions are recorded for A.
func (x *Target) decided(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the decision is recorded", patience, func() bool { return x.decisions(t) >= n })
}

// decisions returns how many decisions are recorded for A.
func (x *Target) decisions(t *testing.T) (n int) {
	t.Helper()
	for _, r := range x.Records(t, x.A) {
		if r.Kind == audit.Decision {
			n++
		}
	}
	return n
}

// abandoned waits for the outcome of something that nobody saw the end of.
func (x *Target) abandoned(t *testing.T) {
	t.Helper()
	eventually(t, "it is recorded as abandoned or failed", 3*time.Second, func() bool {
		return slices.ContainsFunc(x.Records(t, x.A), func(r audit.Record) bool {
			return r.Kind == audit.Outcome && (r.Result.Status == audit.StatusAbandoned || r.Result.Status == audit.StatusFailed)
		})
	})
}

func hangUp(t *testing.T, h Harness) {
	x := h.start(t)
	c := h.slow(t, x)
	c.Hang()
	eventually(t, "the store is free", time.Second, func() bool { return x.Busy() == 0 })
	x.abandoned(t)
	x.Stop()
	x.pairs(t, x.A)
}

func suspension(t *testing.T, h Harness) {
	x := h.start(t)
	idle, running, other := x.dial(t, x.Token(x.A)), h.slow(t, x), x.dial(t, x.Token(x.B))
	x.Standing.Suspend(x.A.UUID())
	begin := time.Now()
	h.says(t, "an idle session", idle.Wait(within(t)), refusal.Suspended)
	h.says(t, "a running statement", running.Wait(within(t)), refusal.Suspended)
	left := 1 // of the other's
	if h.Requests {
		left = 0
	}
	eventually(t, "the store is free", time.Second, func() bool { return x.Busy() == left })
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	x.abandoned(t)
	ask(t, other, Read)
}

func drainIdle(t *testing.T, h Harness) {
	x := h.start(t)
	c := x.dial(t, x.Token(x.A))
	ask(t, c, Read)
	go x.Stop()
	h.parts(t, "an idle session", c.Wait(within(t)))
	eventually(t, "the store is free", time.Second, func() bool { return x.Busy() == 0 })
}

// parts checks how a client hears that the node goes away.
func (h Harness) parts(t *testing.T, what string, err error) {
	t.Helper()
	if _, _, said := h.Code(err); h.Requests && err != nil && !said {
		return // without a word
	}
	h.says(t, what, err, refusal.Draining)
}

// drainAnswer is drainBusy where there are no transactions: an answer in
// progress is finished.
func drainAnswer(t *testing.T, h Harness) {
	x := h.start(t)
	c := x.dial(t, x.Token(x.A))
	before := x.decisions(t)
	if err := c.Send(within(t), Big); err != nil {
		t.Fatal(err)
	}
	x.decided(t, before+1)
	eventually(t, "the answer is in progress", patience, func() bool { return x.Busy() == 1 })
	go x.Stop()
	if _, err := c.Answer(within(t)); err != nil {
		t.Errorf("what was in progress: %v", err)
	}
	h.parts(t, "a session after its answer", c.Wait(within(t)))
}

func drainBusy(t *testing.T, h Harness) {
	if h.Requests {
		drainAnswer(t, h)
		return
	}
	x := h.start(t)
	c := x.dial(t, x.Token(x.A))
	ask(t, c, Begin)
	ask(t, c, Write)
	go x.Stop()
	idle, err := x.Dial(within(t), x.Token(x.B))
	if err == nil { // it slipped in before the door closed
		_ = idle.Wait(within(t))
	}
	ask(t, c, Read)
	ask(t, c, End)
	h.parts(t, "a session after its transaction", c.Wait(within(t)))
}

func drainCut(t *testing.T, h Harness) {
	x := h.start(t)
	c := h.slow(t, x)
	done := make(chan struct{})
	go func() {
		x.Stop()
		close(done)
	}()
	select {
	case <-done:
	case <-within(t).Done():
		t.Fatal("a statement in progress outlives the grace")
	}
	if err := c.Wait(within(t)); err == nil {
		t.Error("it goes on")
	}
	if n := x.Busy(); n != 0 {
		eventually(t, "the store is free", time.Second, func() bool { return x.Busy() == 0 })
	}
	x.abandoned(t)
}
