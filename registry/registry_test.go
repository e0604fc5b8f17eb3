package registry

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/local"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

func TestMain(m *testing.M) { localtest.Main(m) }

const iss = "https://isocore.test"

// database returns an empty database of the registry's role, and how that
// role connects to it.
func database(t testing.TB) (name string, dsn secret.Text) {
	t.Helper()
	password := secret.New("registry of the tests")
	if err := localtest.Postgres(t).Provision(t.Context(), password); err != nil {
		t.Fatal(err)
	}
	name = localtest.Database(t)
	if _, err := localtest.Super(t, name).Exec(t.Context(), "ALTER DATABASE "+name+" OWNER TO "+local.RegistryRole); err != nil {
		t.Fatal(err)
	}
	return name, localtest.Postgres(t).DSN(local.RegistryRole, password, name)
}

func config(dsn secret.Text) Config {
	return Config{DSN: dsn, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func open(t testing.TB, c Config) *Registry {
	t.Helper()
	r, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// somebody is one tenant with one principal.
type somebody struct {
	tenant    Tenant
	principal [16]byte
}

func (s somebody) check(r *Registry) refusal.Reason {
	return reason(r.Check(s.tenant.ID, s.tenant.Partner, s.principal, iss))
}

// granted is no Reason: there was nothing to refuse.
const granted = refusal.Draining + 1

func reason(err error) refusal.Reason {
	if err == nil {
		return granted
	}
	return refusal.Of(err)
}

func minter(t testing.TB) *identity.Minter {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m, err := identity.NewMinter(iss, key, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func settled(t testing.TB, r *Registry) *identity.Minter {
	t.Helper()
	m := minter(t)
	if _, err := r.SetIssuer(t.Context(), iss, m.Keys()); err != nil {
		t.Fatal(err)
	}
	return m
}

// enrol makes the partner if need be, the tenant and alice.
func enrol(t testing.TB, r *Registry, path string) somebody {
	t.Helper()
	p, err := tenant.ParsePath(path, "home")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreatePartner(t.Context(), p.Partner); err != nil && !errors.Is(err, ErrTaken) {
		t.Fatal(err)
	}
	who, err := r.CreateTenant(t.Context(), p, "eu")
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.Principal(t.Context(), who.ID, iss, "alice")
	if err != nil {
		t.Fatal(err)
	}
	return somebody{who, id}
}

// await waits until s stands as want at r.
func await(t testing.TB, r *Registry, s somebody, want refusal.Reason) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		changed := r.Changed()
		got := s.check(r)
		if got == want {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("still %v, want %v", got, want)
		}
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	_, err := Open(t.Context(), Config{})
	for _, name := range []string{"DSN", "Now", "Log"} {
		if err == nil || !strings.Contains(err.Error(), name+" is missing") {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	for _, dsn := range []string{"postgres://u:hunter2@h:port/x", "password=hunter2 port=nine", "host=/nowhere password=hunter2"} {
		_, err := Open(t.Context(), config(secret.New(dsn)))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
	var zero Registry
	if got := reason(zero.Check(tenant.New(), [16]byte{}, [16]byte{}, iss)); got != refusal.Unavailable || zero.Keys(iss) != nil {
		t.Errorf("the zero Registry says %v", got)
	}
}

func TestTenantsGoTheirWay(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a := enrol(t, r, "north/clinic")
	steps := []struct {
		name string
		do   func(context.Context, tenant.Path) (Tenant, error)
		want State // empty: refused as it is
		hear refusal.Reason
	}{
		{"resume", r.Resume, "", granted},
		{"leave", r.Leave, "", granted},
		{"delete", r.Delete, "", granted},
		{"suspend", r.Suspend, Suspended, refusal.Suspended},
		{"suspend", r.Suspend, "", refusal.Suspended},
		{"resume", r.Resume, Active, granted},
		{"suspend", r.Suspend, Suspended, refusal.Suspended},
		{"leave", r.Leave, Leaving, refusal.Suspended},
		{"resume", r.Resume, "", refusal.Suspended},
		{"suspend", r.Suspend, "", refusal.Suspended},
		{"delete", r.Delete, Gone, refusal.Unauthenticated},
	}
	for i, s := range steps {
		got, err := s.do(t.Context(), a.tenant.Path)
		_, illegal := errors.AsType[*MoveError](err)
		if (s.want == "") != illegal || illegal && refusal.Of(err) != refusal.Denied || err == nil && got.State != s.want {
			t.Errorf("%d %s: %v, %v", i, s.name, got.State, err)
		}
		if got := a.check(r); got != s.hear {
			t.Errorf("%d %s: hears %v, want %v", i, s.name, got, s.hear)
		}
	}
	for _, do := range []func(context.Context, tenant.Path) (Tenant, error){r.Tenant, r.Suspend, r.Resume, r.Leave, r.Delete} {
		if _, err := do(t.Context(), a.tenant.Path); reason(err) != refusal.NotFound {
			t.Errorf("of a tenant that is gone: %v", err)
		}
	}
	if _, err := r.Principal(t.Context(), a.tenant.ID, iss, "alice"); reason(err) != refusal.NotFound {
		t.Errorf("a principal of a tenant that is gone: %v", err)
	}
}

func TestRecreatedTenantInheritsNothing(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	old := enrol(t, r, "north/clinic")
	must[Tenant](t)(r.Suspend(t.Context(), old.tenant.Path))
	gone := must[Tenant](t)(r.Delete(t.Context(), old.tenant.Path))
	young := enrol(t, r, "north/clinic")
	if young.tenant.ID == old.tenant.ID || young.principal == old.principal {
		t.Error("an id is used twice")
	}
	if old.check(r) != refusal.Unauthenticated || young.check(r) != granted {
		t.Errorf("the old one hears %v, the new one %v", old.check(r), young.check(r))
	}
	mixed := somebody{young.tenant, old.principal}
	if mixed.check(r) != refusal.Unauthenticated {
		t.Error("a principal outlived its tenant")
	}
	list := must[[]Tenant](t)(r.Tenants(t.Context(), Filter{State: Gone}))
	if len(list) != 1 || !reflect.DeepEqual(list[0], gone) {
		t.Errorf("gone: %+v, want %+v", list, gone)
	}
}

func TestNamesAreOfOnePartner(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a, b := enrol(t, r, "north/clinic"), enrol(t, r, "south/clinic")
	_, taken := r.CreateTenant(t.Context(), a.tenant.Path, "")
	_, nobody := r.CreateTenant(t.Context(), tenant.Path{Partner: "east", Name: "clinic"}, "")
	_, again := r.CreatePartner(t.Context(), "north")
	_, region := r.CreateTenant(t.Context(), tenant.Path{Partner: "north", Name: "other"}, "EU West")
	if !errors.Is(taken, ErrTaken) || reason(nobody) != refusal.NotFound || !errors.Is(again, ErrTaken) || reason(region) != refusal.Malformed {
		t.Errorf("%v; %v; %v; %v", taken, nobody, again, region)
	}
	if a.tenant.ID == b.tenant.ID || a.principal == b.principal {
		t.Error("two tenants share an id")
	}
	all := must[[]Tenant](t)(r.Tenants(t.Context(), Filter{}))
	one := must[[]Tenant](t)(r.Tenants(t.Context(), Filter{Partner: "south"}))
	got := must[Tenant](t)(r.Tenant(t.Context(), b.tenant.Path))
	if !reflect.DeepEqual(all, []Tenant{a.tenant, b.tenant}) || !reflect.DeepEqual(one, []Tenant{b.tenant}) || got != b.tenant {
		t.Errorf("%+v\n%+v\n%+v", all, one, got)
	}
	must[Partner](t)(r.SuspendPartner(t.Context(), "north"))
	if a.check(r) != refusal.Suspended || b.check(r) != granted {
		t.Errorf("after a partner was suspended: %v, %v", a.check(r), b.check(r))
	}
	must[Tenant](t)(r.Suspend(t.Context(), a.tenant.Path))
	must[Partner](t)(r.ResumePartner(t.Context(), "north"))
	if a.check(r) != refusal.Suspended {
		t.Error("resuming a partner resumed its tenant")
	}
	if _, err := r.ResumePartner(t.Context(), "north"); reason(err) != refusal.Denied {
		t.Errorf("resuming twice: %v", err)
	}
	if _, err := r.SuspendPartner(t.Context(), "east"); reason(err) != refusal.NotFound {
		t.Errorf("suspending nobody: %v", err)
	}
	partners := must[[]Partner](t)(r.Partners(t.Context()))
	if len(partners) != 2 || partners[0].Name != "north" || partners[1].State != Active {
		t.Errorf("%+v", partners)
	}
}

// Check answers nil for exactly one combination of its four arguments.
func TestCheckNeedsAllToBelongTogether(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	m := settled(t, r)
	const other = "https://other.test"
	if _, err := r.SetIssuer(t.Context(), other, m.Keys()); err != nil {
		t.Fatal(err)
	}
	a, b := enrol(t, r, "north/clinic"), enrol(t, r, "south/clinic")
	foreign := must[[16]byte](t)(r.Principal(t.Context(), a.tenant.ID, other, "alice"))
	if foreign == a.principal {
		t.Fatal("two issuers share a principal")
	}
	for _, id := range []tenant.ID{a.tenant.ID, b.tenant.ID, tenant.New(), {}} {
		for _, partner := range [][16]byte{a.tenant.Partner, b.tenant.Partner, {}} {
			for _, principal := range [][16]byte{a.principal, b.principal, foreign, {}, tenant.New().UUID()} {
				for _, url := range []string{iss, other, iss + "/", ""} {
					_, err := id, r.Check(id, partner, principal, url)
					right := id == a.tenant.ID && partner == a.tenant.Partner && (principal == a.principal && url == iss || principal == foreign && url == other) ||
						id == b.tenant.ID && partner == b.tenant.Partner && principal == b.principal && url == iss
					if right != (err == nil) || !right && refusal.Of(err) != refusal.Unauthenticated {
						t.Errorf("%v %x %x %q: %v", id, partner, principal, url, err)
					}
				}
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = r.Check(a.tenant.ID, a.tenant.Partner, a.principal, iss) }); n != 0 {
		t.Errorf("Check allocates %v times", n)
	}
}

// The registry's own answers make a token good or not.
func TestTokensStandAndFallWithTheRegistry(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	m := settled(t, r)
	a := enrol(t, r, "north/clinic")
	v := must[*identity.Verifier](t)(identity.New(identity.Config{
		TrustDomain: "isocore.test", Issuers: r.Keys, Standing: r, MaxLifetime: identity.MaxLifetime, Now: time.Now, CacheSize: 64,
	}))
	token := must[secret.Text](t)(m.Mint(identity.Grant{
		Tenant: a.tenant.ID, Partner: a.tenant.Partner, Principal: a.principal, Subject: "alice", ClientID: "test",
		Broker: "postgres", Reach: []string{identity.PGRead}, TTL: time.Minute,
	}))
	p := must[identity.Principal](t)(v.Verify(t.Context(), "postgres", token))
	must[Tenant](t)(r.Suspend(t.Context(), a.tenant.Path))
	_, err := v.Verify(t.Context(), "postgres", token)
	if reason(v.Live(p)) != refusal.Suspended || reason(err) != refusal.Suspended {
		t.Errorf("suspended: %v, %v", v.Live(p), err)
	}
	must[Tenant](t)(r.Resume(t.Context(), a.tenant.Path))
	if err := v.Live(p); err != nil {
		t.Errorf("resumed: %v", err)
	}
	if err := r.RemoveIssuer(t.Context(), iss); err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), "postgres", token)
	if reason(v.Live(p)) != refusal.Unauthenticated || reason(err) != refusal.Unauthenticated {
		t.Errorf("issuer removed: %v, %v", v.Live(p), err)
	}
	if _, err := r.SetIssuer(t.Context(), iss, m.Keys()); err != nil {
		t.Fatal(err)
	}
	if got := reason(v.Live(p)); got != refusal.Unauthenticated {
		t.Errorf("an issuer set again inherits principals: %v", got)
	}
}

func TestIssuers(t *testing.T) {
	_, dsn := database(t)
	r := alone(t, config(dsn))
	first := settled(t, r)
	is := must[Issuer](t)(r.SetIssuer(t.Context(), iss, first.Keys()))
	changed := r.Changed()
	if again := must[Issuer](t)(r.SetIssuer(t.Context(), iss, first.Keys())); again != is {
		t.Errorf("%v, then %v", is, again)
	}
	select {
	case <-changed:
		t.Error("setting what is set wakes everybody")
	default:
	}
	second := minter(t)
	if again := must[Issuer](t)(r.SetIssuer(t.Context(), iss, second.Keys())); again != is {
		t.Errorf("%v, then %v", is, again)
	}
	if r.Keys(iss).Digest() != second.Keys().Digest() {
		t.Error("the former key is still believed")
	}
	if r.Keys(iss+"/") != nil || r.Keys("") != nil {
		t.Error("keys of nobody")
	}
	list := must[[]Issuer](t)(r.Issuers(t.Context()))
	if !reflect.DeepEqual(list, []Issuer{is}) {
		t.Errorf("%v", list)
	}
	for _, url := range []string{"", "isocore", "http://isocore.test", "https://u:p@isocore.test", "https://isocore.test?x", "https://" + strings.Repeat("x", 300)} {
		if _, err := r.SetIssuer(t.Context(), url, first.Keys()); reason(err) != refusal.Malformed {
			t.Errorf("%q: %v", url, err)
		}
	}
	if err := r.RemoveIssuer(t.Context(), "https://other.test"); reason(err) != refusal.NotFound {
		t.Error(err)
	}
}

func TestPrincipalsAreAssignedOnce(t *testing.T) {
	_, dsn := database(t)
	nodes := []*Registry{open(t, config(dsn)), open(t, config(dsn))}
	settled(t, nodes[0])
	a := enrol(t, nodes[0], "north/clinic")
	ids := make([][16]byte, 32)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			node := nodes[i%2]
			id, err := node.Principal(t.Context(), a.tenant.ID, iss, "bob")
			if err != nil {
				t.Error(err)
			}
			if got := (somebody{a.tenant, id}).check(node); got != granted {
				t.Errorf("who was just assigned hears %v", got)
			}
			ids[i] = id
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] || id == a.principal {
			t.Errorf("%x and %x", id, ids[0])
		}
	}
	for _, sub := range []string{"", strings.Repeat("x", 256), "a\nb", "a\x00b", "\xff"} {
		if _, err := nodes[0].Principal(t.Context(), a.tenant.ID, iss, sub); reason(err) != refusal.Malformed {
			t.Errorf("%q: %v", sub, err)
		}
	}
	if _, err := nodes[0].Principal(t.Context(), tenant.New(), iss, "bob"); reason(err) != refusal.NotFound {
		t.Error(err)
	}
	if _, err := nodes[0].Principal(t.Context(), a.tenant.ID, "https://other.test", "bob"); reason(err) != refusal.NotFound {
		t.Error(err)
	}
}

func TestChangesAreSeenOnOtherNodes(t *testing.T) {
	for _, told := range []string{"told", "asking only"} {
		t.Run(told, func(t *testing.T) {
			name, dsn := database(t)
			one, two := open(t, config(dsn)), open(t, config(dsn))
			if told != "told" {
				silence(t, name)
			}
			settled(t, one)
			a := enrol(t, one, "north/clinic")
			if id := must[[16]byte](t)(two.Principal(t.Context(), a.tenant.ID, iss, "alice")); id != a.principal || a.check(two) != granted {
				t.Fatalf("%x, and hears %v", id, a.check(two))
			}
			must[Tenant](t)(two.Suspend(t.Context(), a.tenant.Path))
			await(t, one, a, refusal.Suspended)
			must[Tenant](t)(one.Resume(t.Context(), a.tenant.Path))
			await(t, two, a, granted)
			must[Partner](t)(one.SuspendPartner(t.Context(), "north"))
			await(t, two, a, refusal.Suspended)
			must[Partner](t)(two.ResumePartner(t.Context(), "north"))
			await(t, one, a, granted)
			if err := one.RemoveIssuer(t.Context(), iss); err != nil {
				t.Fatal(err)
			}
			await(t, two, a, refusal.Unauthenticated)
		})
	}
}

// silence takes NOTIFY away, so that polling is all there is.
func silence(t *testing.T, database string) {
	t.Helper()
	_, err := localtest.Super(t, database).Exec(t.Context(), `CREATE OR REPLACE FUNCTION bump() RETURNS bigint LANGUAGE sql AS
		'UPDATE public.standing_version SET n = n + 1 RETURNING n'`)
	if err != nil {
		t.Fatal(err)
	}
}

// A suspension that somebody wrote by hand counts as any other.
func TestChangesByHandAreSeen(t *testing.T) {
	name, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a := enrol(t, r, "north/clinic")
	if _, err := localtest.Super(t, name).Exec(t.Context(), "UPDATE tenant SET state = 'suspended'"); err != nil {
		t.Fatal(err)
	}
	await(t, r, a, refusal.Suspended)
}

// A wire that can be cut: connections break, or stay and carry nothing.
type wire struct {
	mu    sync.Mutex // guards what follows
	cut   bool
	conns []net.Conn
	quiet atomic.Bool
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return nil, errors.New("the wire is cut")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err == nil {
		c = quietConn{c, w}
		w.conns = append(w.conns, c)
	}
	return c, err
}

type quietConn struct {
	net.Conn
	w *wire
}

func (q quietConn) Write(b []byte) (int, error) {
	if q.w.quiet.Load() {
		return len(b), nil
	}
	return q.Conn.Write(b)
}

func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

func TestOutOfReachIsNo(t *testing.T) {
	ways := map[string]func(*wire, bool){
		"cut":   (*wire).set,
		"quiet": func(w *wire, lost bool) { w.quiet.Store(lost) },
	}
	for name, lose := range ways {
		t.Run(name, func(t *testing.T) {
			_, dsn := database(t)
			var w wire
			var ahead atomic.Int64
			c := config(dsn)
			c.dial = w.dial
			c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			r := open(t, c)
			settled(t, r)
			a := enrol(t, r, "north/clinic")
			lose(&w, true)
			seen := r.view.Load().seen
			if c.Now().Sub(seen) < Stale && a.check(r) != granted {
				t.Error("denied before its time")
			}
			ahead.Add(int64(Stale))
			if got := a.check(r); got != refusal.Unavailable {
				t.Errorf("after %v: %v", Stale, got)
			}
			await(t, r, a, refusal.Unavailable)
			if _, err := r.Suspend(t.Context(), a.tenant.Path); reason(err) != refusal.Unavailable {
				t.Errorf("a change: %v", err)
			}
			if r.Reachable() == nil {
				t.Error("out of reach, and says nothing")
			}
			lose(&w, false)
			await(t, r, a, granted)
		})
	}
}

// Waiters are woken when the registry is lost, not only answered when they ask.
func TestLossWakes(t *testing.T) {
	_, dsn := database(t)
	var w wire
	var ahead atomic.Int64
	c := config(dsn)
	c.dial = w.dial
	c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	r := open(t, c)
	settled(t, r)
	enrol(t, r, "north/clinic")
	w.set(true)
	for {
		changed := r.Changed()
		if r.Reachable() != nil {
			t.Fatal("lost before its time")
		}
		ahead.Add(int64(Stale))
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("nobody was woken")
		}
		if r.Reachable() != nil {
			return
		}
		ahead.Store(0)
	}
}

// Close does not wait for a server that does not answer.
func TestCloseOfAQuietWire(t *testing.T) {
	_, dsn := database(t)
	var w wire
	c := config(dsn)
	c.dial = w.dial
	r := must[*Registry](t)(Open(t.Context(), c))
	settled(t, r)
	w.quiet.Store(true)
	r.Close()
}

func TestNothingIsUndone(t *testing.T) {
	name, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a := enrol(t, r, "north/clinic")
	key := WrappedKey{Tenant: a.tenant.ID, Purpose: "audit", Version: 1, KEK: "0", Wrapped: []byte{1}}
	if err := errors.Join(r.AddWrappedKey(t.Context(), key), r.DestroyWrappedKeys(t.Context(), a.tenant.ID)); err != nil {
		t.Fatal(err)
	}
	must[Tenant](t)(r.Suspend(t.Context(), a.tenant.Path))
	must[Tenant](t)(r.Delete(t.Context(), a.tenant.Path))
	super := localtest.Super(t, name)
	for _, s := range []string{
		"UPDATE tenant SET state = 'active', gone = NULL", "UPDATE tenant SET id = gen_random_uuid()", "UPDATE tenant SET name = 'other'",
		"UPDATE tenant SET region = 'us'", "UPDATE partner SET id = gen_random_uuid()", "UPDATE partner SET name = 'other'",
		"UPDATE principal SET tenant = tenant, sub = 'mallory'", "UPDATE principal SET id = gen_random_uuid()", "UPDATE issuer SET url = 'https://x'",
		"UPDATE tenant_key SET state = 'current', wrapped = '\\x01'", "UPDATE tenant_key SET version = 2",
		"DELETE FROM tenant", "DELETE FROM partner", "DELETE FROM principal", "DELETE FROM issuer", "DELETE FROM tenant_key", "DELETE FROM standing_version",
		"TRUNCATE tenant CASCADE", "TRUNCATE tenant_key", "TRUNCATE standing_version",
	} {
		_, err := super.Exec(t.Context(), s)
		e, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || e.Code != "23001" {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{
		"INSERT INTO tenant SELECT '00000000-0000-0000-0000-000000000000', partner, 'zero', 'active', '', now() FROM tenant",
		"INSERT INTO partner VALUES (gen_random_uuid(), 'A', 'active', now())",
		"INSERT INTO tenant_key VALUES (gen_random_uuid(), 'audit', 1, '', '\\x01', 'destroyed')",
	} {
		if _, err := super.Exec(t.Context(), s); err == nil {
			t.Errorf("%s: done", s)
		}
	}
}

func TestMigrations(t *testing.T) {
	name, dsn := database(t)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			r, err := Open(t.Context(), config(dsn))
			if err != nil {
				t.Error(err)
				return
			}
			r.Close()
		})
	}
	all.Wait()
	if _, err := localtest.Super(t, name).Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), config(dsn)); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("tables from the future: %v", err)
	}
}

// After a restore the version is lower: what was remembered does not hold.
func TestRestoredDatabaseIsReadAnew(t *testing.T) {
	name, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a := enrol(t, r, "north/clinic")
	super := localtest.Super(t, name)
	for _, s := range []string{
		"ALTER TABLE principal DISABLE TRIGGER ALL", "DELETE FROM principal", "ALTER TABLE principal ENABLE TRIGGER ALL",
		"UPDATE standing_version SET n = 1",
	} {
		if _, err := super.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, a, refusal.Unauthenticated)
}

func TestWrappedKeys(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	id := tenant.New()
	before := r.KeyVersion(id)
	add := func(version uint32) error {
		return r.AddWrappedKey(t.Context(), WrappedKey{Tenant: id, Purpose: "audit", Version: version, KEK: "k", Wrapped: []byte{byte(version)}})
	}
	if err := errors.Join(add(1), add(2)); err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint32{0, 1, 2, 4} {
		if err := add(version); !errors.Is(err, ErrTaken) {
			t.Errorf("version %d after 2: %v", version, err)
		}
	}
	list := must[[]WrappedKey](t)(r.WrappedKeys(t.Context(), id, "audit"))
	if len(list) != 2 || list[0].State != KeyRetired || list[1].State != KeyCurrent || list[1].Wrapped[0] != 2 {
		t.Errorf("%+v", list)
	}
	if v := r.KeyVersion(id); v <= before || v != max(list[0].Changed, list[1].Changed) {
		t.Errorf("version %d after %d, and %+v", v, before, list)
	}
	if err := r.DestroyWrappedKeys(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, k := range must[[]WrappedKey](t)(r.WrappedKeys(t.Context(), id, "audit")) {
		if k.State != KeyDestroyed || k.Wrapped != nil || k.Changed <= list[1].Changed {
			t.Errorf("%+v", k)
		}
	}
	if err := add(3); !errors.Is(err, ErrTaken) {
		t.Errorf("a key after all were destroyed: %v", err)
	}
}

// The roll holds exactly what was added, in few layers.
func TestRoll(t *testing.T) {
	var r, early roll
	want := make(map[[16]byte]member)
	for i := range 3000 {
		more := make(map[[16]byte]member)
		for range 1 + i%7 {
			id, m := tenant.New().UUID(), member{tenant: tenant.New()}
			more[id], want[id] = m, m
		}
		r = r.with(more)
		if i == 1000 {
			early = r
		}
	}
	if r.size() != len(want) || len(r) > 16 || early.size() >= r.size() {
		t.Errorf("%d of %d in %d layers", r.size(), len(want), len(r))
	}
	for id, m := range want {
		if got, ok := r.find(id); !ok || got != m {
			t.Fatalf("%x: %v", id, got)
		}
	}
	if _, ok := r.find([16]byte{}); ok {
		t.Error("nobody is found")
	}
}

func BenchmarkCheck(b *testing.B) {
	_, dsn := database(b)
	r := open(b, config(dsn))
	settled(b, r)
	a := enrol(b, r, "north/clinic")
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Check(a.tenant.ID, a.tenant.Partner, a.principal, iss); err != nil {
			b.Fatal(err)
		}
	}
}
