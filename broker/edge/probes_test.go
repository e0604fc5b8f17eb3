package edge

import (
	"strings"
	"testing"

	"github.com/isocore/isocore/prove"
)

func TestEveryRowHasProbes(t *testing.T) {
	if err := prove.Check((*Broker)(nil).Rows(), Probes()); err != nil {
		t.Error(err)
	}
	for _, gap := range Gaps() {
		if _, why, ok := strings.Cut(gap, ": "); !ok || why == "" {
			t.Errorf("gap %q has no reason", gap)
		}
	}
}

// TestProbes attacks a real deployment with everything there is.
func TestProbes(t *testing.T) {
	p := newProving(t)
	r := prove.Run(t.Context(), p.target, Probes(), prove.Options{Gaps: Gaps()})
	t.Log(r.Summary())
	for _, o := range r.Outcomes {
		if o.Status != prove.Held {
			t.Errorf("%s: %v: %s", o.Probe, o.Status, o.Why)
			if o.Finding != nil {
				t.Error(o.Finding.Evidence)
			}
		}
	}
}
