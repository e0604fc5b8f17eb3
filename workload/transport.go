package workload

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Transport returns a RoundTripper that hands the Txn-Token of the request in
// whose context a call is made on to these origins, scheme://host:port each,
// and to no other: elsewhere the header is taken off, redirects included. A
// call to one of them without an identity in its context fails. A nil base is
// [http.DefaultTransport].
func Transport(base http.RoundTripper, origins ...string) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	t := &transport{base: base, origins: make(map[string]bool, len(origins))}
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			t.err = fmt.Errorf("workload: %q is not an origin: write https://orders.internal:8443", o)
			continue
		}
		if err := reachable(o); err != nil {
			t.err = fmt.Errorf("workload: origin %s: %w", o, err)
		}
		t.origins[origin(u)] = true
	}
	return t
}

type transport struct {
	base    http.RoundTripper
	origins map[string]bool
	err     error // what is wrong with them
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.token(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close() //nolint:errcheck // a RoundTripper closes it, whatever comes of it
		}
		return nil, err
	}
	out := r.Clone(r.Context())
	for name := range out.Header {
		if alias(name) {
			delete(out.Header, name)
		}
	}
	if token != "" {
		out.Header.Set(Header, token)
	}
	return t.base.RoundTrip(out)
}

// token returns what r is to carry, or "".
func (t *transport) token(r *http.Request) (string, error) {
	if t.err != nil {
		return "", t.err
	}
	if !t.origins[origin(r.URL)] {
		return "", nil
	}
	id, err := need(r.Context())
	if err != nil {
		return "", err
	}
	return id.token.Reveal(), nil
}

// origin returns the scheme, host and port of u, in one spelling.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// alias reports whether somebody might read name as that of the Txn-Token: as
// the edge has it, whatever is not a letter or digit is a hyphen, many are one,
// and those at an end are none.
func alias(name string) bool {
	words := strings.FieldsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	return strings.EqualFold(strings.Join(words, "-"), Header)
}
