// Package demo is the example data: two clinic networks and an advisory firm in
// the same tables, under the same numbers and ids, so that any leak shows.
//
// The data are made up from word lists by a fixed seed. They describe nobody.
package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Kind is whose example data it is: the name of one of the three tenants.
type Kind string

// The tenants that the example data are made for. Clinic and Clinic2 belong to
// different partners and have different data of one shape.
const (
	Clinic   Kind = "clinic"
	Clinic2  Kind = "clinic2"
	Advisory Kind = "advisory"
)

// Kinds are all there are.
var Kinds = []Kind{Clinic, Clinic2, Advisory}

//go:embed schema.sql
var schema string

// Schema returns the SQL that makes the tables, owned by the role app_owner. It
// is meant to be run once, in one transaction.
func Schema() string { return schema }

// Create runs [Schema] in the database of conn, who may become app_owner. Where
// the tables are already it does nothing.
func Create(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var there bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass('app.person') IS NOT NULL").Scan(&there); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		if there {
			return nil
		}
		if _, err := tx.Exec(ctx, schema); err != nil {
			return fmt.Errorf("demo: schema: %w", err)
		}
		return nil
	})
}

// batch is how many rows an INSERT takes: few enough that no message is large.
const batch = 100

// Load writes the data of kind through conn, as the tenant that conn belongs
// to: no statement names tenant_id. progress, unless nil, hears of rows done
// and of their total. What an earlier Load wrote stays, so that one that was
// interrupted is finished by another.
func Load(ctx context.Context, conn *pgx.Conn, kind Kind, progress func(done, total int)) error {
	tables, err := generate(kind)
	if err != nil {
		return err
	}
	if progress == nil {
		progress = func(int, int) {}
	}
	done, total := 0, 0
	for _, t := range tables {
		total += len(t.rows)
	}
	for _, t := range tables {
		step := func(n int) { done += n; progress(done, total) }
		if err := t.load(ctx, conn, step); err != nil {
			return fmt.Errorf("demo: %s: %w", t.name, err)
		}
	}
	return nil
}

// A table is the rows of one table, each as long as columns, in the order in
// which they are written. The first keys of the columns are its key.
type table struct {
	name    string
	keys    int
	columns []string
	rows    [][]any
}

// load writes the rows of t that are missing. A table whose last row is there
// is whole: rows are written in order, and a batch is written or not.
func (t table) load(ctx context.Context, conn *pgx.Conn, step func(n int)) error {
	if len(t.rows) == 0 {
		return errors.New("no rows")
	}
	whole, err := t.holds(ctx, conn, t.rows[len(t.rows)-1])
	if err != nil {
		return err
	}
	if whole {
		step(len(t.rows))
		return nil
	}
	for rest := t.rows; len(rest) > 0; {
		n := min(batch, len(rest))
		var args []any
		for _, r := range rest[:n] {
			args = append(args, r...)
		}
		if _, err := conn.Exec(ctx, t.insert(n), args...); err != nil {
			return err
		}
		rest = rest[n:]
		step(n)
	}
	return nil
}

// holds reports whether the table has the row with row's key.
func (t table) holds(ctx context.Context, conn *pgx.Conn, row []any) (bool, error) {
	var terms []string
	for i, c := range t.columns[:t.keys] {
		terms = append(terms, c+" = $"+strconv.Itoa(i+1))
	}
	var n int
	err := conn.QueryRow(ctx, "SELECT count(*) FROM app."+t.name+" WHERE "+strings.Join(terms, " AND "), row[:t.keys]...).Scan(&n)
	return n > 0, err
}

// insert returns the INSERT of n rows.
func (t table) insert(n int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO app." + t.name + " (" + strings.Join(t.columns, ", ") + ") VALUES ")
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		for j := range t.columns {
			b.WriteString(string("(,"[min(j, 1)]) + "$" + strconv.Itoa(i*len(t.columns)+j+1))
		}
		b.WriteString(")")
	}
	b.WriteString(" ON CONFLICT DO NOTHING")
	return b.String()
}
