package edge

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
)

// batch is how many header lines go into one request of a probe: fewer than
// the edge takes.
const batch = 100

// headerAttacks are those of who says in headers what a token did not.
func headerAttacks() []attack {
	refs := []string{"museum 03", "museum 10", "edge-ai 2.6"}
	var all []attack
	for _, kind := range spellingClasses {
		all = append(all, attack{
			name: "protected headers " + kind.name, rows: []string{opMirror}, refs: refs, class: prove.Passive,
			what: "Say B in every header that applications believe, spelled " + kind.name + ": what arrives is what arrives without.",
			run:  func(c *act) (*prove.Finding, error) { return c.protectedHeaders(kind.spell) },
		})
	}
	return append(all, attack{
		name: "Connection names headers", rows: []string{opMirror}, refs: []string{"edge-ai 2.6"}, class: prove.Passive,
		what: "Have the Connection header name what the edge sets and what a request is judged by, so that it is taken out on the way.", run: (*act).connectionNames,
	}, attack{
		name: "headers of the connection", rows: []string{opMirror}, refs: []string{"edge-ai 2.6"}, class: prove.Passive,
		what: "Send what is for one hop, and what Connection names: none of it arrives.", run: (*act).hopHeaders,
	}, attack{
		name: "trailers", rows: []string{http.MethodPost}, refs: []string{"edge-ai 2.6"}, class: prove.CanaryOnly,
		what: "Say B in trailers, announced and not.", run: (*act).trailers,
	}, attack{
		name: "what the edge says of a request", rows: []string{opMirror}, refs: []string{"edge-ai 2.6", "museum 18"}, class: prove.Passive,
		what: "Look at the headers that the edge sets: each of them once, true, and of A alone.", run: (*act).trueHeaders,
	})
}

// A spelling is a class of ways in which some reader takes a name for another.
type spelling struct {
	name  string
	spell func(name string) []string
}

// spellingClasses are all of them, and each has a mutant.
var spellingClasses = []spelling{
	{"as they are", func(s string) []string {
		return []string{s, strings.ToUpper(s), strings.ToLower(s), http.CanonicalHeaderKey(s), alternate(s)}
	}},
	{"with underscores", func(s string) []string {
		s = strings.ReplaceAll(s, "-", "_")
		return []string{s, strings.ToUpper(s), alternate(s), strings.Replace(s, "_", "-", 1)}
	}},
	{"with dots and other separators", func(s string) []string {
		var all []string
		for _, by := range []string{".", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|", "~"} {
			all = append(all, strings.ReplaceAll(s, "-", by))
		}
		return append(all, strings.ToUpper(strings.ReplaceAll(s, "-", ".")))
	}},
	{"with doubled separators", func(s string) []string {
		return []string{strings.ReplaceAll(s, "-", "--"), strings.ReplaceAll(s, "-", "__"), strings.ReplaceAll(s, "-", "-_"), strings.ReplaceAll(s, "-", "_.-")}
	}},
	{"with separators at an end", func(s string) []string {
		return []string{s + "-", "-" + s, s + "_", "_" + s, "." + s + ".", s + "~", "_" + strings.ReplaceAll(s, "-", "_") + "_"}
	}},
}

// alternate writes every other letter in upper case.
func alternate(s string) string {
	b := []byte(s)
	for i, c := range b {
		if i%2 == 1 && c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// protectedNames are names of all protected headers, some of each family.
func protectedNames() []string {
	var all []string
	for _, p := range Protections {
		begin, family := strings.CutSuffix(p.Name, "*")
		all = append(all, begin)
		if family {
			all = append(all, begin+"-id", begin+"-x-y", begin+"s")
		}
	}
	return all
}

// protectedHeaders says B under every name, in one class of spellings, many in
// a request.
func (c *act) protectedHeaders(spell func(string) []string) (*prove.Finding, error) {
	plain, r, err := c.mirror(c.a)
	if err != nil {
		return nil, err
	}
	if f := c.own("a request without them", plain, r); f != nil {
		return f, nil
	}
	var lines []string
	for _, name := range protectedNames() {
		for _, s := range spell(name) {
			if http.CanonicalHeaderKey(s) == "Authorization" {
				continue // would be a second token: see "two tokens"
			}
			lines = append(lines, s+": "+c.t.B.ID, s+": "+c.t.B.ID+" "+c.t.B.Name)
		}
	}
	for some := range slices.Chunk(lines, batch) {
		m, r, err := c.mirror(c.a, some...)
		if err != nil {
			return nil, err
		}
		how := fmt.Sprintf("%d headers from %.60q", len(some), some[0])
		if f := c.own(how, m, r); f != nil {
			return f, nil
		}
		if m.settled() != plain.settled() {
			return c.finding(how, "what there is without them: "+plain.settled(), r), nil
		}
	}
	return nil, nil
}

// judged are headers, beside the protected ones, that a request is judged by
// or that say what it is.
var judged = []string{"Host", "Cookie", "Content-Length", "Content-Type", "Transfer-Encoding", "Accept", "Origin", "If-Match", "Range", "X-CSRF-Token"}

func (c *act) connectionNames() (*prove.Finding, error) {
	for _, name := range slices.Concat(protectedNames(), judged) {
		for _, value := range []string{name, "close, " + name, "keep-alive, " + strings.ReplaceAll(name, "-", "_"), strings.ToUpper(name), name + ","} {
			r, err := c.ask(c.reflected(bearer(c.a), "Cookie: kept=1", "Connection: "+value))
			if err != nil {
				return nil, err
			}
			if f := c.refused("Connection: "+value, r, refusal.Malformed); f != nil {
				return f, nil
			}
		}
	}
	r, err := c.ask(c.reflected(bearer(c.a), "Connection: close", "Connection: Txn-Token"))
	if err != nil {
		return nil, err
	}
	return c.refused("a second Connection", r, refusal.Malformed), nil
}

// hopLines are headers of one hop.
var hopLines = []string{
	"Connection: X-Hop", "X-Hop: 1", "x_hop: 1", "Keep-Alive: timeout=5", "Keep_Alive: timeout=5", "TE: trailers", "Proxy-Connection: keep-alive",
	"HTTP2-Settings: AAMAAABkAAQAAP__", "Te_: x",
}

func (c *act) hopHeaders() (*prove.Finding, error) {
	plain, r, err := c.mirror(c.a)
	if err != nil {
		return nil, err
	}
	if f := c.own("a request without them", plain, r); f != nil {
		return f, nil
	}
	m, r, err := c.mirror(c.a, hopLines...)
	if err != nil {
		return nil, err
	}
	if m == nil || m.settled() != plain.settled() {
		return c.finding("headers of one hop", plain.settled(), r), nil
	}
	return nil, nil
}

func (c *act) trailers() (*prove.Finding, error) {
	path := strings.TrimSuffix(fill(c.route.Path, c.t.A.Name), "/") + "/isocore-prove-" + c.t.A.ID
	for _, announced := range [][]string{nil, {"Trailer: Txn-Token"}, {"Trailer: X-Tenant-Id, Txn_Token"}, {"TE: trailers", "Connection: te"}} {
		for _, line := range []string{"Txn-Token: ", "X-Tenant-Id: ", "X_Tenant_Id: ", "Anything: "} {
			q := call{
				http.MethodPost, c.host(&c.t.A), path,
				slices.Concat([]string{bearer(c.a), "Transfer-Encoding: chunked"}, announced), "1\r\nx\r\n0\r\n" + line + c.t.B.ID + "\r\n\r\n",
			}
			r, err := c.ask(q)
			if err != nil {
				return nil, err
			}
			if f := c.refused(fmt.Sprintf("the trailer %q, announced %q", line, announced), r, refusal.Malformed); f != nil {
				return f, nil
			}
		}
	}
	return nil, nil
}

// trueHeaders looks at what the edge sets.
func (c *act) trueHeaders() (*prove.Finding, error) {
	lie := []string{"X-Request-Id: " + c.t.B.ID, "Traceparent: 00-" + c.t.B.ID + "-0000000000000001-01", "Baggage: tenant.id=" + c.t.B.ID, "X-Forwarded-Host: b.invalid", "X-Forwarded-For: 192.0.2.1"}
	m, r, err := c.mirror(c.a, lie...)
	if err != nil {
		return nil, err
	}
	if f := c.own("a request that says who it is", m, r); f != nil {
		return f, nil
	}
	id := m.Header.Get("X-Request-Id")
	for name, want := range map[string]string{
		"X-Request-Id": id, "X-Forwarded-Host": c.host(&c.t.A), "Baggage": "tenant.id=" + c.t.A.ID + ",tenant.name=" + c.t.A.Name,
	} {
		if got := m.Header[name]; len(got) != 1 || got[0] != want {
			return c.finding("a request that says who it is", fmt.Sprintf("one %s of %s", name, want), r), nil
		}
	}
	trace := m.Header["Traceparent"]
	claims := m.Header["Txn-Token"]
	if len(id) != 2*idBytes || len(trace) != 1 || !strings.HasPrefix(trace[0], "00-"+id+"-") || len(claims) != 1 ||
		!strings.Contains(claims[0], `"tenant":"`+c.t.A.ID+`"`) || strings.Contains(r.body, "192.0.2.1") {
		return c.finding("a request that says who it is", "an id of the edge's own, its trace, and one Txn-Token of A's", r), nil
	}
	return nil, nil
}
