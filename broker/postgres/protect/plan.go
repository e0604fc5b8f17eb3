package protect

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Step is one thing to do to protect the application's tables.
type Step struct {
	Object string
	SQL    string
	Why    string
}

// Plan returns what [Apply] would do in the database of conn, and what it
// finds that no statement of its own can mend; findings of severity Error make
// it impossible. It changes nothing, and reads no table but the catalogs.
// Where there is nothing to do there are no steps.
func Plan(ctx context.Context, conn *pgx.Conn, o Options) (steps []Step, findings []Finding, err error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		steps, findings, err = plan(ctx, tx, o)
		return err
	})
	return steps, findings, err
}

// Apply protects the application's tables, in one transaction, and returns the
// steps it took. It refuses, changing nothing, on a finding of severity Error;
// and it fails unless afterwards there is nothing left to do. [Install] goes
// before it. It takes the tables' owner with CREATEROLE, or a superuser.
func Apply(ctx context.Context, conn *pgx.Conn, o Options) (steps []Step, findings []Finding, err error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		steps, findings, err = apply(ctx, tx, o)
		return err
	})
	return steps, findings, err
}

func apply(ctx context.Context, tx pgx.Tx, o Options) ([]Step, []Finding, error) {
	steps, findings, err := plan(ctx, tx, o)
	if err != nil {
		return nil, findings, err
	}
	if err := Errors(findings); err != nil {
		return nil, findings, err
	}
	for _, s := range steps {
		if _, err := tx.Exec(ctx, s.SQL); err != nil {
			return nil, findings, fmt.Errorf("protect: %s: %s: %w", s.Object, s.SQL, err)
		}
	}
	left, _, err := plan(ctx, tx, o)
	if err != nil {
		return nil, findings, err
	}
	return steps, findings, undone(left)
}

func undone(left []Step) error {
	var errs []error
	for _, s := range left {
		errs = append(errs, fmt.Errorf("protect: %s: the server accepted %q and did nothing", s.Object, s.SQL))
	}
	return errors.Join(errs...)
}

func plan(ctx context.Context, tx pgx.Tx, o Options) ([]Step, []Finding, error) {
	if err := pin(ctx, tx); err != nil {
		return nil, nil, err
	}
	findings, err := fit(ctx, tx)
	if err != nil || unfit(findings) {
		return nil, findings, err
	}
	missing, err := missingSchemas(ctx, tx, o)
	if err != nil {
		return nil, nil, err
	}
	shape, err := collect(ctx, tx, "sql/check/shape.sql", o.schemas(), o.column(), true)
	if err != nil {
		return nil, nil, err
	}
	findings = append(append(findings, missing...), shape...)
	rows, err := tx.Query(ctx, query("sql/plan.sql"), o.schemas(), o.column(), true, o.functions())
	if err != nil {
		return nil, nil, fmt.Errorf("protect: plan: %w", err)
	}
	var steps []Step
	var place int
	var s Step
	_, err = pgx.ForEachRow(rows, []any{&place, &s.Object, &s.SQL, &s.Why}, func() error {
		steps = append(steps, s)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("protect: plan: %w", err)
	}
	return steps, findings, nil
}

func missingSchemas(ctx context.Context, tx pgx.Tx, o Options) (findings []Finding, err error) {
	rows, err := tx.Query(ctx, `SELECT s FROM unnest($1::text[]) s WHERE to_regnamespace(quote_ident(s)) IS NULL`, o.schemas())
	if err != nil {
		return nil, fmt.Errorf("protect: plan: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("protect: plan: %w", err)
	}
	for _, name := range names {
		findings = append(findings, Finding{"schema-missing", Error, name, "there is no such schema", "CREATE SCHEMA, or take it off the list"})
	}
	return findings, nil
}

// functions and schemas are never nil, which the server would take for NULL.
func (o Options) functions() []string { return append([]string{}, o.Functions...) }

func (o Options) schemas() []string { return append([]string{}, o.Schemas...) }
