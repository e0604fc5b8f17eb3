package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/local"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

var _ audit.Keys = (*Keyring)(nil)

func TestMain(m *testing.M) { localtest.Main(m) }

// database returns a database of the registry's role, and how that role
// connects to it.
func database(t testing.TB) (name string, dsn secret.Text) {
	t.Helper()
	password := secret.New("registry of the tests")
	if err := localtest.Postgres(t).Provision(t.Context(), password); err != nil {
		t.Fatal(err)
	}
	name = localtest.Database(t)
	do(t, name, "ALTER DATABASE "+name+" OWNER TO "+local.RegistryRole)
	return name, localtest.Postgres(t).DSN(local.RegistryRole, password, name)
}

func do(t testing.TB, database string, statements ...string) {
	t.Helper()
	super := localtest.Super(t, database)
	for _, s := range statements {
		if _, err := super.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func open(t testing.TB, dsn secret.Text) *registry.Registry {
	t.Helper()
	r, err := registry.Open(t.Context(), registry.Config{DSN: dsn, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func random() secret.Text {
	b := make([]byte, keySize)
	rand.Read(b)
	return secret.New(string(b))
}

func ring(t testing.TB, store Store, kek secret.Text, former ...secret.Text) *Keyring {
	t.Helper()
	r, err := New(Config{KEK: kek, Former: former, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ok(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func current(t testing.TB, r *Keyring, id tenant.ID) (uint32, [32]byte) {
	t.Helper()
	version, key, err := r.Current(id)
	if err != nil {
		t.Fatal(err)
	}
	return version, key
}

func refused(t testing.TB, r *Keyring, id tenant.ID, version uint32, cause error) {
	t.Helper()
	_, key, err := r.Current(id)
	if !errors.Is(err, cause) || key != [32]byte{} {
		t.Errorf("current: %v, want %v", err, cause)
	}
	key, err = r.At(id, version)
	if !errors.Is(err, cause) || key != [32]byte{} {
		t.Errorf("at %d: %v, want %v", version, err, cause)
	}
}

func TestNewSaysEverythingWrong(t *testing.T) {
	_, err := New(Config{KEK: secret.New("short"), Former: []secret.Text{secret.New(string(make([]byte, keySize)))}})
	if err == nil || strings.Count(err.Error(), "a KEK is 32 random bytes") != 2 || !strings.Contains(err.Error(), "Store is missing") {
		t.Error(err)
	}
	one := random()
	if _, err := New(Config{KEK: one, Former: []secret.Text{one}, Store: &memory{}}); err == nil {
		t.Error("the same KEK twice")
	}
}

func TestKeysLiveAndDie(t *testing.T) {
	_, dsn := database(t)
	r := ring(t, open(t, dsn), random())
	a, operator := tenant.New(), tenant.ID{}
	refused(t, r, a, 1, ErrNone)
	if err := r.Rotate(t.Context(), a, Audit); !errors.Is(err, ErrNone) {
		t.Errorf("rotating nothing: %v", err)
	}
	ok(t, r.Create(t.Context(), a, Audit), r.Create(t.Context(), a, Audit), r.Create(t.Context(), operator, Audit))
	v1, k1 := current(t, r, a)
	_, ko := current(t, r, operator)
	if v1 != 1 || k1 == ko || k1 == [32]byte{} {
		t.Errorf("version %d, keys alike or empty", v1)
	}
	ok(t, r.Rotate(t.Context(), a, Audit))
	v2, k2 := current(t, r, a)
	again, err := r.At(a, 1)
	if v2 != 2 || k2 == k1 || again != k1 || err != nil {
		t.Errorf("rotated to version %d; the former opens: %v, %v", v2, again == k1, err)
	}
	if _, err := r.At(a, 3); !errors.Is(err, ErrNone) {
		t.Errorf("a version that is not: %v", err)
	}
	ok(t, r.Destroy(t.Context(), a))
	refused(t, r, a, 1, ErrDestroyed)
	for _, f := range []func(context.Context, tenant.ID, string) error{r.Create, r.Rotate} {
		if err := f(t.Context(), a, Audit); !errors.Is(err, ErrDestroyed) {
			t.Errorf("after destruction: %v", err)
		}
	}
	if _, key := current(t, r, operator); key != ko {
		t.Error("somebody else's key changed")
	}
}

func TestOtherNodesSeeIt(t *testing.T) {
	_, dsn := database(t)
	stores := []*registry.Registry{open(t, dsn), open(t, dsn)}
	kek := random()
	one, two := ring(t, stores[0], kek), ring(t, stores[1], kek)
	a := tenant.New()
	ok(t, one.Create(t.Context(), a, Audit), two.Create(t.Context(), a, Audit))
	_, k1 := current(t, one, a)
	if _, key := current(t, two, a); key != k1 {
		t.Error("two nodes, two keys")
	}
	until(t, stores[1], func() bool { return stores[1].KeyVersion(a) == stores[0].KeyVersion(a) })
	ok(t, one.Rotate(t.Context(), a, Audit))
	until(t, stores[1], func() bool { v, _, err := two.Current(a); return v == 2 && err == nil })
	ok(t, one.Destroy(t.Context(), a))
	until(t, stores[1], func() bool { _, _, err := two.Current(a); return errors.Is(err, ErrDestroyed) })
}

func until(t *testing.T, r *registry.Registry, done func() bool) {
	t.Helper()
	for range 100 {
		changed := r.Changed()
		if done() {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("nothing changes any more")
		}
	}
	t.Fatal("it never comes")
}

// Rows moved between tenants, versions and KEKs open nothing.
func TestMovedRowsDoNotOpen(t *testing.T) {
	name, dsn := database(t)
	kek := random()
	store := open(t, dsn)
	r := ring(t, store, kek)
	a, b := tenant.New(), tenant.New()
	for _, id := range []tenant.ID{a, b} {
		ok(t, r.Create(t.Context(), id, Audit), r.Rotate(t.Context(), id, Audit))
	}
	wrappedOf := func(id tenant.ID, version int) string {
		return fmt.Sprintf("(SELECT wrapped FROM kept WHERE tenant = '%s' AND version = %d)", id, version)
	}
	at := func(id tenant.ID, version int) string {
		return fmt.Sprintf("WHERE tenant = '%s' AND version = %d", id, version)
	}
	do(t, name, "CREATE TABLE kept AS TABLE tenant_key", "ALTER TABLE kept OWNER TO isocore_registry")
	other := ring(t, store, random())
	moves := map[string][]string{
		"another tenant's":  {"UPDATE tenant_key SET wrapped = " + wrappedOf(b, 2) + at(a, 2)},
		"another version's": {"UPDATE tenant_key SET wrapped = " + wrappedOf(a, 1) + at(a, 2)},
		"another KEK's":     {"UPDATE tenant_key SET kek = '" + other.current.id + "' " + at(a, 2)},
		"one bit":           {"UPDATE tenant_key SET wrapped = set_bit(wrapped, 200, 1 - get_bit(wrapped, 200)) " + at(a, 2)},
		"cut short":         {"UPDATE tenant_key SET wrapped = substr(wrapped, 1, 59) " + at(a, 2)},
	}
	for what, statements := range moves {
		t.Run(what, func(t *testing.T) {
			current(t, ring(t, store, kek), a)
			do(t, name, statements...)
			fresh := ring(t, store, kek)
			if _, key, err := fresh.Current(a); err == nil || key != [32]byte{} {
				t.Errorf("it opened: %v", err)
			}
			if err := fresh.Rotate(t.Context(), a, Audit); err == nil {
				t.Error("it was rotated away")
			}
			current(t, fresh, b)
			do(t, name, "UPDATE tenant_key k SET wrapped = o.wrapped, kek = o.kek FROM kept o WHERE o.tenant = k.tenant AND o.version = k.version")
		})
	}
	if _, _, err := other.Current(a); err == nil || !strings.Contains(err.Error(), r.current.id) {
		t.Errorf("under a wrong KEK: %v", err)
	}
	_, want := current(t, r, a)
	if _, got := current(t, ring(t, store, random(), kek), a); got != want {
		t.Error("a former KEK does not open what it wrapped")
	}
}

// memory is a store that counts, and fails or hangs when told to.
type memory struct {
	mu      sync.Mutex // guards what follows
	rows    map[tenant.ID][]registry.WrappedKey
	changed int64

	asked atomic.Int64
	fails atomic.Bool
	hangs atomic.Bool
}

func (m *memory) WrappedKeys(ctx context.Context, t tenant.ID, _ string) ([]registry.WrappedKey, error) {
	m.asked.Add(1)
	if m.hangs.Load() {
		<-ctx.Done()
		return nil, refusal.New(refusal.Unavailable, "%w", ctx.Err())
	}
	if m.fails.Load() {
		return nil, refusal.New(refusal.Unavailable, "no store")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytesCloned(m.rows[t]), nil
}

func bytesCloned(rows []registry.WrappedKey) []registry.WrappedKey {
	var list []registry.WrappedKey
	for _, r := range rows {
		r.Wrapped = bytes.Clone(r.Wrapped)
		list = append(list, r)
	}
	return list
}

func (m *memory) AddWrappedKey(_ context.Context, k registry.WrappedKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows == nil {
		m.rows = make(map[tenant.ID][]registry.WrappedKey)
	}
	if int(k.Version) != len(m.rows[k.Tenant])+1 {
		return registry.ErrTaken
	}
	for i := range m.rows[k.Tenant] {
		m.rows[k.Tenant][i].State = registry.KeyRetired
	}
	m.changed++
	k.State, k.Changed = registry.KeyCurrent, m.changed
	m.rows[k.Tenant] = append(m.rows[k.Tenant], k)
	return nil
}

func (m *memory) DestroyWrappedKeys(context.Context, tenant.ID) error { return errors.New("not here") }

func (m *memory) KeyVersion(t tenant.ID) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.rows[t]); n > 0 {
		return m.rows[t][n-1].Changed
	}
	return 0
}

func TestStoreOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m memory
		kek := random()
		r := ring(t, &m, kek)
		a, b := tenant.New(), tenant.New()
		ok(t, r.Create(t.Context(), a, Audit), r.Create(t.Context(), b, Audit))
		_, want := current(t, r, a)
		asked := m.asked.Load()
		m.fails.Store(true)
		if _, got := current(t, r, a); got != want || m.asked.Load() != asked {
			t.Error("a key in memory needs the store")
		}
		if _, _, err := r.Current(b); refusal.Of(err) != refusal.Unavailable {
			t.Errorf("a key not in memory: %v", err)
		}
		ok(t, r.add(t.Context(), a, Audit, 2))
		if _, _, err := r.Current(a); refusal.Of(err) != refusal.Unavailable {
			t.Errorf("a key known to have changed: %v", err)
		}
		m.hangs.Store(true)
		begun := time.Now()
		if _, err := r.At(b, 1); refusal.Of(err) != refusal.Unavailable || time.Since(begun) != patience {
			t.Errorf("a store that hangs: %v after %v", err, time.Since(begun))
		}
		m.hangs.Store(false)
		m.fails.Store(false)
		if v, _ := current(t, r, a); v != 2 {
			t.Errorf("back, at version %d", v)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	var m memory
	r := ring(t, &m, random())
	ids := make([]tenant.ID, 8)
	for i := range ids {
		ids[i] = tenant.New()
		ok(t, r.Create(t.Context(), ids[i], Audit))
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := range 200 {
				id := ids[(i+n)%len(ids)]
				version, key, err := r.Current(id)
				at, errAt := r.At(id, version)
				if err != nil || errAt != nil || at != key {
					t.Errorf("version %d: %v, %v", version, err, errAt)
				}
				if n%50 == 0 {
					if err := r.Rotate(t.Context(), id, Audit); err != nil && !errors.Is(err, registry.ErrTaken) {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if version, _ := current(t, r, id); int(version) != len(m.rows[id]) {
			t.Errorf("version %d of %d", version, len(m.rows[id]))
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var m memory
	r := ring(t, &m, random())
	for range maxCached + 10 {
		r.remember(tenant.New(), &keys{})
	}
	if len(r.cached) != maxCached {
		t.Errorf("%d tenants are remembered", len(r.cached))
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	kek := random()
	c := Config{KEK: kek, Former: []secret.Text{random()}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		s := fmt.Sprintf(verb, c)
		if strings.Contains(s, kek.Reveal()) || strings.Contains(s, fmt.Sprintf("%x", kek.Reveal())) {
			t.Errorf("%s prints the KEK", verb)
		}
	}
}

func BenchmarkCurrent(b *testing.B) {
	var m memory
	r := ring(b, &m, random())
	id := tenant.New()
	ok(b, r.Create(b.Context(), id, Audit))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.Current(id); err != nil {
			b.Fatal(err)
		}
	}
}
