package edge

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

func TestNewSaysEverything(t *testing.T) {
	_, err := New(Config{Connections: -1, Routes: []Route{
		{Name: "A b", Host: "App.test", Path: "/x/../y", Reuse: time.Hour, TTL: time.Hour},
		{Name: "x", Host: "{tenant}.{tenant}.test", Path: "/t{tenant}", Reach: []string{"A"}},
		{Name: "x", Host: "{other}.test", Path: "t", MaxBody: -1},
		{Name: "y", Host: "app.test:80", Path: "/a%20b"},
		{Name: "z", Host: "app.test", Path: "/a/"},
		{Name: "zz", Host: "app.test", Path: "/a", TTL: 3 * time.Second, Reuse: 5 * time.Second},
	}})
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, want := range []string{
		"no minter", "no names", "log, clock or door", "no sessions", "fewer connections", `route "A b": its name`, `route "A b": its host`,
		`route "A b": its path`, `route "A b": a Txn-Token is used again for 1h0m0s`, `route "A b": a Txn-Token lives 1h0m0s`, `route "x": there are two`,
		`route "x": its host has an opening`, `route "x": its path has an opening`, `route "x": its reach`, `route "y": its host`, `route "y": its path`,
		`route "x": it has no bound`, `route "x": it has no upstream`, `route "zz": another one has its host and path`, `route "zz": a Txn-Token is used for longer`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said of it", want)
		}
	}
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "0 routes") {
		t.Errorf("%v", err)
	}
}

func TestTable(t *testing.T) {
	for _, err := range table.Check() {
		t.Error(err)
	}
	for _, row := range new(Broker).Rows() {
		if row.Broker != Name || row.Effect != scope.Write {
			t.Errorf("%+v", row)
		}
		if row.Verdict == scope.Confine && row.Needs != identity.HTTP {
			t.Errorf("%+v", row)
		}
	}
	// Nothing goes on that no rule has confined.
	if _, err := (&request{}).HTTP(); refusal.Of(err) != refusal.Internal || err == nil {
		t.Errorf("%v", err)
	}
}

func TestEveryReasonHasAnAnswer(t *testing.T) {
	for _, r := range refusal.Reasons {
		p := problemOf(refusal.Hinted(r, "a hint", "operator's words"))
		if statuses[r] < 400 || p.Status != statuses[r] || p.Title != r.Text() || p.Reason != r.String() || p.Hint != "a hint" || p.Type != "about:blank" {
			t.Errorf("%v: %+v", r, p)
		}
	}
	if p := problemOf(io.EOF); p.Status != 500 || p.Reason != "Internal" {
		t.Errorf("%+v", p)
	}
	if p := problemOf(&refusal.Error{Reason: 200}); p.Status != 500 {
		t.Errorf("%+v", p)
	}
}

func TestMirror(t *testing.T) {
	f := newFixture(t)
	token := f.Token(f.A)
	w := f.dial(t, token)
	for host, route := range map[string]string{"app.test": "app", "path.test": "path", "alpha.app.test": "host"} {
		resp, body := w.ask(t, "GET", host, mirrorPath, "X-Tenant-Id: "+f.B.String(), "Txn_Token: x", "Cookie: a=b", "Set-Cookie: a=b", "X-Api-Key: a=b", "X_Vault_Token: a=b", "Connection: X-Hop", "X-Hop: 1")
		var m Mirror
		if err := json.Unmarshal([]byte(body), &m); err != nil || resp.StatusCode != 200 || resp.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%v %s %v", resp, body, err)
		}
		var said struct{ Tctx struct{ Tenant string } }
		if err := json.Unmarshal([]byte(m.Header.Get("Txn-Token")), &said); err != nil || said.Tctx.Tenant != f.A.String() {
			t.Errorf("%q, %v", m.Header["Txn-Token"], err)
		}
		if m.Route != route || m.Host != host || m.Target != mirrorPath || m.Tenant != f.A.String() || m.Name != "home/alpha" || len(m.Principal) != 32 ||
			!slices.Contains(m.Reach, identity.HTTP) || m.Header.Get("Cookie") != withheld {
			t.Errorf("%+v", m)
		}
		for name := range m.Header {
			opens := slices.Contains([]string{"Cookie", "Set-Cookie", "X-Api-Key", "X_vault_token"}, name)
			if opens && m.Header.Get(name) != withheld || !opens && !slices.Contains(ours, name) {
				t.Errorf("%s: %q", name, m.Header[name])
			}
		}
		if strings.Contains(body, "a=b") || strings.Contains(body, f.B.String()) || strings.Contains(body, token.Reveal()[:20]) || resp.Header.Get("X-Request-Id") != m.Header.Get("X-Request-Id") {
			t.Errorf("%s", body)
		}
	}
	for _, c := range []struct {
		method, host, target string
		want                 int
	}{
		{"GET", "nowhere.test", mirrorPath, 404},
		{"GET", "beta.app.test", mirrorPath, 404},
		{"GET", "app.test", mirrorPath + "?a=1", 404},
		{"GET", "app.test", mirrorPath + "?", 404},
		{"GET", "app.test", "/.well-known/isocore/%6Dirror", 404},
		{"POST", "app.test", mirrorPath, 404},
		{"HEAD", "app.test", mirrorPath, 404},
	} {
		if resp, _ := w.ask(t, c.method, c.host, c.target); resp.StatusCode != c.want {
			t.Errorf("%s %s%s: %s", c.method, c.host, c.target, resp.Status)
		}
	}
	if n := f.App.requests.Load(); n != 0 {
		t.Errorf("%d requests reach the application", n)
	}
	for _, r := range f.Records(t, f.A) {
		if r.Kind == audit.Outcome && (r.Operation != opMirror || r.Result.Status != audit.StatusOK || r.Result.BytesOut == 0) {
			t.Errorf("%+v", r)
		}
	}
}

// TestRecords: what a record says of a request, and what it does not.
func TestRecords(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	w.ask(t, "POST", "app.test", "/echo?q=1", "Content-Length: 0")
	id := f.App.last(t).Header.Get("X-Request-Id")
	if _, err := io.WriteString(w, w.head("POST", "app.test", "/echo")+"Content-Length: 5\r\n\r\nhello"); err != nil {
		t.Fatal(err)
	}
	if _, body, err := w.answer("POST"); err != nil || body != "hello" {
		t.Fatal(body, err)
	}
	f.stop()
	var decision, outcome audit.Record
	for _, r := range f.Records(t, f.A) {
		if r.Kind == audit.Decision && decision.Kind == 0 {
			decision = r
		}
		if r.Kind == audit.Outcome {
			outcome = r
		}
	}
	if decision.Operation != "POST" || decision.Verdict != "confine" || decision.Class != audit.ClassRequest || string(decision.Text) != "POST /echo?q=1" ||
		!slices.Equal(decision.Resources, []string{"app", "app.test", "request:" + id, "txn:" + id}) || decision.Subject != "alice" || decision.Peer != "127.0.0.1:0" {
		t.Errorf("%+v %q", decision, decision.Text)
	}
	if outcome.Result.Code != "200" || outcome.Result.BytesIn != 5 || outcome.Result.BytesOut != 5 || outcome.Result.Status != audit.StatusOK {
		t.Errorf("%+v", outcome.Result)
	}
}

// TestStatuses: the application's own answers arrive as they are.
func TestStatuses(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	for _, status := range []string{"200", "201", "204", "301", "304", "400", "401", "404", "418", "500", "503"} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			lines := []string{}
			if method == "POST" {
				lines = []string{"Content-Length: 0"}
			}
			if resp, body := w.ask(t, method, "app.test", "/status/"+status, lines...); !strings.HasPrefix(resp.Status, status) || body != "" {
				t.Errorf("%s %s: %s %q", method, status, resp.Status, body)
			}
		}
	}
	resp, _ := w.ask(t, "HEAD", "app.test", "/big")
	if resp.ContentLength != bigSize {
		t.Errorf("HEAD says %d", resp.ContentLength)
	}
}

func TestExpectContinue(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	if _, err := io.WriteString(w, w.head("POST", "app.test", "/echo")+"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil || resp.StatusCode != 100 {
		t.Fatal(resp, err)
	}
	if _, err := io.WriteString(w, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, body, err := w.answer("POST"); err != nil || body != "hello" || f.App.last(t).Header["Expect"] != nil {
		t.Errorf("%q %v", body, err)
	}
	// A body that is too large is refused before it is sent.
	if _, err := io.WriteString(w, w.head("POST", "app.test", "/echo")+"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, _, err := w.answer("POST"); err != nil || resp.StatusCode != 413 || !resp.Close {
		t.Errorf("%v %v", resp, err)
	}
}

// TestReload: requests in progress keep their route, the next get the new one.
func TestReload(t *testing.T) {
	f := newFixture(t)
	other := newApp(t)
	w, _, in := f.events(t)
	event(t, in)
	if err := f.Broker.SetRoutes(nil); err == nil {
		t.Error("no routes are taken")
	}
	routes := slices.Clone(f.config.Routes)
	routes[0].Upstream, routes[0].Reach = upstream(t, other.Listener.Addr().String()), []string{identity.PGRead}
	if err := f.Broker.SetRoutes(routes); err != nil {
		t.Fatal(err)
	}
	f.dial(t, w.token).ask(t, "GET", "app.test", "/read")
	if p, err := payload(other.last(t).Header); err != nil || p.Scope != identity.PGRead {
		t.Errorf("%+v %v", p, err)
	}
	f.App.release <- struct{}{}
	event(t, in)
}

func TestTLS(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	f := newFixture(t, func(c *Config) { c.TLS = &tls.Config{Certificates: cert.TLS.Certificates} })
	for sni, hosts := range map[string]map[string]int{
		"app.test":       {"app.test": 200, "APP.test:443": 200, "alpha.app.test": 404, "again.test": 404, "nowhere.test": 404},
		"alpha.app.test": {"alpha.app.test": 200, "app.test": 404},
		"beta.app.test":  {"beta.app.test": 404, "alpha.app.test": 404},
		"":               {"app.test": 200},
	} {
		for host, want := range hosts {
			w := f.dial(t, f.Token(f.A))
			conn := tls.Client(w.Conn, &tls.Config{ServerName: sni, InsecureSkipVerify: true}) //nolint:gosec // the certificate is of no interest
			w.Conn = conn
			w.in.Reset(conn)
			resp, body, err := w.try("GET", host, "/read")
			if err != nil || resp.StatusCode != want {
				t.Errorf("%s behind %s: %v %s %v", host, sni, resp, body, err)
			}
			if want == 200 && f.App.last(t).Header.Get("X-Forwarded-Proto") != "https" {
				t.Errorf("%q", f.App.last(t).Header)
			}
		}
	}
	before := f.App.requests.Load()
	w := f.dial(t, f.Token(f.A))
	if resp, body, err := w.try("GET", "app.test", "/read"); err == nil && resp.StatusCode != 400 {
		t.Errorf("plain HTTP: %v %s", resp, body)
	}
	if f.App.requests.Load() != before {
		t.Error("plain HTTP reaches the application")
	}
	if n := f.Counts.Of(refusal.Malformed); n != 1 {
		t.Errorf("%d handshakes that fail are counted", n)
	}
}

// TestDrainCloses: a connection on which nothing is asked ends at once.
func TestDrainCloses(t *testing.T) {
	f := newFixture(t)
	idle, silent := f.dial(t, f.Token(f.A)), f.dial(t, f.Token(f.A))
	idle.ask(t, "GET", "app.test", "/read")
	begin := time.Now()
	f.stop()
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
	idle.over(t)
	silent.over(t)
}
