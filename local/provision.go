package local

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/secret"
)

// The databases of an embedded PostgreSQL and who owns them.
const (
	RegistryDatabase = "isocore"
	RegistryRole     = "isocore_registry"
	AppDatabase      = "app"
	AppRole          = "app_owner"
)

// Provision makes the registry's database, whose owner logs in with password,
// and the application's, whose owner does not log in. What is there stays,
// except the password; nobody else may connect to any database.
func (p *Postgres) Provision(ctx context.Context, password secret.Text) error {
	conn, err := p.Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	verifier, err := scramVerifier(password)
	if err != nil {
		return err
	}
	for _, role := range []string{RegistryRole, AppRole} {
		if err := ensureRole(ctx, conn, role); err != nil {
			return err
		}
	}
	statements := []string{
		"ALTER ROLE " + RegistryRole + " LOGIN PASSWORD '" + verifier + "'",
		"REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC",
	}
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("local: provision: %w", err)
		}
	}
	if err := ensureDatabase(ctx, conn, RegistryDatabase, RegistryRole); err != nil {
		return err
	}
	return ensureDatabase(ctx, conn, AppDatabase, AppRole)
}

func ensureRole(ctx context.Context, conn *pgx.Conn, name string) error {
	return ensure(ctx, conn, "SELECT count(*) FROM pg_roles WHERE rolname = $1", name,
		"CREATE ROLE "+name+" NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
}

func ensureDatabase(ctx context.Context, conn *pgx.Conn, name, owner string) error {
	err := ensure(ctx, conn, "SELECT count(*) FROM pg_database WHERE datname = $1", name, "CREATE DATABASE "+name+" OWNER "+owner)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "REVOKE ALL ON DATABASE "+name+" FROM PUBLIC"); err != nil {
		return fmt.Errorf("local: provision: %w", err)
	}
	return nil
}

// ensure runs statement if query counts none of name. The names are constants
// of this package.
func ensure(ctx context.Context, conn *pgx.Conn, query, name, statement string) error {
	var n int
	err := conn.QueryRow(ctx, query, name).Scan(&n)
	if err == nil && n == 0 {
		_, err = conn.Exec(ctx, statement)
	}
	if err != nil {
		return fmt.Errorf("local: provision %s: %w", name, err)
	}
	return nil
}

// scramVerifier returns what PostgreSQL stores of a password (RFC 5803, with
// its 4096 rounds), so that the password itself is never in a statement.
// Passwords here are ASCII, which SASLprep leaves alone.
func scramVerifier(password secret.Text) (string, error) {
	const rounds = 4096
	salt := make([]byte, 16)
	rand.Read(salt) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	salted, err := pbkdf2.Key(sha256.New, password.Reveal(), salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("local: %w", err)
	}
	sign := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(sign("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return "SCRAM-SHA-256$" + strconv.Itoa(rounds) + ":" + b64(salt) + "$" + b64(stored[:]) + ":" + b64(sign("Server Key")), nil
}
