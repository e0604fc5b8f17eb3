package edge

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// tokenIn returns the token that r shows: in its one Authorization header, as
// RFC 6750 2.1 has it, and nowhere else.
func tokenIn(r *http.Request) (secret.Text, error) {
	if hasToken(r.URL.RawQuery) {
		return secret.Text{}, refusal.New(refusal.Malformed, "edge: a token in the query, which ends up in logs")
	}
	shown := r.Header["Authorization"]
	if len(shown) == 0 {
		return secret.Text{}, errNoToken
	}
	if len(shown) > 1 {
		return secret.Text{}, refusal.New(refusal.Malformed, "edge: %d Authorization headers", len(shown))
	}
	scheme, token, found := strings.Cut(shown[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return secret.Text{}, errNoToken
	}
	if !isToken(token) {
		return secret.Text{}, refusal.New(refusal.Unauthenticated, "edge: what is shown is not a token")
	}
	return secret.New(token), nil
}

var errNoToken = refusal.New(refusal.Unauthenticated, "edge: no token")

// isToken reports whether s is a b64token (RFC 6750 2.1).
func isToken(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

// tokenBytes are those of a b64token.
var tokenBytes = func() (in [256]bool) {
	for _, c := range []byte("-._~+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		in[c] = true
	}
	return in
}()

// hasToken reports whether a query has a parameter by which RFC 6750 2.3 shows
// a token, however it is written.
func hasToken(query string) bool {
	for query != "" {
		var part string
		part, query, _ = strings.Cut(query, "&")
		for name := range strings.SplitSeq(part, ";") {
			name, _, _ = strings.Cut(name, "=")
			if plain, err := url.QueryUnescape(name); err == nil && Fold(plain) == "access-token" {
				return true
			}
		}
	}
	return false
}
