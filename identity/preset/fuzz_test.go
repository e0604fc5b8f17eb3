package preset

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzResolve's oracle: an issuer that fits a template is the template with
// its values in their places, byte for byte, and what follows from it is an
// https URL at a host that the template or the issuer names.
func FuzzResolve(f *testing.F) {
	for name, s := range samples {
		f.Add(name, s.issuer)
	}
	f.Add("auth0", "https://a:b@c/")
	f.Fuzz(func(t *testing.T, name, issuer string) {
		p, ok := Lookup(name)
		if !ok || p.Issuer == "" {
			return
		}
		at, err := p.Resolve(issuer)
		if err != nil {
			return
		}
		if values := match(p.Issuer, issuer); expand(p.Issuer, values) != issuer {
			t.Errorf("%s: %q is not %s of %q", name, issuer, p.Issuer, values)
		}
		if u, err := url.Parse(at); err == nil && (u.Scheme != "https" || u.User != nil || !strings.Contains(issuer+p.JWKSURI, u.Host)) {
			t.Errorf("%s: %q leads to %q", name, issuer, at)
		}
	})
}
