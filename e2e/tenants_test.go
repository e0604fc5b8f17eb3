package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func codeOf(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// waitEnd waits until an idle session is ended by the other side, and returns
// what it was told.
func waitEnd(t *testing.T, conn *pgx.Conn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := conn.WaitForNotification(ctx)
	if err == nil || ctx.Err() != nil {
		t.Errorf("the session goes on: %v", err)
	}
	return err
}

// Two tenants see their own rows in the same tables under the same keys, by
// psql, and neither counts, changes or names the other's.
func TestOwnRowsOnly(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up()
	for _, name := range []string{"clinic", "advisory", "other/clinic2"} {
		short := name[strings.IndexByte(name, '/')+1:]
		for statement, want := range map[string]string{
			"SELECT count(*) FROM document":                                                               "2400",
			"SELECT count(*) FROM document WHERE body LIKE '[" + short + ",%'":                            "2400",
			"SELECT count(DISTINCT tenant_id) FROM document":                                              "1",
			"SELECT count(*) FROM document WHERE tenant_id <> isocore.tenant()":                           "0",
			"SELECT count(*) FROM person WHERE external_no = '100001'":                                    "1",
			"UPDATE document SET title = title WHERE tenant_id <> isocore.tenant()":                       "UPDATE 0",
			"DELETE FROM document WHERE tenant_id <> isocore.tenant()":                                    "DELETE 0",
			"SELECT count(*) FROM person a JOIN person b ON a.id = b.id WHERE a.tenant_id <> b.tenant_id": "0",
		} {
			if got, ok := h.psql(name, statement); !ok || got != want {
				t.Errorf("%s: %s: %s, want %s", name, statement, got, want)
			}
		}
	}
	other := decode[tenant](h, "tenant", "show", "advisory").ID
	said, ok := h.psql("clinic", "INSERT INTO person (tenant_id, id, external_no, name, born) VALUES ('"+other+"', 999999, 'x', 'x', '2000-01-01')")
	if ok || !strings.Contains(said, "row-level security") && !strings.Contains(said, "permission denied") {
		t.Errorf("a row in another's name: %s", said)
	}
}

// forgeries are the six ways in which plain SQL forges the context of the
// usual recipe, and some of their kin. Each errs or sees nothing.
var forgeries = []string{
	"SET LOCAL app.tenant_id = '%[1]s'; SELECT count(*) FROM document WHERE tenant_id = '%[1]s'",
	"SET isocore.context = '%[1]s'; SELECT count(*) FROM document WHERE tenant_id = '%[1]s'",
	"SET LOCAL ROLE app_owner; SELECT count(*) FROM document WHERE tenant_id = '%[1]s'",
	"RESET ROLE; SELECT count(*) FROM document WHERE tenant_id = '%[1]s'",
	"SET SESSION AUTHORIZATION isocore_admin; SELECT count(*) FROM document WHERE tenant_id = '%[1]s'",
	"DO $$ BEGIN EXECUTE 'SEL'||'ECT set_c'||'onfig(''isocore.context'', ''%[1]s'', false)'; END $$; SELECT count(*) FROM document WHERE tenant_id = '%[1]s'",
	"SELECT query_to_xml('SEL'||'ECT set_c'||'onfig(''isocore.context'', ''%[1]s'', false)', true, true, ''); SELECT count(*) FROM document WHERE tenant_id = '%[1]s'",
	"SELECT * FROM ts_stat('select to_tsvector(set_config(''isocore.context'', ''%[1]s'', false))'); SELECT count(*) FROM document WHERE tenant_id = '%[1]s'",
	"WITH x AS MATERIALIZED (SELECT set_config('isocore.context', '%[1]s', true)) SELECT (SELECT count(*) FROM document WHERE tenant_id = '%[1]s') FROM x",
	"SET row_security = off; SELECT count(*) FROM document WHERE tenant_id = '%[1]s'",
	"DECLARE c CURSOR WITH HOLD FOR SELECT * FROM document",
	"CREATE TEMP TABLE document AS SELECT 1",
	"LISTEN x",
	"LOCK TABLE document IN ACCESS EXCLUSIVE MODE",
	"TRUNCATE document",
	"SELECT query FROM pg_stat_activity",
	"SELECT lo_create(0)",
	"COPY document TO PROGRAM 'true'",
	"ALTER ROLE CURRENT_USER PASSWORD 'evil'",
	"EXPLAIN SELECT * FROM document WHERE tenant_id = '%[1]s'",
	"SELECT pg_terminate_backend(1)",
	"SELECT * FROM isocore.key",
}

func TestForging(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up()
	victim := decode[tenant](h, "tenant", "show", "advisory").ID
	for _, f := range forgeries {
		statement := f
		if strings.Contains(f, "%[1]s") {
			statement = fmt.Sprintf(f, victim)
		}
		said, ok := h.psql("clinic", statement)
		lines := strings.Split(said, "\n")
		if last := lines[len(lines)-1]; ok && last != "0" {
			t.Errorf("%s: %s", statement, said)
		}
		if strings.Contains(said, "[advisory") {
			t.Errorf("%s: shows what is not its own: %s", statement, said)
		}
	}
	for name, want := range map[string]string{"clinic": "2400", "advisory": "2400"} { // the control
		if got, ok := h.psql(name, "SELECT count(*) FROM document"); !ok || got != want {
			t.Errorf("%s afterwards: %s", name, got)
		}
	}
}

// Suspension, of a tenant or of its partner, and deletion end what a tenant is
// at: an idle session and a running statement.
func TestSuspension(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up("--no-demo")
	h.must("partner", "create", "msp")
	h.must("tenant", "create", "msp/acme")
	h.must("tenant", "create", "bystander")
	for _, x := range []struct{ how, back []string }{
		{[]string{"tenant", "suspend", "msp/acme"}, []string{"tenant", "resume", "msp/acme"}},
		{[]string{"partner", "suspend", "msp"}, []string{"partner", "resume", "msp"}},
	} {
		h.cut(x.how)
		h.fails(1, []string{"Suspended", "hint: isocore "}, "token", "issue", "--tenant", "msp/acme")
		h.must(x.back...)
		if got, ok := h.psql("msp/acme", "SELECT 1"); !ok || got != "1" {
			t.Errorf("after %v: %s", x.back, got)
		}
	}
	h.fails(1, []string{"suspend it first"}, "tenant", "delete", "--yes", "msp/acme")
	h.fails(2, []string{"--yes"}, "tenant", "delete", "msp/acme")
	h.inherits()
}

// bound is what a suspension may take here, where tests run beside each other;
// what it took is logged.
const bound = 2 * time.Second

// cut opens sessions of msp/acme, runs how, and wants them ended in time, and
// nobody else's.
func (h *home) cut(how []string) {
	h.Helper()
	idle, running, other := h.client("msp/acme"), h.client("msp/acme"), h.client("bystander")
	token := h.token("msp/acme")
	ended := make(chan time.Time, 2)
	go func() {
		_, err := running.Exec(h.Context(), "SELECT pg_sleep(60)")
		if code := codeOf(err); code != "28000" {
			h.Errorf("%v: a running statement was told %v", how, err)
		}
		ended <- time.Now()
	}()
	h.until(10*time.Second, "the statement runs", func() bool {
		return strings.Contains(h.must("audit", "tail", "--tenant", "msp/acme", "-n", "5"), "pg_sleep(60)")
	})
	go func() {
		if code := codeOf(waitEnd(h.T, idle)); code != "28000" {
			h.Errorf("%v: an idle session was told %q", how, code)
		}
		ended <- time.Now()
	}()
	began := time.Now()
	h.must(how...)
	answered := time.Now()
	for range 2 {
		at := <-ended
		h.Logf("%v: a session ended %v after the command began, %v after it answered", how, at.Sub(began).Round(time.Millisecond), at.Sub(answered).Round(time.Millisecond))
		if at.Sub(began) > bound {
			h.Errorf("%v: that is too late", how)
		}
	}
	if conn, err := h.connect(h.Context(), token); err == nil {
		conn.Close(h.Context()) //nolint:errcheck // it should not be there
		h.Errorf("%v: the token still opens a session", how)
	}
	if _, err := other.Exec(h.Context(), "SELECT 1"); err != nil {
		h.Errorf("%v: a bystander: %v", how, err)
	}
}

// inherits deletes msp/acme and makes it again: nothing of the old one is the
// new one's.
func (h *home) inherits() {
	h.Helper()
	h.must("token", "issue", "--tenant", "msp/acme")
	old := decode[tenant](h, "tenant", "show", "msp/acme").ID
	if said, ok := h.psql("msp/acme", "INSERT INTO person (id, external_no, name, born) VALUES (1, '1', 'of the old one', '2000-01-01')"); !ok {
		h.Fatal(said)
	}
	token := h.token("msp/acme")
	session := h.client("msp/acme")
	h.must("tenant", "suspend", "msp/acme")
	h.must("tenant", "delete", "msp/acme", "--yes")
	waitEnd(h.T, session) //nolint:errcheck // that it ends is what counts
	h.must("tenant", "create", "msp/acme")
	if id := decode[tenant](h, "tenant", "show", "msp/acme").ID; id == old {
		h.Errorf("the id %s is given again", id)
	}
	if n, ok := h.psql("msp/acme", "SELECT count(*) FROM person"); !ok || n != "0" {
		h.Errorf("the new one sees %s rows", n)
	}
	if said, ok := h.psql("msp/acme", "INSERT INTO person (id, external_no, name, born) VALUES (1, '1', 'of the new one', '2000-01-01')"); !ok {
		h.Errorf("the old one's key is in the way: %s", said)
	}
	if log := h.must("audit", "tail", "--tenant", "msp/acme"); strings.Contains(log, "of the old one") || strings.Contains(log, old) {
		h.Errorf("the new one's log has the old one's records: %s", log)
	}
	if log := h.must("audit", "tail", "--tenant", old); !strings.Contains(log, "of the old one") || !strings.Contains(log, "tenant delete") {
		h.Errorf("the old one's log: %s", log)
	}
	if conn, err := h.connect(h.Context(), token); codeOf(err) != "28P01" {
		h.Errorf("the old one's token: %v, %v", conn, err)
	}
	if r := h.runWith(strings.NewReader(token), "token", "verify"); r.code != 1 || !strings.Contains(r.err, "no such tenant") {
		h.Errorf("the old one's token: %v", r)
	}
	if out := h.must("tenant", "list", "--state", "gone"); !strings.Contains(out, old) {
		h.Errorf("who is gone: %s", out)
	}
}
