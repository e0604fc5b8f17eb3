package protect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// keep says who still needs what the seal takes from PUBLIC: migrations take
// advisory locks and set parameters, monitoring looks at activity.
var keep = map[string]string{
	"settings": Owner + ", " + AppOwner,
	"locks":    Owner + ", " + AppOwner,
	"activity": "pg_monitor",
	"size":     "pg_monitor",
	"counters": "pg_monitor",
	"wal":      "pg_monitor",
	"server":   "pg_monitor",
	"backend":  Owner + ", " + Login, // contexts are of one backend, and the broker asks which it has before it is anybody's
}

// Seal takes from PUBLIC, in the database of conn, every built-in function and
// view that looks past row security, and does what only a superuser can do for
// the roles. It needs a superuser, [Install] before it, and fails, naming
// everything, unless each revocation is seen to hold afterwards: a managed
// service answers REVOKE with a mere warning.
func Seal(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := pin(ctx, tx); err != nil {
			return err
		}
		super, err := isSuper(ctx, tx)
		if err != nil {
			return err
		}
		if !super {
			return errors.New("protect: sealing takes a superuser, once; without one the grade is managed")
		}
		if _, err := tx.Exec(ctx, `LOCK TABLE pg_authid IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return fmt.Errorf("protect: seal: %w", err)
		}
		if err := sealDatabase(ctx, tx); err != nil {
			return err
		}
		if err := sealCluster(ctx, tx); err != nil {
			return err
		}
		return sealed(ctx, tx)
	})
}

// sealed fails by name where a revocation did not hold.
func sealed(ctx context.Context, tx pgx.Tx) error {
	ok, findings, err := grade(ctx, tx)
	if err != nil || ok {
		return err
	}
	errs := []error{errors.New("protect: not sealed: the server did not revoke everything")}
	for _, f := range findings {
		if f.Code == "unsealed" {
			errs = append(errs, errors.New(f.Object+": "+f.Text))
		}
	}
	return errors.Join(errs...)
}

func sealDatabase(ctx context.Context, tx pgx.Tx) error {
	open, err := openObjects(ctx, tx)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, o := range open {
		text.WriteString(o.revoke + ";\n")
		if who := keep[o.group]; who != "" && o.grant != "" {
			text.WriteString(o.grant + " TO " + who + ";\n")
		}
	}
	if _, err := tx.Exec(ctx, text.String()); err != nil {
		return fmt.Errorf("protect: seal: %w", err)
	}
	return nil
}

// sealCluster does what concerns the login role everywhere: nobody reads what
// it runs, its sorts do not fill the disk, its scans start at the beginning (so that order tells nothing about
// others), and no database is open to it, or to PUBLIC, by default. Who could
// log in to a database until now still can.
func sealCluster(ctx context.Context, tx pgx.Tx) error {
	for _, s := range sealSettings {
		if _, err := tx.Exec(ctx, "ALTER ROLE "+Login+" SET "+s); err != nil {
			return fmt.Errorf("protect: seal: %w", err)
		}
	}
	rows, err := tx.Query(ctx, read("sql/connect.sql"))
	if err != nil {
		return fmt.Errorf("protect: seal: %w", err)
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("protect: seal: %w", err)
	}
	for _, text := range texts {
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, text)
			return err
		})
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "3D000" {
			continue // dropped meanwhile
		}
		if err != nil {
			return fmt.Errorf("protect: seal: %w", err)
		}
	}
	return nil
}

// sealSettings are those of the login role in every database. The limit of what
// one session may put into temporary files is in kB: a disk filled by one tenant
// stops everybody.
var sealSettings = []string{"synchronize_seqscans=off", "temp_file_limit=1048576", "track_activities=off"}

// Grade reports whether the database of conn is sealed, and as findings what
// tenants can still see or do where it is not. It takes any login.
func Grade(ctx context.Context, conn *pgx.Conn) (isSealed bool, findings []Finding, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := pin(ctx, tx); err != nil {
			return err
		}
		isSealed, findings, err = grade(ctx, tx)
		return err
	})
	return isSealed, findings, err
}

func grade(ctx context.Context, tx pgx.Tx) (bool, []Finding, error) {
	if missing, err := missingRoles(ctx, tx); err != nil || missing != nil {
		return false, missing, err
	}
	open, err := openObjects(ctx, tx)
	if err != nil {
		return false, nil, err
	}
	var findings []Finding
	for _, o := range open {
		text := "tenants may use it (" + o.group + ")"
		if o.group == "" {
			text = "tenants may use it, and nobody has classified it"
		}
		findings = append(findings, Finding{"unsealed", Warning, o.name, text, "seal it, as a superuser"})
	}
	sealed := len(findings) == 0
	settings, err := collect(ctx, tx, "sql/grade.sql", sealSettings)
	if err != nil {
		return false, nil, err
	}
	for _, f := range settings {
		sealed = sealed && f.Code != "unsealed"
	}
	return sealed, append(findings, settings...), nil
}

// An openObject is one that tenants can use, though its verdict is no.
type openObject struct{ name, group, revoke, grant string }

// openObjects finds what the seal has to close, or failed to.
func openObjects(ctx context.Context, tx pgx.Tx) ([]openObject, error) {
	var major int
	if err := tx.QueryRow(ctx, `SELECT current_setting('server_version_num')::int / 10000`).Scan(&major); err != nil {
		return nil, fmt.Errorf("protect: grade: %w", err)
	}
	v, err := loadVerdicts(major)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, read("sql/open.sql"))
	if err != nil {
		return nil, fmt.Errorf("protect: grade: %w", err)
	}
	var open []openObject
	var kind, name, volatility, full string
	_, err = pgx.ForEachRow(rows, []any{&kind, &name, &volatility, &full}, func() error {
		o := openObject{name: name, revoke: "REVOKE ALL ON " + full + " FROM PUBLIC, " + Runtime + ", " + Login}
		switch kind {
		case "function":
			f := v.function(name, volatility)
			o.group, o.grant = f.Group, "GRANT EXECUTE ON "+full
			if f.Allow {
				return nil
			}
		case "relation":
			f := v.relation(name)
			o.group, o.grant = f.Group, "GRANT SELECT ON "+full
			if f.Allow {
				return nil
			}
		default: // whatever its name
			o.group, o.revoke = kind, full
		}
		open = append(open, o)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("protect: grade: %w", err)
	}
	return open, nil
}

// missingRoles says that [Install] did not run here.
func missingRoles(ctx context.Context, tx pgx.Tx) ([]Finding, error) {
	var n int
	err := tx.QueryRow(ctx, `SELECT count(*) FROM pg_roles WHERE rolname = ANY ($1)`,
		[]string{Owner, Runtime, Login, Keeper, AppOwner}).Scan(&n)
	if err != nil {
		return nil, fmt.Errorf("protect: %w", err)
	}
	if n < len(roles) {
		return []Finding{{"not-installed", Error, "cluster", "the roles of isocore are missing", "isocore protect"}}, nil
	}
	return nil, nil
}

// collect runs one of the embedded queries that find things.
func collect(ctx context.Context, tx pgx.Tx, name string, args ...any) ([]Finding, error) {
	rows, err := tx.Query(ctx, query(name), args...)
	if err != nil {
		return nil, fmt.Errorf("protect: %s: %w", name, err)
	}
	findings, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f Finding, err error) {
		var severity string
		err = row.Scan(&f.Code, &severity, &f.Object, &f.Text, &f.Hint)
		switch severity {
		case "warning":
			f.Severity = Warning
		case "note":
			f.Severity = Note
		}
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("protect: %s: %w", name, err)
	}
	return findings, nil
}

// query returns an embedded query, with the relations in reach where it asks for them.
func query(name string) string {
	return strings.ReplaceAll(read(name), "/*reach*/", strings.TrimSpace(read("sql/reach.sql")))
}
