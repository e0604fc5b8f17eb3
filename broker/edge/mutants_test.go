//go:build mutant

package edge

import (
	"context"
	"testing"

	"github.com/isocore/isocore/prove"
)

// TestMutants checks the probes: each weakened edge must be caught, and hold
// again when it is mended.
func TestMutants(t *testing.T) {
	p := newProving(t)
	lab := &Lab{Target: p.target, Gate: p.Gate, Broker: p.broker, Restart: func(_ context.Context, change func()) error {
		if err := p.stop(); err != nil {
			return err
		}
		change()
		defer func() { p.target.Addr[Name] = p.addr }()
		return p.start("127.0.0.1:0")
	}}
	var mutants []prove.Mutant
	if err := lab.Restart(t.Context(), func() { mutants = Mutants(lab) }); err != nil {
		t.Fatal(err)
	}
	if err := prove.CheckMutants(MutantRows(), mutants); err != nil {
		t.Error(err)
	}
	probes := Probes()
	for _, m := range mutants {
		if m.Equivalent != "" {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			if _, err := prove.Hunt(t.Context(), p.target, probes, m, prove.Options{}); err != nil {
				t.Errorf("%.900v", err)
			}
		})
	}
	t.Logf("%d mutants", len(mutants))
}
