package edge

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// Probes returns the attacks on this broker. They ask for the mirror wherever
// they can, which shows what an application would get, and so need none.
func Probes() []prove.Probe {
	var probes []prove.Probe
	for _, a := range slices.Concat(
		doorAttacks(), tokenAttacks(), rowAttacks(), headerAttacks(), placeAttacks(), wireAttacks(), turnAttacks(),
	) {
		probes = append(probes, a.probe())
	}
	return probes
}

// Gaps returns the known attacks at an edge that no probe here tries, each
// with its reason.
func Gaps() []string {
	return []string{
		"edge: timing is not measured: the answers for another tenant's place and for none are the same bytes",
		"edge: what an application's answer may carry out is seen with an application that tries: the broker's own tests do",
		"edge: an application's answer that comes late is not cut off on the way: the broker's own tests do, with an application of theirs",
		"edge: key rotation, and what a provider publishes, are between it and the node: the tests of identity/published are about them",
		"museum 05: that no two keys of a cache collide is a test of their type, and no probe's",
		"museum 07: no tenant is deleted and made again during a run",
	}
}

// An attack is a Probe of this broker before it is one.
type attack struct {
	name  string
	what  string
	rows  []string // without the broker
	refs  []string
	class prove.Class
	alone bool
	lacks func(*prove.Target) string
	run   func(*act) (*prove.Finding, error)
}

// An act is one attack going on.
type act struct {
	context.Context
	t     *prove.Target
	row   string // of findings, unless they say another
	route prove.Route
	a, b  secret.Text // good tokens
	more  []*caller
}

func (k *attack) probe() prove.Probe {
	rows := make([]string, 0, len(k.rows))
	for _, row := range k.rows {
		rows = append(rows, Name+"/"+row)
	}
	return prove.Probe{
		Name: Name + ": " + k.name, What: k.what, Rows: rows, Refs: k.refs, Class: k.class, Alone: k.alone, Lacks: k.lacks,
		Control: func(ctx context.Context, t *prove.Target) error {
			c, err := k.begin(ctx, t)
			defer c.close()
			if err != nil {
				return err
			}
			return c.works()
		},
		Attack: func(ctx context.Context, t *prove.Target) (*prove.Finding, error) {
			c, err := k.begin(ctx, t)
			defer c.close()
			if err != nil {
				return nil, err
			}
			return k.run(c)
		},
	}
}

// begin gives an act its place and its tokens.
func (k *attack) begin(ctx context.Context, t *prove.Target) (*act, error) {
	c := &act{Context: ctx, t: t, row: Name + "/" + k.rows[0]}
	if len(t.Routes) == 0 || len(t.Providers) == 0 {
		return c, prove.Skip("no application is behind the edge, or no identity provider was made for the run")
	}
	// One that leaves nothing open is the least to go wrong with.
	i := slices.IndexFunc(t.Routes, func(r prove.Route) bool { return !strings.Contains(r.Host+r.Path, "{") })
	c.route = t.Routes[max(i, 0)]
	var err error
	if c.a, err = t.A.Token(ctx, Name); err != nil {
		return c, err
	}
	c.b, err = t.B.Token(ctx, Name)
	return c, err
}

// works is the control: the edge answers both tenants, and what they ask is
// what is answered. Who they are taken for is for the attacks to see.
func (c *act) works() error {
	for _, token := range []secret.Text{c.a, c.b} {
		nonce := rand.Text()
		m, r, err := c.mirror(token, "X-Nonce: "+nonce)
		if err != nil {
			return err
		}
		if m == nil || m.Header.Get("X-Nonce") != nonce || m.Tenant != c.t.A.ID && m.Tenant != c.t.B.ID {
			return fmt.Errorf("edge: a good token is answered %.300s", r)
		}
	}
	return nil
}

func (c *act) close() {
	for _, one := range c.more {
		one.conn.Close() //nolint:errcheck // it was read
	}
}

// host returns the host at which a tenant finds the application.
func (c *act) host(t *prove.Tenant) string { return fill(c.route.Host, t.Name) }

// fill puts the names of a tenant, partner/name, where a route leaves them open.
func fill(pattern, name string) string {
	partner, own, _ := strings.Cut(name, "/")
	return strings.NewReplacer(ownTenant, own, ownPartner, partner).Replace(pattern)
}

// finding returns one of the act's row.
func (c *act) finding(how, want string, r *reply) *prove.Finding {
	return &prove.Finding{
		Row: c.row, Got: fmt.Sprintf("to %s: %d %.200s", how, r.status, r.body), Want: want, Evidence: fmt.Sprintf("%.600s", r),
	}
}

// refused returns a finding unless r is a refusal for one of the reasons, and
// nothing but that.
func (c *act) refused(how string, r *reply, reasons ...refusal.Reason) *prove.Finding {
	if f := c.leaks(how, r); f != nil {
		return f
	}
	if slices.ContainsFunc(reasons, r.says) {
		return nil
	}
	words := make([]string, 0, len(reasons))
	for _, reason := range reasons {
		words = append(words, reason.String())
	}
	return c.finding(how, "the refusal "+strings.Join(words, " or ")+", and nothing else", r)
}

// leaks returns a finding if an answer to A has something of B's in it.
func (c *act) leaks(how string, r *reply) *prove.Finding {
	text := r.String()
	for _, word := range []string{c.t.B.ID, c.t.B.Name, c.t.B.Canary} {
		if i := strings.Index(text, word); i >= 0 {
			return &prove.Finding{
				Row: c.row, Got: "B's in answer to " + how, Want: "nothing of B's",
				Evidence: text[max(0, i-60):min(len(text), i+len(word)+60)],
			}
		}
	}
	return nil
}

// own returns a finding unless r is the mirror of a request of A's that has
// nothing of B's in it.
func (c *act) own(how string, m *Mirror, r *reply) *prove.Finding {
	if f := c.leaks(how, r); f != nil {
		return f
	}
	if m == nil || m.Tenant != c.t.A.ID {
		return c.finding(how, "A's own request", r)
	}
	return nil
}
