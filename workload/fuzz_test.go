package workload

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
)

// FuzzAnswer's oracle is the promise: whatever is accepted has a token, a life
// of a token of ours, and the scope that was asked for.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"bearer","expires_in":60,"scope":"pg:read"}`))
	f.Add([]byte(`{"access_token":"a","access_token":""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		token, life, err := parseAnswer(body, "pg:read")
		if err != nil {
			return
		}
		if token.IsZero() || life < time.Second || life > identity.MaxLifetime || !strings.Contains(string(body), "scope") {
			t.Errorf("%q: %v", body, life)
		}
	})
}

// FuzzOrigin's oracle is net/url: two addresses of one origin have the same
// scheme, the same host but for case, and the same port once it is spelled.
func FuzzOrigin(f *testing.F) {
	f.Add("https://a.test", "https://A.test:443/")
	f.Add("http://[::1]", "http://[::1]:80/x")
	f.Add("https://a.test:80", "http://a.test")
	f.Fuzz(func(t *testing.T, one, two string) {
		a, err := url.Parse(one)
		b, berr := url.Parse(two)
		if err != nil || berr != nil || origin(a) != origin(b) {
			return
		}
		port := func(u *url.URL) string {
			if u.Port() == "" && u.Scheme == "https" {
				return "443"
			}
			if u.Port() == "" && u.Scheme == "http" {
				return "80"
			}
			return u.Port()
		}
		if a.Scheme != b.Scheme || !strings.EqualFold(a.Hostname(), b.Hostname()) || port(a) != port(b) {
			t.Errorf("%q and %q are one origin", one, two)
		}
	})
}

// FuzzAlias's oracle is the fold of the edge, letter by letter: in lower case,
// whatever is not a letter or digit as one hyphen, and none at an end.
func FuzzAlias(f *testing.F) {
	for _, name := range []string{
		"Txn-Token", "TXN_TOKEN", "txn.token", "Txn--Token", "-Txn_-.Token_", "txn!#$%&'*+^`|~token", "txntoken", "tx-n-token", "Txn-Token-2", "X-Txn-Token",
		"", "-", "txn\xfftoken", "t\u212an-token",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		var folded []byte
		for i := range len(name) {
			switch c := name[i]; {
			case c >= 'A' && c <= 'Z':
				folded = append(folded, c+'a'-'A')
			case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
				folded = append(folded, c)
			case len(folded) > 0 && folded[len(folded)-1] != '-':
				folded = append(folded, '-')
			}
		}
		if got, want := alias(name), strings.Trim(string(folded), "-") == "txn-token"; got != want {
			t.Errorf("%q: %v", name, got)
		}
	})
}
