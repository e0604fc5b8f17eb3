package forward_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// A script is a server that answers each request with bytes of its choice.
type script struct {
	net.Listener
	conns  atomic.Int32
	served sync.WaitGroup
}

// play serves say, which writes an answer and reports whether to go on.
func play(t testing.TB, say func(c net.Conn, r *http.Request) bool) *script {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{Listener: ln}
	s.served.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			s.served.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(t.Context(), func() { c.Close() })
				defer stop()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil || !say(c, r) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.served.Wait()
	})
	return s
}

// answer fills the nonce of r into text.
func answer(c net.Conn, r *http.Request, text string) bool {
	_, err := io.WriteString(c, strings.ReplaceAll(text, "NONCE", r.Header.Get("X-Nonce")))
	return err == nil
}

const good = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nNONCE"

// answersOf are what an application may say to a GET, or to a HEAD where the
// name says so, and what becomes of it.
var answersOf = map[string]struct {
	text string
	last bool           // the application closes after it
	body string         // that is read
	bad  refusal.Reason // of the head or the body
	kept bool           // the connection serves the next request
}{
	"sized":               {text: good, body: "nonce", kept: true},
	"chunked":             {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nNONCE\r\n0\r\n\r\n", body: "nonce", kept: true},
	"trailers":            {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nNONCE\r\n0\r\nX: y\r\n\r\n", body: "nonce", kept: true},
	"empty":               {text: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", kept: true},
	"no content":          {text: "HTTP/1.1 204 No Content\r\n\r\n", kept: true},
	"content in 204":      {text: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nNONCE"},
	"chunks in 204":       {text: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nNONCE\r\n0\r\n\r\n"},
	"not modified":        {text: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", kept: true},
	"not modified, body":  {text: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nNONCE"},
	"HEAD":                {text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", kept: true},
	"HEAD, chunked":       {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", kept: true},
	"HEAD with a body":    {text: good},
	"said to be the last": {text: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nNONCE", body: "nonce"},
	"HTTP/1.0":            {text: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nNONCE", body: "nonce"},
	"until the end":       {text: "HTTP/1.1 200 OK\r\n\r\nNONCE", last: true, body: "nonce"},
	"closed after":        {text: good, last: true, body: "nonce"},
	"a byte after":        {text: good + "x", body: "nonce"},
	"line end after":      {text: good + "\r\n", body: "nonce"},
	"a second answer":     {text: good + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", body: "nonce"},
	"a second after CL 0": {text: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"},
	"after the chunks":    {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nNONCE\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", body: "nonce"},
	"continue":            {text: "HTTP/1.1 100 Continue\r\n\r\n" + good, body: "nonce"},
	"early hints":         {text: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 5) + good, body: "nonce"},
	"many hints":          {text: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 6) + good, bad: refusal.Unavailable},
	"processing":          {text: "HTTP/1.1 102 Processing\r\n\r\n" + good, bad: refusal.Unavailable},
	"upgrade":             {text: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", bad: refusal.Unavailable},
	"half a head":         {text: "HTTP/1.1 200 OK\r\nContent-Le", last: true, bad: refusal.Unavailable},
	"half a body":         {text: "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nNONCE", last: true, body: "nonce", bad: refusal.Unavailable},
	"half the chunks":     {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nNONCE\r\n", last: true, body: "nonce", bad: refusal.Unavailable},
	"half a chunk":        {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nNONCE", last: true, body: "nonce", bad: refusal.Unavailable},
	"a broken chunk":      {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nNONCE\r\n0\r\n\r\n", bad: refusal.Unavailable},
	"no chunk":            {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nNONCEx0\r\n\r\n", body: "nonce", bad: refusal.Unavailable},
	"two lengths":         {text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nNONCE", bad: refusal.Unavailable},
	"length and chunks":   {text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad: refusal.Unavailable},
	"bare LF":             {text: "HTTP/1.1 200 OK\nContent-Length: 5\n\nNONCE", bad: refusal.Unavailable},
	"another protocol":    {text: "220 mail ready\r\n\r\n", bad: refusal.Unavailable},
	"a long head":         {text: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70_000) + "\r\n\r\n", bad: refusal.Unavailable},
	"never":               {text: "", bad: refusal.TooLong},
	"a slow head":         {text: "HTTP/1.1 200 OK\r\n", bad: refusal.TooLong},
	"a slow body":         {text: "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nNONCE", body: "nonce", bad: refusal.TooLong},
}

// TestAnswers: whatever an application says, the next request gets its own
// answer, and only one that is beyond doubt leaves its connection in use.
func TestAnswers(t *testing.T) {
	for name, c := range answersOf {
		t.Run(name, func(t *testing.T) {
			var said atomic.Bool
			server := play(t, func(conn net.Conn, r *http.Request) bool {
				if !said.Swap(true) {
					return answer(conn, r, c.text) && !c.last
				}
				return answer(conn, r, good)
			})
			w := brokertest.New(t, "postgres", brokertest.Limits())
			s := session(t, w, w.A).Scope()
			u := upstream(t, "direct", server.Addr().String(), func(c *forward.UpstreamConfig) {
				c.Header, c.Idle = 300*time.Millisecond, 300*time.Millisecond
			})
			r := request(t, "GET", "/", "")
			if strings.HasPrefix(name, "HEAD") {
				r.Method = http.MethodHead
			}
			r.Header.Set("X-Nonce", "nonce")
			resp, err := u.Do(t.Context(), s, r)
			got, err := body(resp, err)
			if got != c.body || (err == nil) != (c.bad == 0) || err != nil && refusal.Of(err) != c.bad {
				t.Errorf("%q, %v", got, err)
			}
			if resp != nil && (len(resp.Trailer) > 0 || resp.Header.Get("X") != "") {
				t.Errorf("trailers: %v", resp)
			}
			r = request(t, "POST", "/", "")
			r.Header.Set("X-Nonce", "other")
			if got, err := body(u.Do(t.Context(), s, r)); got != "other" || err != nil {
				t.Errorf("the next: %q, %v", got, err)
			}
			if kept := server.conns.Load() == 1; kept != c.kept {
				t.Errorf("kept: %v", kept)
			}
		})
	}
}

// TestDiesUnanswered: a request that a used connection dies of is sent again
// where that can do no harm, and only there.
func TestDiesUnanswered(t *testing.T) {
	for _, c := range []struct {
		method, body string
		again        bool
	}{{"GET", "", true}, {"HEAD", "", true}, {"OPTIONS", "", true}, {"POST", "", false}, {"DELETE", "", false}, {"GET", "x", false}} {
		var requests atomic.Int32
		server := play(t, func(conn net.Conn, r *http.Request) bool {
			io.Copy(io.Discard, r.Body)
			if requests.Add(1) == 2 {
				return false
			}
			if r.Method == http.MethodHead {
				return answer(conn, r, "HTTP/1.1 204 x\r\n\r\n")
			}
			return answer(conn, r, good)
		})
		w := brokertest.New(t, "postgres", brokertest.Limits())
		s := session(t, w, w.A).Scope()
		u := upstream(t, "direct", server.Addr().String(), nil)
		for i := range 2 {
			r := request(t, c.method, "/", c.body)
			r.Header.Set("X-Nonce", "nonce")
			if c.body == "" {
				r.Body = http.NoBody
			}
			_, err := body(u.Do(t.Context(), s, r))
			if wantErr := i == 1 && !c.again; (refusal.Of(err) == refusal.Unavailable) != wantErr || !wantErr && err != nil {
				t.Errorf("%s %q, %d: %v", c.method, c.body, i, err)
			}
		}
		want := int32(2)
		if c.again {
			want = 3
		}
		if got := requests.Load(); got != want {
			t.Errorf("%s %q: sent %d times", c.method, c.body, got)
		}
	}
}

// TestCancelAnywhere cancels a request when so many bytes of its answer have
// come, for every number there is: the next one's answer is its own. It is
// incident 12 of the museum.
func TestCancelAnywhere(t *testing.T) {
	const text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nNONCE\r\n0\r\n\r\n"
	for path := range paths {
		t.Run(path, func(t *testing.T) {
			cancels, goOn := make(chan context.CancelFunc, 1), make(chan struct{}, 1)
			server := play(t, func(c net.Conn, r *http.Request) bool {
				var cut int
				if n, _ := fmt.Sscan(r.Header.Get("X-Cut"), &cut); n == 0 {
					return answer(c, r, good)
				}
				whole := strings.ReplaceAll(text, "NONCE", "wrong")
				io.WriteString(c, whole[:cut])
				(<-cancels)()
				<-goOn
				_, err := io.WriteString(c, whole[cut:])
				return err == nil
			})
			w := brokertest.New(t, "postgres", brokertest.Limits())
			s := session(t, w, w.A).Scope()
			u := upstream(t, path, server.Addr().String(), nil)
			for cut := range len(text) + 1 {
				ctx, cancel := context.WithCancel(t.Context())
				cancels <- cancel
				r := request(t, "GET", "/", "")
				r.Header.Set("X-Cut", fmt.Sprint(cut))
				got, err := body(u.Do(ctx, s, r))
				goOn <- struct{}{}
				if err == nil && got != "wrong" || err != nil && refusal.Of(err) != refusal.Unavailable {
					t.Errorf("%d: %q, %v", cut, got, err)
				}
				r = request(t, "GET", "/", "")
				r.Header.Set("X-Nonce", "nonce")
				if got, err := body(u.Do(t.Context(), s, r)); got != "nonce" || err != nil {
					t.Fatalf("after %d bytes: %q, %v", cut, got, err)
				}
			}
		})
	}
}

// TestTwoTenants: many requests of two tenants at once, to an application that
// misbehaves in every way, some of them cancelled. Every answer is that of its
// request, and no connection ever had requests of both.
func TestTwoTenants(t *testing.T) {
	var texts []string
	for name, c := range answersOf {
		if c.bad != refusal.TooLong && !strings.HasPrefix(name, "HEAD") {
			texts = append(texts, c.text)
		}
	}
	var owners sync.Map
	server := play(t, func(c net.Conn, r *http.Request) bool {
		if owner, had := owners.LoadOrStore(c, r.Header.Get("Owner")); had && owner != r.Header.Get("Owner") {
			t.Errorf("one connection for %v and %v", owner, r.Header.Get("Owner"))
		}
		var n int
		if _, err := fmt.Sscan(r.Header.Get("X-Nonce"), &n); err != nil || n%3 == 0 {
			return answer(c, r, texts[n%len(texts)]) && n%2 == 0
		}
		return answer(c, r, good)
	})
	w := brokertest.New(t, "postgres", brokertest.Limits())
	u := upstream(t, "direct", server.Addr().String(), func(c *forward.UpstreamConfig) {
		c.Each, c.Max, c.Header, c.Idle = 8, 12, time.Second, time.Second
	})
	var all sync.WaitGroup
	var right atomic.Int32
	for i := range 16 {
		id := []tenant.ID{w.A, w.B}[i%2]
		s := session(t, w, id).Scope()
		all.Go(func() {
			for n := range 60 {
				nonce := fmt.Sprint(10000 + i*100 + n)
				ctx, cancel := context.WithCancel(t.Context())
				r := request(t, "GET", "/", "")
				r.Header.Set("Owner", id.String())
				r.Header.Set("X-Nonce", nonce)
				resp, err := u.Do(ctx, s, r)
				if n%7 == 0 {
					cancel()
				}
				got, err := body(resp, err)
				cancel()
				if err == nil && got == nonce {
					right.Add(1)
				}
				if err == nil && got != nonce && got != "" {
					t.Errorf("%s got %q", nonce, got)
				}
			}
		})
	}
	all.Wait()
	if right.Load() < 100 {
		t.Errorf("only %d were answered", right.Load())
	}
}
