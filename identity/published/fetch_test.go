package published

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A site is a publisher with a real certificate for 127.0.0.1 and example.com.
type site struct {
	*httptest.Server
	ca    string
	heard atomic.Int64
}

func newSite(t *testing.T, h http.HandlerFunc, change func(*tls.Config)) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.heard.Add(1)
		h(w, r)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{}
	if change != nil {
		change(s.TLS)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	s.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return s
}

func (s *site) source() Source {
	return Source{Issuer: issuer, URI: s.URL + "/jwks", CA: s.ca, Private: true}
}

func own() network {
	return network{lookup: net.DefaultResolver.LookupNetIP, dial: (&net.Dialer{}).DialContext}
}

// says answers body with the header lines given as name: value.
func says(body []byte, lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Add(name, value)
		}
		w.Write(body) //nolint:errcheck // the document would miss
	}
}

const (
	jsonType = "Content-Type: application/json"
	setType  = "Content-Type: application/jwk-set+json"
)

func TestGetAccepts(t *testing.T) {
	d := doc(t, "a")
	full := append(bytes.Clone(d), bytes.Repeat([]byte(" "), maxBody-len(d))...)
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		life time.Duration
	}{
		"JSON":         {says(d, jsonType), defaultLife},
		"a JWK Set":    {says(d, setType), defaultLife},
		"UTF-8":        {says(d, "Content-Type: Application/JSON; charset=UTF-8"), defaultLife},
		"identity":     {says(d, jsonType, "Content-Encoding: identity"), defaultLife},
		"as much":      {says(full, jsonType), defaultLife},
		"max-age":      {says(d, jsonType, "Cache-Control: public, max-age=7200"), 2 * time.Hour},
		"two lines":    {says(d, jsonType, "Cache-Control: public", "Cache-Control: max-age=7200"), 2 * time.Hour},
		"no-store":     {says(d, jsonType, "Cache-Control: no-store, max-age=7200"), minLife},
		"max-age of 0": {says(d, jsonType, "Cache-Control: max-age=0"), minLife},
		"a year":       {says(d, jsonType, "Cache-Control: max-age=31536000"), maxLife},
		"in pieces": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for _, b := range d {
				w.Write([]byte{b})       //nolint:errcheck // the document would miss
				w.(http.Flusher).Flush() //nolint:forcetypeassert // net/http's own
			}
		}, defaultLife},
		"what it was asked": {func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "GET" || r.URL.Path != "/jwks" || r.Header.Get("Accept-Encoding") != "" || !r.Close || r.TLS.Version < tls.VersionTLS12 || r.ProtoMajor != 1 ||
				len(r.Header) != 3 {
				w.WriteHeader(http.StatusTeapot)
			}
			says(d, jsonType)(w, r)
		}, defaultLife},
	} {
		got, err := own().get(t.Context(), newSite(t, c.h, nil).source())
		if err != nil || !bytes.HasPrefix(got.body, d) || got.life != c.life {
			t.Errorf("%s: %.80q for %v, %v", name, got.body, got.life, err)
		}
	}
}

func TestGetRefuses(t *testing.T) {
	d := doc(t, "a")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(d) //nolint:errcheck // into memory
	z.Close()  //nolint:errcheck // into memory
	huge := bytes.Repeat([]byte(" "), maxBody+1)
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			w.Write(d) //nolint:errcheck // the error would be another
		}
	}
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack() //nolint:forcetypeassert // net/http's own
			if err != nil {
				return
			}
			io.WriteString(conn, answer) //nolint:errcheck // the error would be another
			conn.Close()
		}
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"HTML":              {says(d, "Content-Type: text/html"), `of type "text/html"`},
		"plain":             {says(d), "of type"},
		"no type":           {raw("HTTP/1.1 200 OK\r\n\r\n" + string(d)), "0 content types"},
		"two types":         {says(d, jsonType, setType), "2 content types"},
		"a broken type":     {says(d, "Content-Type: application/json; ;"), "of type"},
		"a longer type":     {says(d, "Content-Type: application/json-seq"), "of type"},
		"UTF-16":            {says(d, "Content-Type: application/json; charset=utf-16"), "utf-16"},
		"compressed":        {says(packed.Bytes(), jsonType, "Content-Encoding: gzip"), "encoded"},
		"201":               {status(201), "status 201"},
		"203":               {status(203), "status 203"},
		"206":               {status(206), "status 206"},
		"304":               {status(304), "status 304"},
		"404":               {status(404), "status 404"},
		"500":               {status(500), "status 500"},
		"503":               {status(503), "status 503"},
		"huge":              {says(huge, jsonType, fmt.Sprint("Content-Length: ", len(huge))), "over"},
		"huge, in pieces":   {says(huge, jsonType), "over"},
		"half":              {says(d, jsonType, "Content-Length: 5000"), "half a document"},
		"half of a piece":   {raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n{"), "half a document"},
		"closed":            {raw(""), "EOF"},
		"not HTTP":          {raw("SSH-2.0-OpenSSH\r\n"), "malformed"},
		"a header too long": {raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxAnswer)), "EOF"},
		"two lengths":       {raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} "), "Content-Length"},
	} {
		got, err := own().get(t.Context(), newSite(t, c.h, nil).source())
		if err == nil || !strings.Contains(err.Error(), c.want) || got.body != nil {
			t.Errorf("%s: %.80q, %v, want %q", name, got.body, err, c.want)
		}
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	d := doc(t, "a")
	target := newSite(t, says(d, jsonType), nil)
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			http.Redirect(w, r, target.URL, code)
		}, nil).source()
		s.CA += target.ca
		if _, err := own().get(t.Context(), s); err == nil || !strings.Contains(err.Error(), "status 30") {
			t.Errorf("%d: %v", code, err)
		}
	}
	if n := target.heard.Load(); n != 0 {
		t.Errorf("the target was asked %d times", n)
	}
}

func TestCertificates(t *testing.T) {
	d := doc(t, "a")
	good := newSite(t, says(d, jsonType), nil)
	old := newSite(t, says(d, jsonType), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	_, at, err := net.SplitHostPort(good.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// Every name leads to this machine.
	n := own()
	n.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	for name, c := range map[string]struct {
		change func(*Source)
		want   string
	}{
		"control":           {func(*Source) {}, ""},
		"its name":          {func(s *Source) { s.URI = "https://example.com:" + at + "/jwks" }, ""},
		"another name":      {func(s *Source) { s.URI = "https://example.org:" + at + "/jwks" }, "not example.org"},
		"no CA":             {func(s *Source) { s.CA = "" }, "unknown authority"},
		"an old TLS":        {func(s *Source) { s.URI = old.URL }, "protocol version"},
		"not private":       {func(s *Source) { s.Private = false }, "private address"},
		"a name of private": {func(s *Source) { s.URI, s.Private = "https://example.com:"+at+"/jwks", false }, "private address"},
		"no TLS":            {func(s *Source) { s.URI = "http" + strings.TrimPrefix(s.URI, "https") }, "not https"},
	} {
		s := good.source()
		c.change(&s)
		before := good.heard.Load()
		_, err := n.get(t.Context(), s)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && good.heard.Load() != before {
			t.Errorf("%s: it was asked all the same", name)
		}
	}
	if old.heard.Load() != 0 {
		t.Error("it was asked over an old TLS")
	}
}

func TestNoProxyIsUsed(t *testing.T) {
	proxy := newSite(t, says(nil), nil)
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	n := own()
	n.dial = func(_ context.Context, _, address string) (net.Conn, error) {
		return nil, errors.New("dialed " + address)
	}
	_, err := n.get(t.Context(), Source{Issuer: issuer, URI: "https://8.8.8.8/"})
	if err == nil || err.Error() != "dialed 8.8.8.8:443" || proxy.heard.Load() != 0 {
		t.Error(err)
	}
}

// TestFiveSecondsInAll has publishers stop at each stage, in a bubble: the
// end of every one of them is exact.
func TestFiveSecondsInAll(t *testing.T) {
	site := newSite(t, says(nil), nil)
	d := doc(t, "a")
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
	secure := func(serve func(io.Writer)) func(net.Conn) {
		return func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: site.TLS.Certificates})
			if _, err := s.Read(make([]byte, 4096)); err == nil {
				serve(s)
			}
		}
	}
	drip := func(text string) func(io.Writer) {
		return func(w io.Writer) {
			for i := range len(text) {
				if _, err := io.WriteString(w, text[i:i+1]); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}
	}
	for name, serve := range map[string]func(net.Conn){
		"before TLS":            func(net.Conn) {},
		"before the answer":     secure(func(io.Writer) {}),
		"in the header":         secure(drip(head)),
		"in the middle of it":   secure(func(w io.Writer) { io.WriteString(w, head[:20]) }),                //nolint:errcheck // hangs up
		"in the body":           secure(func(w io.Writer) { io.WriteString(w, head); drip(string(d))(w) }), //nolint:errcheck // hangs up
		"at the end, unsettled": secure(func(w io.Writer) { io.WriteString(w, head+string(d)) }),           //nolint:errcheck // hangs up
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hungUp := make(chan struct{})
				n := network{dial: func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					go func() {
						defer close(hungUp)
						serve(server)
						io.Copy(io.Discard, server) //nolint:errcheck // until the other end is gone
					}()
					return client, nil
				}}
				begun := time.Now()
				_, err := n.get(t.Context(), site.source())
				if err == nil || time.Since(begun) != fetchTime {
					t.Errorf("%v after %v", err, time.Since(begun))
				}
				<-hungUp
			})
		})
	}
}

func TestGetEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newSite(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}, nil)
	if _, err := own().get(ctx, s.source()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestBadPublishersBesideAGoodOne runs all of it over real connections.
func TestBadPublishersBesideAGoodOne(t *testing.T) {
	d := doc(t, "a")
	good := newSite(t, says(d, jsonType), nil).source()
	sources := []Source{}
	for i, h := range []http.HandlerFunc{
		says([]byte("<html>"), "Content-Type: text/html"),
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, good.URI, http.StatusFound) },
		says(d, jsonType, "Content-Length: 5000"),
		says(bytes.Repeat([]byte(" "), 10*maxBody), jsonType),
		func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		says([]byte(`{"keys":[{"kty":"RSA","kid":"k","n":"AQAB","e":"AQ"}]}`), jsonType),
	} {
		s := newSite(t, h, nil).source()
		s.Issuer = fmt.Sprintf("https://%d.test/", i)
		sources = append(sources, s)
	}
	untrusted := newSite(t, says(d, jsonType), nil).source()
	untrusted.Issuer, untrusted.CA = "https://untrusted.test/", ""
	all := slices.Concat(sources, []Source{untrusted, {}, good})
	f, err := New(Config{
		Sources: func() []Source { return all },
		Changed: func() <-chan struct{} { return nil },
		Now:     time.Now,
		Log:     slog.New(slog.DiscardHandler),
		KeySet:  func(context.Context, Change) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	changed := f.Changed()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	<-changed
	if f.Keys(issuer) == nil {
		t.Error("the good one has no keys")
	}
	for _, s := range all[:len(sources)+1] {
		if f.Keys(s.Issuer) != nil {
			t.Errorf("%s has keys", s.Issuer)
		}
	}
	cancel()
	<-done
}
