package edge

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// A Route is one application behind the edge. In its Host a whole label, and
// in its Path a whole segment, may be {tenant} or {partner}: it has to be the
// name of the principal's own, or nothing is there.
type Route struct {
	Name     string // as records and Txn-Tokens call the application
	Host     string // lower case, without a port
	Path     string // what the path begins with, up to the end of a segment
	Upstream forward.Upstream
	Reach    []string      // what its Txn-Token passes on of what a principal reaches
	Reuse    time.Duration // for which one Txn-Token serves a session; zero: one for each request
	MaxBody  int64         // bytes of a request
	TTL      time.Duration // of a Txn-Token; zero is two minutes
	Partner  tenant.Name   // whose tenants alone it serves; "": all
	Strip    []string      // headers of clients that do not arrive, as [Protected] names them, beside the Protections
}

// The words for what a route leaves open.
const (
	ownTenant  = "{tenant}"
	ownPartner = "{partner}"
)

// Bounds of routes.
const (
	maxRoutes  = 1024
	maxReuse   = 10 * time.Second
	defaultTTL = 2 * time.Minute
	maxHost    = 253
	maxStrip   = 64
	maxStrips  = 64 // bytes of one
)

// A route is a Route taken apart.
type route struct {
	Route
	labels   []string // of the host
	segments []string // of the path
	open     bool     // either names a tenant or partner
	ttl      time.Duration
	strip    *names // nil: none
}

// A router finds the route of a request. It does not change.
type router struct {
	hosts map[string][]*route // those whose host leaves nothing open
	open  []*route            // the others, those with fewer open labels first
}

// newRouter returns the router of routes, or everything that is wrong.
func newRouter(routes []Route) (*router, error) {
	r := &router{hosts: map[string][]*route{}}
	var errs []error
	if len(routes) == 0 || len(routes) > maxRoutes {
		errs = append(errs, fmt.Errorf("edge: %d routes, not 1 to %d", len(routes), maxRoutes))
	}
	names, places := map[string]bool{}, map[string]bool{}
	for _, given := range routes {
		wrong := func(what string) { errs = append(errs, fmt.Errorf("edge: route %.40q: %s", given.Name, what)) }
		for _, what := range given.check() {
			wrong(what)
		}
		if names[given.Name] {
			wrong("there are two of this name")
		}
		place := given.Host + "/" + strings.Trim(given.Path, "/")
		if places[place] {
			wrong("another one has its host and path")
		}
		names[given.Name], places[place] = true, true
		r.add(newRoute(given))
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	longest := func(a, b *route) int {
		if n := len(b.segments) - len(a.segments); n != 0 {
			return n
		}
		return openings(a.segments) - openings(b.segments)
	}
	for _, rs := range r.hosts {
		slices.SortStableFunc(rs, longest)
	}
	slices.SortStableFunc(r.open, func(a, b *route) int {
		if n := openings(a.labels) - openings(b.labels); n != 0 {
			return n
		}
		return longest(a, b)
	})
	return r, nil
}

func newRoute(given Route) *route {
	r := &route{Route: given, labels: strings.Split(given.Host, "."), segments: segments(given.Path), ttl: given.TTL}
	r.Reach = slices.Clone(given.Reach)
	r.open = openings(r.labels)+openings(r.segments) > 0
	if r.ttl == 0 {
		r.ttl = defaultTTL
	}
	if len(given.Strip) > 0 {
		list := make([]Protected, len(given.Strip))
		for i, name := range given.Strip {
			list[i] = Protected{name, "the operator says so"}
		}
		r.strip = newNames(list)
	}
	return r
}

func (r *router) add(one *route) {
	if openings(one.labels) > 0 {
		r.open = append(r.open, one)
		return
	}
	r.hosts[one.Host] = append(r.hosts[one.Host], one)
}

// check returns what is wrong with r.
func (r Route) check() []string {
	var wrong []string
	want := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, what)
		}
	}
	want(isName(r.Name), "its name is not 1 to 40 of a-z, 0-9 and hyphens")
	filled := strings.NewReplacer(ownTenant, "a", ownPartner, "a")
	host, err := parseHost(filled.Replace(r.Host))
	want(err == nil && host == filled.Replace(r.Host), "its host is not a lower-case DNS name")
	want(whole(strings.Split(r.Host, ".")), "its host has an opening that is not a label of its own, or one twice")
	want(strings.HasPrefix(r.Path, "/") && h1.CleanPath(filled.Replace(r.Path)) == nil && !strings.ContainsAny(r.Path, "?%"),
		"its path is not a plain one")
	want(whole(segments(r.Path)), "its path has an opening that is not a segment of its own, or one twice")
	want(r.Upstream != nil, "it has no upstream")
	_, err = identity.ParseReach(strings.Join(r.Reach, " "))
	want(err == nil, "its reach is not a list of words")
	want(r.Reuse >= 0 && r.Reuse <= maxReuse, fmt.Sprintf("a Txn-Token is used again for %v, not up to %v", r.Reuse, maxReuse))
	want(r.MaxBody > 0, "it has no bound for a body")
	want(r.TTL == 0 || r.TTL >= time.Second && r.TTL <= identity.MaxLifetime && r.TTL%time.Second == 0,
		fmt.Sprintf("a Txn-Token lives %v, not whole seconds up to %v", r.TTL, identity.MaxLifetime))
	want(r.TTL == 0 || r.TTL > r.Reuse, "a Txn-Token is used for longer than it lives")
	want(len(r.Strip) <= maxStrip, fmt.Sprintf("it strips more than %d headers", maxStrip))
	for _, name := range r.Strip {
		want(isStrip(name), fmt.Sprintf("it strips %.80q, which is not a header in lower case with hyphens, an asterisk at its end or none", name))
	}
	return wrong
}

// isStrip reports whether s names headers as a [Protected] does.
func isStrip(s string) bool {
	begin, open := strings.CutSuffix(s, "*")
	if open {
		begin = strings.TrimSuffix(begin, "-")
	}
	return begin != "" && len(s) <= maxStrips && Fold(begin) == begin
}

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 40
}

// whole reports whether braces stand around the known words only, each of
// them in a part of its own and once.
func whole(parts []string) bool {
	seen := map[string]bool{}
	for _, p := range parts {
		if !strings.ContainsAny(p, "{}") {
			continue
		}
		if p != ownTenant && p != ownPartner || seen[p] {
			return false
		}
		seen[p] = true
	}
	return true
}

func openings(parts []string) (n int) {
	for _, p := range parts {
		if p == ownTenant || p == ownPartner {
			n++
		}
	}
	return n
}

// segments returns the segments of a path that names none twice by a slash:
// "/" has none.
func segments(path string) []string { return appendSegments(nil, path) }

func appendSegments(dst []string, path string) []string {
	path = strings.Trim(path, "/")
	for more := path != ""; more; {
		var one string
		one, path, more = strings.Cut(path, "/")
		dst = append(dst, one)
	}
	return dst
}

var errNoRoute = refusal.New(refusal.NotFound, "edge: no route")

// find returns the route of a request of the tenant called own. Who asks for
// another tenant's host or path is told what one is told who asks for what is
// nowhere.
func (r *router) find(host, path string, own tenant.Path) (*route, error) {
	var room [32]string
	parts := appendSegments(room[:0], path)
	one := r.choose(host, func(one *route) bool { return leads(one.segments, parts) })
	if one == nil || !one.serves(own) || one.open && !(owned(one.labels, strings.Split(host, "."), own) && owned(one.segments, parts, own)) {
		return nil, errNoRoute
	}
	return one, nil
}

// serves reports whether the route is for tenants of this one's partner.
func (r *route) serves(own tenant.Path) bool {
	return r.Partner == "" || r.Partner == own.Partner
}

// any returns a route of a host: that of path if there is one, or another.
func (r *router) any(host, path string, own tenant.Path) (*route, error) {
	if one, err := r.find(host, path, own); err == nil {
		return one, nil
	}
	one := r.choose(host, func(*route) bool { return true })
	if one == nil || !one.serves(own) || !owned(one.labels, strings.Split(host, "."), own) {
		return nil, errNoRoute
	}
	return one, nil
}

// choose returns the first route of host that fits.
func (r *router) choose(host string, fits func(*route) bool) *route {
	if rs, ok := r.hosts[host]; ok {
		if i := slices.IndexFunc(rs, fits); i >= 0 {
			return rs[i]
		}
		return nil
	}
	labels := strings.Split(host, ".")
	i := slices.IndexFunc(r.open, func(one *route) bool {
		return len(one.labels) == len(labels) && leads(one.labels, labels) && fits(one)
	})
	if i < 0 {
		return nil
	}
	return r.open[i]
}

// leads reports whether parts begin as the pattern says, whoever they name.
func leads(pattern, parts []string) bool {
	if len(pattern) > len(parts) {
		return false
	}
	for i, p := range pattern {
		if p != parts[i] && p != ownTenant && p != ownPartner {
			return false
		}
	}
	return true
}

// owned reports whether whatever the pattern leaves open is own.
func owned(pattern, parts []string, own tenant.Path) bool {
	for i, p := range pattern {
		if p == ownTenant && parts[i] != string(own.Name) || p == ownPartner && parts[i] != string(own.Partner) {
			return false
		}
	}
	return true
}

// parseHost returns the name in a Host header, in lower case and without its
// port.
func parseHost(s string) (string, error) {
	name, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		name, port = s[:i], s[i+1:]
		if !isPort(port) {
			return "", refusal.New(refusal.Malformed, "edge: host %.100q has a port that is none", s)
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); !closed || err != nil || !a.Is6() || a.Zone() != "" {
			return "", refusal.New(refusal.Malformed, "edge: host %.100q is not an address", s)
		}
		return strings.ToLower(name), nil
	}
	if name == "" || len(name) > maxHost {
		return "", refusal.New(refusal.Malformed, "edge: host %.100q is no name", s)
	}
	name = strings.ToLower(name)
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return "", refusal.New(refusal.Malformed, "edge: host %.100q is no name", s)
		}
	}
	return name, nil
}

func isPort(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return s != "" && len(s) <= 5 && s[0] != '0' && n <= 65535
}

func isLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
}
