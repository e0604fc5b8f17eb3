package protect

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Check looks, in the catalogs of conn's database, for whatever undoes or
// weakens the separation of tenants: the doctor's question. It reads no row of
// any table of the application and takes any login. No findings of severity
// Error is what [Errors] says nothing about.
func Check(ctx context.Context, conn *pgx.Conn, o Options) (findings []Finding, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, conn, options, func(tx pgx.Tx) error {
		findings, err = check(ctx, tx, o)
		return err
	})
	return findings, err
}

func check(ctx context.Context, tx pgx.Tx, o Options) ([]Finding, error) {
	if err := pin(ctx, tx); err != nil {
		return nil, err
	}
	findings, err := fit(ctx, tx)
	if err != nil || unfit(findings) {
		return findings, err
	}
	names, volatilities, parallels, bodies, callers := columns(ours())
	for _, c := range []struct {
		name string
		args []any
	}{
		{"sql/check/tables.sql", nil},
		{"sql/check/shape.sql", nil},
		{"sql/check/code.sql", []any{o.functions()}},
		{"sql/check/ours.sql", []any{names, volatilities, parallels, bodies, callers}},
		{"sql/check/roles.sql", []any{sealSettings}},
	} {
		found, err := collect(ctx, tx, c.name, append([]any{o.schemas(), o.column(), false}, c.args...)...)
		if err != nil {
			return nil, err
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

// fit says whether the server is one the rest can be asked of.
func fit(ctx context.Context, tx pgx.Tx) ([]Finding, error) {
	var version int
	var text string
	err := tx.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version')`).Scan(&version, &text)
	if err != nil {
		return nil, fmt.Errorf("protect: check: %w", err)
	}
	if !supported(version) {
		return []Finding{{"version", Error, "server", "PostgreSQL " + text + " is below the floor of 15.14, 16.10, 17.6", "update the server"}}, nil
	}
	findings, err := collect(ctx, tx, "sql/check/server.sql")
	if err != nil {
		return nil, err
	}
	missing, err := missingRoles(ctx, tx)
	return append(findings, missing...), err
}

// unfit reports whether nothing further can be asked.
func unfit(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Code == "version" || f.Code == "not-installed" })
}

// supported reports whether a server_version_num is of the floor or above: the
// minor versions that repaired what leaks past row security (CVE-2024-10976,
// CVE-2025-8713).
func supported(version int) bool {
	minor := version % 10000
	switch version / 10000 {
	case 15:
		return minor >= 14
	case 16:
		return minor >= 10
	case 17:
		return minor >= 6
	default:
		return version >= 180000
	}
}

// An installed function is one of ours, as the scripts say it must be.
type installed struct{ name, volatility, parallel, body, callers string }

var created = regexp.MustCompile(`(?s)CREATE OR REPLACE FUNCTION ([\w.]+)\(([^)]*)\) RETURNS \w+\n` +
	`LANGUAGE plpgsql (\w)\w* SECURITY DEFINER PARALLEL (\w)\w* (?:STRICT )?SET search_path = pg_catalog, pg_temp AS \$isocore\$(.*?)\$isocore\$`)

// ours reads the functions back out of the scripts that create them, so that
// there is no second list to keep.
func ours() []installed {
	var fs []installed
	for _, name := range scripts {
		for _, m := range created.FindAllStringSubmatch(script(name), -1) {
			fs = append(fs, installed{
				name:       m[1] + "(" + types(m[2]) + ")",
				volatility: strings.ToLower(m[3]),
				parallel:   strings.ToLower(m[4]),
				body:       m[5],
				callers:    mayCall(m[1]),
			})
		}
	}
	return fs
}

// types takes the names off a list of arguments, as oidvectortypes prints it.
func types(arguments string) string {
	var list []string
	for a := range strings.SplitSeq(arguments, ", ") {
		_, t, _ := strings.Cut(a, " ")
		list = append(list, strings.Replace(t, "timestamptz", "timestamp with time zone", 1))
	}
	return strings.Join(list, ", ")
}

// mayCall returns who may call one of our functions, sorted.
func mayCall(name string) string {
	switch name {
	case "isocore.tenant", "isocore.principal", "isocore.has_scope", "isocore.may_write":
		return AppOwner + " " + Runtime
	case "isocore.install_key", "isocore.retire_keys":
		return Keeper
	case "isocore_compat.lock_key":
		return ""
	default:
		return Runtime
	}
}

func columns(fs []installed) (names, volatilities, parallels, bodies []string, callers []*string) {
	for _, f := range fs {
		names, volatilities = append(names, f.name), append(volatilities, f.volatility)
		parallels, bodies = append(parallels, f.parallel), append(bodies, f.body)
		if f.callers == "" {
			callers = append(callers, nil)
			continue
		}
		callers = append(callers, &f.callers)
	}
	return names, volatilities, parallels, bodies, callers
}
