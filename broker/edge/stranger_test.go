package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/isocore/isocore/secret"
)

// quiet is an application that says little.
func quiet(context.Context, *http.Request) (*http.Response, error) { return answerOf("x"), nil }

// TestStrangersGoAway: a connection on which nobody is known ends with the
// first answer; one on which somebody is goes on.
func TestStrangersGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, quiet)
		for name, raw := range map[string]string{
			"no token":     "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
			"another word": "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Basic YTpi\r\n\r\n",
			"no good one":  "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer x\r\n\r\n",
			"malformed":    "GET /?access_token=x HTTP/1.1\r\nHost: app.test\r\n\r\n",
		} {
			w := b.dial(t, local, secret.Text{})
			w.send(raw)
			resp, _, err := w.answer("GET")
			if err != nil || resp.StatusCode < 400 || !resp.Close {
				t.Errorf("%s: %+v, %v", name, resp, err)
			}
			if took := w.until(); took > time.Second {
				t.Errorf("%s: it goes on for %v", name, took)
			}
		}
		w := b.dial(t, local, b.Token(b.A))
		for range 2 {
			if resp, _, err := w.try("GET", "app.test", "/"); err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v, %v", resp, err)
			}
			w.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
			if resp, _, err := w.answer("GET"); err != nil || resp.StatusCode != 401 || resp.Close {
				t.Errorf("%+v, %v", resp, err)
			}
		}
	})
}

// TestStrangersLife: however slowly a stranger does each thing, all of them
// together have a bound.
func TestStrangersLife(t *testing.T) {
	cert := secured(t)
	for _, proto := range []string{protoH1, protoH2} {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, quiet, cert)
			w := b.dial(t, local, secret.Text{})
			begin := time.Now()
			time.Sleep(handshakeTime - time.Second)
			conn := tls.Client(w.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{proto}}) //nolint:gosec // a test's certificate
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			go io.WriteString(conn, "G") //nolint:errcheck // it ends
			io.Copy(io.Discard, conn)    //nolint:errcheck // as above
			if took := time.Since(begin); took > strangerTime+time.Second {
				t.Errorf("%s: it goes on for %v", proto, took)
			}
		})
	}
}

// TestStrangersLeaveH2: who shows no good token over HTTP/2 hears it once.
func TestStrangersLeaveH2(t *testing.T) {
	f := newFixture(t, secured(t))
	w := f.framed(t)
	id, err := w.open(true, h2head(secret.New("x"), "GET", "/")...)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.result(id); got != "401" {
		t.Fatal(got)
	}
	for {
		frame, err := w.ReadFrame()
		if errors.Is(err, io.EOF) { // that it goes may have been said before the answer
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, leave := frame.(*http2.GoAwayFrame); leave {
			return
		}
	}
}

// TestSlowSecondHead: the time in which a connection may be idle is not that
// of a head.
func TestSlowSecondHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, quiet)
		for raw, c := range map[string]struct{ least, most time.Duration }{
			"":                                     {idleTime, idleTime + time.Second},
			"G":                                    {headTime, headTime + time.Second},
			"GET / HTTP/1.1\r\nHost: app.test\r\n": {headTime, headTime + time.Second},
		} {
			w := b.dial(t, local, b.Token(b.A))
			for range 2 { // what a head has taken is not the next one's
				if resp, _, err := w.try("GET", "app.test", "/"); err != nil || resp.StatusCode != 200 {
					t.Fatalf("%v, %v", resp, err)
				}
				time.Sleep(headTime + time.Second)
			}
			w.send(raw)
			if took := w.until(); took < c.least-headTime-2*time.Second || took > c.most {
				t.Errorf("%q: %v", raw, took)
			}
		}
		// A head in two parts, of a request after one that was in the same part.
		w := b.dial(t, local, b.Token(b.A))
		whole := w.head("GET", "app.test", "/") + "\r\n"
		w.send(whole + whole[:10])
		if resp, _, err := w.answer("GET"); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v, %v", resp, err)
		}
		time.Sleep(headTime / 2)
		w.send(whole[10:])
		if resp, _, err := w.answer("GET"); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v, %v", resp, err)
		}
		time.Sleep(2 * headTime)
		if resp, _, err := w.try("GET", "app.test", "/"); err != nil || resp.StatusCode != 200 {
			t.Errorf("%v, %v", resp, err)
		}
		w.send(strings.Repeat("G", 3))
		if took := w.until(); took > headTime+time.Second {
			t.Errorf("it is waited for %v", took)
		}
	})
}
