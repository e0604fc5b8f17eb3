package forward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// A page is a request for one, which its rule says whose it is.
type page struct {
	r     *http.Request
	owner string
}

func (p *page) Operations() []scope.Operation {
	return []scope.Operation{{Name: "GET", Text: []byte(p.r.Method + " " + p.r.RequestURI), Class: uint16(audit.ClassRequest)}}
}

func (p *page) HTTP() (*http.Request, error) {
	if p.owner == "" {
		return nil, errBare
	}
	r := p.r.Clone(p.r.Context())
	r.Header.Set("Owner", p.owner)
	return r, nil
}

var pages = scope.Table[*page]{
	"GET": {Verdict: scope.Confine, Needs: identity.PGRead, Why: "says whose it is", Confine: func(p *page, _ int, s scope.Scope) error {
		if p.r.Header.Get("Forget") == "" {
			p.owner = s.Tenant().String()
		}
		return nil
	}},
}

// request returns a request as a broker has it from a client.
func request(t testing.TB, method, target, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://app.test"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.RequestURI = target
	return r
}

// paths are the two ways to an application.
var paths = map[string]func(forward.UpstreamConfig) (forward.Upstream, error){
	"stock": forward.NewUpstream, "direct": forward.NewDirect,
}

func upstream(t testing.TB, path, address string, change func(*forward.UpstreamConfig)) forward.Upstream {
	t.Helper()
	c := forward.UpstreamConfig{Address: address, Max: 8, Each: 4, Dial: 5 * time.Second, Header: 5 * time.Second, Idle: 5 * time.Second}
	if change != nil {
		change(&c)
	}
	u, err := paths[path](c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// ask sends r through u, as a pass of s.
func ask(ctx context.Context, u forward.Upstream, s *broker.Session, r *http.Request) (*http.Response, error) {
	p, err := broker.Admit(ctx, s, pages, &page{r: r})
	if err != nil {
		return nil, err
	}
	return forward.RoundTrip(ctx, u, p)
}

// body returns the body of an answer, and closes it.
func body(resp *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(resp.Body)
	return string(b), errors.Join(err, resp.Body.Close())
}

// outcomes returns the results of a tenant's requests.
func outcomes(t *testing.T, w *brokertest.World, s *broker.Session) []audit.Result {
	t.Helper()
	var all []audit.Result
	for _, r := range w.Records(t, s.Scope().Tenant()) {
		if r.Kind == audit.Outcome {
			all = append(all, r.Result)
		}
	}
	return all
}

// An app is what is behind an upstream: it tells what it was sent.
type app struct {
	mu    sync.Mutex
	conns map[string]string // by remote address, who owns what came over it
	mixed atomic.Bool       // one of them saw two
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	owner := r.Header.Get("Owner")
	a.mu.Lock()
	if a.conns == nil {
		a.conns = make(map[string]string)
	}
	if before, ok := a.conns[r.RemoteAddr]; ok && before != owner {
		a.mixed.Store(true)
	}
	a.conns[r.RemoteAddr] = owner
	a.mu.Unlock()
	switch r.URL.Path {
	case "/empty":
		w.WriteHeader(http.StatusNoContent)
	case "/broken":
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "oh")
	case "/hang":
		w.Write(bytes.Repeat([]byte("x"), 10))
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		b, _ := io.ReadAll(r.Body)
		names := slices.Sorted(func(yield func(string) bool) {
			for name := range r.Header {
				if !yield(name) {
					return
				}
			}
		})
		fmt.Fprintf(w, "%s %s %s %d %v %q %s", r.Method, r.RequestURI, r.Host, r.ContentLength, names, b, r.Header.Get("X-Nonce"))
	}
}

func (a *app) opened() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.conns)
}

func TestWhatIsSent(t *testing.T) {
	for path := range paths {
		t.Run(path, func(t *testing.T) {
			a := &app{}
			server := httptest.NewServer(a)
			defer server.Close()
			w := brokertest.New(t, "postgres", brokertest.Limits())
			s := session(t, w, w.A)
			u := upstream(t, path, server.Listener.Addr().String(), nil)
			for _, c := range []struct{ method, target, body, want string }{
				{"GET", "/a%2Fb/%C3%BC?q=%20+x&&;", "", `GET /a%2Fb/%C3%BC?q=%20+x&&; app.test 0 [Owner X-Nonce] "" n0`},
				{"POST", "/p", "hello", `POST /p app.test 5 [Content-Length Owner X-Nonce] "hello" n1`},
				{"POST", "/p", "", `POST /p app.test 0 [Content-Length Owner X-Nonce] "" n2`},
				{"PUT", "/chunked", "some", `PUT /chunked app.test -1 [Owner X-Nonce] "some" n3`},
				{"DELETE", "/d?", "", `DELETE /d? app.test 0 [Owner X-Nonce] "" n4`},
				{"POST", "/big", strings.Repeat("b", 100_000), `POST /big app.test 100000 [Content-Length Owner X-Nonce] "` + strings.Repeat("b", 100_000) + `" n5`},
			} {
				r := request(t, c.method, c.target, c.body)
				if c.body == "" {
					r.Body = http.NoBody
				}
				if c.target == "/chunked" {
					r.ContentLength = -1
				}
				r.Header.Set("X-Nonce", c.want[strings.LastIndexByte(c.want, ' ')+1:])
				got, err := body(ask(t.Context(), u, s, r))
				if err != nil || got != c.want {
					t.Errorf("%s %s: %.300s, want %.300s: %v", c.method, c.target, got, c.want, err)
				}
			}
			if n := a.opened(); n != 1 {
				t.Errorf("%d connections for one request after another", n)
			}
			for i, r := range outcomes(t, w, s) {
				if r.Status != audit.StatusOK || r.Code != "200" || r.BytesOut == 0 || (i == 1) != (r.BytesIn == 5) && i < 3 {
					t.Errorf("the outcome of %d: %+v", i, r)
				}
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	for path := range paths {
		t.Run(path, func(t *testing.T) {
			server := httptest.NewServer(&app{})
			defer server.Close()
			w := brokertest.New(t, "postgres", brokertest.Limits())
			s := session(t, w, w.A)
			u := upstream(t, path, server.Listener.Addr().String(), nil)
			none := upstream(t, path, "127.0.0.1:1", nil)
			var want []audit.Result
			check := func(name string, err error, reason refusal.Reason, r audit.Result) {
				t.Helper()
				if r.Status == audit.StatusOK || r.Code == "502" {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
				} else if refusal.Of(err) != reason {
					t.Errorf("%s: %v, want %v", name, err, reason)
				}
				want = append(want, r)
				var got []audit.Result
				until(t, func() bool { got = outcomes(t, w, s); return len(got) == len(want) })
				last := got[len(got)-1]
				last.Micros = 0
				if last.Status != r.Status || last.Code != r.Code || last.BytesOut != r.BytesOut {
					t.Errorf("%s: %+v, want %+v", name, last, r)
				}
			}
			_, err := body(ask(t.Context(), u, s, request(t, "GET", "/empty", "")))
			check("empty", err, 0, audit.Result{Status: audit.StatusOK, Code: "204"})
			_, err = body(ask(t.Context(), u, s, request(t, "HEAD", "/", "")))
			check("head", err, 0, audit.Result{Status: audit.StatusOK, Code: "200"})
			_, err = body(ask(t.Context(), u, s, request(t, "GET", "/broken", "")))
			check("broken", err, 0, audit.Result{Status: audit.StatusFailed, Code: "502", BytesOut: 2})

			resp, err := ask(t.Context(), u, s, request(t, "GET", "/hang", ""))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(resp.Body, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(resp.Body.Close(), resp.Body.Close()); err != nil {
				t.Fatal(err)
			}
			check("closed early", err, refusal.Internal, audit.Result{Status: audit.StatusAbandoned, Code: "200", BytesOut: 4})

			ctx, cancel := context.WithCancel(t.Context())
			resp, err = ask(ctx, u, s, request(t, "GET", "/hang", ""))
			if err != nil {
				t.Fatal(err)
			}
			io.ReadFull(resp.Body, make([]byte, 10))
			cancel()
			_, err = body(resp, nil)
			check("cancelled", err, refusal.Unavailable, audit.Result{Status: audit.StatusAbandoned, Code: "200", BytesOut: 10})

			_, err = ask(t.Context(), none, s, request(t, "GET", "/", ""))
			check("nobody there", err, refusal.Unavailable, audit.Result{Status: audit.StatusFailed})
			r := request(t, "GET", "/", "")
			r.Header.Set("Forget", "yes")
			_, err = ask(t.Context(), u, s, r)
			check("not confined", err, refusal.Internal, audit.Result{Status: audit.StatusAbandoned})
			r = request(t, "GET", "/", "")
			r.Header["X"] = []string{"a\r\nTxn-Token: x"}
			_, err = ask(t.Context(), u, s, r)
			check("splitting", err, refusal.Internal, audit.Result{Status: audit.StatusFailed})
		})
	}
}

// failLog makes the trail take nothing any more.
func failLog(t *testing.T, w *brokertest.World) {
	t.Helper()
	w.Commits.Fail(brokertest.ErrDisk)
	until(t, func() bool {
		_, _ = w.Log.Append(audit.Record{Log: w.A, Kind: audit.Entry, Class: audit.ClassSessionEnded, Time: time.Now()})
		return w.Log.Err() != nil
	})
}

// TestTheEndWaits: nobody sees the end of an answer whose outcome the trail
// does not take.
func TestTheEndWaits(t *testing.T) {
	for path := range paths {
		for _, target := range []string{"/hang-up", "/", "/empty"} {
			t.Run(path+target, func(t *testing.T) {
				w := brokertest.New(t, "postgres", brokertest.Limits())
				s := session(t, w, w.A)
				server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					failLog(t, w) // the decision was durable: the next record is not
					switch r.URL.Path {
					case "/empty":
						rw.WriteHeader(http.StatusNoContent)
					case "/":
						io.WriteString(rw, "all of it")
					default:
						http.NewResponseController(rw).Flush()
						io.WriteString(rw, "chunks")
					}
				}))
				defer server.Close()
				u := upstream(t, path, server.Listener.Addr().String(), nil)
				got, err := body(ask(t.Context(), u, s, request(t, "GET", target, "")))
				if refusal.Of(err) != refusal.Unrecorded || got == "all of it" {
					t.Errorf("%q: %v", got, err)
				}
			})
		}
	}
}

// A parrot answers with a body whose end comes after its last byte.
type parrot struct{ length int64 }

func (p parrot) Do(context.Context, scope.Scope, *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: p.length, Body: io.NopCloser(strings.NewReader("all"))}, nil
}

func (parrot) Close() {}

// TestTheLastByteWaits: where the length of a body is known, its last byte is
// its end, and the outcome comes before it.
func TestTheLastByteWaits(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	s := session(t, w, w.A)
	first, err := ask(t.Context(), parrot{3}, s, request(t, "GET", "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := first.Body.Read(make([]byte, 3)); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	until(t, func() bool { return len(outcomes(t, w, s)) == 1 })
	short, err := body(ask(t.Context(), parrot{4}, s, request(t, "GET", "/", "")))
	if short != "all" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", short, err)
	}
	second, err := ask(t.Context(), parrot{3}, s, request(t, "GET", "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	failLog(t, w)
	if n, err := second.Body.Read(make([]byte, 3)); n != 0 || refusal.Of(err) != refusal.Unrecorded {
		t.Errorf("%d, %v", n, err)
	}
}

func TestBounds(t *testing.T) {
	for path := range paths {
		t.Run(path, func(t *testing.T) {
			a := &app{}
			server := httptest.NewServer(a)
			defer server.Close()
			w := brokertest.New(t, "postgres", brokertest.Limits())
			sa, sb := session(t, w, w.A), session(t, w, w.B)
			u := upstream(t, path, server.Listener.Addr().String(), func(c *forward.UpstreamConfig) { c.Max, c.Each = 3, 2 })
			hang := func(s *broker.Session) *http.Response {
				t.Helper()
				resp, err := ask(t.Context(), u, s, request(t, "GET", "/hang", ""))
				if err != nil {
					t.Fatal(err)
				}
				return resp
			}
			one, two := hang(sa), hang(sa)
			if _, err := ask(t.Context(), u, sa, request(t, "GET", "/", "")); refusal.Of(err) != refusal.TooMany {
				t.Errorf("a third of two: %v", err)
			}
			if _, err := body(ask(t.Context(), u, sb, request(t, "GET", "/", ""))); err != nil {
				t.Error(err)
			}
			three := hang(sb)
			if _, err := ask(t.Context(), u, sb, request(t, "GET", "/", "")); refusal.Of(err) != refusal.TooMany {
				t.Errorf("a fourth of three: %v", err)
			}
			three.Body.Close()
			if _, err := body(ask(t.Context(), u, sb, request(t, "GET", "/", ""))); err != nil {
				t.Error(err)
			}
			one.Body.Close()
			two.Body.Close()
			var third [2]*http.Response
			for i := range third { // the idle connection of B makes room
				third[i] = hang(sa)
			}
			for _, resp := range third {
				resp.Body.Close()
			}
			if a.mixed.Load() {
				t.Error("one connection served two tenants")
			}
			u.Close()
			if _, err := ask(t.Context(), u, sa, request(t, "GET", "/", "")); refusal.Of(err) != refusal.Draining {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for path, open := range paths {
		_, err := open(forward.UpstreamConfig{Address: "nowhere"})
		for _, what := range []string{"Address", "Max", "Each", "Dial", "Header", "Idle"} {
			if err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: nothing is said of %s: %v", path, what, err)
			}
		}
	}
}
