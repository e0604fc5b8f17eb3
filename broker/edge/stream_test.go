package edge

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity/identitytest"
)

// events opens a stream of events, and returns what follows its head.
func (f *fixture) events(t *testing.T) (*wire, *http.Response, *bufio.Reader) {
	t.Helper()
	w := f.dial(t, f.Token(f.A))
	if _, err := io.WriteString(w, w.head("GET", "app.test", "/events")+"\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w, resp, bufio.NewReader(resp.Body)
}

func event(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// TestEvents: an event arrives before the application sends the next one.
func TestEvents(t *testing.T) {
	f := newFixture(t)
	_, resp, in := f.events(t)
	if resp.Header.Get("X-Accel-Buffering") != "no" || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%q", resp.Header)
	}
	for _, want := range []string{"data: 0", "data: 1", "data: 2"} {
		if got := event(t, in); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		f.App.release <- struct{}{}
	}
}

// ways are how a stream ends that nobody has finished.
var ways = map[string]struct {
	end    func(*fixture)
	status string
}{
	"expiry":               {func(f *fixture) { f.Expire(f.A) }, audit.StatusAbandoned},
	"tenant suspended":     {func(f *fixture) { f.Standing.Suspend(f.A.UUID()) }, audit.StatusAbandoned},
	"registry lost":        {func(f *fixture) { f.Standing.Lose() }, audit.StatusAbandoned},
	"provider withdrawn":   {func(f *fixture) { f.Withdraw(identitytest.IdPIssuer) }, audit.StatusAbandoned},
	"provider's keys gone": {func(f *fixture) { f.Rotate() }, audit.StatusAbandoned},
	"tenant gone":          {func(f *fixture) { f.Standing.Forget(f.A) }, audit.StatusAbandoned},
	"drain":                {func(f *fixture) { go f.stop() }, audit.StatusAbandoned},
}

func TestStreamsEnd(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			_, _, in := f.events(t)
			event(t, in)
			begin := time.Now()
			way.end(f)
			if _, err := io.Copy(io.Discard, in); err == nil {
				t.Error("it is taken for whole")
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			f.outcome(t, "GET", way.status)
		})
	}
}

// outcome waits for the outcome of an operation of A.
func (f *fixture) outcome(t *testing.T, op, status string) audit.Record {
	t.Helper()
	var found audit.Record
	for range 500 {
		rs := f.Records(t, f.A)
		i := slices.IndexFunc(rs, func(r audit.Record) bool { return r.Kind == audit.Outcome && r.Operation == op })
		if i >= 0 {
			found = rs[i]
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	if found.Result.Status != status {
		t.Errorf("the outcome is %+v", found.Result)
	}
	return found
}

// TestStreamsGoOn: a provider that gets one more tenant is no end of those it
// has.
func TestStreamsGoOn(t *testing.T) {
	f := newFixture(t)
	_, _, in := f.events(t)
	event(t, in)
	ws := f.websocket(t)
	for range 3 {
		p := *f.Provider()
		p.MaxLifetime += time.Second
		f.Register(p)
		f.App.release <- struct{}{}
		event(t, in)
		ws.echo(t, "still there")
	}
	eventually(t, func() bool { return f.entered(t) >= 4 }) // the two tokens are verified anew
	f.Standing.Suspend(f.A.UUID())                          // and they end with the session that they have now
	if _, err := io.Copy(io.Discard, in); err == nil {
		t.Error("it is taken for whole")
	}
	ws.over(t)
}

// entered counts the sessions of A.
func (f *fixture) entered(t *testing.T) (n int) {
	t.Helper()
	for _, r := range f.Records(t, f.A) {
		if r.Class == audit.ClassSessionBegun {
			n++
		}
	}
	return n
}

// websocket opens one.
func (f *fixture) websocket(t *testing.T) *wire {
	t.Helper()
	w := f.dial(t, f.Token(f.A))
	if _, err := io.WriteString(w, w.head("GET", "app.test", "/ws")+upgrading); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || resp.Header.Get("X-Request-Id") == "" {
		t.Fatalf("%+v", resp)
	}
	return w
}

const upgrading = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func (w *wire) echo(t *testing.T, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(s))
	if _, err := io.ReadFull(w.in, got); err != nil || string(got) != s {
		t.Fatalf("%q, %v", got, err)
	}
}

// over waits for the end of w, which must come soon.
func (w *wire) over(t *testing.T) {
	t.Helper()
	begin := time.Now()
	if _, err := io.Copy(io.Discard, w.in); errors.Is(err, context.DeadlineExceeded) {
		t.Error("it goes on")
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestWebSocket(t *testing.T) {
	f := newFixture(t)
	w := f.websocket(t)
	if h := f.App.last(t).Header; h.Get("Txn-Token") == "" || h.Get("Authorization") != "" {
		t.Errorf("%q", h)
	}
	w.echo(t, "hello")
	w.echo(t, strings.Repeat("x", 100<<10))
	closeWrite(w.Conn) // the application ends too, and what it still has comes
	w.over(t)
	r := f.outcome(t, opWebSocket, audit.StatusOK)
	if want := int64(5 + 100<<10); r.Result.BytesIn != want || r.Result.BytesOut != want || r.Result.Code != "101" {
		t.Errorf("%+v", r.Result)
	}
}

func TestWebSocketsEnd(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			w := f.websocket(t)
			w.echo(t, "hello")
			way.end(f)
			w.over(t)
			f.outcome(t, opWebSocket, audit.StatusAbandoned)
			if n := f.App.busy.Load(); n != 0 {
				eventually(t, func() bool { return f.App.busy.Load() == 0 })
			}
		})
	}
	t.Run("the client goes", func(t *testing.T) {
		f := newFixture(t)
		w := f.websocket(t)
		w.echo(t, "hello")
		if c, ok := w.Conn.(*net.TCPConn); ok {
			c.SetLinger(0) //nolint:errcheck // a reset is what is wanted
		}
		w.Close()
		eventually(t, func() bool { return f.App.busy.Load() == 0 })
	})
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Error("it does not come to be")
}

// TestWebSocketRefused: an answer that is not an upgrade is an answer.
func TestWebSocketRefused(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	if _, err := io.WriteString(w, w.head("GET", "app.test", "/status/403")+upgrading); err != nil {
		t.Fatal(err)
	}
	if resp, _, err := w.answer("GET"); err != nil || resp.StatusCode != 403 {
		t.Errorf("%v, %v", resp, err)
	}
	if resp, _ := w.ask(t, "GET", "app.test", "/read"); resp.StatusCode != 200 {
		t.Errorf("the connection does not go on: %s", resp.Status)
	}
}

// TestEarlyFrames: what comes before the upgrade is granted is not a request,
// and reaches nobody.
func TestEarlyFrames(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	smuggled := w.head("POST", "app.test", "/write") + "Content-Length: 0\r\n\r\n"
	if _, err := io.WriteString(w, w.head("GET", "app.test", "/ws")+upgrading+smuggled); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, w.in) //nolint:errcheck // it is cut
	eventually(t, func() bool { return f.App.busy.Load() == 0 })
	for _, r := range f.App.seen {
		if r.Method == "POST" {
			t.Error("a request behind an upgrade is forwarded")
		}
	}
}

// TestClientGone: whoever hangs up ends what runs for them.
func TestClientGone(t *testing.T) {
	f := newFixture(t)
	for _, target := range []string{"/slow", "/events", "/big"} {
		w := f.dial(t, f.Token(f.A))
		if _, err := io.WriteString(w, w.head("GET", "app.test", target)+"\r\n"); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return f.App.busy.Load() == 1 })
		w.Close()
		eventually(t, func() bool { return f.App.busy.Load() == 0 })
	}
	eventually(t, func() bool {
		n := 0
		for _, r := range f.Records(t, f.A) {
			if r.Kind == audit.Outcome && r.Result.Status == audit.StatusAbandoned {
				n++
			}
		}
		return n == 3
	})
}

// TestWebSocketThatWasNone: an upgrade that cannot be handed on is no success.
func TestWebSocketThatWasNone(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	if _, err := io.WriteString(w, w.head("GET", "app.test", "/ws")+upgrading+"ahead of the answer"); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(w.in, nil); err == nil {
		t.Errorf("%+v", resp)
	}
	f.outcome(t, opWebSocket, audit.StatusAbandoned)
}
