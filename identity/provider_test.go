package identity_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/tenant"
)

func TestNewProviderSaysEverythingThatIsWrong(t *testing.T) {
	_, err := identity.NewProvider(identity.Provider{Tenants: map[string]tenant.ID{"": {}, "b": {}}})
	if err == nil {
		t.Fatal("a provider of nothing")
	}
	for _, field := range []string{"Issuer", "Audiences", "Types", "Algorithms", "TenantAt", "SubjectAt", "Shape", "Reach", "MaxLifetime", `Tenants: "" is not`, `Tenants: "" is nobody`, `Tenants: "b"`} {
		if !strings.Contains(err.Error(), "identity: provider: "+field) {
			t.Errorf("not a word of %s: %v", field, err)
		}
	}
}

func TestNewProviderRefuses(t *testing.T) {
	long := strings.Repeat("x", 257)
	many := slices.Repeat([]string{"x"}, 65)
	type change = func(*identity.Provider)
	rows := map[string]change{
		"no audience":      func(p *identity.Provider) { p.Audiences = nil },
		"empty audience":   func(p *identity.Provider) { p.Audiences = []string{"a", ""} },
		"long audience":    func(p *identity.Provider) { p.Audiences = []string{long} },
		"65 audiences":     func(p *identity.Provider) { p.Audiences = many },
		"empty party":      func(p *identity.Provider) { p.Parties = []string{""} },
		"65 parties":       func(p *identity.Provider) { p.Parties = many },
		"a party's line":   func(p *identity.Provider) { p.Parties = []string{"a\n"} },
		"no type":          func(p *identity.Provider) { p.Types = nil },
		"a spaced type":    func(p *identity.Provider) { p.Types = []string{"JWT "} },
		"no algorithm":     func(p *identity.Provider) { p.Algorithms = nil },
		"no shape":         func(p *identity.Provider) { p.Shape = "" },
		"another shape":    func(p *identity.Provider) { p.Shape = "array" },
		"no reach":         func(p *identity.Provider) { p.Reach = nil },
		"reach twice":      func(p *identity.Provider) { p.Reach = []string{"http", "http"} },
		"two reaches in 1": func(p *identity.Provider) { p.Reach = []string{"http pg:read"} },
		"17 reaches":       func(p *identity.Provider) { p.Reach = strings.Split("a b c d e f g h i j k l m n o p q", " ") },
		"no lifetime":      func(p *identity.Provider) { p.MaxLifetime = 0 },
		"negative":         func(p *identity.Provider) { p.MaxLifetime = -1 },
		"over a day":       func(p *identity.Provider) { p.MaxLifetime = 24*time.Hour + 1 },
	}
	for _, url := range []string{"", "idp.test", "http://idp.test", "https://", "https:///x", "https:idp.test", "https://u@idp.test", "https://u:p@idp.test", "https://idp.test?x", "https://idp.test#x", "https://idp.test/#", "https://idp.test/ ", "https://ídp.test", "HTTPS ://x", "https://" + long, "https://idp.test/%zz", "https://:443"} {
		rows["issuer "+url] = func(p *identity.Provider) { p.Issuer = url }
	}
	for _, typ := range []string{"txntoken+jwt", "logout+jwt", "application/dpop+jwt", "SECEVENT+jwt", "Application/LOGOUT+JWT"} {
		rows["type "+typ] = func(p *identity.Provider) { p.Types = []string{"JWT", typ} }
	}
	for _, alg := range []string{"", "none", "HS256", "PS256", "eddsa", "RS384", "ES384"} {
		rows["alg "+alg] = func(p *identity.Provider) { p.Algorithms = []string{"RS256", alg} }
	}
	for _, at := range []string{"", "/", "org_id", "a/b", "/a/", "//a", "/a//b", "/a~", "/a~2", "/a~b", "/a\x00", "/a\xff", "/" + long, strings.Repeat("/x", 9), "#/a", "$.a"} {
		rows["tenant at "+at] = func(p *identity.Provider) { p.TenantAt = at }
		rows["subject at "+at] = func(p *identity.Provider) { p.SubjectAt = at }
	}
	for _, value := range []string{"", " ", "a b", "a\x00", "é", "e\u0301", "a\u200d", "\u202ea", strings.Repeat("x", 129), "a\n", "\x7f"} {
		rows[fmt.Sprintf("value %q", value)] = func(p *identity.Provider) { p.Tenants[value] = tenant.New() }
	}
	for name, change := range rows {
		r := registration()
		change(&r)
		if p, err := identity.NewProvider(r); err == nil || p != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, change := range map[string]change{
		"as it is":      func(*identity.Provider) {},
		"a path":        func(p *identity.Provider) { p.Issuer = "https://login.test:8443/realms/x" },
		"no typ":        func(p *identity.Provider) { p.Types = []string{""} },
		"a URL name":    func(p *identity.Provider) { p.TenantAt = "/https:~1~1stytch.com~1organization/organization_id" },
		"nobody bound":  func(p *identity.Provider) { p.Tenants = nil },
		"128 bytes":     func(p *identity.Provider) { p.Tenants[strings.Repeat("~", 128)] = tenant.New() },
		"two for one":   func(p *identity.Provider) { p.Tenants["a2"] = p.Tenants["A"] },
		"a day":         func(p *identity.Provider) { p.MaxLifetime = 24 * time.Hour },
		"8 names deep":  func(p *identity.Provider) { p.SubjectAt = strings.Repeat("/x", 8) },
		"64 audiences":  func(p *identity.Provider) { p.Audiences = many[:64] },
		"a client's id": func(p *identity.Provider) { p.Parties = []string{"my client"} },
	} {
		r := registration()
		change(&r)
		if _, err := identity.NewProvider(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two registrations have one digest exactly when they are the same.
func TestDigestsOfProviders(t *testing.T) {
	id := tenant.New()
	changes := map[string]func(*identity.Provider){
		"issuer":         func(p *identity.Provider) { p.Issuer += "x" },
		"audiences":      func(p *identity.Provider) { p.Audiences = []string{"https://app.testsecond"} },
		"audience moved": func(p *identity.Provider) { p.Audiences, p.Parties = p.Audiences[:1], p.Audiences[1:] },
		"parties":        func(p *identity.Provider) { p.Parties = []string{"x"} },
		"types":          func(p *identity.Provider) { p.Types = []string{"JWT"} },
		"type of none":   func(p *identity.Provider) { p.Types = []string{"JWT", "at+jwt", ""} },
		"algorithms":     func(p *identity.Provider) { p.Algorithms = p.Algorithms[1:] },
		"tenant at":      func(p *identity.Provider) { p.TenantAt = "/org" },
		"subject at":     func(p *identity.Provider) { p.SubjectAt = "/oid" },
		"shape":          func(p *identity.Provider) { p.Shape = identity.SingleKey },
		"reach":          func(p *identity.Provider) { p.Reach = []string{"http"} },
		"lifetime":       func(p *identity.Provider) { p.MaxLifetime++ },
		"a value more":   func(p *identity.Provider) { p.Tenants["C"] = mustID(idA) },
		"a value less":   func(p *identity.Provider) { delete(p.Tenants, "B") },
		"another tenant": func(p *identity.Provider) { p.Tenants["B"] = id },
		"swapped":        func(p *identity.Provider) { p.Tenants["A"], p.Tenants["B"] = p.Tenants["B"], p.Tenants["A"] },
		"two in one":     func(p *identity.Provider) { p.Tenants = map[string]tenant.ID{"A" + idA + "B": mustID(idB)} },
	}
	seen := map[[32]byte]string{}
	for name, change := range changes {
		r := registration()
		change(&r)
		p, err := identity.NewProvider(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, taken := seen[p.Digest]; taken {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[p.Digest] = name
	}
	one, errOne := identity.NewProvider(registration())
	again, errAgain := identity.NewProvider(*one)
	r := registration()
	slices.Reverse(r.Reach)
	sorted, errSorted := identity.NewProvider(r)
	if errOne != nil || errAgain != nil || errSorted != nil || one.Digest != again.Digest || one.Digest != sorted.Digest || seen[one.Digest] != "" || one.Digest == [32]byte{} {
		t.Errorf("%v, %v, %v: the same registration has another digest", errOne, errAgain, errSorted)
	}
}

// What is registered is not changed by who registered it.
func TestNewProviderCopies(t *testing.T) {
	r := registration()
	p, err := identity.NewProvider(r)
	if err != nil {
		t.Fatal(err)
	}
	r.Audiences[0], r.Types[0], r.Algorithms[0], r.Reach[0] = "evil", "evil", "none", "admin:all"
	maps.DeleteFunc(r.Tenants, func(string, tenant.ID) bool { return true })
	want, err := identity.NewProvider(registration())
	if err != nil || fmt.Sprint(p) != fmt.Sprint(want) {
		t.Errorf("%v is not %v, %v", p, want, err)
	}
}
