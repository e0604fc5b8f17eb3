//go:build mutant

package exchange

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/isocore/isocore/prove"
)

// TestMutants checks the probes: each weakened exchange must be caught, and
// hold again when it is mended.
func TestMutants(t *testing.T) {
	p := newProving(t)
	var serving *httptest.Server
	t.Cleanup(func() { serving.Close() })
	lab := &Lab{Target: p.target, Gate: p.Gate, Exchange: p.exchange, Restart: func(_ context.Context, change func(), wrap func(http.Handler) http.Handler) error {
		if serving != nil {
			serving.Close()
		}
		change()
		serving = httptest.NewServer(wrap(p.exchange.Handler(p.Gate)))
		p.target.Addr[Name] = serving.Listener.Addr().String()
		return nil
	}}
	mutants := Mutants(lab)
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
