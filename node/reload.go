package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker/edge"
	"github.com/isocore/isocore/broker/postgres"
	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/limit"
)

// Reload takes over what the configuration, read by load, says of certificates,
// of limits and of routes, and records that. If anything else in it is not what
// the node runs with, or anything is wrong with it, nothing is taken over. One
// Reload runs at a time.
func (n *Node) Reload(ctx context.Context, load func() (*config.Config, error)) error {
	c, err := load()
	if err == nil {
		err = n.reload(ctx, c, n.recordReload)
	}
	if err != nil {
		n.log.WarnContext(ctx, "not reloaded: everything stays as it was", "err", err)
		return err
	}
	n.log.InfoContext(ctx, "reloaded: certificates, limits and routes are as the file says")
	return nil
}

// reload is Reload, whose record is that of routes.
func (n *Node) reload(ctx context.Context, c *config.Config, record func(ctx context.Context, c *config.Config, routes []string) error) error {
	if err := fixed(n.config, c); err != nil {
		return err
	}
	pairs, errs := n.pairs(c)
	if _, err := limit.New(limits(c)); err != nil {
		errs = append(errs, err)
	}
	next := map[string]reached{}
	if c.Brokers.Edge != nil {
		var err error
		if next, err = reach(c.Brokers.Edge, n.reached); err != nil {
			errs = append(errs, err)
		}
	}
	come, changed := without(next, n.reached)
	gone, left := without(n.reached, next)
	if errors.Join(errs...) == nil {
		errs = append(errs, record(ctx, c, slices.Compact(slices.Sorted(slices.Values(append(changed, left...))))))
	}
	if n.edge != nil && errors.Join(errs...) == nil {
		errs = append(errs, n.edge.SetRoutes(routesOf(next)))
	}
	if err := errors.Join(errs...); err != nil {
		for _, up := range come {
			up.Close()
		}
		return err
	}
	n.reached, n.retired = next, append(n.retired, gone...)
	n.routes.Store(c.Brokers.Edge)
	for door, pair := range pairs {
		n.shown[door].Store(pair)
	}
	return n.limiter.Set(limits(c))
}

// pairs returns the certificates of the doors of c that show one.
func (n *Node) pairs(c *config.Config) (map[string]*tls.Certificate, []error) {
	pairs := map[string]*tls.Certificate{}
	var errs []error
	for door, t := range certificates(c) {
		if t.Off() || n.shown[door] == nil {
			continue
		}
		pair, err := t.Certificate()
		if err != nil {
			errs = append(errs, fmt.Errorf("node: %s: %w", door, err))
			continue
		}
		pairs[door] = &pair
	}
	return pairs, errs
}

// recordReload records that c is taken over, with the routes that are others:
// who changes them changes what tenants' tokens open.
func (n *Node) recordReload(ctx context.Context, c *config.Config, routes []string) error {
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	receipt, err := n.trail.Append(audit.Record{
		Kind: audit.Admin, Class: audit.ClassConfig, Time: time.Now(), Operation: "reload", Resources: routes,
		Detail: fmt.Sprintf("SHA-256 of the whole: %x", sha256.Sum256(c.Show())),
	})
	if err != nil {
		return err
	}
	_, err = receipt.Wait(ctx)
	return err
}

// recordTime bounds how long a record of the node's own may take.
const recordTime = 10 * time.Second

// certificates returns what each door of c shows.
func certificates(c *config.Config) map[string]config.TLS {
	all := map[string]config.TLS{publicDoor: c.Admin.TLS}
	if c.Brokers.Postgres != nil {
		all[postgres.Name] = c.Brokers.Postgres.TLS
	}
	if c.Brokers.Edge != nil {
		all[edge.Name] = c.Brokers.Edge.TLS
	}
	return all
}

// fixed returns an error that names every line in which next differs from now
// beyond what can be reloaded.
func fixed(now, next *config.Config) error {
	was, is := lines(now), lines(next)
	var errs []error
	for i := range max(len(was), len(is)) {
		if a, b := at(was, i), at(is, i); a != b {
			errs = append(errs, fmt.Errorf("node: %q is %q now, which takes a restart", a, b))
		}
	}
	return errors.Join(errs...)
}

// lines returns what c amounts to, less what can be reloaded. Where it listens
// and where its store is may have been chosen at the start.
func lines(c *config.Config) []string {
	same := *c
	statement := c.Limits.Default.Statement
	same.Limits = config.Limits{Default: config.Limit{Statement: statement}}
	same.Admin.Listen, same.Admin.TLS = config.Listen{}, reloadable(c.Admin.TLS)
	if p := c.Brokers.Postgres; p != nil {
		own := *p
		own.Listen, own.Store.Address, own.TLS = config.Listen{}, config.Address{}, reloadable(own.TLS)
		same.Brokers.Postgres = &own
	}
	if e := c.Brokers.Edge; e != nil {
		own := *e
		own.Listen, own.Routes, own.TLS = config.Listen{}, nil, reloadable(own.TLS)
		same.Brokers.Edge = &own
	}
	var out []string
	for line := range bytes.Lines(same.Show()) {
		out = append(out, strings.TrimSpace(string(line)))
	}
	return out
}

// reloadable returns only whether there is a certificate: another may be in
// another file, and TLS does not come or go.
func reloadable(t config.TLS) config.TLS {
	t.Cert.Path, t.Key.Path = present(t.Cert.Path), present(t.Key.Path)
	return t
}

// present returns only whether there is a path.
func present(p config.Path) config.Path {
	if p == "" {
		return ""
	}
	return "(a file)"
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}
