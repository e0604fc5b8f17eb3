package forward_test

import (
	"context"
	"errors"
	"testing"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/refusal"
)

// TestLocal: what no store is asked for has a decision and an outcome too.
func TestLocal(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	s := session(t, w, w.A)
	local := func(do func(context.Context, *page) (audit.Result, error)) error {
		p, err := broker.Admit(t.Context(), s, pages, &page{r: request(t, "GET", "/", "")})
		if err != nil {
			return err
		}
		return forward.Local(t.Context(), p, do)
	}
	if err := local(func(_ context.Context, p *page) (audit.Result, error) {
		if p.owner == "" || len(w.Records(t, w.A)) != 2 {
			t.Error("it ran before its decision")
		}
		return audit.Result{Code: "200", BytesOut: 7}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := local(func(context.Context, *page) (audit.Result, error) { return audit.Result{}, errBoom }); !errors.Is(err, errBoom) {
		t.Error(err)
	}
	until(t, func() bool { return len(outcomes(t, w, s)) == 2 })
	got := outcomes(t, w, s)
	if got[0].Status != audit.StatusOK || got[0].BytesOut != 7 || got[1].Status != audit.StatusFailed {
		t.Errorf("%+v", got)
	}
	if err := local(func(context.Context, *page) (audit.Result, error) {
		failLog(t, w)
		return audit.Result{}, nil
	}); refusal.Of(err) != refusal.Unrecorded {
		t.Errorf("an outcome that was not taken: %v", err)
	}
	ran := false
	if err := local(func(context.Context, *page) (audit.Result, error) { ran = true; return audit.Result{}, nil }); err == nil || ran {
		t.Errorf("it ran without a record: %v", err)
	}
}
