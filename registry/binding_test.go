package registry

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

func bind(t testing.TB, r *Registry, url, value string, path tenant.Path) {
	t.Helper()
	if err := r.BindTenant(t.Context(), url, value, path); err != nil {
		t.Fatal(err)
	}
}

func TestBindings(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a, b := enrol(t, r, "north/clinic"), enrol(t, r, "south/clinic")
	const second = "https://second.test"
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, idp)))
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, second)))
	bind(t, r, idp, "org_1", a.tenant.Path)
	bind(t, r, idp, "org_1", a.tenant.Path) // is bound
	bind(t, r, idp, "ORG_1", b.tenant.Path) // another value
	bind(t, r, idp, "org_1.", a.tenant.Path)
	bind(t, r, second, "org_1", b.tenant.Path) // the same value of another provider
	for name, c := range map[string]struct {
		url, value string
		path       tenant.Path
		want       refusal.Reason
	}{
		"taken":                {idp, "org_1", b.tenant.Path, refusal.Denied},
		"no tenant":            {idp, "org_2", tenant.Path{Partner: "north", Name: "none"}, refusal.NotFound},
		"no partner":           {idp, "org_2", tenant.Path{Partner: "east", Name: "clinic"}, refusal.NotFound},
		"no provider":          {"https://none.test", "org_2", a.tenant.Path, refusal.NotFound},
		"our own issuer":       {iss, "org_2", a.tenant.Path, refusal.Denied},
		"nothing":              {idp, "", a.tenant.Path, refusal.Malformed},
		"a space":              {idp, "org 2", a.tenant.Path, refusal.Malformed},
		"a NUL":                {idp, "org\x002", a.tenant.Path, refusal.Malformed},
		"not ASCII":            {idp, "örg_2", a.tenant.Path, refusal.Malformed},
		"not even UTF-8":       {idp, "\xff", a.tenant.Path, refusal.Malformed},
		"long":                 {idp, strings.Repeat("x", maxValue+1), a.tenant.Path, refusal.Malformed},
		"as long as it may be": {idp, strings.Repeat("x", maxValue), a.tenant.Path, granted},
	} {
		if err := r.BindTenant(t.Context(), c.url, c.value, c.path); reason(err) != c.want || errors.Is(err, ErrTaken) != (name == "taken") {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := map[string]tenant.ID{"org_1": a.tenant.ID, "org_1.": a.tenant.ID, "ORG_1": b.tenant.ID, strings.Repeat("x", maxValue): a.tenant.ID}
	if got := r.Provider(idp).Tenants; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := r.Provider(second).Tenants; !reflect.DeepEqual(got, map[string]tenant.ID{"org_1": b.tenant.ID}) {
		t.Errorf("%v", got)
	}
	before := r.Provider(idp).Digest
	if err := r.UnbindTenant(t.Context(), idp, "org_1."); err != nil {
		t.Fatal(err)
	}
	if p := r.Provider(idp); p.Digest == before || !p.Tenants["org_1."].IsZero() {
		t.Error("still bound")
	}
	for url, value := range map[string]string{idp: "org_1.", second: "ORG_1", "https://none.test": "org_1"} {
		if err := r.UnbindTenant(t.Context(), url, value); reason(err) != refusal.NotFound {
			t.Errorf("%s %s: %v", url, value, err)
		}
	}
	if err := r.UnbindTenant(t.Context(), iss, "org_1"); reason(err) != refusal.Denied {
		t.Error(err)
	}
}

func TestTenantsThatAreGoneAreSpokenForNoMore(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a := enrol(t, r, "north/clinic")
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, idp)))
	bind(t, r, idp, "org_1", a.tenant.Path)
	must[Tenant](t)(r.Suspend(t.Context(), a.tenant.Path))
	if r.Provider(idp).Tenants["org_1"] != a.tenant.ID {
		t.Error("who is suspended is said to be by Standing, not by a lost binding")
	}
	if path, ok := r.TenantPath(a.tenant.ID); !ok || path != a.tenant.Path {
		t.Errorf("%v, %v", path, ok)
	}
	must[Tenant](t)(r.Delete(t.Context(), a.tenant.Path))
	if p := r.Provider(idp); len(p.Tenants) != 0 {
		t.Errorf("%v", p.Tenants)
	}
	if path, ok := r.TenantPath(a.tenant.ID); ok {
		t.Errorf("%v is gone", path)
	}
	young := enrol(t, r, "north/clinic")
	if err := r.BindTenant(t.Context(), idp, "org_1", young.tenant.Path); !errors.Is(err, ErrTaken) {
		t.Errorf("a value of a tenant that is gone went to its namesake: %v", err)
	}
	g := must[[]Registration](t)(r.Registrations(t.Context()))[0]
	if want := []Binding{{"org_1", a.tenant.ID, a.tenant.Path, Gone}}; !reflect.DeepEqual(g.Bindings, want) {
		t.Errorf("%+v", g.Bindings)
	}
	if err := r.UnbindTenant(t.Context(), idp, "org_1"); err != nil {
		t.Fatal(err)
	}
	bind(t, r, idp, "org_1", young.tenant.Path)
}

func TestEnrol(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	settled(t, r)
	a, b := enrol(t, r, "north/clinic"), enrol(t, r, "south/clinic")
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, idp)))
	bind(t, r, idp, "org_1", a.tenant.Path)
	partner, first, err := r.Enrol(t.Context(), a.tenant.ID, idp, "alice")
	if err != nil || partner != a.tenant.Partner || first == a.principal || r.Check(a.tenant.ID, partner, first, idp) != nil {
		t.Errorf("%x, %x, %v", partner, first, err)
	}
	if _, again, err := r.Enrol(t.Context(), a.tenant.ID, idp, "alice"); err != nil || again != first {
		t.Errorf("%x, then %x, %v", first, again, err)
	}
	for name, c := range map[string]struct {
		id   tenant.ID
		url  string
		sub  string
		want refusal.Reason
	}{
		"unbound tenant": {b.tenant.ID, idp, "alice", refusal.Unauthenticated},
		"no tenant":      {tenant.New(), idp, "alice", refusal.Unauthenticated},
		"nobody":         {tenant.ID{}, idp, "alice", refusal.Unauthenticated},
		"no provider":    {a.tenant.ID, "https://none.test", "alice", refusal.Unauthenticated},
		"our own issuer": {a.tenant.ID, iss, "alice", refusal.Unauthenticated},
		"no subject":     {a.tenant.ID, idp, "", refusal.Malformed},
	} {
		if partner, id, err := r.Enrol(t.Context(), c.id, c.url, c.sub); reason(err) != c.want || partner != [16]byte{} || id != [16]byte{} {
			t.Errorf("%s: %x, %x, %v", name, partner, id, err)
		}
	}
	if r.Check(b.tenant.ID, b.tenant.Partner, first, idp) == nil {
		t.Error("a principal of another tenant")
	}
	must[Tenant](t)(r.Suspend(t.Context(), a.tenant.Path))
	if _, id, err := r.Enrol(t.Context(), a.tenant.ID, idp, "alice"); err != nil || id != first || reason(r.Check(a.tenant.ID, partner, id, idp)) != refusal.Suspended {
		t.Errorf("suspended: %v", err)
	}
	must[Tenant](t)(r.Delete(t.Context(), a.tenant.Path))
	if _, _, err := r.Enrol(t.Context(), a.tenant.ID, idp, "alice"); reason(err) != refusal.Unauthenticated {
		t.Errorf("gone: %v", err)
	}
	var zero Registry
	if _, _, err := zero.Enrol(t.Context(), a.tenant.ID, idp, "alice"); reason(err) != refusal.Unavailable {
		t.Errorf("the zero Registry: %v", err)
	}
	if _, ok := zero.TenantPath(a.tenant.ID); ok || zero.Provider(idp) != nil || zero.Published() != nil {
		t.Error("the zero Registry knows somebody")
	}
}

// Unbinding, removal and a new registration end who came before, on this node
// at once and on others within a poll.
func TestUnbindingEndsPrincipals(t *testing.T) {
	_, dsn := database(t)
	one, two := open(t, config(dsn)), open(t, config(dsn))
	settled(t, one)
	a := enrol(t, one, "north/clinic")
	must[Issuer](t)(one.AddProvider(t.Context(), registration(t, idp)))
	bind(t, one, idp, "org_1", a.tenant.Path)
	partner, id, err := one.Enrol(t.Context(), a.tenant.ID, idp, "alice")
	if err != nil {
		t.Fatal(err)
	}
	stands := func(r *Registry) refusal.Reason { return reason(r.Check(a.tenant.ID, partner, id, idp)) }
	until := func(what string, want refusal.Reason) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for {
			changed := two.Changed()
			if stands(two) == want {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatalf("%s: the other node says %v", what, stands(two))
			}
		}
	}
	if _, other, err := enrolAt(t, two, a.tenant.ID, "alice"); err != nil || other != id || stands(two) != granted {
		t.Errorf("the other node: %x, not %x, %v", other, id, err)
	}
	if err := one.UnbindTenant(t.Context(), idp, "org_1"); err != nil || stands(one) != refusal.Unauthenticated {
		t.Errorf("%v, %v", err, stands(one))
	}
	until("unbound", refusal.Unauthenticated)
	bind(t, one, idp, "org_2", a.tenant.Path)
	until("bound by another value", granted)
	if err := one.RemoveIssuer(t.Context(), idp); err != nil || stands(one) != refusal.Unauthenticated || one.Provider(idp) != nil || one.Keys(idp) != nil {
		t.Errorf("%v, %v", err, stands(one))
	}
	until("removed", refusal.Unauthenticated)
	must[Issuer](t)(one.AddProvider(t.Context(), registration(t, idp)))
	if got := one.Provider(idp).Tenants; len(got) != 0 {
		t.Errorf("a provider that was added again inherits %v", got)
	}
	bind(t, one, idp, "org_2", a.tenant.Path)
	if got := stands(one); got != refusal.Unauthenticated {
		t.Errorf("and its people: %v", got)
	}
}
