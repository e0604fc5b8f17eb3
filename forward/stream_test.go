package forward_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/refusal"
)

// TestUpgrade: what follows a 101 is a pipe, in both directions at once.
func TestUpgrade(t *testing.T) {
	for path := range paths {
		t.Run(path, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer c.Close()
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
				io.Copy(c, rw)
			}))
			defer server.Close()
			w := brokertest.New(t, "postgres", brokertest.Limits())
			s := session(t, w, w.A)
			u := upstream(t, path, server.Listener.Addr().String(), nil)
			r := request(t, "GET", "/ws", "")
			r.Body = http.NoBody
			if _, err := ask(t.Context(), u, s, r); refusal.Of(err) != refusal.Unavailable {
				t.Errorf("an upgrade that nobody asked for: %v", err)
			}
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "echo")
			resp, err := ask(t.Context(), u, s, r)
			if err != nil {
				t.Fatal(err)
			}
			pipe, ok := resp.Body.(io.ReadWriteCloser)
			if !ok || resp.StatusCode != 101 {
				t.Fatalf("%d with a %T", resp.StatusCode, resp.Body)
			}
			in := bufio.NewReader(pipe)
			for range 3 {
				io.WriteString(pipe, "world\n")
				if got, err := in.ReadString('\n'); err != nil || !strings.HasSuffix(got, "world\n") {
					t.Errorf("%q: %v", got, err)
				}
			}
			if got := outcomes(t, w, s); len(got) != 1 {
				t.Errorf("recorded before its end: %+v", got)
			}
			pipe.Close()
			until(t, func() bool { return len(outcomes(t, w, s)) == 2 })
			if got := outcomes(t, w, s)[1]; got.Status != audit.StatusOK || got.Code != "101" || got.BytesIn != 18 || got.BytesOut != 24 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestStream: a part of an answer is there before the next is written.
func TestStream(t *testing.T) {
	for path := range paths {
		t.Run(path, func(t *testing.T) {
			next := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for i := range 3 {
					fmt.Fprintf(w, "data: %d\n\n", i)
					http.NewResponseController(w).Flush()
					select {
					case <-next:
					case <-r.Context().Done():
						return
					}
				}
			}))
			defer server.Close()
			w := brokertest.New(t, "postgres", brokertest.Limits())
			s := session(t, w, w.A)
			u := upstream(t, path, server.Listener.Addr().String(), nil)
			resp, err := ask(t.Context(), u, s, request(t, "GET", "/", ""))
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			for i := range 3 {
				if n, err := resp.Body.Read(b); err != nil || string(b[:n]) != fmt.Sprintf("data: %d\n\n", i) {
					t.Fatalf("%q: %v", b[:n], err)
				}
				next <- struct{}{}
			}
			if n, err := resp.Body.Read(b); n != 0 || err != io.EOF {
				t.Errorf("%d, %v", n, err)
			}
			resp.Body.Close()
		})
	}
}

// TestCloseBesideRead: a Close ends a Read that waits.
func TestCloseBesideRead(t *testing.T) {
	for path := range paths {
		server := httptest.NewServer(&app{})
		w := brokertest.New(t, "postgres", brokertest.Limits())
		u := upstream(t, path, server.Listener.Addr().String(), nil)
		resp, err := u.Do(t.Context(), session(t, w, w.A).Scope(), request(t, "GET", "/hang", ""))
		if err != nil {
			t.Fatal(err)
		}
		begun, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			io.ReadFull(resp.Body, make([]byte, 10))
			close(begun)
			_, err := resp.Body.Read(make([]byte, 10))
			ended <- err
		}()
		<-begun
		resp.Body.Close()
		if err := <-ended; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", path, err)
		}
		server.CloseClientConnections()
		server.Close()
	}
}

// TestCause: who is cut off for a reason hears it.
func TestCause(t *testing.T) {
	for path := range paths {
		server := play(t, func(c net.Conn, r *http.Request) bool {
			answer(c, r, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nNONCE")
			io.Copy(io.Discard, c)
			return false
		})
		w := brokertest.New(t, "postgres", brokertest.Limits())
		s := session(t, w, w.A)
		u := upstream(t, path, server.Addr().String(), nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		r := request(t, "GET", "/", "")
		r.Header.Set("X-Nonce", "nonce")
		resp, err := ask(ctx, u, s, r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		cancel(refusal.New(refusal.Suspended, "test"))
		if _, err := body(resp, nil); refusal.Of(err) != refusal.Suspended {
			t.Errorf("%s: %v", path, err)
		}
		until(t, func() bool { return len(outcomes(t, w, s)) == 1 })
		if got := outcomes(t, w, s)[0]; got.Status != audit.StatusAbandoned || got.BytesOut != 5 {
			t.Errorf("%s: %+v", path, got)
		}
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := body(ask(ctx, u, s, r)); refusal.Of(err) != refusal.TooLong {
			t.Errorf("%s: %v", path, err)
		}
		stop()
	}
}
