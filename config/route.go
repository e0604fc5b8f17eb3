package config

import (
	"crypto/x509"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/tenant"
)

// reserved is where the edge itself answers, whatever the route.
const reserved = "/.well-known/isocore"

// Bounds of what a route strips.
const (
	maxStrip  = 64
	maxHeader = 64 // bytes of a header's name
)

// Reaches returns the words that a reach may hold: those that identity knows.
func Reaches() []string { return []string{"pg:read", "pg:write", "http"} }

func (d *decoder) edge(path string, c *Config) {
	e := c.Brokers.Edge
	d.want(!e.Listen.Off(), path+".listen", "is off, and the edge would not be reached", "leave out the section brokers.edge")
	d.door(path, e.Listen, e.TLS)
	places := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(e.Routes)) {
		r, at := e.Routes[name], path+".routes."+name
		d.want(len(name) <= 40 && domain(name), at, "is not a name of lower-case letters, digits and hyphens, up to 40", "")
		d.place(at, r)
		d.upstream(at, r, c)
		d.passed(at, r)
		place := r.Host + " " + r.Path
		d.want(places[place] == "", at, "has the host and path of "+places[place], "")
		places[place] = name
	}
}

// place checks where a route is and for whom.
func (d *decoder) place(at string, r Route) {
	d.want(pattern(r.Host, ".", domain), at+".host", fmt.Sprintf("%q is not a lower-case DNS name", r.Host), "write app.example.org, or {tenant}.example.org")
	d.want(r.Path == "/" || strings.HasPrefix(r.Path, "/") && pattern(r.Path[1:], "/", segments), at+".path",
		fmt.Sprintf("%q is not a plain path", r.Path), "write /, /notes or /t/{tenant}")
	d.want(r.Path != reserved && !strings.HasPrefix(r.Path, reserved+"/"), at+".path", fmt.Sprintf("%q is the edge's own: the application would not be asked", r.Path), "")
	_, err := tenant.ParseName(r.Partner)
	d.want(r.Partner == "" || err == nil, at+".partner", fmt.Sprintf("%q is not the name of a partner", r.Partner), "write home")
	for _, where := range []struct{ path, is string }{{at + ".host", r.Host}, {at + ".path", r.Path}} {
		alone := strings.Contains(where.is, "{tenant}") && !strings.Contains(r.Host+r.Path, "{partner}")
		d.want(!alone || r.Partner != "" || !d.ok(at+".partner"), where.path,
			"names a tenant and no partner: tenants of two partners may have one name", "add partner: home, or {partner} beside {tenant}")
	}
}

// upstream checks the way to an application.
func (d *decoder) upstream(at string, r Route, c *Config) {
	doors := map[string]Listen{"admin.listen": c.Admin.Listen, "brokers.edge.listen": c.Brokers.Edge.Listen}
	if c.Brokers.Postgres != nil {
		doors["brokers.postgres.listen"] = c.Brokers.Postgres.Listen
	}
	for _, door := range slices.Sorted(maps.Keys(doors)) {
		d.want(!r.Upstream.reaches(doors[door]), at+".upstream", r.Upstream.String()+" is "+door+", where this node answers itself", "write where the application answers")
	}
	d.want(r.Upstream.TLS || r.Upstream.Local(), at+".upstream", r.Upstream.String()+" is another machine, and there is no TLS", "write https://")
	d.want(r.CA.Path == "" || r.Upstream.TLS, at+".ca_file", "is there, and the upstream has no TLS", "leave it out")
	d.want(r.CA.Path == "" || x509.NewCertPool().AppendCertsFromPEM(r.CA.Data), at+".ca_file", "holds no certificate in PEM", "")
}

// reaches reports whether u is plainly where l listens.
func (u Upstream) reaches(l Listen) bool {
	host, port, _ := strings.Cut(u.Addr, ":")
	a, err := netip.ParseAddrPort(u.Addr)
	if l.Off() || l.Port() == 0 {
		return false
	}
	if err == nil {
		to, at := a.Addr().Unmap(), l.Addr().Unmap()
		return a.Port() == l.Port() && (to == at || to.IsUnspecified() && at.IsLoopback() || at.IsUnspecified() && (to.IsLoopback() || to.IsUnspecified()))
	}
	return strings.EqualFold(host, "localhost") && port == fmt.Sprint(l.Port()) && (l.Loopback() || l.Addr().Unmap().IsUnspecified())
}

// passed checks what a route passes on.
func (d *decoder) passed(at string, r Route) {
	d.want(len(r.Reach) > 0, at+".reach", "is empty: the Txn-Token would open nothing", "write [pg:read]")
	for _, w := range r.Reach {
		hint := meant(nearest(w, Reaches()))
		if hint == "" {
			hint = "write " + strings.Join(Reaches(), ", ")
		}
		d.want(slices.Contains(Reaches(), w), at+".reach", fmt.Sprintf("%q is not a reach", w), hint)
	}
	d.want(len(r.Strip) <= maxStrip, at+".strip", fmt.Sprintf("has more than %d headers", maxStrip), "")
	for _, h := range r.Strip {
		d.want(headers(h), at+".strip", fmt.Sprintf("%.80q is not a header in lower case", h), "write x-user, or x-user* for whatever begins so")
	}
	life, reuse := r.TokenLife.Std(), r.Reuse.Std()
	d.want(life%time.Second == 0, at+".token_life", fmt.Sprintf("%v is not whole seconds", r.TokenLife), "")
	if d.ok(at + ".token_life") {
		d.want(reuse < life, at+".reuse", fmt.Sprintf("%v is not less than the %v that the Txn-Token lives", r.Reuse, r.TokenLife), "")
	}
}

// headers reports whether s names a header, or with an asterisk at its end
// those that begin so.
func headers(s string) bool {
	begin, open := strings.CutSuffix(s, "*")
	if open {
		begin = strings.TrimSuffix(begin, "-")
	}
	for part := range strings.SplitSeq(begin, "-") {
		if !plainWord(part, "") {
			return false
		}
	}
	return len(s) <= maxHeader
}

// pattern reports whether s is fine once {tenant} and {partner}, each whole
// between two separators and there once at most, are names.
func pattern(s, separator string, fine func(string) bool) bool {
	parts := strings.Split(s, separator)
	seen := map[string]bool{}
	for i, p := range parts {
		if p != "{tenant}" && p != "{partner}" {
			continue
		}
		if seen[p] {
			return false
		}
		seen[p], parts[i] = true, "name"
	}
	return fine(strings.Join(parts, separator))
}

// segments reports whether a path's segments are all plain words.
func segments(path string) bool {
	for s := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		if s == "." || s == ".." || !plainWord(s, "-_.ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			return false
		}
	}
	return len(path) < 200
}

// plainWord reports whether s is of a-z, 0-9 and more.
func plainWord(s, more string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789"+more) == ""
}
