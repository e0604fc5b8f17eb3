package edge

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// aliases are ways to write a header's name that some reader takes for it.
var aliases = map[string]func(string) string{
	"as it is":        func(s string) string { return s },
	"upper case":      strings.ToUpper,
	"title":           http.CanonicalHeaderKey,
	"underscores":     func(s string) string { return strings.ReplaceAll(s, "-", "_") },
	"upper _":         func(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) },
	"dots":            func(s string) string { return strings.ReplaceAll(s, "-", ".") },
	"first _":         func(s string) string { return strings.Replace(s, "-", "_", 1) },
	"mixed":           func(s string) string { return strings.Replace(strings.ReplaceAll(s, "-", "_"), "_", ".", 1) },
	"doubled":         func(s string) string { return strings.ReplaceAll(s, "-", "--") },
	"doubled, mixed":  func(s string) string { return strings.ReplaceAll(s, "-", "_-.") },
	"behind _":        func(s string) string { return "_" + s },
	"before _":        func(s string) string { return s + "_" },
	"before -":        func(s string) string { return s + "-" },
	"behind -":        func(s string) string { return "-" + s },
	"tildes":          func(s string) string { return strings.ReplaceAll(s, "-", "~") },
	"bars":            func(s string) string { return strings.ReplaceAll(s, "-", "|") },
	"other separator": func(s string) string { return strings.ReplaceAll(s, "-", "!#$%&'*+^`") },
	"alternating": func(s string) string {
		b := []byte(s)
		for i := 0; i < len(b); i += 2 {
			b[i] = strings.ToUpper(s)[i]
		}
		return string(b)
	},
}

// ends are what may stand behind the beginning of a name.
var ends = []string{"", "-id", "-user", "s", "-for"}

func TestEverySpellingOfEveryProtectedHeader(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	var lines []string
	sent := 0
	send := func() {
		resp, _ := w.ask(t, "GET", "app.test", "/read", lines...)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %q", resp.Status, lines)
		}
		for name, values := range f.App.last(t).Header {
			if strings.Contains(fmt.Sprint(name, values), "evil") {
				t.Errorf("%s: %q reaches the application", name, values)
			}
		}
		sent += len(lines)
		lines = nil
	}
	for _, p := range Protections {
		if name := strings.TrimSuffix(strings.TrimSuffix(p.Name, "*"), "-"); Fold(name) != name || p.Why == "" {
			t.Errorf("%+v is not folded, or has no reason", p)
		}
		for how, spell := range aliases {
			names := []string{p.Name}
			if begin, ok := strings.CutSuffix(p.Name, "*"); ok {
				names = nil
				for _, end := range ends {
					names = append(names, begin+end)
				}
			}
			for _, name := range names {
				written := spell(name)
				if strings.EqualFold(written, "Authorization") {
					continue // there may be one
				}
				if !protected.has(fold(nil, written)) {
					t.Errorf("%s, %s: %s is not protected", p.Name, how, written)
				}
				if lines = append(lines, written+": evil"); len(lines) == 100 {
					send()
				}
			}
		}
	}
	send()
	if sent < 1000 {
		t.Errorf("only %d spellings", sent)
	}
}

// TestProtectedBehindAHyphen: a short word is not the beginning of another.
func TestProtectedBehindAHyphen(t *testing.T) {
	for name, want := range map[string]bool{
		"SM_USER": true, "SM": true, "sm-": true, "Smart": false, "iv-user": true, "IV_GROUPS": true, "Ivory": false, "Fly-Client-IP": true, "Flying": false,
		"x-arr-log-id": true, "X-Array": false, "Username": true, "User-Agent": false, "Origin": false, "Org-Id": true,
	} {
		if protected.has(fold(nil, name)) != want {
			t.Errorf("%s is protected: %v", name, !want)
		}
	}
}

// TestStrip: what the operator names for a route does not arrive, and arrives
// at others.
func TestStrip(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Routes[1].Strip = []string{"x-shop*", "q-*", "cookie"} })
	w := f.dial(t, f.Token(f.A))
	lines := []string{"X-Shop: evil", "X_SHOP_User: evil", "Q: evil", "q.who: evil", "Cookie: evil", "Quick: kept"}
	for path, want := range map[string]int{"/reader": 0, "/read": 5} {
		w.ask(t, "GET", "app.test", path, lines...)
		evil := 0
		for _, values := range f.App.last(t).Header {
			if slices.Contains(values, "evil") {
				evil++
			}
		}
		if evil != want || f.App.last(t).Header.Get("Quick") != "kept" {
			t.Errorf("%s: %q", path, f.App.last(t).Header)
		}
	}
}

// TestApplicationHeadersPass is the control of the test above.
func TestApplicationHeadersPass(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	want := http.Header{
		"Cookie": {"a=1; b=2"}, "Origin": {"https://app.test"}, "X-Csrf-Token": {"x"}, "X-Requested-With": {"XMLHttpRequest"},
		"Accept": {"text/html", "*/*"}, "User-Agent": {"a browser"}, "If-None-Match": {`"1"`}, "Range": {"bytes=0-1"},
		"X-Api-Key": {"of the application"}, "Idempotency-Key": {"1"}, "Content-Language": {"en"}, "X-Txn": {"1"},
	}
	var lines []string
	for name, values := range want {
		for _, v := range values {
			lines = append(lines, name+": "+v)
		}
	}
	w.ask(t, "GET", "app.test", "/read", lines...)
	got := f.App.last(t).Header
	for name, values := range want {
		if !slices.Equal(got[name], values) {
			t.Errorf("%s: %q, want %q", name, got[name], values)
		}
	}
	for name := range got {
		if _, sent := want[name]; !sent && !slices.Contains(ours, name) {
			t.Errorf("%s: %q was added", name, got[name])
		}
	}
}

// ours are what the edge puts into a request.
var ours = []string{"Txn-Token", "X-Request-Id", "Traceparent", "Baggage", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"}

func TestWhatTheEdgeSays(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	seen := map[string]bool{}
	for range 3 {
		resp, _ := w.ask(t, "GET", "APP.test:8443", "/read?q=1",
			"X-Request-Id: mine", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "baggage: tenant.id="+f.B.String(),
			"X-Forwarded-For: 192.0.2.9", "X-Forwarded-Host: beta.app.test", "Forwarded: for=192.0.2.9;host=beta.app.test")
		r := f.App.last(t)
		for _, name := range ours {
			if len(r.Header[name]) != 1 {
				t.Errorf("%s: %q", name, r.Header[name])
			}
		}
		id := r.Header.Get("X-Request-Id")
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) || resp.Header.Get("X-Request-Id") != id || seen[id] {
			t.Errorf("the request is %q, to the client %q", id, resp.Header.Get("X-Request-Id"))
		}
		seen[id] = true
		trace := r.Header.Get("Traceparent")
		if !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`).MatchString(trace) || strings.Contains(trace, "4bf92f") || seen[trace] {
			t.Errorf("traceparent %q", trace)
		}
		seen[trace] = true
		for name, want := range map[string]string{
			"Baggage":         "tenant.id=" + f.A.String() + ",tenant.name=home/alpha",
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "APP.test:8443",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		p, err := payload(r.Header)
		if err != nil || p.Txn != id || p.Tctx.Tenant != f.A.String() || p.Scope != "pg:read pg:write" || p.Workload != "app" ||
			p.Rctx.Peer != "127.0.0.1" || p.Exp-p.Iat != 120 {
			t.Errorf("%+v, %v", p, err)
		}
		if r.Host != "APP.test:8443" || r.RequestURI != "/read?q=1" {
			t.Errorf("%s %s", r.Host, r.RequestURI)
		}
	}
}

func TestWhatAnAnswerDoesNotCarryOut(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	for range 2 { // the connection goes on, whatever the application says of its own
		resp, body := w.ask(t, "GET", "app.test", "/answer")
		got := resp.Header
		for name, values := range got {
			if strings.Contains(Fold(name), "txn") || strings.HasPrefix(Fold(name), "x-isocore") || slices.Contains([]string{
				"X-Accel-Redirect", "Alt-Svc", "Keep-Alive", "Connection", "X-Inner", "Trailer", "Content-Type",
			}, name) {
				t.Errorf("%s: %q", name, values)
			}
		}
		if got.Get("Set-Cookie") != "session=1" || got.Get("X-App") != "kept" || got.Get("X-Request-Id") == "of the application" || body != "<script>" {
			t.Errorf("%q %q", got, body)
		}
		if len(resp.Trailer) > 0 {
			t.Errorf("trailers: %q", resp.Trailer)
		}
	}
}

func TestConnectionTakesNothing(t *testing.T) {
	f := newFixture(t)
	for _, word := range []string{
		"Txn-Token", "txn_token", "X-Request-Id", "X-IsoCore-Tenant", "Authorization", "Host", "Cookie", "Content-Length",
		"Transfer-Encoding", "traceparent", "X-Forwarded-For", "Origin", "Accept", "close, Txn-Token", "keep-alive,, Host",
	} {
		w := f.dial(t, f.Token(f.A))
		resp, _ := w.ask(t, "GET", "app.test", "/read", "Connection: "+word)
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("Connection: %s: %s", word, resp.Status)
		}
	}
	if n := f.App.requests.Load(); n != 0 {
		t.Errorf("%d requests reach the application", n)
	}
	w := f.dial(t, f.Token(f.A))
	w.ask(t, "GET", "app.test", "/read", "Connection: keep-alive, X-Hop", "X-Hop: 1", "X-Kept: 1", "Keep-Alive: timeout=5", "TE: trailers", "Proxy-Connection: close")
	h := f.App.last(t).Header
	for _, name := range []string{"X-Hop", "Connection", "Keep-Alive", "Te", "Proxy-Connection"} {
		if h[name] != nil {
			t.Errorf("%s: %q", name, h[name])
		}
	}
	if h.Get("X-Kept") != "1" {
		t.Error("what Connection does not name is taken")
	}
}

func TestFold(t *testing.T) {
	for s, want := range map[string]string{
		"Txn-Token": "txn-token", "TXN_TOKEN": "txn-token", "txn.token": "txn-token", "--Txn__._Token--": "txn-token",
		"": "", "---": "", "é": "", "a": "a", "x1-2": "x1-2", "Txn Token": "txn-token", "\x00a\x00b": "a-b",
	} {
		if got := Fold(s); got != want {
			t.Errorf("Fold(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestShown(t *testing.T) {
	f := newFixture(t)
	good := "Bearer " + f.Token(f.A).Reveal()
	for name, c := range map[string]struct {
		target string
		lines  []string
		want   int
		error  bool // the challenge says that a token is wrong
	}{
		"one":              {"/read", []string{"Authorization: " + good}, 200, false},
		"lower case":       {"/read", []string{"authorization: bearer" + good[6:]}, 200, false},
		"none":             {"/read", nil, 401, false},
		"two":              {"/read", []string{"Authorization: " + good, "Authorization: " + good}, 400, false},
		"basic":            {"/read", []string{"Authorization: Basic YTpi"}, 401, false},
		"DPoP":             {"/read", []string{"Authorization: DPoP" + good[6:]}, 401, false},
		"no scheme":        {"/read", []string{"Authorization: " + good[7:]}, 401, false},
		"a list":           {"/read", []string{"Authorization: " + good + ", " + good}, 401, true},
		"spaces":           {"/read", []string{"Authorization: Bearer  " + good[7:]}, 401, true},
		"empty":            {"/read", []string{"Authorization: Bearer "}, 401, false},
		"another spelling": {"/read", []string{"Authorization_: " + good}, 401, false},
		"in a cookie":      {"/read", []string{"Cookie: access_token=" + good[7:]}, 401, false},
		"in the query":     {"/read?access_token=" + good[7:], nil, 400, false},
		"both":             {"/read?a=1&access_token=x", []string{"Authorization: " + good}, 400, false},
		"encoded":          {"/read?a=1&access%5ftoken=x", []string{"Authorization: " + good}, 400, false},
		"upper case":       {"/read?Access_Token", []string{"Authorization: " + good}, 400, false},
		"after semicolon":  {"/read?a=1;access_token=x", []string{"Authorization: " + good}, 400, false},
		"as a value":       {"/read?a=access_token", []string{"Authorization: " + good}, 200, false},
	} {
		w := f.dial(t, f.Token(f.A))
		if _, err := io.WriteString(w, "GET "+c.target+" HTTP/1.1\r\nHost: app.test\r\n"+strings.Join(append(c.lines, "", ""), "\r\n")); err != nil {
			t.Fatal(err)
		}
		resp, body, err := w.answer("GET")
		if err != nil || resp.StatusCode != c.want {
			t.Errorf("%s: %v %s, %v", name, resp, body, err)
			continue
		}
		challenge := resp.Header.Get("WWW-Authenticate")
		if (challenge != "") != (c.want == 401) || strings.Contains(challenge, "invalid_token") != c.error {
			t.Errorf("%s: WWW-Authenticate: %q", name, challenge)
		}
		if c.want >= 400 && (resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" ||
			resp.Header.Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s: %q", name, resp.Header)
		}
	}
}
