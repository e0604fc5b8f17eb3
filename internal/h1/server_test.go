package h1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/refusal"
)

// A guarded listener guards whatever it accepts.
type guarded struct{ net.Listener }

func (l guarded) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Guard(c, limits), nil
}

// start serves handle behind a guard and returns how to connect.
func start(t *testing.T, handle http.HandlerFunc) func() net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handle, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(guarded{ln})
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// tell answers as an edge does: with what it saw, or why not.
func tell(w http.ResponseWriter, r *http.Request) {
	if err, ok := Refused(r); ok {
		http.Error(w, refusal.Of(err).String(), http.StatusBadRequest)
		return
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, refusal.Of(err).String(), http.StatusTeapot)
		return
	}
	fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, b)
}

// hear reads one answer.
func hear(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err.Error()
	}
	b, err := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(b)), " ", err)
}

func TestBehindAGuard(t *testing.T) {
	dial := start(t, tell)
	for name, c := range map[string]struct {
		wire string
		want []string
	}{
		"kept":            {get + head("Content-Length: 2") + "ab" + get, []string{"200 GET / <nil>", "200 POST / ab <nil>", "200 GET / <nil>"}},
		"then a refused":  {get + get + "BAD\n\n" + get, []string{"200 GET / <nil>", "200 GET / <nil>", "400 Malformed <nil>", io.ErrUnexpectedEOF.Error()}},
		"refused at once": {"refused /TooLarge/24 HTTP/1.1\r\nHost: a\r\n\r\n", []string{"400 Malformed <nil>", io.ErrUnexpectedEOF.Error()}},
		"too large":       {"GET /" + strings.Repeat("x", 100_000), []string{"400 TooLarge <nil>", io.ErrUnexpectedEOF.Error()}},
		"a broken body":   {head("Transfer-Encoding: chunked") + "2\r\nab\r\nx\r\n" + get, []string{"418 Malformed <nil>", io.ErrUnexpectedEOF.Error()}},
		"continued":       {head("Expect: 100-continue", "Content-Length: 2") + "ab", []string{"100  <nil>", "200 POST / ab <nil>"}},
	} {
		conn := dial()
		go io.WriteString(conn, c.wire) //nolint:errcheck // the answers say
		in := bufio.NewReader(conn)
		for _, want := range c.want {
			if got := hear(t, in); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
}

func TestUpgraded(t *testing.T) {
	failed := make(chan error, 1)
	dial := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ws" {
			tell(w, r)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			failed <- err
			return
		}
		defer c.Close()
		under, err := Upgraded(c, rw.Reader)
		failed <- err
		if err != nil {
			return
		}
		io.WriteString(under, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		io.Copy(under, under)
	})
	const ask = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
	for name, c := range map[string]struct {
		wire string
		want error
	}{
		"granted":          {get + ask, nil},
		"not asked":        {"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", errNotAsked},
		"bytes ahead":      {ask + "\x81\x01x", errAhead},
		"a request ahead":  {ask + get, errAhead},
		"half a request":   {ask + "GE", errAhead},
		"upgrade, upgrade": {ask + ask, errAhead},
	} {
		conn := dial()
		in := bufio.NewReader(conn)
		io.WriteString(conn, c.wire)
		if strings.HasPrefix(c.wire, get) {
			hear(t, in)
		}
		if err := <-failed; !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if c.want != nil {
			continue
		}
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		for _, frame := range []string{"\x81\x05hello", "GET http://x\n", "\x00\xff"} {
			io.WriteString(conn, frame)
			got := make([]byte, len(frame))
			if _, err := io.ReadFull(in, got); err != nil || string(got) != frame {
				t.Errorf("%q: %q, %v", frame, got, err)
			}
		}
	}
	if _, err := Upgraded(dial(), bufio.NewReader(strings.NewReader(""))); !errors.Is(err, errUnguarded) {
		t.Error(err)
	}
}
