package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/broker/postgres"
	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/secret"
)

// addBrokers makes the brokers that the configuration has a section of.
func (n *Node) addBrokers() error {
	var errs []error
	if n.config.Brokers.Postgres != nil {
		errs = append(errs, n.addPostgres())
	}
	if n.config.Brokers.Edge != nil {
		errs = append(errs, n.addEdge())
	}
	if n.config.Brokers.Exchange != nil {
		errs = append(errs, n.addExchange())
	}
	return errors.Join(errs...)
}

func (n *Node) addPostgres() error {
	p := n.config.Brokers.Postgres
	shown, err := n.certificate(postgres.Name, p.TLS, "postgresql")
	if err != nil {
		return err
	}
	databases := map[string]postgres.Database{}
	for name, d := range p.Databases {
		if databases[name], err = n.database(p, name, d); err != nil {
			return err
		}
	}
	b, err := postgres.New(postgres.Config{
		TLS: shown, Databases: databases, Slots: p.Slots, Log: n.log, Now: time.Now,
		Door: accept.Door{Limiter: n.limiter, Log: n.log, Grace: DrainTime},
	})
	if err != nil {
		return err
	}
	n.doors = append(n.doors, door{name: postgres.Name, broker: b, ln: n.listen[postgres.Name]})
	return nil
}

// database returns how one database is reached.
func (n *Node) database(p *config.Postgres, name string, d config.Database) (postgres.Database, error) {
	if d.Name == "" {
		d.Name = name
	}
	roots, err := storeTLS(p.Store)
	if err != nil {
		return postgres.Database{}, err
	}
	store := postgres.Store{
		Address: p.Store.Address.String(), TLS: roots, Database: d.Name, Password: p.Store.Login.Text,
		Statement: n.config.Limits.Default.Statement.Std(),
	}
	return postgres.Database{Store: store, Keeper: func(ctx context.Context) (*pgx.Conn, error) {
		return connect(ctx, store, protect.Keeper, p.Store.Keeper.Text)
	}}, nil
}

// connect opens a connection of ours to a store, beside those of tenants.
func connect(ctx context.Context, s postgres.Store, user string, password secret.Text) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, err
	}
	c.User, c.Password, c.Database, c.TLSConfig = user, password.Reveal(), s.Database, s.TLS
	c.RuntimeParams = map[string]string{"application_name": "isocore"}
	c.ConnectTimeout = 5 * time.Second
	c.Fallbacks = nil
	c.Host, c.Port = "store", 5432 // the dialer below knows the way
	network := "tcp"
	if s.Address[0] == '/' {
		network = "unix"
	}
	c.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"store"}, nil }
	c.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Address)
	}
	return pgx.ConnectConfig(ctx, c)
}

// examine refuses a database whose catalogs show that tenants would not be
// kept apart, with everything that is wrong with it.
func (n *Node) examine(ctx context.Context) error {
	var errs []error
	p := n.config.Brokers.Postgres
	if p == nil {
		n.grade = noStore
		return nil
	}
	n.grade = postgres.Sealed
	for name, d := range p.Databases {
		db, err := n.database(p, name, d)
		if err != nil {
			return err
		}
		findings, sealed, err := check(ctx, db.Store, d)
		if err != nil {
			errs = append(errs, fmt.Errorf("node: database %s: %w", name, err))
			continue
		}
		if !sealed {
			n.grade = postgres.Managed
		}
		for _, f := range findings {
			if f.Severity == protect.Error {
				errs = append(errs, fmt.Errorf("node: database %s: %s (hint: %s)", name, f, f.Hint))
				continue
			}
			n.log.WarnContext(ctx, "doctor", "database", name, "finding", f.String())
		}
	}
	return errors.Join(errs...)
}

// check looks through the catalogs of one database.
func check(ctx context.Context, s postgres.Store, d config.Database) (findings []protect.Finding, sealed bool, err error) {
	conn, err := connect(ctx, s, protect.Login, s.Password)
	if err != nil {
		return nil, false, err
	}
	defer conn.Close(ctx) //nolint:errcheck // it was only looked through
	if findings, err = protect.Check(ctx, conn, protect.Options{Schemas: d.Schemas}); err != nil {
		return nil, false, err
	}
	sealed, more, err := protect.Grade(ctx, conn)
	return append(findings, more...), sealed, err
}

// noStore is the grade of a node that has no store.
const noStore = "no store"

// certificate returns what a door shows: whatever the last reload left.
func (n *Node) certificate(door string, t config.TLS, protocols ...string) (*tls.Config, error) {
	if t.Off() {
		return nil, nil
	}
	pair, err := t.Certificate()
	if err != nil {
		return nil, fmt.Errorf("node: %s: %w", door, err)
	}
	shown := new(atomic.Pointer[tls.Certificate])
	shown.Store(&pair)
	n.shown[door] = shown
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil },
		MinVersion:     tls.VersionTLS12, NextProtos: protocols,
	}, nil
}

// storeTLS returns how a store is known.
func storeTLS(s config.Store) (*tls.Config, error) {
	if s.TLS == "off" || s.Address.Network == "unix" {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(s.Address.String())
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if len(s.CA.Data) == 0 {
		return c, nil
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(s.CA.Data) {
		return nil, fmt.Errorf("node: %s: no certificate", s.CA.Path)
	}
	return c, nil
}
