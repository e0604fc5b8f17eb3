package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// secured returns a change that puts the edge behind TLS, with a certificate
// of no interest.
func secured(t testing.TB) func(*Config) {
	t.Helper()
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	t.Cleanup(cert.Close)
	return func(c *Config) { c.TLS = &tls.Config{Certificates: cert.TLS.Certificates} }
}

// client returns a client of HTTP/2 that takes every host for the edge, on one
// connection.
func (f *fixture) client(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "app.test"}, //nolint:gosec // as above
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", f.Addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func fetch(c *http.Client, token secret.Text, method, url string, body io.Reader) (*http.Response, string, error) {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	resp, err := c.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func TestH2(t *testing.T) {
	f := newFixture(t, secured(t))
	c := f.client(t)
	resp, body, err := fetch(c, f.Token(f.A), "GET", "https://app.test/read?nonce=1", nil)
	if err != nil || resp.ProtoMajor != 2 || body != "tenant "+f.A.String()+" nonce 1" {
		t.Fatalf("%v %q %v", resp, body, err)
	}
	if id := resp.Header.Get("X-Request-Id"); len(id) != 32 || resp.Header.Get("Connection") != "" {
		t.Errorf("%q", resp.Header)
	}
	h := f.App.last(t)
	if h.Header.Get("X-Forwarded-Proto") != "https" || h.Host != "app.test" || h.Header.Get("Authorization") != "" {
		t.Errorf("%q", h.Header)
	}
	for _, size := range []int{0, 1, smallBody, smallBody + 1, 1 << 20} {
		sent := strings.Repeat("x", size)
		resp, body, err = fetch(c, f.Token(f.A), "POST", "https://app.test/echo", strings.NewReader(sent))
		if err != nil || resp.StatusCode != 200 || body != sent {
			t.Errorf("%d bytes: %v %d %v", size, resp, len(body), err)
		}
		resp, body, err = fetch(c, f.Token(f.A), "POST", "https://app.test/echo", io.MultiReader(strings.NewReader(sent))) // of no known length
		if err != nil || resp.StatusCode != 200 || body != sent {
			t.Errorf("%d bytes: %v %d %v", size, resp, len(body), err)
		}
	}
	if resp, body, err = fetch(c, f.Token(f.A), "GET", "https://app.test/big", nil); err != nil || len(body) != bigSize {
		t.Errorf("%v %d %v", resp, len(body), err)
	}
	resp, body, err = fetch(c, f.Token(f.A), "GET", "https://again.test/read", nil) // on a connection for app.test
	if err != nil || resp.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(body, `"NotFound"`) {
		t.Errorf("%v %s %v", resp, body, err)
	}
	resp, body, err = fetch(c, secret.New("x"), "GET", "https://app.test/read", nil)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || resp.ProtoMajor != 2 {
		t.Errorf("%v %s %v", resp, body, err)
	}
}

// TestH2TwoTenants: on one connection, at once, everyone gets the answer to
// their own request.
func TestH2TwoTenants(t *testing.T) {
	f := newFixture(t, secured(t))
	c := f.client(t)
	tokens := []secret.Text{f.Token(f.A), f.Token(f.B)}
	fetch(c, tokens[0], "GET", "https://app.test/read", nil) //nolint:errcheck // so that there is a connection for all
	var all sync.WaitGroup
	for i := range 16 {
		id := []tenant.ID{f.A, f.B}[i%2]
		all.Go(func() {
			for n := range 50 {
				nonce := fmt.Sprintf("%d-%d", i, n)
				resp, body, err := fetch(c, tokens[i%2], "POST", "https://app.test/read?nonce="+nonce, strings.NewReader(nonce))
				if want := "tenant " + id.String() + " nonce " + nonce; err != nil || body != want || resp.ProtoMajor != 2 {
					t.Errorf("%v %q, want %q, %v", resp, body, want, err)
				}
			}
		})
	}
	all.Wait()
}

// TestWhoseConnection: a connection is one of each tenant's who is being
// answered on it, and of the last one's.
func TestWhoseConnection(t *testing.T) {
	s := &serving{guests: newShares("connections", 8)}
	v := &visitor{serving: s, guest: guest(t)}
	a, b := tenant.New(), tenant.New()
	has := func(wantA, wantB int64) {
		t.Helper()
		if s.guests.of[a] != wantA || s.guests.of[b] != wantB || s.guests.all != wantA+wantB {
			t.Errorf("%d and %d of %d, want %d and %d", s.guests.of[a], s.guests.of[b], s.guests.all, wantA, wantB)
		}
	}
	known := func(id tenant.ID) {
		t.Helper()
		if err := v.known(id); err != nil {
			t.Error(err)
		}
	}
	known(a)
	has(1, 0)
	known(b) // beside a's
	known(b)
	known(a)
	has(1, 1)
	v.done(b)
	has(1, 1)
	v.done(b) // a asked last
	has(1, 0)
	v.done(a)
	v.done(a)
	has(1, 0) // it is a's until another comes
	known(b)
	has(0, 1)
	v.done(b)
	if err := s.guests.take(a, 2); err != nil { // all that a may have
		t.Fatal(err)
	}
	if err := v.known(a); refusal.Of(err) != refusal.TooMany {
		t.Errorf("%v", err)
	}
	has(2, 1)
	v.leave()
	has(2, 0)
}

// A framed client speaks HTTP/2 in frames.
type framed struct {
	*http2.Framer
	conn net.Conn

	mu   sync.Mutex // guards what follows, and writes where there are two writers
	buf  bytes.Buffer
	enc  *hpack.Encoder
	next uint32
}

func newFramed(t testing.TB, conn net.Conn, sni string) *framed {
	t.Helper()
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: sni, NextProtos: []string{protoH2}}) //nolint:gosec // as above
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := &framed{Framer: http2.NewFramer(secure, secure), conn: secure, next: 1}
	c.enc = hpack.NewEncoder(&c.buf)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(secure, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (f *fixture) framed(t testing.TB) *framed {
	t.Helper()
	conn, err := net.Dial("tcp", f.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // a test that hangs fails
	return newFramed(t, conn, "app.test")
}

// open sends the head of a request, field by field, and returns its stream.
func (c *framed) open(end bool, fields ...string) (uint32, error) { //nolint:revive // a flag of the frame
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) //nolint:errcheck // a Buffer takes it
	}
	id := c.next
	c.next += 2
	return id, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.buf.Bytes(), EndStream: end, EndHeaders: true})
}

// reset resets a stream.
func (c *framed) reset(id uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.WriteRSTStream(id, http2.ErrCodeCancel)
}

// result returns the status of the stream, or that it was reset: "reset", or
// that the connection was: "gone".
func (c *framed) result(id uint32) string {
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return "gone"
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID == id {
				return f.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "reset"
			}
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.mu.Lock()
				c.WriteSettingsAck() //nolint:errcheck // the next read tells
				c.mu.Unlock()
			}
		}
	}
}

// head returns the fields of a good request, and more.
func h2head(token secret.Text, method, target string, more ...string) []string {
	return append([]string{":method", method, ":scheme", "https", ":authority", "app.test", ":path", target, "authorization", "Bearer " + token.Reveal()}, more...)
}

// TestH2Hostile: what is no request, or two, is refused before anything is
// sent on.
func TestH2Hostile(t *testing.T) {
	f := newFixture(t, secured(t))
	token := f.Token(f.A)
	auth := "Bearer " + token.Reveal()
	good := func(more ...string) []string { return h2head(token, "GET", "/read", more...) }
	for name, c := range map[string]struct {
		fields []string
		data   string // of the body; "" ends with the head
		want   string // a status, or any of several
	}{
		"control":                     {good(), "", "200"},
		"no path":                     {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", "authorization", auth}, "", "reset gone"},
		"empty path":                  {h2head(token, "GET", ""), "", "reset gone"},
		"no method":                   {[]string{":scheme", "https", ":authority", "app.test", ":path", "/read", "authorization", auth}, "", "reset gone"},
		"no scheme":                   {[]string{":method", "GET", ":authority", "app.test", ":path", "/read", "authorization", auth}, "", "reset gone"},
		"two paths":                   {append([]string{":path", "/read"}, good()...), "", "reset gone"},
		"two methods":                 {append([]string{":method", "GET"}, good()...), "", "reset gone"},
		"two authorities":             {append([]string{":authority", "app.test"}, good()...), "", "reset gone"},
		"pseudo-header behind":        {good("x-a", "1", ":path", "/other"), "", "reset gone"},
		"pseudo-header of an answer":  {append([]string{":status", "200"}, good()...), "", "reset gone"},
		"unknown pseudo-header":       {append([]string{":tenant", "beta"}, good()...), "", "reset gone"},
		"another host":                {good("host", "alpha.app.test"), "", "400"},
		"two hosts":                   {good("host", "app.test", "host", "app.test"), "", "400"},
		"the same host":               {good("host", "app.test"), "", "200"},
		"host alone":                  {[]string{":method", "GET", ":scheme", "https", ":path", "/read", "host", "app.test", "authorization", auth}, "", "200"},
		"no host":                     {[]string{":method", "GET", ":scheme", "https", ":path", "/read", "authorization", auth}, "", "400"},
		"user in authority":           {[]string{":method", "GET", ":scheme", "https", ":authority", "a@app.test", ":path", "/read", "authorization", auth}, "", "400 reset"},
		"another authority":           {[]string{":method", "GET", ":scheme", "https", ":authority", "alpha.app.test", ":path", "/read", "authorization", auth}, "", "421"},
		"space in authority":          {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test evil", ":path", "/read", "authorization", auth}, "", "400 reset"},
		"upper-case name":             {good("X-Tenant", "beta"), "", "reset gone"},
		"space in name":               {good("x tenant", "beta"), "", "reset gone"},
		"colon in name":               {good("x:tenant", "beta"), "", "reset gone"},
		"empty name":                  {good("", "beta"), "", "reset gone"},
		"CR in value":                 {good("x-a", "1\rx-user: admin"), "", "reset gone"},
		"LF in value":                 {good("x-a", "1\nx-user: admin"), "", "reset gone"},
		"NUL in value":                {good("x-a", "1\x00"), "", "reset gone"},
		"CRLF in path":                {h2head(token, "GET", "/read HTTP/1.1\r\nhost: b\r\n\r\n"), "", "400 reset gone"},
		"space in path":               {h2head(token, "GET", "/re ad"), "", "400 reset"},
		"fragment":                    {h2head(token, "GET", "/read#a"), "", "400 reset"},
		"absolute path":               {h2head(token, "GET", "https://app.test/read"), "", "400 reset"},
		"asterisk":                    {h2head(token, "OPTIONS", "*"), "", "400 reset"},
		"dot segments":                {h2head(token, "GET", "/a/../read"), "", "400"},
		"encoded slash":               {h2head(token, "GET", "/a%2fread"), "", "400"},
		"encoded twice":               {h2head(token, "GET", "/%25%32%66read"), "", "400"},
		"two slashes":                 {h2head(token, "GET", "//read"), "", "400"},
		"lower-case method":           {h2head(token, "get", "/read"), "", "400"},
		"method with a space":         {h2head(token, "GET /other", "/read"), "", "400 reset"},
		"method of the guard":         {h2head(token, "refused", "/Malformed/1"), "", "400"},
		"CONNECT":                     {[]string{":method", "CONNECT", ":authority", "app.test:443", "authorization", auth}, "", "400 403"},
		"extended CONNECT":            {h2head(token, "CONNECT", "/ws", ":protocol", "websocket"), "", "reset gone 400"},
		"TRACE":                       {h2head(token, "TRACE", "/read"), "", "403"},
		"unlisted":                    {h2head(token, "PROPFIND", "/read"), "", "404"},
		"connection":                  {good("connection", "x-a"), "", "400"},
		"connection: close":           {good("connection", "close"), "", "400"},
		"keep-alive":                  {good("keep-alive", "1"), "", "400"},
		"proxy-connection":            {good("proxy-connection", "close"), "", "400"},
		"transfer-encoding":           {good("transfer-encoding", "chunked"), "", "400"},
		"upgrade":                     {good("upgrade", "websocket"), "", "400"},
		"te":                          {good("te", "gzip"), "", "400"},
		"te: trailers":                {good("te", "trailers"), "", "200"},
		"length without a body":       {good("content-length", "5"), "", "400 reset"},
		"length of less":              {h2head(token, "POST", "/echo", "content-length", "3"), "hello", "400 reset"},
		"length of more":              {h2head(token, "POST", "/echo", "content-length", "9"), "hello", "400 reset"},
		"two lengths":                 {h2head(token, "POST", "/echo", "content-length", "5", "content-length", "5"), "hello", "400 reset"},
		"length that is none":         {h2head(token, "POST", "/echo", "content-length", "five"), "hello", "400 reset"},
		"length with a sign":          {h2head(token, "POST", "/echo", "content-length", "+5"), "hello", "400 reset"},
		"length with zeros":           {h2head(token, "POST", "/echo", "content-length", "05"), "hello", "400 reset"},
		"length of an alias":          {h2head(token, "POST", "/echo", "content_length", "3"), "hello", "200"},
		"two tokens":                  {good("authorization", auth), "", "400"},
		"token in the query":          {h2head(token, "GET", "/read?access_token=a"), "", "400"},
		"no token":                    {[]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/read"}, "", "401"},
		"too many fields":             {good(many(headFields)...), "", "413"},
		"too much of a field":         {good("x-a", strings.Repeat("x", 1<<20)), "", "431 reset gone"},
		"too much of all fields":      {good("x-a", strings.Repeat("x", 15<<10), "x-b", strings.Repeat("x", 15<<10), "x-c", strings.Repeat("x", 48<<10)), "", "431 reset gone"},
		"a body over the route's own": {h2head(token, "POST", "/reader", "content-length", "5000"), strings.Repeat("x", 5000), "413"},
	} {
		t.Run(name, func(t *testing.T) {
			before := f.App.requests.Load()
			w := f.framed(t)
			id, err := w.open(c.data == "", c.fields...)
			if err == nil && c.data != "" {
				err = w.WriteData(id, true, []byte(c.data))
			}
			got := w.result(id)
			if !strings.Contains(" "+c.want+" ", " "+got+" ") {
				t.Errorf("%s, want %s (%v)", got, c.want, err)
			}
			if reached := f.App.requests.Load() - before; reached > 0 && c.want != "200" {
				t.Errorf("%d requests reach the application", reached)
			}
		})
	}
}

// many returns n different fields.
func many(n int) []string {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf("x-a%d", i), "1")
	}
	return fields
}

// TestH2Trailers: they are not passed on, whoever they name.
func TestH2Trailers(t *testing.T) {
	f := newFixture(t, secured(t))
	w := f.framed(t)
	id, err1 := w.open(false, h2head(f.Token(f.A), "POST", "/echo", "trailer", "x-user, txn-token, x-late")...)
	err2 := w.WriteData(id, false, []byte("hello"))
	w.buf.Reset()
	for _, name := range []string{"x-user", "txn-token", "x-late"} {
		w.enc.WriteField(hpack.HeaderField{Name: name, Value: "beta"}) //nolint:errcheck // a Buffer takes it
	}
	err3 := w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.buf.Bytes(), EndStream: true, EndHeaders: true})
	if got := w.result(id); got != "200" || errors.Join(err1, err2, err3) != nil {
		t.Fatalf("%s %v", got, errors.Join(err1, err2, err3))
	}
	r := f.App.last(t)
	if r.Trailer != nil || r.Header.Get("X-User") != "" || r.Header.Get("X-Late") != "" || strings.Contains(fmt.Sprint(r.Header), "beta") {
		t.Errorf("%q %q", r.Header, r.Trailer)
	}
}

// TestH2Resets: who opens streams only to reset them keeps nothing busy, and
// others are answered.
func TestH2Resets(t *testing.T) {
	f := newFixture(t, secured(t))
	w := f.framed(t)
	token := f.Token(f.A)
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		for range 5000 {
			id, err := w.open(true, h2head(token, "GET", "/slow")...)
			if err != nil || w.reset(id) != nil {
				return // it is cut off
			}
		}
	}()
	go w.result(0) // reads whatever comes
	if resp, body, err := fetch(f.client(t), f.Token(f.B), "GET", "https://app.test/read", nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v %s %v", resp, body, err)
	}
	<-flooded
	eventually(t, func() bool { return f.App.busy.Load() == 0 })
}

// TestH2StreamsEnd: a stream ends with its principal, and the connection goes
// on for others.
func TestH2StreamsEnd(t *testing.T) {
	f := newFixture(t, secured(t))
	c := f.client(t)
	r, err := http.NewRequest("GET", "https://app.test/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.Token(f.A).Reveal())
	resp, err := c.Do(r)
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	begin := time.Now()
	f.Standing.Suspend(f.A.UUID())
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("it is taken for whole")
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
	f.outcome(t, "GET", audit.StatusAbandoned)
	if resp, body, err := fetch(c, f.Token(f.B), "GET", "https://app.test/read", nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("another tenant, on the same connection: %v %s %v", resp, body, err)
	}
}

// TestH2Drain: idle connections end, and a request in progress is answered.
func TestH2Drain(t *testing.T) {
	come, goOn := make(chan struct{}), make(chan struct{})
	f := newFixture(t, secured(t), func(c *Config) {
		c.Routes[0].Upstream = quick(func(context.Context, *http.Request) (*http.Response, error) {
			close(come)
			<-goOn
			return answerOf("late"), nil
		})
	})
	idle, silent := f.framed(t), f.framed(t)
	if id, err := idle.open(true, h2head(secret.New("x"), "GET", "/read")...); err != nil || idle.result(id) != "401" {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	token := f.Token(f.A)
	go func() {
		_, body, err := fetch(f.client(t), token, "GET", "https://app.test/late", nil)
		said <- fmt.Sprint(body, err)
	}()
	<-come
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.stop()
	}()
	if got := idle.result(0); got != "gone" {
		t.Error(got)
	}
	if got := silent.result(0); got != "gone" {
		t.Error(got)
	}
	close(goOn)
	if got := <-said; got != "late<nil>" && got != "late <nil>" {
		t.Error(got)
	}
	<-over
}

// TestH2Slow: a body that does not come is refused, and nothing is sent on;
// so is a client that does not ask.
func TestH2Slow(t *testing.T) {
	cert := secured(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(context.Context, *http.Request) (*http.Response, error) { return answerOf("done"), nil }, cert)
		token := b.Token(b.A)
		dial := func() *framed {
			client, server := net.Pipe()
			b.conns <- from{server, local}
			t.Cleanup(func() { client.Close() })
			ready := make(chan *framed)
			go func() { ready <- newFramed(t, client, "app.test") }()
			return <-ready
		}
		w := dial()
		begin := time.Now()
		done := make(chan string, 1)
		id := w.next
		go func() { done <- w.result(id) }()
		if _, err := w.open(false, h2head(token, "POST", "/", "content-length", "9")...); err != nil {
			t.Fatal(err)
		}
		if got := <-done; got != "504" || b.asked.Load() != 0 {
			t.Errorf("%s, asked %d times", got, b.asked.Load())
		}
		if took := time.Since(begin); took < bodyGrace-time.Second || took > bodyGrace+time.Second {
			t.Errorf("it took %v", took)
		}
		begin = time.Now()
		if got := dial().result(0); got != "gone" {
			t.Error(got)
		}
		if took := time.Since(begin); took > headTime+time.Second {
			t.Errorf("it took %v", took)
		}
		b.stop()
	})
}
