package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/isocore/isocore/prove"
)

// canaryTable is where the two tenants of a run keep their canaries. It is
// protected like any table of the application.
const canaryTable = "app.isocore_canary"

// CanaryTable creates the table that probes need, as the owner of the
// application's tables; package protect then protects it like any other.
const CanaryTable = `CREATE TABLE IF NOT EXISTS app.isocore_canary (
	tenant_id uuid   NOT NULL,
	id        bigint NOT NULL,
	body      text,
	PRIMARY KEY (tenant_id, id)
)`

// Probes returns the attacks on this broker: one for each row of the table,
// and those that people have thought of.
func Probes() []prove.Probe {
	var probes []prove.Probe
	for _, a := range slices.Concat(
		denyAttacks(), confineAttacks(), pairAttacks(), doorAttacks(), forgeAttacks, functionAttacks(), catalogAttacks, sessionAttacks, heardAttacks,
	) {
		probes = append(probes, a.probe(len(probes)+1))
	}
	return probes
}

// Gaps returns the known attacks on PostgreSQL that no probe here tries, each
// with its reason.
func Gaps() []string {
	return []string{
		"holes 4: whether a revocation held is seen when the database is sealed; the grade says so",
		"holes 11: no token of the run ends within a transaction",
		"holes 12: no connection to the store is handed from one session to another",
		"holes 16: a pooler before the store is refused when the broker connects",
		"holes 22: timing is not measured; that every index leads with the tenant is asked of the catalog",
		"holes 32: migrations are the operator's",
		"holes 34: how fast an operator is under row security is no secret",
		"museum 07: no tenant is deleted and made again during a run",
		"fetch of a named portal: what was recorded of it cannot be read by a client; the broker's own tests do",
	}
}

// An attack is a Probe of this broker before it is given its rows of the
// canary table.
type attack struct {
	name  string
	what  string
	rows  []string // without the broker
	refs  []string
	class prove.Class
	grade string
	alone bool
	run   func(*act) (*prove.Finding, error)

	// control is asked besides whether both tenants see their own; nil is nothing.
	control func(*act) error
}

// An act is one attack going on. Its tenants have rows of the canary table of
// its own: both the ids id to id+9, B alone id+500 to id+509, nobody id+900
// and more.
type act struct {
	context.Context
	t    *prove.Target
	id   int
	lead string    // begins each message of the control: of a row that the probe is not about
	a    *attacker // of A, who attacks
	more []*attacker
}

func (k *attack) probe(n int) prove.Probe {
	rows := make([]string, 0, len(k.rows))
	for _, row := range k.rows {
		rows = append(rows, Name+"/"+row)
	}
	id := n * 1000
	return prove.Probe{
		Name: Name + ": " + k.name, What: k.what, Rows: rows, Refs: k.refs,
		Class: k.class, Grade: k.grade, Alone: k.alone,
		Control: func(ctx context.Context, t *prove.Target) error {
			c := &act{Context: ctx, t: t, id: id, lead: k.lead()}
			defer c.close()
			return c.works(k)
		},
		Attack: func(ctx context.Context, t *prove.Target) (*prove.Finding, error) {
			c := &act{Context: ctx, t: t, id: id, lead: k.lead()}
			defer c.close()
			var err error
			if c.a, err = c.enter(&t.A); err != nil {
				return nil, err
			}
			return k.run(c)
		},
	}
}

// lead returns a statement of a row that k is not about. It gives the control
// its context: under a mutant of k's rows the control must still pass.
func (k *attack) lead() string {
	if slices.Contains(k.rows, "Execute reset") {
		return "SHOW server_version"
	}
	return "RESET application_name"
}

// works is the control: both tenants write and see their own rows.
func (c *act) works(k *attack) error {
	var err error
	if c.a, err = c.enter(&c.t.A); err != nil {
		return err
	}
	if err := c.plant(c.a, &c.t.A, c.id, c.id+9); err != nil {
		return err
	}
	b, err := c.enter(&c.t.B)
	if err != nil {
		return err
	}
	if err := c.plant(b, &c.t.B, c.id, c.id+9, c.id+500, c.id+509); err != nil {
		return err
	}
	if k.control == nil {
		return nil
	}
	return k.control(c)
}

// plant gives a tenant its rows anew, and reads them.
func (c *act) plant(a *attacker, t *prove.Tenant, spans ...int) error {
	text := fmt.Sprintf("%s; DELETE FROM %s WHERE id >= %d AND id < %d", c.lead, canaryTable, c.id, c.id+1000)
	n := 0
	for i := 0; i < len(spans); i += 2 {
		text += fmt.Sprintf("; INSERT INTO %s (id, body) SELECT i, %s || ' ' || i FROM generate_series(%d, %d) i",
			canaryTable, quote(t.Canary), spans[i], spans[i+1])
		n += spans[i+1] - spans[i] + 1
	}
	s, err := a.query("%s; %s", text, c.rows())
	if err != nil {
		return err
	}
	if got := s.values(); s.failure() != nil || len(got) < n || len(got) > n+1 || !strings.HasPrefix(got[len(got)-n], t.Canary) {
		return fmt.Errorf("postgres: %s does not see its own %d rows: %.300s", t.Name, n, s)
	}
	return nil
}

// rows is the statement that reads what there is of the act's ids.
func (c *act) rows() string {
	return fmt.Sprintf("SELECT body FROM %s WHERE id >= %d AND id < %d ORDER BY id", canaryTable, c.id, c.id+1000)
}

// enter logs a tenant in, until the act is over.
func (c *act) enter(t *prove.Tenant, reach ...string) (*attacker, error) {
	if len(reach) == 0 {
		reach = []string{read, write}
	}
	token, err := t.Token(c, Name, reach...)
	if err != nil {
		return nil, err
	}
	a, err := enterWith(c, c.t, token)
	if err != nil {
		return nil, err
	}
	c.more = append(c.more, a)
	return a, nil
}

// again gives A a new connection in the place of its last.
func (c *act) again() error {
	var err error
	c.a, err = c.enter(&c.t.A)
	return err
}

func (c *act) close() {
	for _, a := range c.more {
		a.close()
	}
}

// leaks returns a finding if an answer holds B's canary.
func (c *act) leaks(row, how string, s replies) *prove.Finding {
	text := s.String()
	at := strings.Index(text, c.t.B.Canary)
	if at < 0 {
		return nil
	}
	from := max(0, at-40)
	return &prove.Finding{
		Row: Name + "/" + row, Got: "B's canary in answer to " + how, Want: "nothing of B's",
		Evidence: text[from:min(len(text), at+len(c.t.B.Canary)+40)],
	}
}

// differs returns a finding if two answers are not the same, byte for byte.
// If the first holds B's canary, that is what the finding says.
func (c *act) differs(row, how string, got, want replies) *prove.Finding {
	if f := c.leaks(row, how, got); f != nil {
		return f
	}
	if slices.Equal(got, want) {
		return nil
	}
	return &prove.Finding{
		Row: Name + "/" + row, Got: fmt.Sprintf("to %s: %.300s", how, got), Want: fmt.Sprintf("%.300s", want),
		Evidence: difference(got, want),
	}
}

// difference returns where two answers part.
func difference(got, want replies) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("message %d is missing: %.300s", i, want[i:])
		case i >= len(want):
			return fmt.Sprintf("message %d is too many: %.300s", i, got[i:])
		case got[i] != want[i]:
			return fmt.Sprintf("message %d is %.300s, not %.300s", i, got[i:i+1], want[i:i+1])
		}
	}
	return ""
}

// intact returns a finding if B's own rows are not what they were.
func (c *act) intact(row, how string) (*prove.Finding, error) {
	b, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	s, err := b.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	var want []string
	for _, from := range []int{c.id, c.id + 500} {
		for i := range 10 {
			want = append(want, fmt.Sprintf("%s %d", c.t.B.Canary, from+i))
		}
	}
	if got := s.values(); !slices.Equal(got, want) {
		return &prove.Finding{
			Row: Name + "/" + row, Got: "B's rows after " + how + " are others", Want: "B's rows as they were",
			Evidence: fmt.Sprintf("%.400q, not %.400q", got, want),
		}, nil
	}
	return nil, nil
}

// errControl is a control within an attack that failed.
var errControl = errors.New("postgres: the attacker does not see its own rows")

// quote writes a string as SQL does.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// The grades of a deployment: see [protect.Grade].
const (
	Sealed  = "sealed"  // a superuser took from everybody what looks past row security
	Managed = "managed" // tenants see totals and activity of the whole server
)
