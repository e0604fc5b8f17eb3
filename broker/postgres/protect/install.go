package protect

import (
	"context"
	"embed"
	"fmt"
	"regexp"
	"strings"

	"github.com/isocore/isocore/secret"
	"github.com/jackc/pgx/v5"
)

// Version is that of the schema isocore which this package installs.
const Version = 1

//go:embed sql verdicts
var files embed.FS

var scripts = []string{"1-schema", "2-key", "3-context", "4-compat"}

// roles are those of the cluster, with the attributes they must have. What is
// not named is off: superuser, createdb, createrole, replication, bypassrls.
var roles = []struct{ name, attributes string }{
	{Owner, "NOLOGIN NOINHERIT"},
	{Runtime, "NOLOGIN NOINHERIT"},
	{Login, "LOGIN NOINHERIT"},
	{Keeper, "LOGIN NOINHERIT"},
	{AppOwner, "NOLOGIN NOINHERIT"},
}

// Install puts the roles and the schemas isocore and isocore_compat into the
// database of conn, or brings them up to date, in one transaction. It takes a
// superuser, or the database's owner with CREATEROLE where there is none.
func Install(ctx context.Context, conn *pgx.Conn, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := pin(ctx, tx); err != nil {
			return err
		}
		if err := installRoles(ctx, tx, o); err != nil {
			return err
		}
		return installSchemas(ctx, tx)
	})
}

// pin takes the names of a transaction's statements out of its user's hands,
// and bounds how long it waits for anybody.
func pin(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = '30s'`); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	return nil
}

func installRoles(ctx context.Context, tx pgx.Tx, o Options) error {
	super, err := isSuper(ctx, tx)
	if err != nil {
		return err
	}
	if super {
		// Roles belong to the cluster: two installations at once, in two
		// databases, would change the same rows.
		if _, err := tx.Exec(ctx, `LOCK TABLE pg_authid IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return fmt.Errorf("protect: roles: %w", err)
		}
	}
	for _, r := range roles {
		if err := installRole(ctx, tx, r.name, r.attributes, super); err != nil {
			return err
		}
	}
	for name, password := range map[string]secret.Text{Login: o.LoginPassword, Keeper: o.KeeperPassword} {
		if err := setPassword(ctx, tx, name, password); err != nil {
			return err
		}
	}
	return installMemberships(ctx, tx, super)
}

func installRole(ctx context.Context, tx pgx.Tx, name, attributes string, super bool) error {
	var exists bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, name).Scan(&exists); err != nil {
		return fmt.Errorf("protect: role %s: %w", name, err)
	}
	text := "CREATE ROLE " + name + " " + attributes
	if exists {
		text = "ALTER ROLE " + name + " " + attributes
	}
	if super {
		text += " NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
	}
	if _, err := tx.Exec(ctx, text); err != nil {
		return fmt.Errorf("protect: role %s: %w", name, err)
	}
	return nil
}

func setPassword(ctx context.Context, tx pgx.Tx, role string, password secret.Text) error {
	if password.IsZero() {
		return nil
	}
	v, err := verifier(password)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "ALTER ROLE "+role+" PASSWORD '"+v+"'"); err != nil {
		return fmt.Errorf("protect: password of %s: %w", role, err)
	}
	return nil
}

func installMemberships(ctx context.Context, tx pgx.Tx, super bool) error {
	var text string
	err := tx.QueryRow(ctx, `SELECT format('GRANT isocore_rt TO isocore_login%s;',
			CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT FALSE, SET TRUE' END)
		|| format('GRANT CONNECT ON DATABASE %I TO isocore_login, isocore_keeper;', current_database())`).Scan(&text)
	if err != nil {
		return fmt.Errorf("protect: memberships: %w", err)
	}
	if !super {
		text += "GRANT isocore_owner TO CURRENT_USER;"
	}
	if _, err := tx.Exec(ctx, text); err != nil {
		return fmt.Errorf("protect: memberships: %w", err)
	}
	return nil
}

// installSchemas runs the scripts as their owner-to-be, so that nothing of
// them belongs to a superuser, not even for a moment.
func installSchemas(ctx context.Context, tx pgx.Tx) error {
	for _, s := range []string{Schema, Compat} {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+s+" AUTHORIZATION "+Owner); err != nil {
			return fmt.Errorf("protect: schema %s: %w", s, err)
		}
	}
	super, err := isSuper(ctx, tx)
	if err != nil {
		return err
	}
	if super {
		if _, err := tx.Exec(ctx, "GRANT USAGE ON LANGUAGE plpgsql TO isocore_owner"); err != nil {
			return fmt.Errorf("protect: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, "SET LOCAL ROLE "+Owner); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	if err := notNewer(ctx, tx); err != nil {
		return err
	}
	for _, name := range scripts {
		if _, err := tx.Exec(ctx, script(name)); err != nil {
			return fmt.Errorf("protect: %s: %w", name, err)
		}
	}
	_, err = tx.Exec(ctx, `INSERT INTO isocore.installed (version) VALUES ($1)
		ON CONFLICT (only_one) DO UPDATE SET version = excluded.version, at = clock_timestamp()`, Version)
	if err != nil {
		return fmt.Errorf("protect: version: %w", err)
	}
	if _, err := tx.Exec(ctx, "RESET ROLE"); err != nil {
		return fmt.Errorf("protect: %w", err)
	}
	if !super {
		if _, err := tx.Exec(ctx, "REVOKE isocore_owner FROM CURRENT_USER"); err != nil {
			return fmt.Errorf("protect: %w", err)
		}
	}
	return nil
}

// notNewer refuses to put an older version in the place of a newer one.
func notNewer(ctx context.Context, tx pgx.Tx) error {
	var exists bool
	if err := tx.QueryRow(ctx, `SELECT to_regclass('isocore.installed') IS NOT NULL`).Scan(&exists); err != nil || !exists {
		return err
	}
	var found int
	err := tx.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM isocore.installed`).Scan(&found)
	if err != nil {
		return fmt.Errorf("protect: version: %w", err)
	}
	if found > Version {
		return fmt.Errorf("protect: the database holds version %d of the schema isocore, newer than our %d", found, Version)
	}
	return nil
}

func isSuper(ctx context.Context, tx pgx.Tx) (super bool, err error) {
	err = tx.QueryRow(ctx, `SELECT rolsuper FROM pg_roles WHERE rolname = current_user`).Scan(&super)
	if err != nil {
		return false, fmt.Errorf("protect: %w", err)
	}
	return super, nil
}

// verify marks where a function of the context checks it, and what it returns
// where there is none.
var verify = regexp.MustCompile(`(?m)^/\*verify: (\w+)\*/$`)

// script returns one of the embedded scripts with the check of the context,
// which is written once, where it is asked for.
func script(name string) string {
	check := read("sql/verify.sql")
	return verify.ReplaceAllStringFunc(read("sql/"+name+".sql"), func(mark string) string {
		unset := verify.FindStringSubmatch(mark)[1]
		return strings.TrimSuffix(strings.ReplaceAll(check, "/*unset*/", unset), "\n")
	})
}

// read returns an embedded file. The names are constants of this package, so
// a missing one is a broken build.
func read(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return string(b)
}
