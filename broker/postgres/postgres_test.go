package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestWorks is the control of all the other tests: a broker that answers
// nothing leaks nothing.
func TestWorks(t *testing.T) {
	f := newFixture(t)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			conn := f.connect(t, f.A)
			for range 3 {
				var n int
				var title string
				err := conn.QueryRow(t.Context(), "SELECT count(*), min(title) FROM doc WHERE id > $1", mode, 0).Scan(&n, &title)
				if err != nil || n < 100 || !strings.HasPrefix(title, "A ") {
					t.Fatalf("%d rows, %q: %v", n, title, err)
				}
			}
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), "INSERT INTO doc (id, title) VALUES ($1, $2)", mode, 1000+int(mode), "A new"); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
	var n int
	if err := f.connect(t, f.B).QueryRow(t.Context(), "SELECT count(*) FROM doc").Scan(&n); err != nil || n != 100 {
		t.Errorf("B sees %d rows: %v", n, err)
	}
}
