package edge

import (
	"slices"
	"strings"
	"testing"

	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/tenant"
)

func routes(t testing.TB, places ...string) *router {
	t.Helper()
	var all []Route
	for i, p := range places {
		host, path, _ := strings.Cut(p, "/")
		all = append(all, Route{
			Name: string(rune('a' + i)), Host: host, Path: "/" + path, Reach: []string{"x"}, MaxBody: 1, Upstream: quick(nil),
		})
	}
	r, err := newRouter(all)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFind(t *testing.T) {
	r := routes(t, "a.test/", "a.test/x", "a.test/x/y", "a.test/t/{tenant}", "a.test/t/shared", "{tenant}.test/", "{tenant}.test/x",
		"{tenant}.{partner}.test/", "www.{tenant}.test/", "a.test/{partner}/{tenant}/z")
	own := tenant.Path{Partner: "home", Name: "alpha"}
	for place, want := range map[string]string{
		"a.test/": "a", "a.test/q": "a", "a.test/x": "b", "a.test/x/": "b", "a.test/xy": "a", "a.test/x/z": "b", "a.test/x/y": "c", "a.test/x/y/z": "", "a.test/x/yz": "b",
		"a.test/t": "a", "a.test/t/alpha": "d", "a.test/t/alpha/x": "d", "a.test/t/beta": "", "a.test/t/shared": "e", "a.test/t/sharedx": "",
		"alpha.test/": "f", "alpha.test/x": "g", "beta.test/": "", "beta.test/x": "", "alpha.home.test/": "h", "alpha.north.test/": "", "beta.home.test/": "",
		"www.alpha.test/": "i", "www.beta.test/": "", "b.a.test/": "", "test/": "", "a.test.x/": "",
		"a.test/home/alpha/z": "j", "a.test/home/beta/z": "", "a.test/home/alpha": "a", "a.test/home/beta/zz": "a",
	} {
		host, path, _ := strings.Cut(place, "/")
		got := ""
		if one, err := r.find(host, "/"+path, own); err == nil {
			got = one.Name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", place, got, want)
		}
	}
}

// FuzzRoute compares with the rule said in words: of the routes whose host and
// path fit when every opening may be anything, the one with the most literal
// host labels, then the longest path, then the fewest openings in it; and
// nothing is found unless every opening of that one is the tenant's own.
func FuzzRoute(f *testing.F) {
	f.Add("a.test", "/t/alpha", "home", "alpha")
	f.Add("alpha.home.test", "/x/y", "home", "alpha")
	f.Add("{tenant}.test", "/t/{tenant}", "home", "alpha")
	places := []string{
		"a.test/", "a.test/x", "a.test/t/{tenant}", "a.test/t/shared", "{tenant}.test/", "{tenant}.test/x/{partner}", "{tenant}.{partner}.test/", "www.{tenant}.test/",
	}
	r := routes(f, places...)
	f.Fuzz(func(t *testing.T, host, path, partner, name string) {
		host, err := parseHost(host)
		p, perr := tenant.ParseName(partner)
		n, nerr := tenant.ParseName(name)
		if err != nil || perr != nil || nerr != nil || h1.CleanPath(path) != nil || strings.ContainsAny(path, "?%") {
			return
		}
		own := tenant.Path{Partner: p, Name: n}
		got := ""
		if one, err := r.find(host, path, own); err == nil {
			got = one.Host + one.Path
		}
		if want := slow(places, host, path, own); got != want {
			t.Errorf("%s%s of %v: %q, want %q", host, path, own, got, want)
		}
	})
}

func slow(places []string, host, path string, own tenant.Path) string {
	fits := func(pattern, part, own string) (fits, mine bool, open int) {
		switch pattern {
		case "{tenant}", "{partner}":
			return true, part == own, 1
		default:
			return pattern == part, true, 0
		}
	}
	best, rank, mine := "", []int{-1}, false
	for _, place := range places {
		ph, pp, _ := strings.Cut(place, "/")
		labels, parts := strings.Split(ph, "."), strings.FieldsFunc(pp, func(r rune) bool { return r == '/' })
		hosts, paths := strings.Split(host, "."), strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
		if len(labels) != len(hosts) || len(parts) > len(paths) {
			continue
		}
		all, ours, hostOpen, pathOpen := true, true, 0, 0
		for i, l := range append(slices.Clone(labels), parts...) {
			part := append(slices.Clone(hosts), paths...)[i]
			who := string(own.Name)
			if l == "{partner}" {
				who = string(own.Partner)
			}
			ok, my, open := fits(l, part, who)
			all, ours = all && ok, ours && my
			if i < len(labels) {
				hostOpen += open
			} else {
				pathOpen += open
			}
		}
		if is := []int{-hostOpen, len(parts), -pathOpen}; all && (rank[0] == -1 && best == "" || slices.Compare(is, rank) > 0) {
			best, rank, mine = "/"+place, is, ours
		}
	}
	if !mine {
		return ""
	}
	host, path, _ = strings.Cut(strings.TrimPrefix(best, "/"), "/")
	return host + "/" + path
}

// FuzzHost: what is taken is in one form, which is taken again as itself, and
// is a host to package h1 too.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"app.test", "APP.test:80", "[::1]:80", "127.0.0.1", "a..b", "a@b", "", ":80", "a:", "[::1", "a.test.", "-a", "é.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := parseHost(s)
		if err != nil {
			return
		}
		again, err := parseHost(name)
		if err != nil || again != name || strings.ToLower(name) != name || strings.ContainsAny(name, "@/\\, ") || !h1.ValidHost(s) {
			t.Errorf("%q is %q, is %q, %v", s, name, again, err)
		}
	})
}

// FuzzFold: folding twice is folding once, and what is left has the letters
// and digits of before, in order, and nothing but single hyphens between.
func FuzzFold(f *testing.F) {
	for _, s := range []string{"Txn-Token", "TXN__TOKEN", "--", "X.Tenant-Id", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Fold(s)
		plain := strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			if r >= 'A' && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return -1
		}, s)
		if Fold(got) != got || strings.ReplaceAll(got, "-", "") != plain || strings.Contains(got, "--") || strings.HasPrefix(got, "-") || strings.HasSuffix(got, "-") {
			t.Errorf("%q is folded to %q", s, got)
		}
	})
}

func TestStripCheck(t *testing.T) {
	for name, want := range map[string]bool{
		"x-shop": true, "x-shop*": true, "x-shop-*": true, "a": true, "": false, "*": false, "-*": false, "X-Shop": false, "x_shop": false, "x-*-y": false,
		"x**": false, "-x": false, "x-": false, "x--y": false, strings.Repeat("x", maxStrips+1): false,
	} {
		r := Route{Name: "a", Host: "a.test", Path: "/", Upstream: quick(nil), Reach: []string{"x"}, MaxBody: 1, Strip: []string{name}}
		if _, err := newRouter([]Route{r}); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	many := Route{Name: "a", Host: "a.test", Path: "/", Upstream: quick(nil), Reach: []string{"x"}, MaxBody: 1, Strip: slices.Repeat([]string{"x"}, maxStrip+1)}
	if _, err := newRouter([]Route{many}); err == nil {
		t.Error("a list of any length")
	}
}

// Two partners may each have a tenant of one name: a route that is for one of
// them serves nobody of the other.
func TestPartner(t *testing.T) {
	r, err := newRouter([]Route{{
		Name: "app", Host: "{tenant}.app.test", Path: "/", Partner: "home", Upstream: quick(nil), Reach: []string{"http"}, MaxBody: 1,
	}})
	if err != nil {
		t.Fatal(err)
	}
	for partner, want := range map[tenant.Name]bool{"home": true, "other": false, "": false} {
		own := tenant.Path{Partner: partner, Name: "clinic"}
		one, err := r.find("clinic.app.test", "/x", own)
		some, errAny := r.any("clinic.app.test", "/x", own)
		if (err == nil) != want || (errAny == nil) != want || want && (one == nil || some == nil) {
			t.Errorf("%s: %v, %v", own, err, errAny)
		}
	}
}
