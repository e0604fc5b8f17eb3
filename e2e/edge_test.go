package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Routes are taken over while requests go on, or refused whole; a token of the
// stand-in gets its tenant to an application, and stops when that tenant is
// suspended.
func TestRoutes(t *testing.T) {
	long(t)
	t.Parallel()
	h := newHome(t)
	s := h.up()
	one, two := says(t, "one"), says(t, "two")
	config := filepath.Join(h.dir, "isocore.yaml")
	was := firstUpstream(h)
	ask := func() (string, int) {
		return h.ask("localhost", strings.TrimSpace(h.must("token", "idp", "--tenant", "clinic")))
	}
	if _, code := ask(); code != http.StatusServiceUnavailable {
		t.Errorf("an application that is not there: %d", code)
	}
	for _, next := range []string{one, two} {
		s.edit(config, was, next)
		was = next
		s.cmd.Process.Signal(syscall.SIGHUP) //nolint:errcheck // what it does is looked at
		h.until(10*time.Second, "requests go to "+next, func() bool {
			said, code := ask()
			return code == http.StatusOK && strings.HasSuffix(next, said)
		})
	}
	s.edit(config, "host: localhost", "host: Localhost")
	s.cmd.Process.Signal(syscall.SIGHUP) //nolint:errcheck // likewise
	h.until(10*time.Second, "it refuses", func() bool { return strings.Contains(s.said.String(), "not reloaded") })
	if said, code := ask(); code != http.StatusOK || !strings.HasSuffix(two, said) {
		t.Errorf("after a reload that was refused: %d %s", code, said)
	}
	token := strings.TrimSpace(h.must("token", "idp", "--tenant", "clinic"))
	h.must("tenant", "suspend", "clinic")
	h.until(time.Second, "the tenant is told", func() bool {
		_, code := h.ask("localhost", token)
		return code == http.StatusForbidden
	})
}

// says returns where an application answers with its own port.
func says(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header.Values("Txn-Token")) != 1 || r.Header.Get("Authorization") != "" {
			t.Errorf("%s gets %v", name, r.Header)
		}
		io.WriteString(w, r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }).String()) //nolint:errcheck,forcetypeassert // the client looks
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func firstUpstream(h *home) string {
	h.Helper()
	routes := decode[[]struct{ Upstream string }](h, "routes", "--json")
	if len(routes) == 0 {
		h.Fatal("no route")
	}
	return routes[0].Upstream
}

// ask requests / of a host from the edge.
func (h *home) ask(host, token string) (body string, code int) {
	h.Helper()
	r, err := http.NewRequestWithContext(h.Context(), http.MethodGet, "http://"+h.endpoints()["edge"]+"/", nil)
	if err != nil {
		h.Fatal(err)
	}
	r.Host = host
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.Fatal(err)
	}
	defer a.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(a.Body, 1<<16))
	if err != nil {
		h.Fatal(err)
	}
	return string(b), a.StatusCode
}
