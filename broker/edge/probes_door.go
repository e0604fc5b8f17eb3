package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
)

// doorAttacks are those of who is not let in, or should not be.
func doorAttacks() []attack {
	at := func(name, what string, refs []string, run func(*act) (*prove.Finding, error)) attack {
		return attack{name: name, what: what, rows: []string{opToken}, refs: refs, class: prove.Passive, run: run}
	}
	all := []attack{
		at("no token", "Ask without a token, with an empty one, and with what only names a tenant.", []string{"museum 10"}, (*act).noToken),
		at("a token in the query", "Show the token as a parameter of the query, alone and beside the header.", []string{"edge-ai 2.4"}, (*act).tokenInQuery),
		at("a token where none is looked for", "Show the token in a cookie, in a form, and under other names.", []string{"edge-ai 2.4"}, (*act).tokenElsewhere),
		at("two tokens", "Show A's token and B's at once: which of them counts must not be a question.", []string{"edge-ai 2.4"}, (*act).twoTokens),
		at("other schemes", "Show the token under another scheme, or with more than one space or word.", []string{"edge-ai 2.4"}, (*act).otherSchemes),
		at("tokens of other doors", "Show a token that is good at a store, and a Txn-Token: neither may be.", []string{"holes 40", "museum 04", "museum 54"}, (*act).otherDoors),
	}
	reasons := map[prove.Flaw]refusal.Reason{
		prove.Forged: refusal.Unauthenticated, prove.Expired: refusal.Expired,
		prove.Elsewhere: refusal.Unauthenticated, prove.Stranger: refusal.Unauthenticated,
	}
	refs := map[prove.Flaw][]string{prove.Stranger: {"museum 01"}, prove.Elsewhere: {"museum 04"}, prove.Expired: {"museum 54"}}
	for _, f := range []prove.Flaw{prove.Forged, prove.Expired, prove.Elsewhere, prove.Stranger} {
		all = append(all, at("a token "+f.String(), "Show a token of A's that is "+f.String()+".", refs[f],
			func(c *act) (*prove.Finding, error) { return c.flawed(f, reasons[f]) }))
	}
	suspended := at("a tenant that is suspended", "Suspend B between two requests of one connection: the next one is refused within a second, and A's are not.",
		[]string{"holes 49", "edge-ai 2.4"}, (*act).suspended)
	suspended.alone = true
	return append(all, suspended)
}

func (c *act) flawed(f prove.Flaw, reason refusal.Reason) (*prove.Finding, error) {
	if c.t.A.Flawed == nil {
		return nil, prove.Skip("no token %v can be made here", f)
	}
	token, err := c.t.A.Flawed(c, Name, f)
	if err != nil {
		return nil, err
	}
	_, r, err := c.mirror(token)
	if err != nil {
		return nil, err
	}
	return c.refused("a token "+f.String(), r, reason), nil
}

// each makes a call with each of the lines, and wants each refused.
func (c *act) each(lines map[string][]string, reasons ...refusal.Reason) (*prove.Finding, error) {
	for how, l := range lines {
		r, err := c.ask(c.reflected(l...))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", how, err)
		}
		if f := c.refused(how, r, reasons...); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

func (c *act) noToken() (*prove.Finding, error) {
	return c.each(map[string][]string{
		"nothing":                 nil,
		"an empty header":         {"Authorization:"},
		"a scheme alone":          {"Authorization: Bearer"},
		"a scheme and a space":    {"Authorization: Bearer "},
		"dots":                    {"Authorization: Bearer .."},
		"A's id":                  {"Authorization: Bearer " + c.t.A.ID},
		"B's id":                  {"Authorization: Bearer " + c.t.B.ID},
		"B's id in a header":      {"X-Tenant-Id: " + c.t.B.ID},
		"B's id in a Txn-Token":   {"Txn-Token: " + c.t.B.ID},
		"an empty key set's none": {"Authorization: Bearer eyJhbGciOiJub25lIn0.e30."},
	}, refusal.Unauthenticated)
}

func (c *act) tokenInQuery() (*prove.Finding, error) {
	for _, name := range []string{"access_token", "ACCESS_TOKEN", "access%5Ftoken", "access-token", "a=1&access_token", "a=1;access_token"} {
		for _, lines := range [][]string{nil, {bearer(c.a)}, {bearer(c.b)}} {
			q := c.reflected(lines...)
			q.target = "/?" + name + "=" + c.a.Reveal()
			r, err := c.ask(q)
			if err != nil {
				return nil, err
			}
			if f := c.refused("a token as "+name, r, refusal.Malformed); f != nil {
				return f, nil
			}
		}
	}
	return nil, nil
}

func (c *act) tokenElsewhere() (*prove.Finding, error) {
	token := c.a.Reveal()
	lines := map[string][]string{}
	for _, name := range []string{
		"Proxy-Authorization", "X-Authorization", "X-Auth-Token", "X-Access-Token", "X-Forwarded-Access-Token", "X-Api-Key", "Api-Key",
		"Txn-Token", "Authorization_", "X-Original-Authorization", "X-Amzn-Oidc-Data", "Cf-Access-Jwt-Assertion", "Sec-WebSocket-Protocol",
	} {
		lines[name] = []string{name + ": " + token}
		lines[name+" with a scheme"] = []string{name + ": Bearer " + token}
	}
	for _, name := range []string{"access_token", "token", "session", "Authorization", "__Host-session"} {
		lines["a cookie "+name] = []string{"Cookie: " + name + "=" + token}
	}
	if f, err := c.each(lines, refusal.Unauthenticated); f != nil || err != nil {
		return f, err
	}
	form := "access_token=" + token
	q := call{
		http.MethodPost, c.host(&c.t.A), "/",
		[]string{"Content-Type: application/x-www-form-urlencoded", fmt.Sprintf("Content-Length: %d", len(form))},
		form,
	}
	r, err := c.ask(q)
	if err != nil {
		return nil, err
	}
	return c.refused("a form", r, refusal.Unauthenticated), nil
}

func (c *act) twoTokens() (*prove.Finding, error) {
	a, b := c.a.Reveal(), c.b.Reveal()
	return c.each(map[string][]string{
		"A's, then B's":              {bearer(c.a), bearer(c.b)},
		"B's, then A's":              {bearer(c.b), bearer(c.a)},
		"A's twice":                  {bearer(c.a), bearer(c.a)},
		"A's, then B's in lower":     {bearer(c.a), "authorization: Bearer " + b},
		"A's, then an empty one":     {bearer(c.a), "Authorization:"},
		"an empty one, then B's":     {"AUTHORIZATION:", bearer(c.b)},
		"A's and B's in a list":      {"Authorization: Bearer " + a + ", Bearer " + b},
		"A's and B's in one":         {"Authorization: Bearer " + a + "," + b},
		"A's and B's with a space":   {"Authorization: Bearer " + a + " " + b},
		"A's folded over B's":        {"Authorization: Bearer " + a + "\r\n " + b},
		"A's with a line feed":       {"Authorization: Bearer " + a + "\nAuthorization: Bearer " + b},
		"A's with a carriage return": {"Authorization: Bearer " + a + "\rAuthorization: Bearer " + b},
	}, refusal.Malformed, refusal.Unauthenticated)
}

func (c *act) otherSchemes() (*prove.Finding, error) {
	token := c.a.Reveal()
	lines := map[string][]string{}
	for _, scheme := range []string{
		"Basic ", "DPoP ", "Token ", "JWT ", "Negotiate ", "PrivateToken ", "Bearer  ", "Bearer\t", "Bearer, ", "Bearer:", "Bearer=", "BearerX ", "Bearer Bearer ", "",
	} {
		lines[fmt.Sprintf("%q", scheme)] = []string{"Authorization: " + scheme + token}
	}
	return c.each(lines, refusal.Unauthenticated, refusal.Malformed)
}

func (c *act) otherDoors() (*prove.Finding, error) {
	for door := range c.t.Addr {
		if door == Name {
			continue
		}
		token, err := c.t.A.Token(c, door, identity.PGRead)
		if err != nil {
			return nil, err
		}
		_, r, err := c.mirror(token)
		if err != nil {
			return nil, err
		}
		if f := c.refused("a token for "+door, r, refusal.Unauthenticated); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// goneWithin is how long a suspension may take to be felt.
const goneWithin = time.Second

// suspended suspends B between two requests of one connection.
func (c *act) suspended() (f *prove.Finding, err error) {
	if c.t.B.Suspend == nil || c.t.B.Resume == nil {
		return nil, prove.Skip("the tenants of this run cannot be suspended")
	}
	b, err := c.dial(c.host(&c.t.B))
	if err != nil {
		return nil, err
	}
	q := call{http.MethodGet, c.host(&c.t.B), mirrorPath, []string{bearer(c.b)}, ""}
	ask := func() (*reply, error) {
		if err := b.say(q.String()); err != nil {
			return nil, err
		}
		return b.hear(q.method)
	}
	if _, err := ask(); err != nil {
		return nil, err
	}
	if err := c.t.B.Suspend(c); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.t.B.Resume(context.WithoutCancel(c))) }()
	r, err := ask()
	for began := time.Now(); err == nil && !r.says(refusal.Suspended) && time.Since(began) < goneWithin; {
		r, err = ask()
	}
	if err != nil {
		return nil, err
	}
	fresh, err := c.ask(q)
	if err != nil {
		return nil, err
	}
	for how, r := range map[string]*reply{"a request of a suspended tenant": r, "a new connection of a suspended tenant": fresh} {
		if !r.says(refusal.Suspended) {
			return c.finding(how, "the refusal "+refusal.Suspended.String(), r), nil
		}
	}
	m, r, err := c.mirror(c.a)
	if err != nil {
		return nil, err
	}
	return c.own("A's request while B is suspended", m, r), nil
}

// rowAttacks attack each row as what it is: a row that denies is asked for, and
// one that confines is asked for with too little reach, by nobody, and by A in
// the hope of B's.
func rowAttacks() []attack {
	var all []attack
	for _, row := range table.Rows(Name) {
		k := attack{rows: []string{row.Name}, class: prove.CanaryOnly, refs: []string{"museum 18"}}
		switch {
		case row.Name == opToken:
			continue
		case row.Needs == "":
			k.name, k.what = row.Name+" is refused", "Ask for what no application behind the edge is asked for: "+row.Why+"."
			k.run = func(c *act) (*prove.Finding, error) { return c.denied(row.Name) }
		default:
			k.name, k.what = row.Name+" carries nobody else", "Ask with a token that does not reach applications, with none, and as A in the hope of an answer to B."
			k.run = func(c *act) (*prove.Finding, error) { return c.confined(row.Name) }
		}
		all = append(all, k)
	}
	return all
}

// requestOf returns a call that is of a row. What it asks for is nowhere in an
// application, so that nothing is done to one.
func (c *act) requestOf(row string) call {
	q := call{method: row, host: c.host(&c.t.A), target: strings.TrimSuffix(fill(c.route.Path, c.t.A.Name), "/") + "/isocore-prove-" + c.t.A.ID}
	switch row {
	case opMirror:
		q.method, q.target = http.MethodGet, mirrorPath
	case opWebSocket:
		q.method = http.MethodGet
		q.lines = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}
	case opUpgrade:
		q.method = http.MethodGet
		q.lines = []string{"Connection: Upgrade", "Upgrade: h2c"}
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		q.lines, q.body = []string{"Content-Type: text/plain", "Content-Length: 6"}, "canary"
	}
	return q
}

func (c *act) with(q call, lines ...string) (*reply, error) {
	q.lines = slices.Concat(lines, q.lines)
	return c.ask(q)
}

func (c *act) denied(row string) (*prove.Finding, error) {
	r, err := c.with(c.requestOf(row), bearer(c.a))
	if err != nil {
		return nil, err
	}
	return c.refused(row, r, refusal.Denied), nil
}

func (c *act) confined(row string) (*prove.Finding, error) {
	q := c.requestOf(row)
	r, err := c.with(q)
	if err != nil {
		return nil, err
	}
	if f := c.bodiless(q.method, row+" without a token", r, refusal.Unauthenticated); f != nil {
		return f, nil
	}
	short, err := c.t.A.Token(c, Name, identity.PGRead, identity.PGWrite)
	if err != nil {
		return nil, err
	}
	if r, err = c.with(q, bearer(short)); err != nil {
		return nil, err
	}
	if f := c.bodiless(q.method, row+" with a token that does not reach applications", r, refusal.Narrow); f != nil {
		return f, nil
	}
	r, err = c.with(q, bearer(c.a), "X-Tenant-Id: "+c.t.B.ID, "Txn_Token: "+c.t.B.ID)
	if err != nil {
		return nil, err
	}
	return c.leaks(row+" as A", r), nil
}

// bodiless is refused for an answer that has no body if the method is HEAD.
func (c *act) bodiless(method, how string, r *reply, reason refusal.Reason) *prove.Finding {
	if method == http.MethodHead && r.status == statuses[reason] && r.body == "" {
		return nil
	}
	return c.refused(how, r, reason)
}
