package node

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/isocore/isocore/broker/edge"
	"github.com/isocore/isocore/broker/postgres"
	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/limit"
)

// Reload takes over what c says of certificates, of limits and of routes. If
// anything else in it is not what the node runs with, or anything is wrong
// with it, nothing is taken over.
func (n *Node) Reload(c *config.Config) error {
	if err := fixed(n.config, c); err != nil {
		return err
	}
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
	var next []edge.Route
	if c.Brokers.Edge != nil {
		var err error
		if next, err = routes(c.Brokers.Edge); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := limit.New(limits(c)); err != nil {
		errs = append(errs, err)
	}
	if n.edge != nil && errs == nil {
		errs = append(errs, n.edge.SetRoutes(next))
	}
	if err := errors.Join(errs...); err != nil {
		closeUpstreams(next)
		return err
	}
	closeUpstreams(n.reached)
	n.reached = next
	if err := n.limiter.Set(limits(c)); err != nil {
		return err
	}
	for door, pair := range pairs {
		n.shown[door].Store(pair)
	}
	n.routes.Store(c.Brokers.Edge)
	return nil
}

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
