package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/local"
	"github.com/isocore/isocore/local/demo"
	"github.com/isocore/isocore/secret"
)

// prepareStore puts the databases, the roles, the example tables and the
// locks into the embedded server. It may be done again at each start.
func (u *up) prepareStore(ctx context.Context) error {
	registry, err := u.dir.Password("registry")
	if err != nil {
		return err
	}
	if err := u.server.Provision(ctx, registry); err != nil {
		return err
	}
	if err := u.dir.WriteSecret("registry.dsn", u.server.DSN(local.RegistryRole, registry, local.RegistryDatabase)); err != nil {
		return err
	}
	o := protect.Options{Schemas: []string{"app"}}
	if o.LoginPassword, err = u.dir.Password("login"); err != nil {
		return err
	}
	if o.KeeperPassword, err = u.dir.Password("keeper"); err != nil {
		return err
	}
	conn, err := u.server.Connect(ctx, local.AppDatabase)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // what it did is committed
	if err := protect.Install(ctx, conn, o); err != nil {
		return err
	}
	if err := demo.Create(ctx, conn); err != nil {
		return err
	}
	return lock(ctx, conn, o)
}

// lock protects the tables of a database and seals it.
func lock(ctx context.Context, conn *pgx.Conn, o protect.Options) error {
	if err := createCanary(ctx, conn); err != nil {
		return err
	}
	_, findings, err := protect.Apply(ctx, conn, o)
	if err != nil {
		return err
	}
	if err := protect.Errors(findings); err != nil {
		return err
	}
	return protect.Seal(ctx, conn)
}

// The example tenants: two of the home partner, one of another.
var examples = []struct {
	path string
	kind demo.Kind
}{
	{"home/clinic", demo.Clinic},
	{"home/advisory", demo.Advisory},
	{"other/clinic2", demo.Clinic2},
}

// demo makes the example tenants and gives each its data, as any client
// would: through the broker, with a token.
func (u *up) demo(ctx context.Context, at map[string]string) error {
	n := newClient(at["admin"])
	tenants, err := call[[]admin.Tenant](ctx, n, http.MethodGet, "/v1/tenants", nil)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, t := range tenants {
		there[t.Path] = true
	}
	if err := u.partner(ctx, n, "other"); err != nil {
		return err
	}
	for _, x := range examples {
		if !there[x.path] {
			if _, err := call[admin.Tenant](ctx, n, http.MethodPost, "/v1/tenants", admin.NewTenant{Path: x.path}); err != nil {
				return err
			}
		}
		if err := u.load(ctx, n, x.path, x.kind); err != nil {
			return fmt.Errorf("example data of %s: %w", x.path, err)
		}
	}
	return nil
}

// partner makes the partner of the third tenant.
func (u *up) partner(ctx context.Context, n *client, name string) error {
	partners, err := call[[]admin.Partner](ctx, n, http.MethodGet, "/v1/partners", nil)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(partners, func(p admin.Partner) bool { return p.Name == name }) {
		return nil
	}
	_, err = call[admin.Partner](ctx, n, http.MethodPost, "/v1/partners", admin.NewPartner{Name: name})
	return err
}

// load writes the data of one tenant through the broker.
func (u *up) load(ctx context.Context, n *client, path string, kind demo.Kind) error {
	g := grant{tenant: path, broker: "postgres", reach: []string{identity.PGRead, identity.PGWrite}, ttl: "15m", sub: "example-data"}
	t, err := g.mint(ctx, n)
	if err != nil {
		return err
	}
	at, err := n.postgres(ctx)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, at, local.AppDatabase, secret.New(t.Token))
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // what it did is committed
	var update func(int)
	finish := func() {}
	err = demo.Load(ctx, conn, kind, func(done, total int) {
		if update == nil {
			update, finish = u.progress("example data of "+path, total)
		}
		update(done)
	})
	finish()
	return err
}
