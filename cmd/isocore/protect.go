package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/isocore/isocore/broker/postgres"
	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/local"
	"github.com/isocore/isocore/secret"
)

// A superuser is how the commands that change a database reach it.
type superuser struct {
	dsn           string
	database      string
	login, keeper string
	protect.Options
}

func (s *superuser) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.dsn, "dsn-file", "", "file with the connection string of a superuser; the embedded server's unless said")
	f.StringVar(&s.database, "database", local.AppDatabase, "database of the embedded server")
	f.StringSliceVar(&s.Schemas, "schema", []string{"app"}, "the application's schemas")
	f.StringVar(&s.Column, "column", "tenant_id", "the tenant column, a uuid")
	f.StringSliceVar(&s.Functions, "function", nil, "a function of the application that tenants may call, as app.f(integer, text)")
}

// connect connects with the file's string, or to the embedded server.
func (s *superuser) connect(ctx context.Context, o *options) (*pgx.Conn, error) {
	if s.dsn != "" {
		text, err := readSecret(s.dsn)
		if err != nil {
			return nil, err
		}
		return pgx.Connect(ctx, text.Reveal())
	}
	e, err := local.ReadEndpoints(o.dir)
	if errors.Is(err, local.ErrNotRunning) {
		return nil, hint(fmt.Errorf("no IsoCore runs in %s", o.dir), "start one with isocore up"+o.in()+", or name a server with --dsn-file")
	}
	if err != nil {
		return nil, err
	}
	password, err := os.ReadFile(filepath.Join(o.dir, "keys", "postgres.password"))
	if err != nil {
		return nil, err
	}
	c, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, err
	}
	c.Host, c.Port = filepath.Dir(e.Addresses[storeDoor]), 5432
	c.User, c.Password, c.Database = local.Admin, strings.TrimSpace(string(password)), s.database
	return pgx.ConnectConfig(ctx, c)
}

// storeDoor is what the endpoints call the embedded server itself.
const storeDoor = "store"

func newProtect(o *options) *cobra.Command {
	s := &superuser{}
	var plan, seal, canary bool
	c := &cobra.Command{
		Use: "protect", Short: "Put row security, per-column grants and the tenant context on an application's tables", Args: cobra.NoArgs,
		Long: "Protect every table with a tenant column: row security that compares it with the tenant the database has verified, grants per column, the default that fills it.\nWhat makes that impossible is listed, and nothing is changed.",
	}
	s.flags(c)
	c.Flags().BoolVar(&plan, "plan", false, "print what would be done, and do nothing")
	c.Flags().BoolVar(&seal, "seal", true, "also take the built-in functions that see past row security from PUBLIC")
	c.Flags().BoolVar(&canary, "canary", false, "also make the table app.isocore_canary, which isocore prove needs")
	c.Flags().StringVar(&s.login, "login-file", "", "file with the password to give the role isocore_login")
	c.Flags().StringVar(&s.keeper, "keeper-file", "", "file with the password to give the role isocore_keeper")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.passwords(); err != nil {
			return err
		}
		conn, err := s.connect(cmd.Context(), o)
		if err != nil {
			return err
		}
		defer conn.Close(cmd.Context()) //nolint:errcheck // what it did is committed
		if plan {
			steps, findings, err := protect.Plan(cmd.Context(), conn, s.Options)
			return errors.Join(err, o.printProtect(cmd.OutOrStdout(), steps, findings))
		}
		if canary {
			if err := createCanary(cmd.Context(), conn); err != nil {
				return err
			}
		}
		return o.protect(cmd, conn, s.Options, seal)
	}
	return c
}

// passwords reads the files of the roles' passwords, where there are any.
func (s *superuser) passwords() (err error) {
	if s.login != "" {
		if s.LoginPassword, err = readSecret(s.login); err != nil {
			return err
		}
	}
	if s.keeper != "" {
		s.KeeperPassword, err = readSecret(s.keeper)
	}
	return err
}

// readSecret reads a file that nobody else may read.
func readSecret(path string) (secret.Text, error) {
	info, err := os.Stat(path)
	if err != nil {
		return secret.Text{}, err
	}
	if p := info.Mode().Perm(); p&0o077 != 0 {
		return secret.Text{}, hint(fmt.Errorf("%s has mode %04o: others could use it", path, p), "chmod 0600 "+shellQuote(path))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return secret.Text{}, err
	}
	text := secret.New(strings.TrimSpace(string(b)))
	if text.IsZero() {
		return text, fmt.Errorf("%s is empty", path)
	}
	return text, nil
}

// protect installs and applies, prints what that gave, and seals if it is to.
func (o *options) protect(cmd *cobra.Command, conn *pgx.Conn, p protect.Options, seal bool) error {
	if err := protect.Install(cmd.Context(), conn, p); err != nil {
		return err
	}
	steps, findings, err := protect.Apply(cmd.Context(), conn, p)
	if err != nil && protect.Errors(findings) == nil { // else the findings say why
		return err
	}
	if err := o.printProtect(cmd.OutOrStdout(), steps, findings); err != nil || !seal {
		return err
	}
	return protect.Seal(cmd.Context(), conn)
}

// printProtect prints what was or would be done and what was found. An error
// among the findings is a failure, and nothing was done.
func (o *options) printProtect(w io.Writer, steps []protect.Step, findings []protect.Finding) error {
	if o.json {
		if err := printJSON(w, map[string]any{"steps": done(steps), "findings": shown(findings)}); err != nil {
			return err
		}
	} else {
		for _, s := range steps {
			fmt.Fprintf(w, "%s;  -- %s: %s\n", s.SQL, s.Object, s.Why)
		}
		if err := printFindings(w, findings); err != nil {
			return err
		}
	}
	if protect.Errors(findings) != nil {
		return exit(exitFailed)
	}
	return nil
}

// A step is one as JSON has it.
type step struct {
	Object string `json:"object"`
	SQL    string `json:"sql"`
	Why    string `json:"why"`
}

func done(steps []protect.Step) []step {
	all := []step{}
	for _, s := range steps {
		all = append(all, step(s))
	}
	return all
}

// A finding is one as JSON has it.
type finding struct {
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Object   string `json:"object"`
	Text     string `json:"text"`
	Hint     string `json:"hint,omitempty"`
}

func shown(findings []protect.Finding) []finding {
	all := []finding{}
	for _, f := range findings {
		all = append(all, finding{f.Severity.String(), f.Code, f.Object, f.Text, f.Hint})
	}
	return all
}

func printFindings(w io.Writer, findings []protect.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	var rows [][]string
	for _, f := range findings {
		rows = append(rows, []string{f.Severity.String(), f.Code, f.Object, f.Text, f.Hint})
	}
	return table(w, "SEVERITY\tCODE\tOBJECT\tFINDING\tHINT", rows)
}

func newDoctor(o *options) *cobra.Command {
	s := &superuser{}
	c := &cobra.Command{
		Use: "doctor", Short: "Look through a database's catalogs for whatever would undo the isolation", Args: cobra.NoArgs,
		Long: "Look through a database's catalogs for whatever would undo the isolation, and say its grade.\nExit code 1 if tenants are not kept apart; warnings alone are printed.",
	}
	s.flags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		conn, err := s.connect(cmd.Context(), o)
		if err != nil {
			return err
		}
		defer conn.Close(cmd.Context()) //nolint:errcheck // it was only looked through
		findings, err := protect.Check(cmd.Context(), conn, s.Options)
		if err != nil {
			return err
		}
		sealed, more, err := protect.Grade(cmd.Context(), conn)
		if err != nil {
			return err
		}
		findings = append(findings, more...)
		grade := "managed"
		if sealed {
			grade = "sealed"
		}
		if o.json {
			err = printJSON(cmd.OutOrStdout(), map[string]any{"grade": grade, "findings": shown(findings)})
		} else {
			err = printFindings(cmd.OutOrStdout(), findings)
			o.step("grade: %s; %d findings", grade, len(findings))
		}
		if err == nil && protect.Errors(findings) != nil {
			return exit(exitFailed)
		}
		return err
	}
	return c
}

// createCanary makes the table in which prove plants what must not leak, as
// one of the application's own.
func createCanary(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, postgres.CanaryTable); err != nil {
		return fmt.Errorf("the table that prove needs: %w", err)
	}
	var alter string
	err := conn.QueryRow(ctx, `SELECT format('ALTER TABLE app.isocore_canary OWNER TO %I', pg_get_userbyid(nspowner)) FROM pg_namespace WHERE nspname = 'app'`).Scan(&alter)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, alter)
	return err
}
