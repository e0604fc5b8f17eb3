package workload_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/workload"
)

// service is a server that says which headers it got that anybody could take
// for a Txn-Token.
func service(t *testing.T, redirect string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if redirect != "" {
			http.Redirect(w, r, redirect, http.StatusTemporaryRedirect)
			return
		}
		for name, values := range r.Header {
			if strings.HasPrefix(strings.ToLower(name), "txn") {
				w.Header().Add("Seen", name+"="+strings.Join(values, ","))
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// call returns what a service saw of a request with these headers.
func call(t *testing.T, ctx context.Context, rt http.RoundTripper, url string, headers ...string) ([]string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range headers {
		r.Header[name] = []string{"mine"}
	}
	c := http.Client{Transport: rt}
	answer, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	for _, name := range headers {
		if r.Header[name] == nil {
			t.Errorf("%s was taken from the caller's own request", name)
		}
	}
	return answer.Header.Values("Seen"), nil
}

func TestTransport(t *testing.T) {
	w := newWorld(t)
	token := w.TxnToken(w.A)
	ctx := as(t, w.Workload, token)
	other := service(t, "")
	listed, leaving := service(t, ""), service(t, other.URL)
	rt := workload.Transport(nil, listed.URL, strings.ToUpper(leaving.URL[:4])+leaving.URL[4:]+"/")
	aliases := []string{"Txn-Token", "txn-token", "TXN_TOKEN", "Txn.Token", "Txn--Token", "_Txn-Token_", "Txn~Token"}
	seen, err := call(t, ctx, rt, listed.URL+"/path", aliases...)
	if err != nil || len(seen) != 1 || seen[0] != "Txn-Token="+token.Reveal() {
		t.Errorf("a listed origin saw %q, %v", seen, err)
	}
	for name, url := range map[string]string{"another": other.URL, "a redirect to another": leaving.URL} {
		if seen, err := call(t, ctx, rt, url, aliases...); err != nil || len(seen) != 0 {
			t.Errorf("%s saw %q, %v", name, seen, err)
		}
	}
	if _, err := call(t, t.Context(), rt, listed.URL); refusal.Of(err) != refusal.Unauthenticated || refusal.HintOf(err) == "" {
		t.Errorf("nobody called: %v", err)
	}
	if seen, err := call(t, t.Context(), rt, other.URL, "Txn-Token"); err != nil || len(seen) != 0 {
		t.Errorf("nobody called another: %q, %v", seen, err)
	}
}

func TestTransportRefusesOrigins(t *testing.T) {
	w := newWorld(t)
	ctx, s := as(t, w.Workload, w.TxnToken(w.A)), service(t, "")
	for _, bad := range []string{
		"", "orders.internal", "orders.internal:443", "//orders.internal", "http://orders.internal", "https://orders.internal/path",
		"https://a:b@orders.internal", "https://orders.internal?x", "https://orders.internal#x", "*",
	} {
		if _, err := call(t, ctx, workload.Transport(nil, s.URL, bad), s.URL); err == nil {
			t.Errorf("%q is taken for an origin", bad)
		}
	}
}
