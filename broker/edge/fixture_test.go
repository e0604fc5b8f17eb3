package edge

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// An app is an application that knows no tenants: it believes the Txn-Token it
// is handed, whatever signed it.
type app struct {
	*httptest.Server
	conns, requests, busy atomic.Int64
	release               chan struct{} // what /step waits for

	mu   sync.Mutex // guards what follows
	seen []*http.Request
}

func newApp(t testing.TB) *app {
	t.Helper()
	a := &app{release: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/read", a.read)
	mux.HandleFunc("/write", a.read)
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/big", a.big)
	mux.HandleFunc("/echo", a.echo)
	mux.HandleFunc("/events", a.events)
	mux.HandleFunc("/ws", a.websocket)
	mux.HandleFunc("/answer", a.answer)
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.PathValue("code"), &code) //nolint:errcheck // a test's own
		w.WriteHeader(code)
	})
	mux.HandleFunc("/", a.read)
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.requests.Add(1)
		a.busy.Add(1)
		defer a.busy.Add(-1)
		a.mu.Lock()
		a.seen = append(a.seen, r)
		a.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	a.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			a.conns.Add(1)
		}
	}
	a.Start()
	t.Cleanup(a.Close)
	return a
}

// last returns the request that came last.
func (a *app) last(t testing.TB) *http.Request {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.seen) == 0 {
		t.Fatal("nothing has reached the application")
	}
	return a.seen[len(a.seen)-1]
}

// payload returns what the Txn-Token of a request says.
func payload(h http.Header) (p struct {
	Txn      string `json:"txn"`
	Scope    string `json:"scope"`
	Workload string `json:"req_wl"`
	Iat, Exp int64
	Tctx     struct{ Tenant string }
	Rctx     struct {
		Peer string `json:"req_ip"`
	}
}, err error,
) {
	parts := strings.Split(h.Get("Txn-Token"), ".")
	if len(parts) != 3 {
		return p, fmt.Errorf("no Txn-Token: %q", parts)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(b, &p)
}

func (a *app) read(w http.ResponseWriter, r *http.Request) {
	p, err := payload(r.Header)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "tenant %s nonce %s", p.Tctx.Tenant, r.URL.Query().Get("nonce"))
}

const bigSize = 16 << 20

func (a *app) big(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(bigSize))
	part := []byte(strings.Repeat("x", 64<<10))
	for range bigSize / len(part) {
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}

func (a *app) echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Write(b) //nolint:errcheck // the client notices
}

// events sends one event, and the next when it is told to.
func (a *app) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := 0; ; i++ {
		fmt.Fprintf(w, "data: %d\n\n", i)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-a.release:
		case <-r.Context().Done():
			return
		}
	}
}

// answer answers with hostile headers.
func (a *app) answer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Txn-Token", r.Header.Get("Txn-Token"))
	h["txn_token"] = []string{r.Header.Get("Txn-Token")}
	h.Set("X-IsoCore-Node", "inner")
	h.Set("X-Accel-Redirect", "/etc/passwd")
	h.Set("Alt-Svc", `h2="elsewhere:443"`)
	h.Set("X-Request-Id", "of the application")
	h.Set("Keep-Alive", "timeout=1")
	h.Set("Connection", "X-Inner")
	h.Set("X-Inner", "for one hop")
	h.Set("Trailer", "X-Late")
	h.Set("Set-Cookie", "session=1")
	h.Set("X-App", "kept")
	h["Content-Type"] = nil
	io.WriteString(w, "<script>") //nolint:errcheck // the client notices
	h.Set("X-Late", "a trailer")
}

// websocket echoes bytes once it has granted the upgrade.
func (a *app) websocket(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	if rw.Flush() != nil {
		return
	}
	io.Copy(conn, rw) //nolint:errcheck // it is over
}

// A fixture is a broker before an app, with a route for the host app.test and
// one for each way in which a tenant can be named.
type fixture struct {
	*brokertest.World
	App    *app
	Addr   string
	Broker *Broker
	Logged *logged
	Paths  map[tenant.ID]tenant.Path

	config Config
	stop   func()
}

func newFixture(t testing.TB, change ...func(*Config)) *fixture {
	return newFixtureWith(t, brokertest.Limits(), change...)
}

func newFixtureWith(t testing.TB, limits limit.Config, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{World: brokertest.New(t, Name, limits), App: newApp(t), Logged: &logged{}}
	f.Paths = map[tenant.ID]tenant.Path{f.A: {Partner: "home", Name: "alpha"}, f.B: {Partner: "north", Name: "beta"}}
	f.Token(f.A) // both are known from the beginning: to register one more is another registration
	f.Token(f.B)
	up := upstream(t, f.App.Listener.Addr().String())
	log := slog.New(slog.NewTextHandler(f.Logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	reach := []string{identity.PGRead, identity.PGWrite}
	f.config = Config{
		Routes: []Route{
			{Name: "app", Host: "app.test", Path: "/", Upstream: up, Reach: reach, MaxBody: 4 << 20},
			{Name: "reader", Host: "app.test", Path: "/reader", Upstream: up, Reach: reach[:1], MaxBody: 1 << 10},
			{Name: "again", Host: "again.test", Path: "/", Upstream: up, Reach: reach, MaxBody: 1 << 10, Reuse: 5 * time.Second},
			{Name: "path", Host: "path.test", Path: "/t/{tenant}", Upstream: up, Reach: reach, MaxBody: 1 << 10},
			{Name: "host", Host: "{tenant}.app.test", Path: "/", Upstream: up, Reach: reach, MaxBody: 1 << 10},
			{Name: "both", Host: "{tenant}.{partner}.test", Path: "/", Upstream: up, Reach: reach, MaxBody: 1 << 10},
		},
		Minter: f.Minter,
		Paths:  func(id tenant.ID) (tenant.Path, bool) { p, ok := f.Paths[id]; return p, ok },
		Door:   accept.Door{Limiter: f.Limiter, Log: log, Grace: 2 * time.Second},
		Log:    log, Now: time.Now, Sessions: 64,
	}
	for _, change := range change {
		change(&f.config)
	}
	f.serve(t)
	return f
}

func upstream(t testing.TB, addr string) forward.Upstream {
	t.Helper()
	up, err := forward.NewDirect(forward.UpstreamConfig{
		Address: addr, Max: 64, Each: 48, Dial: 2 * time.Second, Header: 30 * time.Second, Idle: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	return up
}

// serve starts the broker; the test's end, or stop, drains it.
func (f *fixture) serve(t testing.TB) {
	t.Helper()
	var err error
	if f.Broker, err = New(f.config); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.Addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Broker.Serve(ctx, ln, f.Gate) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { f.stop() })
}

// logged is what the broker told the operator.
type logged struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A wire is a client in bytes.
type wire struct {
	net.Conn
	in    *bufio.Reader
	token secret.Text
}

func (f *fixture) dial(t testing.TB, token secret.Text) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", f.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second)) //nolint:errcheck // a test that hangs fails
	return &wire{conn, bufio.NewReader(conn), token}
}

// head returns the beginning of a request, without the empty line.
func (w *wire) head(method, host, target string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + w.token.Reveal() + "\r\n"
}

// ask sends a request of these lines behind its head, and returns the answer.
func (w *wire) ask(t testing.TB, method, host, target string, lines ...string) (*http.Response, string) {
	t.Helper()
	resp, body, err := w.try(method, host, target, lines...)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func (w *wire) try(method, host, target string, lines ...string) (*http.Response, string, error) {
	if _, err := io.WriteString(w, w.head(method, host, target)+strings.Join(append(lines, "", ""), "\r\n")); err != nil {
		return nil, "", err
	}
	return w.answer(method)
}

// answer reads an answer to a method.
func (w *wire) answer(method string) (*http.Response, string, error) {
	resp, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}
