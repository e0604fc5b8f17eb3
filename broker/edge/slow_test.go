package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// pipes is a listener of connections in memory, whose time a test makes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// from is a connection from an address.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", f.addr)
	if err != nil {
		panic(err) // a test's own words
	}
	return a
}

// A quick application answers in the goroutine that asks.
type quick func(ctx context.Context, r *http.Request) (*http.Response, error)

func (q quick) Do(ctx context.Context, _ scope.Scope, r *http.Request) (*http.Response, error) {
	return q(ctx, r)
}
func (quick) Close() {}

// answerOf returns the answer that is a text.
func answerOf(text string) *http.Response {
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain"}},
		ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text)),
	}
}

// A bubble is a broker in memory.
type bubble struct {
	*brokertest.World
	*pipes
	serving *Broker
	asked   atomic.Int64
	stop    func()
}

func newBubble(t *testing.T, q quick, change ...func(*Config)) *bubble {
	t.Helper()
	b := &bubble{World: brokertest.New(t, Name, brokertest.Limits()), pipes: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}}
	b.Token(b.A)
	b.Token(b.B)
	log := slog.New(slog.DiscardHandler)
	c := Config{
		Routes: []Route{{Name: "app", Host: "app.test", Path: "/", Reach: []string{identity.PGRead}, MaxBody: 8 << 20, Upstream: quick(
			func(ctx context.Context, r *http.Request) (*http.Response, error) {
				b.asked.Add(1)
				return q(ctx, r)
			})}},
		Minter: b.Minter, Paths: func(tenant.ID) (tenant.Path, bool) { return tenant.Path{Partner: "home", Name: "alpha"}, true },
		Door: accept.Door{Limiter: b.Limiter, Log: log, Grace: time.Second}, Log: log, Now: time.Now, Sessions: 8,
	}
	for _, change := range change {
		change(&c)
	}
	var err error
	if b.serving, err = New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.serving.Serve(ctx, b.pipes, b.Gate) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { b.stop() })
	return b
}

// dial connects from an address.
func (b *bubble) dial(t *testing.T, addr string, token secret.Text) *wire {
	t.Helper()
	client, server := net.Pipe()
	b.conns <- from{server, addr}
	t.Cleanup(func() { client.Close() })
	return &wire{client, bufio.NewReader(client), token}
}

// send writes in the background: a pipe has no room of its own.
func (w *wire) send(s string) { go io.WriteString(w, s) } //nolint:errcheck // what is not read is refused

// until returns how long it takes until w ends.
func (w *wire) until() time.Duration {
	begin := time.Now()
	io.Copy(io.Discard, w.in) //nolint:errcheck // it is over
	return time.Since(begin)
}

const local = "127.0.0.1:4000"

func TestSlowHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(context.Context, *http.Request) (*http.Response, error) { return answerOf("x"), nil })
		for _, raw := range []string{"", "G", "GET / HTTP/1.1\r\nHost: app.test\r\n"} {
			w := b.dial(t, local, secret.Text{})
			w.send(raw)
			if took := w.until(); took > 2*headTime {
				t.Errorf("%q is waited for %v", raw, took)
			}
		}
		// One byte a second of a head that never ends.
		w := b.dial(t, local, secret.Text{})
		var writing sync.WaitGroup
		writing.Go(func() { drip(w, 100, 1, false) })
		if took := w.until(); took > 2*headTime {
			t.Errorf("a byte a second is waited for %v", took)
		}
		writing.Wait()
		if n := b.asked.Load(); n != 0 {
			t.Errorf("%d requests are forwarded", n)
		}
	})
}

func TestSlowBody(t *testing.T) {
	for name, c := range map[string]struct {
		length  int
		chunked bool
		rate    int // bytes a second; 0: nothing comes
		want    int
		least   time.Duration
		most    time.Duration
	}{
		"nothing comes":           {100, false, 0, 504, 9 * time.Second, 11 * time.Second},
		"nothing comes, chunked":  {100, true, 0, 504, 9 * time.Second, 11 * time.Second},
		"ten bytes a second":      {1000, false, 10, 504, 9 * time.Second, 15 * time.Second},
		"ten a second, chunked":   {1000, true, 10, 504, 9 * time.Second, 15 * time.Second},
		"two kilobytes a second":  {100 << 10, false, 2 << 10, 200, 40 * time.Second, 60 * time.Second},
		"large, slow":             {1 << 20, false, 100, 504, 9 * time.Second, 15 * time.Second},
		"large, nothing comes":    {1 << 20, false, 0, 504, 9 * time.Second, 11 * time.Second},
		"large and brisk":         {1 << 20, false, 64 << 10, 200, 10 * time.Second, 20 * time.Second},
		"large, brisk, chunked":   {1 << 20, true, 64 << 10, 200, 10 * time.Second, 20 * time.Second},
		"more than a route takes": {9 << 20, true, 4 << 20, 413, 0, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, func(_ context.Context, r *http.Request) (*http.Response, error) {
					n, err := io.Copy(io.Discard, r.Body)
					if err != nil {
						return nil, err
					}
					return answerOf(fmt.Sprint(n)), nil
				})
				w := b.dial(t, local, b.Token(b.A))
				framing := fmt.Sprintf("Content-Length: %d", c.length)
				if c.chunked {
					framing = "Transfer-Encoding: chunked"
				}
				var writing sync.WaitGroup
				writing.Go(func() {
					io.WriteString(w, w.head("POST", "app.test", "/")+framing+"\r\n\r\n") //nolint:errcheck // as below
					drip(w, c.length, c.rate, c.chunked)
				})
				begin := time.Now()
				resp, body, err := w.answer("POST")
				if err != nil || resp.StatusCode != c.want || c.want == 200 && body != fmt.Sprint(c.length) {
					t.Errorf("%v %s, %v", resp, body, err)
				}
				if took := time.Since(begin); took < c.least || took > c.most {
					t.Errorf("it took %v", took)
				}
				if c.want != 200 && c.length <= smallBody && b.asked.Load() != 0 {
					t.Error("a body that never came is forwarded")
				}
				w.Close()
				writing.Wait()
			})
		})
	}
}

// drip writes a body at a rate, as far as it is read.
func drip(w io.Writer, length, rate int, chunked bool) {
	if rate == 0 {
		return
	}
	for sent := 0; sent < length; sent += rate {
		part := strings.Repeat("x", min(rate, length-sent))
		if chunked {
			part = fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
		}
		if _, err := io.WriteString(w, part); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
	if chunked {
		io.WriteString(w, "0\r\n\r\n") //nolint:errcheck // whoever reads notices
	}
}

// TestEarlyAnswer: an application that has heard enough is heard, whatever its
// client still has to say.
func TestEarlyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(_ context.Context, r *http.Request) (*http.Response, error) {
			if _, err := io.ReadFull(r.Body, make([]byte, 1000)); err != nil {
				return nil, err
			}
			return answerOf("enough"), nil
		})
		w := b.dial(t, local, b.Token(b.A))
		w.send(w.head("POST", "app.test", "/") + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 5000))
		begin := time.Now()
		resp, body, err := w.answer("POST")
		if err != nil || body != "enough" || time.Since(begin) > time.Second {
			t.Errorf("%v %q %v after %v", resp, body, err, time.Since(begin))
		}
		if took := w.until(); took > 2*unreadTime {
			t.Errorf("the rest is waited for %v", took)
		}
	})
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(context.Context, *http.Request) (*http.Response, error) { return answerOf("x"), nil })
		w := b.dial(t, local, b.Token(b.A))
		for range 3 { // it goes on for as long as it is used
			w.ask(t, "GET", "app.test", "/")
			time.Sleep(50 * time.Second)
		}
		if n := b.entries(t, audit.ClassSessionBegun); n != 1 {
			t.Errorf("%d sessions", n)
		}
		if n := b.entries(t, audit.ClassSessionEnded); n != 0 {
			t.Errorf("%d of them are over", n)
		}
		if took := w.until(); took > idleTime {
			t.Errorf("an idle connection is kept for %v", took)
		}
		if n := b.entries(t, audit.ClassSessionEnded); n != 1 {
			t.Errorf("%d sessions are over", n)
		}
		w = b.dial(t, local, w.token)
		w.ask(t, "GET", "app.test", "/")
		if n := b.entries(t, audit.ClassSessionBegun); n != 2 {
			t.Errorf("%d sessions", n)
		}
	})
}

// entries counts what the log of A has of a class.
func (b *bubble) entries(t *testing.T, class audit.Class) (n int) {
	t.Helper()
	for _, r := range b.Records(t, b.A) {
		if r.Class == class {
			n++
		}
	}
	return n
}

// TestReaderThatStops: who does not read its answer is cut, in the end.
func TestReaderThatStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(context.Context, *http.Request) (*http.Response, error) {
			r := answerOf("")
			r.ContentLength, r.Body = 1<<30, io.NopCloser(forever{})
			return r, nil
		})
		w := b.dial(t, local, b.Token(b.A))
		w.send(w.head("GET", "app.test", "/") + "\r\n")
		if _, err := w.in.Peek(1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(writeTime + time.Second)
		synctest.Wait()
		found := false
		for _, r := range b.Records(t, b.A) {
			found = found || r.Kind == audit.Outcome && r.Result.Status == audit.StatusAbandoned
		}
		if !found {
			t.Error("it is not over")
		}
	})
}

type forever struct{}

func (forever) Read(p []byte) (int, error) { return len(p), nil }

// TestPlainFromAfar: a token does not cross a network in clear.
func TestPlainFromAfar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(context.Context, *http.Request) (*http.Response, error) { return answerOf("x"), nil })
		for addr, want := range map[string]int{"127.0.0.1:1": 200, "[::1]:1": 200, "192.0.2.1:1": 401, "10.0.0.1:1": 401} {
			w := b.dial(t, addr, b.Token(b.A))
			resp, body, err := w.try("GET", "app.test", "/")
			if err != nil || resp.StatusCode != want || want == 401 && !strings.Contains(body, "use https") {
				t.Errorf("%s: %v %s %v", addr, resp, body, err)
			}
		}
	})
}

// TestAnswers: what an application says wrongly is not passed on as whole.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer func() (*http.Response, error)
		b := newBubble(t, func(context.Context, *http.Request) (*http.Response, error) { return answer() })
		of := func(length int64, text string, err error) func() (*http.Response, error) {
			return func() (*http.Response, error) {
				r := answerOf("")
				r.ContentLength, r.Body = length, io.NopCloser(io.MultiReader(strings.NewReader(text), failing{err}))
				return r, nil
			}
		}
		large := strings.Repeat("x", 3*copySize)
		for name, c := range map[string]struct {
			answer func() (*http.Response, error)
			want   int // 0: cut
		}{
			"whole":               {of(5, "hello", io.EOF), 200},
			"empty":               {of(0, "", io.EOF), 200},
			"large":               {of(int64(len(large)), large, io.EOF), 200},
			"unknown length":      {of(-1, large, io.EOF), 200},
			"short":               {of(6, "hello", io.EOF), 503},
			"long":                {of(4, "hello", io.EOF), 503},
			"fails":               {of(6, "hello", errors.New("reset")), 503},
			"large, short":        {of(int64(len(large))+1, large, io.EOF), 0},
			"large, fails":        {of(int64(len(large))+1, large, errors.New("reset")), 0},
			"unknown, fails":      {of(-1, large, errors.New("reset")), 0},
			"no answer":           {func() (*http.Response, error) { return nil, errors.New("operator's words") }, 500},
			"an upgrade":          {func() (*http.Response, error) { r := answerOf(""); r.StatusCode = 101; return r, nil }, 503},
			"not modified":        {func() (*http.Response, error) { r := answerOf(""); r.StatusCode = 304; return r, nil }, 304},
			"an error of its own": {func() (*http.Response, error) { r := answerOf("oops"); r.StatusCode = 502; return r, nil }, 502},
		} {
			answer = c.answer
			w := b.dial(t, local, b.Token(b.A))
			resp, body, err := w.try("GET", "app.test", "/")
			switch {
			case c.want == 0 && err == nil:
				t.Errorf("%s: taken for whole: %d bytes", name, len(body))
			case c.want != 0 && (err != nil || resp.StatusCode != c.want):
				t.Errorf("%s: %v %v", name, resp, err)
			}
			if strings.Contains(body, "operator") || strings.Contains(body, "reset") {
				t.Errorf("%s: %s", name, body)
			}
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestMistake: a panic of ours is told to the operator, without a word of the
// request.
func TestMistake(t *testing.T) {
	told := &logged{}
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(_ context.Context, r *http.Request) (*http.Response, error) { panic("mistake at " + r.RequestURI) },
			func(c *Config) {
				c.Log = slog.New(slog.NewTextHandler(told, &slog.HandlerOptions{Level: slog.LevelError}))
			})
		w := b.dial(t, local, b.Token(b.A))
		if resp, _, err := w.try("GET", "app.test", "/of-a-client"); err == nil {
			t.Errorf("%+v", resp)
		}
	})
	if got := told.String(); !strings.Contains(got, "level=ERROR msg=panic") || !strings.Contains(got, "slow_test.go") || strings.Contains(got, "of-a-client") {
		t.Errorf("%s", got)
	}
	told.buf.Reset()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(context.Context, *http.Request) (*http.Response, error) { panic(http.ErrAbortHandler) },
			func(c *Config) {
				c.Log = slog.New(slog.NewTextHandler(told, &slog.HandlerOptions{Level: slog.LevelError}))
			})
		w := b.dial(t, local, b.Token(b.A))
		w.send(w.head("GET", "app.test", "/") + "\r\n")
		w.until()
	})
	if got := told.String(); got != "" {
		t.Errorf("%s", got)
	}
}
