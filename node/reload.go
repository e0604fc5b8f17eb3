package node

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/isocore/isocore/config"
)

// Reload takes over what c says of certificates and of limits. If anything
// else in it is not what the node runs with, nothing is taken over.
func (n *Node) Reload(c *config.Config) error {
	if err := fixed(n.config, c); err != nil {
		return err
	}
	var pair tls.Certificate
	p := c.Brokers.Postgres
	if p != nil && !p.TLS.Off() {
		var err error
		if pair, err = p.TLS.Certificate(); err != nil {
			return fmt.Errorf("node: brokers.postgres.tls: %w", err)
		}
	}
	if err := n.limiter.Set(limits(c)); err != nil {
		return err
	}
	if pair.Certificate != nil {
		n.shown.Store(&pair)
	}
	return nil
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
	same.Admin.Listen = config.Listen{}
	if p := c.Brokers.Postgres; p != nil {
		own := *p
		own.Listen, own.Store.Address = config.Listen{}, config.Address{}
		own.TLS.Cert.Path, own.TLS.Key.Path = present(own.TLS.Cert.Path), present(own.TLS.Key.Path)
		same.Brokers.Postgres = &own
	}
	var out []string
	for line := range bytes.Lines(same.Show()) {
		out = append(out, strings.TrimSpace(string(line)))
	}
	return out
}

// present returns only whether there is a path: another certificate may be in
// another file, and TLS does not come or go.
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
