package edge

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
)

// placeAttacks are those of who asks at another tenant's host or path, or
// writes a place so that two readers take it for two.
func placeAttacks() []attack {
	return []attack{
		{
			name: "another tenant's place", rows: []string{http.MethodGet, opMirror}, refs: []string{"edge-ai 2.4", "museum 18", "museum 34"}, class: prove.Passive, lacks: noOpening,
			what: "Ask with A's token at B's host and path: the answer is, byte for byte, that of a place which is nobody's.", run: (*act).othersPlace,
		},
		{
			name: "hosts", rows: []string{opMirror}, refs: []string{"edge-ai 2.6"}, class: prove.Passive,
			what: "Ask at hosts that are none of the routes', or none at all, and say another in the headers that name hosts.", run: (*act).hosts,
		},
		{
			name: "paths in disguise", rows: []string{http.MethodGet, opMirror}, refs: []string{"museum 09", "edge-ai 2.6"}, class: prove.Passive,
			what: "Write dots, separators, empty segments, parameters and control bytes into a path, plain, encoded and encoded twice.", run: (*act).paths,
		},
		{
			name: "another target than the one that is judged", rows: []string{opMirror}, refs: []string{"museum 03", "edge-ai 2.6"}, class: prove.Passive,
			what: "Say another method, host, path or scheme in the headers by which proxies tell them.", run: (*act).rewrites,
		},
	}
}

// noOpening says that no route has a place of each tenant's own.
func noOpening(t *prove.Target) string {
	if slices.ContainsFunc(t.Routes, func(r prove.Route) bool { return strings.Contains(r.Host+r.Path, "{") }) {
		return ""
	}
	return "no route leaves {tenant} or {partner} open"
}

// nobody is what no tenant is called, of the length that a canary tenant's
// name has.
func nobody(name string) string {
	return strings.Repeat("z", strings.IndexByte(name, '/')) + "/" + strings.Repeat("z", len(name)-strings.IndexByte(name, '/')-1)
}

func (c *act) othersPlace() (*prove.Finding, error) {
	for _, route := range c.t.Routes {
		if !strings.Contains(route.Host+route.Path, "{") {
			continue
		}
		for _, target := range []string{mirrorPath, route.Path} {
			if target == mirrorPath && !strings.Contains(route.Host, "{") {
				continue // the mirror of a host is everybody's who may ask there
			}
			if f, err := c.places(route, target); f != nil || err != nil {
				return f, err
			}
		}
	}
	return nil, nil
}

// places asks as A at B's place of a route, and wants the answer that nobody's
// place gets.
func (c *act) places(route prove.Route, target string) (*prove.Finding, error) {
	at := func(name string) call {
		return call{http.MethodGet, fill(route.Host, name), fill(target, name), []string{bearer(c.a)}, ""}
	}
	nowhere, err := c.ask(at(nobody(c.t.B.Name)))
	if err != nil {
		return nil, err
	}
	if f := c.refused("nobody's place of "+route.Name, nowhere, refusal.NotFound); f != nil {
		return f, nil
	}
	_, b, _ := strings.Cut(c.t.B.Name, "/")
	for how, name := range map[string]string{
		"B's place": c.t.B.Name, "B's in upper case": strings.ToUpper(c.t.B.Name), "B's with a port": c.t.B.Name, "A's and B's": c.t.A.Name + b,
	} {
		q := at(name)
		if how == "B's with a port" {
			q.host += ":443"
		}
		r, err := c.ask(q)
		if err != nil {
			return nil, err
		}
		if f := c.leaks(how+" of "+route.Name, r); f != nil {
			return f, nil
		}
		if r.String() != nowhere.String() {
			return c.finding(how+" of "+route.Name, nowhere.String(), r), nil
		}
	}
	return nil, nil
}

func (c *act) hosts() (*prove.Finding, error) {
	own := c.host(&c.t.A)
	for _, host := range []string{
		"nowhere.invalid", own + ".invalid", "x-" + own, own + ".", "." + own, own + "..", own + ":0", own + ":99999", own + ":x", own + ":", "a@" + own, own + "/x", own + "?x", own + "#x",
		own + ", nowhere.invalid", own + " nowhere.invalid", "[::1", "[" + own + "]", "*", "", "%6c" + own, own + "%00", own + "\t", own + "_", "http://" + own, "127.0.0.1.nip." + own,
	} {
		q := c.reflected(bearer(c.a))
		q.host = host
		r, err := c.ask(q)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", host, err)
		}
		if f := c.refused(fmt.Sprintf("host %q", host), r, refusal.NotFound, refusal.Malformed); f != nil {
			return f, nil
		}
	}
	for _, second := range []string{"Host: " + own, "Host: nowhere.invalid", "host: " + own, "Host : " + own, "Host:\t" + own} {
		r, err := c.ask(c.reflected(second, bearer(c.a)))
		if err != nil {
			return nil, err
		}
		if f := c.refused("a second host, "+second, r, refusal.Malformed); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// disguises are ways of writing a path that lead elsewhere for some readers.
var disguises = []string{
	"//", "/./", "/../", "/x/../", "/x/..", "/.", "/..", "/..;/", "/x;y=z", "/;", "/x//y", "/%2f", "/%2F", "/x%2fy", "/%2e%2e/", "/%2E%2E%2F", "/.%2e/", "/%2e", "/%5c", "/x%5c..%5c",
	"/%00", "/x%00y", "/%0d%0a", "/%0aX:y", "/%7f", "/%25%32%66", "/%252f", "/%252e%252e", "/%255c", "/%2500", "/%", "/%2", "/%zz", "/%ff", "/%c0%ae%c0%ae/", "/%c0%af", "/%ed%a0%80",
	"/x\\y", "/\\..\\", "/x#y", "/<x>", "/\"x\"", "/x\ty", "/caf\xc3\xa9", "*", "x", "?", "http://nowhere.invalid/", "https://nowhere.invalid/x", "//nowhere.invalid/", "nowhere.invalid:443", "/x y",
}

func (c *act) paths() (*prove.Finding, error) {
	targets := slices.Clone(disguises)
	for _, way := range []string{"/", "/.", "/x/..", "/%2e"} {
		targets = append(targets, way+mirrorPath)
	}
	targets = append(targets, strings.Replace(mirrorPath, "/isocore", "%2fisocore", 1), strings.Replace(mirrorPath, "/isocore", "/./isocore", 1),
		strings.Replace(mirrorPath, "/isocore", ";x=y/isocore", 1), strings.Replace(mirrorPath, ".well", "%2ewell", 1))
	for _, target := range targets {
		q := c.reflected(bearer(c.a))
		q.target = target
		r, err := c.ask(q)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", target, err)
		}
		if f := c.refused(fmt.Sprintf("target %q", target), r, refusal.Malformed); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// rewrites says another target in headers.
func (c *act) rewrites() (*prove.Finding, error) {
	plain, r, err := c.mirror(c.a)
	if err != nil {
		return nil, err
	}
	if f := c.own("a request without them", plain, r); f != nil {
		return f, nil
	}
	for _, name := range []string{
		"X-Original-URL", "X-Original-URI", "X-Original-Path", "X-Original-Method", "X-Original-Host", "X-Rewrite-URL", "X-Rewrite-URI", "X-Override-URL", "X-Forwarded-Host",
		"X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Port", "X-Forwarded-Scheme", "X-Forwarded-Proto", "X-Forwarded-Ssl", "X-Forwarded-Method", "X-Forwarded-Path",
		"X-Host", "X-HTTP-Host-Override", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "Forwarded", "X-Envoy-Original-Path", "X-Envoy-Decorator-Operation", "X-Accel-Redirect",
	} {
		for _, value := range []string{"/" + c.t.B.ID, fill(c.route.Host, c.t.B.Name) + "/" + c.t.B.ID, "DELETE " + c.t.B.ID, "host=" + c.t.B.ID + ";proto=http"} {
			m, r, err := c.mirror(c.a, name+": "+value)
			if err != nil {
				return nil, err
			}
			if f := c.own(name, m, r); f != nil {
				return f, nil
			}
			if m.settled() != plain.settled() {
				return c.finding(name+": "+value, plain.settled(), r), nil
			}
		}
	}
	return nil, nil
}

// nonce gives a request a word that only its answer can have.
func (c *act) nonce() (line, word string) {
	word = rand.Text()
	return "X-Nonce: " + word, word
}
