package identity_test

import (
	"strconv"
	"testing"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/secret"
)

func BenchmarkVerifyCached(b *testing.B) {
	w := newWorld(b)
	token := w.token()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Verify(b.Context(), "postgres", token); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(token.Len()), "token-bytes")
}

// A provider's token of about a kilobyte, signed by RS256 as most are.
func BenchmarkVerifyCachedAtTheEdge(b *testing.B) {
	e := newEdge(b)
	token := compact(`{"alg":"RS256","kid":"rs","typ":"JWT"}`, foreign(
		member{"name", `"Alice of the Clinic"`}, member{"roles", `["clinician","on-call","auditor"]`}, member{"sid", `"` + idT + idP + idU + idOther + idA + idB + `"`}), e.signRS)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Verify(ctx, identity.Edge, token); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(token.Len()), "token-bytes")
}

func BenchmarkVerifyFreshAtTheEdge(b *testing.B) {
	e := newEdge(b)
	token := compact(`{"alg":"RS256","kid":"rs","typ":"JWT"}`, foreign(), e.signRS)
	sets := []*identity.KeySet{
		keySet(b, map[string]any{"rs": e.rs.Public()}), keySet(b, map[string]any{"rs": e.rs.Public(), "k": e.key.Public()}),
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.sets[idp], e.enrolled = sets[i%2], nil // another set: nothing remembered is good
		if _, err := e.Verify(b.Context(), identity.Edge, token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTxn(b *testing.B) {
	e := newEdgeOf(b)
	p := e.must(b, identity.Edge, e.issue())
	b.ReportAllocs()
	for b.Loop() {
		e.txnOf(b, p)
	}
}

func BenchmarkLiveAtTheEdge(b *testing.B) {
	e := newEdgeOf(b)
	p := e.must(b, identity.Edge, e.issue())
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Live(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyCachedParallel(b *testing.B) {
	w := newWorld(b)
	var tokens []secret.Text
	for i := range 64 {
		tokens = append(tokens, w.token(member{"jti", `"` + strconv.Itoa(i) + `"`}))
	}
	ctx := b.Context()
	v := w.verifierForMany(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := v.Verify(ctx, "postgres", tokens[i%len(tokens)]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkVerifyFresh(b *testing.B) {
	w := newWorld(b)
	tokens := make([]secret.Text, 4096) // more than are cached
	for i := range tokens {
		tokens[i] = w.token(member{"jti", `"` + strconv.Itoa(i) + `"`})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := w.Verify(b.Context(), "postgres", tokens[i%len(tokens)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLive(b *testing.B) {
	w := newWorld(b)
	p, err := w.verify(b, w.token())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Live(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMint(b *testing.B) {
	m, g := newWorld(b).minter(b), grant()
	g.Reach = []string{identity.PGRead}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Mint(g); err != nil {
			b.Fatal(err)
		}
	}
}
