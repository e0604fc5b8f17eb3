package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/broker/exchange"
	broker "github.com/isocore/isocore/broker/postgres"
	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/local/demo"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
	"github.com/isocore/isocore/workload"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// documents gives tenants A and B two each, under the same ids: one that both
// have, and one of its own.
const documents = `
INSERT INTO app.person SELECT t, 1, '100001', 'somebody', '1970-01-01' FROM unnest($1::uuid[]) t;
INSERT INTO app.document SELECT t, ('00000000-0000-4000-8000-00000000000' || i)::uuid, 1, 'letter',
	CASE i WHEN 1 THEN 'a letter' ELSE 'of ' || t END, 'body', 'somebody', '{}', now() FROM unnest($1::uuid[]) t, generate_series(1, 2) i;`

// A world is a node and the application before it.
type world struct {
	*brokertest.World
	settings settings
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: brokertest.New(t, broker.Name, brokertest.Limits())}
	database := localtest.Database(t)
	super := localtest.Super(t, database)
	o := protect.Options{Schemas: []string{"app"}, LoginPassword: secret.New("login-of-a-test-0b17"), KeeperPassword: secret.New("keeper-of-a-test-55d1")}
	must(t, protect.Install(t.Context(), super, o))
	must(t, demo.Create(t.Context(), super))
	for statement := range strings.SplitSeq(documents, ";\n") {
		_, err := super.Exec(t.Context(), statement, []string{w.A.String(), w.B.String()})
		must(t, err)
	}
	_, _, err := protect.Apply(t.Context(), super, o)
	must(t, err)
	must(t, protect.Seal(t.Context(), super))
	public := w.public(t)
	w.settings, err = parse([]string{
		"--issuer", w.Issuer, "--jwks", public + "/.well-known/jwks.json", "--token-endpoint", public + "/v1/token",
		"--postgres", w.postgres(t, database, o), "--database", "app",
	})
	must(t, err)
	return w
}

// public starts what a node has for everybody.
func (w *world) public(t *testing.T) string {
	t.Helper()
	x, err := exchange.New(exchange.Config{Minter: w.Minter, Brokers: []string{broker.Name}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	keys, err := w.Minter.Keys().JWKS()
	must(t, err)
	mux := http.NewServeMux()
	mux.Handle("POST /v1/token", x.Handler(w.Gate))
	mux.HandleFunc("GET /.well-known/jwks.json", func(rw http.ResponseWriter, _ *http.Request) { rw.Write(keys) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// postgres starts the broker of PostgreSQL; the test's end drains it.
func (w *world) postgres(t *testing.T, database string, o protect.Options) string {
	t.Helper()
	server, log := localtest.Postgres(t), slog.New(slog.DiscardHandler)
	b, err := broker.New(broker.Config{
		Databases: map[string]broker.Database{"app": {
			Store: broker.Store{Address: server.Address(), Database: database, Password: o.LoginPassword, Statement: 30 * time.Second},
			Keeper: func(ctx context.Context) (*pgx.Conn, error) {
				return pgx.Connect(ctx, server.DSN(protect.Keeper, o.KeeperPassword, database).Reveal())
			},
		}},
		Slots: 32, Door: accept.Door{Limiter: w.Limiter, Log: log, Grace: 5 * time.Second}, Log: log, Now: time.Now,
	})
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, ln, w.Gate) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	up(t, ln.Addr().String())
	return ln.Addr().String()
}

// up waits for an answer: no, there is no TLS.
func up(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}) // SSLRequest
	must(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1))
	must(t, err)
}

// notes starts the application.
func (w *world) notes(t *testing.T, buggy bool) *httptest.Server {
	t.Helper()
	w.settings.buggy = buggy
	h, done, err := w.settings.open(t.Context(), slog.New(slog.DiscardHandler))
	must(t, err)
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.Close(); done() })
	return s
}

// ask sends a request as the edge would, and returns the answer.
func ask(t *testing.T, method, url string, token secret.Text, body string) (int, string) {
	t.Helper()
	answer := send(t, t.Context(), method, url, token, body)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	must(t, err)
	return answer.StatusCode, string(b)
}

func send(t *testing.T, ctx context.Context, method, url string, token secret.Text, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	must(t, err)
	if !token.IsZero() {
		r.Header.Set(workload.Header, token.Reveal())
	}
	answer, err := new(http.Client).Do(r)
	must(t, err)
	return answer
}

// search returns the titles that a tenant finds, all of which have to be its own.
func search(t *testing.T, url string, token secret.Text, id tenant.ID) []string {
	t.Helper()
	status, body := ask(t, http.MethodGet, url, token, "")
	var found []document
	if err := json.Unmarshal([]byte(body), &found); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %q", url, status, body)
	}
	var titles []string
	for _, d := range found {
		if strings.ReplaceAll(d.Tenant, "-", "") != id.String() {
			t.Errorf("%s found %+v", id, d)
		}
		titles = append(titles, d.Title)
	}
	return titles
}

func TestCarefulAndBuggy(t *testing.T) {
	w := newWorld(t)
	for _, buggy := range []bool{false, true} {
		s := w.notes(t, buggy)
		for _, id := range []tenant.ID{w.A, w.B} {
			token := w.TxnToken(id)
			if all := search(t, s.URL+"/documents", token, id); len(all) != 2 {
				t.Errorf("%s finds %q", id, all)
			}
			want := 1 // of its own, and none by the other's name
			if buggy {
				want = 2 // there is no WHERE
			}
			if own := search(t, s.URL+"/documents?q=letter", token, id); len(own) != want {
				t.Errorf("%s finds %q", id, own)
			}
		}
	}
}

func TestAdd(t *testing.T) {
	w := newWorld(t)
	s := w.notes(t, false)
	const good = `{"title": "a new note", "body": "of mine", "person": 1}`
	for name, c := range map[string]struct {
		token  secret.Text
		body   string
		status int
	}{
		"good":           {w.TxnToken(w.A), good, http.StatusCreated},
		"who may read":   {w.TxnToken(w.A, identity.PGRead), good, http.StatusForbidden},
		"nobody's":       {w.TxnToken(w.A), `{"title": "x", "person": 404}`, http.StatusBadRequest},
		"no title":       {w.TxnToken(w.A), `{"person": 1}`, http.StatusBadRequest},
		"not JSON":       {w.TxnToken(w.A), `title=x`, http.StatusBadRequest},
		"too much":       {w.TxnToken(w.A), `{"title": "` + strings.Repeat("x", 1<<17) + `"}`, http.StatusBadRequest},
		"no one":         {secret.Text{}, good, http.StatusUnauthorized},
		"no reach of it": {w.TxnToken(w.A, identity.HTTP), good, http.StatusForbidden},
	} {
		if status, body := ask(t, http.MethodPost, s.URL+"/documents", c.token, c.body); status != c.status {
			t.Errorf("%s: %d %q", name, status, body)
		}
	}
	for id, want := range map[tenant.ID]int{w.A: 1, w.B: 0} {
		if found := search(t, s.URL+"/documents?q=of+mine", w.TxnToken(id), id); len(found) != want {
			t.Errorf("%s finds %q", id, found)
		}
	}
}

// TestNobody: there is no page, known or unknown, without a Txn-Token.
func TestNobody(t *testing.T) {
	w := newWorld(t)
	s := w.notes(t, true)
	for _, token := range []secret.Text{{}, w.Token(w.A), w.ProviderToken(w.A), secret.New("x")} {
		for _, path := range []string{"/documents", "/documents?q=x", "/events", "/", "/nowhere"} {
			if status, body := ask(t, http.MethodGet, s.URL+path, token, ""); status != http.StatusUnauthorized || strings.Contains(body, "letter") {
				t.Errorf("%s: %d %q", path, status, body)
			}
		}
	}
	if n := len(w.Records(t, w.A)); n != 0 {
		t.Errorf("%d records", n)
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	s := w.notes(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answer := send(t, ctx, http.MethodGet, s.URL+"/events", w.TxnToken(w.A), "")
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	next := func() (event string) {
		for lines.Scan() && lines.Text() != "" {
			event += lines.Text() + "\n"
		}
		return event
	}
	if got := next(); answer.Header.Get("Content-Type") != "text/event-stream" || got != "event: documents\ndata: 2\n" {
		t.Fatalf("%q", got)
	}
	if status, body := ask(t, http.MethodPost, s.URL+"/documents", w.TxnToken(w.A), `{"title": "x", "person": 1}`); status != http.StatusCreated {
		t.Fatal(body)
	}
	for want, got := fmt.Sprintf("event: documents\ndata: %d\n", 3), ""; got != want; {
		if got = next(); got == "" {
			t.Fatal("the stream ended")
		}
	}
}

// TestServe: who is in the middle of a stream does not keep the program.
func TestServe(t *testing.T) {
	w := newWorld(t)
	h, done, err := w.settings.open(t.Context(), slog.New(slog.DiscardHandler))
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { defer done(); ended <- serve(ctx, ln, h) }()
	answer := send(t, t.Context(), http.MethodGet, "http://"+ln.Addr().String()+"/events", w.TxnToken(w.A), "")
	defer answer.Body.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(answer.Body); err == nil {
		t.Error("a cut stream has an end")
	}
}

// TestStreamOfTheSuspended: it ends, and says why.
func TestStreamOfTheSuspended(t *testing.T) {
	w := newWorld(t)
	s := w.notes(t, false)
	answer := send(t, t.Context(), http.MethodGet, s.URL+"/events", w.TxnToken(w.A), "")
	defer answer.Body.Close()
	w.Standing.Suspend(w.A.UUID())
	all, err := io.ReadAll(answer.Body)
	// It hears of it from its connection, or as it opens another one.
	said := strings.HasSuffix(string(all), "event: over\ndata: Unauthorized\n\n") || strings.HasSuffix(string(all), "event: over\ndata: Forbidden\n\n")
	if err != nil || !said {
		t.Errorf("%q, %v", all, err)
	}
}

func TestBadSettings(t *testing.T) {
	for _, args := range [][]string{
		{"--jwks", "http://a.test/keys"},
		{"--token-endpoint", "http://a.test/v1/token"},
		{"--postgres", "127.0.0.1:x"},
		{"--issuer", ""},
	} {
		s, err := parse(args)
		must(t, err)
		if err := s.run(t.Context(), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%q is fine", args)
		}
	}
}

func TestNothingButFlags(t *testing.T) {
	for _, args := range [][]string{{"buggy"}, {"--buggy", "true"}, {"--", "--buggy"}, {"--listen"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%q is fine", args)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
