package forward_test

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/refusal"
)

// TestIdle: a connection is closed when it has been idle for too long.
func TestIdle(t *testing.T) {
	for path := range paths {
		ended := make(chan struct{})
		server := httptest.NewUnstartedServer(&app{})
		server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				close(ended)
			}
		}
		server.Start()
		w := brokertest.New(t, "postgres", brokertest.Limits())
		u := upstream(t, path, server.Listener.Addr().String(), func(c *forward.UpstreamConfig) { c.Idle = 50 * time.Millisecond })
		if _, err := body(u.Do(t.Context(), session(t, w, w.A).Scope(), request(t, "GET", "/", ""))); err != nil {
			t.Error(err)
		}
		<-ended
		server.Close()
	}
}

// TestTLS: the name that is checked is the configured one, whatever the Host,
// and connections are used again.
func TestTLS(t *testing.T) {
	for path := range paths {
		t.Run(path, func(t *testing.T) {
			a := &app{}
			server := httptest.NewUnstartedServer(a)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			defer server.Close()
			w := brokertest.New(t, "postgres", brokertest.Limits())
			s := session(t, w, w.A).Scope()
			trust := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			trust.ServerName = "example.com"
			u := upstream(t, path, server.Listener.Addr().String(), func(c *forward.UpstreamConfig) { c.TLS = trust })
			for range 5 {
				if got, err := body(u.Do(t.Context(), s, request(t, "POST", "/", "abc"))); err != nil || !strings.Contains(got, "app.test") {
					t.Errorf("%q: %v", got, err)
				}
			}
			if n := a.opened(); n != 1 {
				t.Errorf("%d connections", n)
			}
			wrong := trust.Clone()
			wrong.ServerName = "app.test"
			u = upstream(t, path, server.Listener.Addr().String(), func(c *forward.UpstreamConfig) { c.TLS = wrong })
			if _, err := u.Do(t.Context(), s, request(t, "GET", "/", "")); refusal.Of(err) != refusal.Unavailable {
				t.Errorf("another name: %v", err)
			}
		})
	}
}

// TestWhatCannotBeSent: nothing is dialled for it.
func TestWhatCannotBeSent(t *testing.T) {
	for path := range paths {
		server := play(t, func(net.Conn, *http.Request) bool { return false })
		w := brokertest.New(t, "postgres", brokertest.Limits())
		s := session(t, w, w.A).Scope()
		u := upstream(t, path, server.Addr().String(), nil)
		for name, change := range map[string]func(*http.Request){
			"host with a line": func(r *http.Request) { r.Host = "a\r\nb" },
			"no host":          func(r *http.Request) { r.Host = "" },
			"two slashes":      func(r *http.Request) { r.RequestURI = "//evil/" },
			"absolute":         func(r *http.Request) { r.RequestURI = "http://evil/" },
			"target of two":    func(r *http.Request) { r.RequestURI = "/ HTTP/1.1\r\nX: y" },
			"method of two":    func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX:" },
			"LF in a value":    func(r *http.Request) { r.Header["A"] = []string{"b\nc"} },
			"NUL in a value":   func(r *http.Request) { r.Header["A"] = []string{"b\x00"} },
			"colon in a name":  func(r *http.Request) { r.Header["A: b\r\nC"] = []string{"d"} },
			"empty name":       func(r *http.Request) { r.Header[""] = []string{"d"} },
		} {
			r := request(t, "GET", "/", "")
			change(r)
			if _, err := u.Do(t.Context(), s, r); refusal.Of(err) != refusal.Internal {
				t.Errorf("%s: %s: %v", path, name, err)
			}
		}
		if n := server.conns.Load(); n != 0 {
			t.Errorf("%s: %d connections", path, n)
		}
	}
}

// BenchmarkUpstream asks one small question after another over loopback.
func BenchmarkUpstream(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(make([]byte, 230))
	}))
	defer server.Close()
	w := brokertest.New(b, "postgres", brokertest.Limits())
	s, err := w.Gate.Enter(b.Context(), "postgres", addr, w.Token(w.A))
	if err != nil {
		b.Fatal(err)
	}
	for path := range paths {
		b.Run(path, func(b *testing.B) {
			u := upstream(b, path, server.Listener.Addr().String(), nil)
			b.ReportAllocs()
			for b.Loop() {
				resp, err := u.Do(b.Context(), s.Scope(), request(b, "POST", "/", `{"question":"a body of seventy three bytes, as in the facts, or nearly so"}`))
				if _, err := body(resp, err); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAnswersOfTwoReadings: neither path passes on what another reader could
// take for something else; the request has failed.
func TestAnswersOfTwoReadings(t *testing.T) {
	for path := range paths {
		for name, answer := range map[string]string{
			"status 99":       "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
			"status 600":      "HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n",
			"status 999":      "HTTP/1.1 999 Highest\r\nContent-Length: 1\r\n\r\nx",
			"another length":  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent_Length: 5\r\n\r\nx",
			"another coding":  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer.Encoding: chunked\r\n\r\nx",
			"a control byte":  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-A: \x01\r\n\r\nx",
			"control (whole)": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-A: b\r\n\r\nx",
		} {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					io.WriteString(conn, answer) //nolint:errcheck // it is refused
				}
			}()
			w := brokertest.New(t, "postgres", brokertest.Limits())
			s := session(t, w, w.A)
			got, err := body(ask(t.Context(), upstream(t, path, ln.Addr().String(), nil), s, request(t, "GET", "/", "")))
			want := audit.StatusFailed
			if name == "control (whole)" {
				want = audit.StatusOK
			}
			if (err == nil) != (want == audit.StatusOK) || err != nil && refusal.Of(err) != refusal.Unavailable {
				t.Errorf("%s, %s: %q, %v", path, name, got, err)
			}
			var all []audit.Result
			until(t, func() bool { all = outcomes(t, w, s); return len(all) == 1 })
			if all[0].Status != want {
				t.Errorf("%s, %s: %+v", path, name, all)
			}
			ln.Close()
		}
	}
}
