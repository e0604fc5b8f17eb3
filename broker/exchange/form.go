package exchange

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// The words of RFC 8693 that are understood here, and of the draft on
// transaction tokens.
const (
	grantType   = "urn:ietf:params:oauth:grant-type:token-exchange"
	txnToken    = "urn:ietf:params:oauth:token-type:txn_token" //nolint:gosec // the name of a kind of token
	accessToken = "urn:ietf:params:oauth:token-type:access_token"
)

// Bounds of a request.
const (
	maxForm     = 16 << 10
	maxAudience = 128
)

// parameters are all there may be, each once. Others are refused, in spite of
// RFC 6749: resource, actor_token or whatever is invented next would change
// what the token is for, and whoever sends them expects that.
var parameters = []string{"grant_type", "subject_token", "subject_token_type", "requested_token_type", "audience", "scope"}

// A form is a token request that is well-formed.
type form struct {
	subject  secret.Text
	audience string
	scope    string   // as it was written; "" if there was none
	reach    []string // the words of scope, sorted
}

// malformed says to the client that it is not the protocol, and to the
// operator why.
func malformed(format string, args ...any) error {
	return refusal.New(refusal.Malformed, "exchange: "+format, args...)
}

// read returns the form that r carries in its body and nowhere else: what is
// in a query ends in logs, and an Authorization is one identity too many.
func read(w http.ResponseWriter, r *http.Request) (*form, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, extra := params["charset"]
	switch {
	case r.Method != http.MethodPost:
		return nil, malformed("method %.20q", r.Method)
	case r.URL.RawQuery != "" || r.URL.ForceQuery:
		return nil, malformed("a query")
	case len(r.Header.Values("Authorization")) > 0:
		return nil, malformed("an Authorization header")
	case len(r.Header.Values("Content-Type")) != 1 || err != nil || kind != "application/x-www-form-urlencoded",
		len(params) > 1 || len(params) == 1 && !(extra && strings.EqualFold(charset, "utf-8")):
		return nil, malformed("Content-Type is %.80q", r.Header.Get("Content-Type"))
	case len(r.Header.Values("Content-Encoding")) > 0:
		return nil, malformed("an encoded body")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, refusal.New(refusal.TooLarge, "exchange: %w", err)
	}
	if err != nil {
		return nil, malformed("body: %w", err)
	}
	return parseForm(string(body))
}

// parseForm reads the body of a token request.
func parseForm(body string) (*form, error) {
	values, err := parsePairs(body)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"grant_type", "subject_token", "subject_token_type", "audience"} {
		if values[name] == "" {
			return nil, malformed("%s is missing", name)
		}
	}
	if got := values["grant_type"]; got != grantType {
		return nil, refusal.New(refusal.Unlisted, "exchange: grant_type %.100q", got)
	}
	if got := values["subject_token_type"]; got != txnToken {
		return nil, malformed("subject_token_type %.100q", got)
	}
	if got, there := values["requested_token_type"]; there && got != accessToken {
		return nil, malformed("requested_token_type %.100q", got)
	}
	if !visible(values["audience"], maxAudience) {
		return nil, malformed("audience %.100q", values["audience"])
	}
	f := &form{subject: secret.New(values["subject_token"]), audience: values["audience"], scope: values["scope"]}
	if f.scope == "" {
		return f, nil
	}
	if f.reach, err = identity.ParseReach(f.scope); err != nil {
		return nil, malformed("scope: %w", err)
	}
	return f, nil
}

// parsePairs decodes application/x-www-form-urlencoded. A parameter without a
// value is refused, and not taken for one that is missing: a client that
// narrows to no scope at all must not get all there is.
func parsePairs(body string) (map[string]string, error) {
	values := make(map[string]string, len(parameters))
	for pair := range strings.SplitSeq(body, "&") {
		k, v, found := strings.Cut(pair, "=")
		name, nerr := url.QueryUnescape(k)
		value, verr := url.QueryUnescape(v)
		if !found || nerr != nil || verr != nil || value == "" {
			return nil, malformed("a pair that is none")
		}
		if !slices.Contains(parameters, name) {
			return nil, malformed("parameter %.40q", name)
		}
		if _, twice := values[name]; twice {
			return nil, malformed("%s is there twice", name)
		}
		values[name] = value
	}
	return values, nil
}

// visible reports whether s is at most limit bytes of ASCII that prints and is
// not a space.
func visible(s string, limit int) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= limit
}
