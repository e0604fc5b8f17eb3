package local

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/secret"
)

func TestProvision(t *testing.T) {
	t.Parallel()
	p := start(t, config(t, temp(t)))
	first, second := secret.New(rand.Text()), secret.New(rand.Text())
	for _, pw := range []secret.Text{first, second, second} {
		if err := p.Provision(t.Context(), pw); err != nil {
			t.Fatal(err)
		}
	}
	for _, try := range []struct {
		user     string
		password secret.Text
		database string
		want     string // a SQLSTATE; "" is let in
	}{
		{RegistryRole, second, RegistryDatabase, ""},
		{RegistryRole, first, RegistryDatabase, "28P01"},
		{RegistryRole, second, AppDatabase, "42501"},
		{RegistryRole, second, "postgres", "42501"},
		{RegistryRole, second, "template1", "42501"},
		{AppRole, second, AppDatabase, "28P01"},
		{Admin, password, AppDatabase, ""},
	} {
		conn, err := pgx.Connect(t.Context(), p.DSN(try.user, try.password, try.database).Reveal())
		switch {
		case err == nil && try.want == "":
			_ = conn.Close(t.Context())
		case err == nil:
			t.Errorf("%s is let into %s", try.user, try.database)
		case try.want == "" || !strings.Contains(err.Error(), "SQLSTATE "+try.want):
			t.Errorf("%s at %s: %v, want %q", try.user, try.database, err, try.want)
		}
	}
	for database, owner := range map[string]string{RegistryDatabase: RegistryRole, AppDatabase: AppRole} {
		if got := query(t, p, "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = '"+database+"'"); got != owner {
			t.Errorf("%s belongs to %s", database, got)
		}
	}
	if got := query(t, p, "SELECT left(rolpassword, 19) FROM pg_authid WHERE rolname = '"+RegistryRole+"'"); got != "SCRAM-SHA-256$4096:" {
		t.Errorf("the password is kept as %q", got)
	}
}

// TestWhole is what a start of the whole does, twice.
func TestWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(temp(t), "state")
	for _, round := range []string{"first", "again"} {
		d := open(t, path)
		admin, err1 := d.Password("postgres")
		registry, err2 := d.Password(RegistryRole)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		binaries(t)
		found, err := NewSource("", d.Path("engine"), log).Obtain(t.Context(), d.Path("pg"))
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, PostgresConfig{Dir: d.Path("pg"), Logs: d.Path("logs"), Binaries: found, Password: admin, Log: log})
		if err := p.Provision(t.Context(), registry); err != nil {
			t.Fatal(err)
		}
		dsn := p.DSN(RegistryRole, registry, RegistryDatabase)
		if err := d.WriteSecret("registry.dsn", dsn); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(d.Path("keys", "registry.dsn"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.Connect(t.Context(), strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "CREATE TABLE "+round+" ()"); err != nil {
			t.Error(err)
		}
		_ = conn.Close(t.Context())
		stop(t, p)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
