package edge

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/refusal"
)

// mirrorPath is answered here, on the host of any route.
const mirrorPath = "/.well-known/isocore/mirror"

// A Mirror is what an application would get in place of the request that asks
// for it. There is no signature in it: the Txn-Token is its payload alone. Nor
// is any other credential: of a cookie, say, there is the name.
type Mirror struct {
	Route     string      `json:"route"`
	Method    string      `json:"method"`
	Host      string      `json:"host"`
	Target    string      `json:"target"`
	Tenant    string      `json:"tenant"`
	Name      string      `json:"name,omitempty"` // of the tenant
	Principal string      `json:"principal"`
	Reach     []string    `json:"reach"` // of the token that was shown
	Header    http.Header `json:"header"`
}

// mirror answers with what would have been sent on.
func (x *exchange) mirror(ctx context.Context, p *broker.Pass[*request]) error {
	var body []byte
	err := forward.Local(ctx, p, func(_ context.Context, r *request) (audit.Result, error) {
		begin := time.Now()
		m, err := reflect(r, p)
		if err != nil {
			return audit.Result{}, err
		}
		if body, err = json.Marshal(m); err != nil {
			return audit.Result{}, err
		}
		return audit.Result{Status: audit.StatusOK, BytesOut: int64(len(body)), Micros: time.Since(begin).Microseconds()}, nil
	})
	if err != nil {
		return x.why(ctx, err)
	}
	x.ours("application/json", len(body))
	x.say(http.StatusOK, body)
	return nil
}

// withheld stands for a value that whoever reads an answer over somebody's
// shoulder, a script of the page say, could use.
const withheld = "(withheld)"

// opens are what the names of headers that open something have in them.
var opens = []string{
	"cookie", "token", "secret", "passw", "passphrase", "apikey", "auth", "credential", "session", "signature", "csrf", "xsrf", "jwt", "bearer", "dpop",
}

// isCredential reports whether the value of a header may open something.
func isCredential(name string) bool {
	folded := Fold(name)
	if slices.ContainsFunc(opens, func(part string) bool { return strings.Contains(folded, part) }) {
		return true
	}
	words := strings.Split(folded, "-")
	return slices.ContainsFunc([]string{"key", "pwd", "otp", "pin", "sid", "sig"}, func(word string) bool { return slices.Contains(words, word) })
}

// reflect returns the request as its rule left it.
func reflect(r *request, p *broker.Pass[*request]) (*Mirror, error) {
	out, err := r.HTTP()
	if err != nil {
		return nil, err
	}
	_, payload, _ := strings.Cut(out.Header.Get("Txn-Token"), ".")
	payload, _, _ = strings.Cut(payload, ".")
	claims, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil, refusal.New(refusal.Internal, "edge: %w", err)
	}
	header := out.Header.Clone()
	for name, values := range header {
		if isCredential(name) {
			header[name] = slices.Repeat([]string{withheld}, len(values))
		}
	}
	header["Txn-Token"] = []string{string(claims)}
	who := p.Scope().Principal()
	id := who.ID()
	m := &Mirror{
		Route: r.route.Name, Method: out.Method, Host: out.Host, Target: out.RequestURI,
		Tenant: who.Tenant().String(), Principal: hex.EncodeToString(id[:]), Reach: who.Reach(), Header: header,
	}
	if r.visit.path.Name != "" {
		m.Name = r.visit.path.String()
	}
	return m, nil
}
