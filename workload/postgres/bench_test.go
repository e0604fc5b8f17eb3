package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/isocore/isocore/workload/postgres"
)

// BenchmarkConnection is what one query costs: with a connection of its person,
// and with none, which is an exchange and a login before it.
func BenchmarkConnection(b *testing.B) {
	w := newWorld(b)
	own, each := w.config(b, 1), w.config(b, 1)
	postgres.Configure(own, w.app)
	postgres.ConfigureEach(each, w.app)
	for name, p := range map[string]*pgxpool.Pool{"found": open(b, own), "opened": open(b, each)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				ctx := w.request(b, w.A)
				b.StartTimer()
				if _, _, err := whose(ctx, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
