package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker/edge"
	"github.com/isocore/isocore/broker/exchange"
	"github.com/isocore/isocore/broker/postgres"
	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/published"
	"github.com/isocore/isocore/tenant"
)

// edgeSessions bounds the tokens the edge remembers as sessions.
const edgeSessions = 100_000

// connectTime is how long an application may take to accept a connection.
const connectTime = 5 * time.Second

// openProviders opens what fetches the keys of identity providers.
func (n *Node) openProviders() (err error) {
	n.keys, err = published.New(published.Config{
		Sources: n.sources, Changed: n.registry.Changed, Now: time.Now, Log: n.log, KeySet: n.keySetChanged,
	})
	return err
}

// sources returns which identity providers publish their keys, and where.
func (n *Node) sources() []published.Source {
	var all []published.Source
	for _, s := range n.registry.Published() {
		all = append(all, published.Source{Issuer: s.URL, URI: s.JWKSURI, CA: s.CA, Private: s.Private})
	}
	return all
}

// keysOf returns the keys of an issuer: those the registry has, or those it
// publishes.
func (n *Node) keysOf(issuer string) *identity.KeySet {
	if keys := n.registry.Keys(issuer); keys != nil {
		return keys
	}
	return n.keys.Keys(issuer)
}

// keySetChanged records that an identity provider publishes other keys than
// before: they hold only once that is durable.
func (n *Node) keySetChanged(ctx context.Context, c published.Change) error {
	detail := fmt.Sprintf("%d keys stay, %d come, %d go", c.Kept, c.Added, c.Gone)
	if c.Abrupt() {
		detail += ": more than half of them at once"
	}
	receipt, err := n.trail.Append(audit.Record{
		Kind: audit.System, Class: audit.ClassKeySet, Time: time.Now(), Operation: "key set", Resources: []string{c.Issuer}, Detail: detail,
	})
	if err != nil {
		return err
	}
	_, err = receipt.Wait(ctx)
	return err
}

// wake tells everybody who waits for a change of standing that keys of an
// identity provider changed: whom they signed for may not act any more.
func (n *Node) wake(ctx context.Context) error {
	for {
		changed := n.keys.Changed()
		select {
		case <-changed:
			n.registry.Wake()
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *Node) addEdge() error {
	shown, err := n.certificate(edge.Name, n.config.Brokers.Edge.TLS, "h2", "http/1.1")
	if err != nil {
		return err
	}
	if n.reached, err = reach(n.config.Brokers.Edge, nil); err != nil {
		return err
	}
	n.opened(func(context.Context) error {
		for _, r := range n.reached {
			r.route.Upstream.Close()
		}
		for _, up := range n.retired {
			up.Close()
		}
		return nil
	})
	n.edge, err = edge.New(edge.Config{
		TLS: shown, Routes: routesOf(n.reached), Minter: n.minter, Paths: n.registry.TenantPath, Sessions: edgeSessions,
		Door: accept.Door{Limiter: n.limiter, Log: n.log, Grace: DrainTime}, Log: n.log, Now: time.Now,
	})
	if err != nil {
		return err
	}
	n.doors = append(n.doors, door{name: edge.Name, broker: n.edge, ln: n.listen[edge.Name]})
	return nil
}

// reached is an application with the way to it.
type reached struct {
	config config.Route
	route  edge.Route
}

// reach returns the applications of e by name, or everything that is wrong
// with them. A route that was there before as it is now keeps its way.
func reach(e *config.Edge, before map[string]reached) (map[string]reached, error) {
	all := map[string]reached{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(e.Routes)) {
		r := e.Routes[name]
		if was, ok := before[name]; ok && reflect.DeepEqual(was.config, r) {
			all[name] = was
			continue
		}
		up, err := upstream(r)
		words, rerr := identity.ParseReach(strings.Join(r.Reach, " "))
		if err := errors.Join(err, rerr); err != nil {
			errs = append(errs, fmt.Errorf("node: route %s: %w", name, err))
			continue
		}
		all[name] = reached{r, edge.Route{
			Name: name, Host: r.Host, Path: r.Path, Upstream: up, Reach: words, Partner: tenant.Name(r.Partner), Strip: r.Strip,
			Reuse: r.Reuse.Std(), TTL: r.TokenLife.Std(), MaxBody: int64(r.Body),
		}}
	}
	return all, errors.Join(errs...)
}

func routesOf(all map[string]reached) []edge.Route {
	var routes []edge.Route
	for _, name := range slices.Sorted(maps.Keys(all)) {
		routes = append(routes, all[name].route)
	}
	return routes
}

// without returns the ways of some that others do not have.
func without(some, others map[string]reached) (ups []forward.Upstream, names []string) {
	for _, name := range slices.Sorted(maps.Keys(some)) {
		if o, ok := others[name]; ok && o.route.Upstream == some[name].route.Upstream {
			continue
		}
		ups, names = append(ups, some[name].route.Upstream), append(names, name)
	}
	return ups, names
}

// upstream returns the way to an application.
func upstream(r config.Route) (forward.Upstream, error) {
	c := forward.UpstreamConfig{
		Address: r.Upstream.Addr, Max: r.Connections, Each: max(1, r.Connections*3/4),
		Dial: connectTime, Header: r.Answer.Std(), Idle: r.Idle.Std(),
	}
	if r.Upstream.TLS {
		host, _, err := net.SplitHostPort(r.Upstream.Addr)
		if err != nil {
			return nil, err
		}
		c.TLS = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
		if len(r.CA.Data) > 0 {
			c.TLS.RootCAs = x509.NewCertPool()
			if !c.TLS.RootCAs.AppendCertsFromPEM(r.CA.Data) {
				return nil, fmt.Errorf("%s: no certificate", r.CA.Path)
			}
		}
	}
	if r.Transport == "direct" {
		return forward.NewDirect(c)
	}
	return forward.NewUpstream(c)
}

func (n *Node) addExchange() (err error) {
	var brokers []string
	if n.config.Brokers.Postgres != nil {
		brokers = append(brokers, postgres.Name)
	}
	n.exchange, err = exchange.New(exchange.Config{Minter: n.minter, Brokers: brokers, Now: time.Now, Log: n.log})
	return err
}

// openPublic returns what anybody may ask.
func (n *Node) openPublic(jwks []byte) (*admin.Public, error) {
	shown, err := n.certificate(publicDoor, n.config.Admin.TLS, "http/1.1")
	if err != nil {
		return nil, err
	}
	p := &admin.Public{Issuer: n.minter.Issuer(), JWKS: jwks, Ready: n.Ready, TLS: shown, Arrive: n.limiter.Arrive, Log: n.log}
	if n.exchange != nil {
		p.Token, p.Hosts = n.exchange.Handler(n.gate), n.config.Brokers.Exchange.Hosts
	}
	return p, nil
}

// Routes returns the applications behind the edge, as clients meet them.
func (n *Node) Routes() []admin.Route {
	all := []admin.Route{}
	e := n.routes.Load()
	if e == nil {
		return all
	}
	for _, name := range slices.Sorted(maps.Keys(e.Routes)) {
		r := e.Routes[name]
		all = append(all, admin.Route{Name: name, Host: r.Host, Path: r.Path, Upstream: r.Upstream.String(), Reach: r.Reach, Partner: r.Partner})
	}
	return all
}
