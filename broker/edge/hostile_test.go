package edge

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestHostile: what two readers could read in two ways, or is not HTTP, is
// refused before anything is forwarded.
func TestHostile(t *testing.T) {
	f := newFixture(t)
	token := f.Token(f.A)
	auth := "Authorization: Bearer " + token.Reveal() + "\r\n"
	get := func(target, lines string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: app.test\r\n" + auth + lines + "\r\n"
	}
	post := func(lines, body string) string {
		return "POST /echo HTTP/1.1\r\nHost: app.test\r\n" + auth + lines + "\r\n" + body
	}
	smuggled := "GET /read HTTP/1.1\r\nHost: app.test\r\n\r\n"
	for name, raw := range map[string]string{
		"CL.TE":                 post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG"),
		"TE.CL":                 post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n"+smuggled+"\r\n0\r\n\r\n"),
		"TE.TE identity":        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
		"TE list":               post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
		"TE obfuscated":         post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
		"TE tab":                post("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"),
		"TE space before":       post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
		"TE underscore":         post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
		"TE vertical tab":       post("Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n"),
		"two CL":                post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
		"two CL, different":     post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
		"CL list":               post("Content-Length: 5, 5\r\n", "hello"),
		"CL sign":               post("Content-Length: +5\r\n", "hello"),
		"CL zeros":              post("Content-Length: 05\r\n", "hello"),
		"CL hexadecimal":        post("Content-Length: 0x5\r\n", "hello"),
		"CL empty":              post("Content-Length: \r\n", "hello"),
		"chunk extension":       post("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n"),
		"chunk size spelling":   post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"),
		"chunk size overflow":   post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
		"chunk LF":              post("Transfer-Encoding: chunked\r\n", "5\nhello\n0\n\n"),
		"chunk longer":          post("Transfer-Encoding: chunked\r\n", "5\r\nhello!\r\n0\r\n\r\n"),
		"trailers":              post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nTxn-Token: x\r\n\r\n"),
		"announced trailers":    post("Transfer-Encoding: chunked\r\nTrailer: Txn-Token\r\n", "0\r\nTxn-Token: x\r\n\r\n"),
		"body too large":        post("Content-Length: 99999999\r\n", "x"),
		"absolute form":         "GET http://app.test/read HTTP/1.1\r\nHost: app.test\r\n" + auth + "\r\n",
		"absolute, other host":  "GET http://elsewhere/read HTTP/1.1\r\nHost: app.test\r\n" + auth + "\r\n",
		"authority form":        "CONNECT app.test:80 HTTP/1.1\r\nHost: app.test\r\n" + auth + "\r\n",
		"asterisk form":         "OPTIONS * HTTP/1.1\r\nHost: app.test\r\n" + auth + "\r\n",
		"HTTP/1.0":              "GET /read HTTP/1.0\r\nHost: app.test\r\n" + auth + "\r\n",
		"HTTP/2.0":              "GET /read HTTP/2.0\r\nHost: app.test\r\n" + auth + "\r\n",
		"HTTP/2 preface":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"no version":            "GET /read\r\n\r\n",
		"no Host":               "GET /read HTTP/1.1\r\n" + auth + "\r\n",
		"two Hosts":             get("/read", "Host: app.test\r\n"),
		"two Hosts, different":  get("/read", "Host: beta.app.test\r\n"),
		"Host with path":        "GET /read HTTP/1.1\r\nHost: app.test/x\r\n" + auth + "\r\n",
		"Host with user":        "GET /read HTTP/1.1\r\nHost: a@app.test\r\n" + auth + "\r\n",
		"Host list":             "GET /read HTTP/1.1\r\nHost: app.test, beta.app.test\r\n" + auth + "\r\n",
		"Host bad port":         "GET /read HTTP/1.1\r\nHost: app.test:99999\r\n" + auth + "\r\n",
		"Host empty":            "GET /read HTTP/1.1\r\nHost: \r\n" + auth + "\r\n",
		"Host not ASCII":        "GET /read HTTP/1.1\r\nHost: app\xc3\xa9.test\r\n" + auth + "\r\n",
		"Host dot":              "GET /read HTTP/1.1\r\nHost: app.test.\r\n" + auth + "\r\n",
		"Host empty label":      "GET /read HTTP/1.1\r\nHost: app..test\r\n" + auth + "\r\n",
		"folded line":           get("/read", "X-A: b\r\n Txn-Token: c\r\n"),
		"bare LF":               strings.ReplaceAll(get("/read", ""), "\r\n", "\n"),
		"LF in the head":        get("/read", "X-A: b\nTxn-Token: c\r\n"),
		"CR in a value":         get("/read", "X-A: b\rTxn-Token: c\r\n"),
		"NUL in a value":        get("/read", "X-A: b\x00c\r\n"),
		"NUL in a name":         get("/read", "X-\x00A: b\r\n"),
		"no name":               get("/read", ": b\r\n"),
		"space in a name":       get("/read", "X A: b\r\n"),
		"no colon":              get("/read", "X-A\r\n"),
		"encoded slash":         get("/read%2fx", ""),
		"encoded backslash":     get("/read%5Cx", ""),
		"backslash":             get("/read\\x", ""),
		"encoded NUL":           get("/read%00", ""),
		"encoded dots":          get("/x/%2e%2e/read", ""),
		"dots":                  get("/x/../read", ""),
		"a dot":                 get("/./read", ""),
		"two slashes":           get("/x//read", ""),
		"parameters":            get("/read;x=1", ""),
		"double encoding":       get("/read%252fx", ""),
		"bad percent":           get("/read%zz", ""),
		"overlong":              get("/read%c0%af", ""),
		"fragment":              get("/read#x", ""),
		"space in the target":   get("/re ad", ""),
		"control in the target": get("/read\x01", ""),
		"lower-case method":     "get /read HTTP/1.1\r\nHost: app.test\r\n" + auth + "\r\n",
		"our own method":        "refused /Malformed/1 HTTP/1.1\r\nHost: app.test\r\n" + auth + "\r\n",
		"long method":           strings.Repeat("A", 30) + " /read HTTP/1.1\r\nHost: app.test\r\n" + auth + "\r\n",
		"large head":            get("/read", "X-A: "+strings.Repeat("a", headBytes)+"\r\n"),
		"many fields":           get("/read", strings.Repeat("X-A: b\r\n", headFields+1)),
		"long target":           get("/"+strings.Repeat("a", headBytes), ""),
		"Expect":                post("Expect: 200-ok\r\nContent-Length: 5\r\n", "hello"),
		"upgrade with a body":   get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nContent-Length: 5\r\n") + "hello",
		"half an upgrade":       get("/ws", "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n"),
		"upgrade without key":   get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
		"TLS to a plain port":   "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"garbage":               "\x00\x01\x02\x03\r\n\r\n",
		"empty lines":           "\r\n\r\n" + get("/read", ""),
		"short body":            post("Content-Length: 500\r\n", "hello"),
	} {
		w := f.dial(t, token)
		if _, err := io.WriteString(w, raw); err != nil {
			t.Fatal(err)
		}
		if name == "short body" { // or there would be more of it to wait for
			closeWrite(w.Conn)
		}
		resp, body, err := w.answer("GET")
		if err != nil {
			t.Errorf("%s: no answer: %v", name, err)
			continue
		}
		if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
			t.Errorf("%s: %s, close %v: %s", name, resp.Status, resp.Close, body)
		}
		if again, _, err := w.answer("GET"); err == nil {
			t.Errorf("%s: a second answer: %s", name, again.Status)
		}
	}
	if c, n := f.App.conns.Load(), f.App.requests.Load(); c != 0 || n != 0 {
		t.Errorf("%d connections and %d requests reach the application", c, n)
	}
	// The control: what differs from one of them by a little gets through.
	w := f.dial(t, token)
	if _, err := io.WriteString(w, post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")+get("/read%20x?a=%2f..", "")); err != nil {
		t.Fatal(err)
	}
	if resp, body, err := w.answer("POST"); err != nil || body != "hello" {
		t.Errorf("%v %q %v", resp, body, err)
	}
	if resp, body, err := w.answer("GET"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v %q %v", resp, body, err)
	}
}

// TestDeniedMethods: recorded as refused, and the connection goes on.
func TestDeniedMethods(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t, f.Token(f.A))
	for method, want := range map[string]int{
		"TRACE": 403, "TRACK": 403, "CONNECT": 403, "PRI": 403, "PROPFIND": 404, "FROBNICATE": 404, "GET": 200, "OPTIONS": 200, "DELETE": 200,
	} {
		resp, _ := w.ask(t, method, "app.test", "/read")
		if resp.StatusCode != want || resp.Close {
			t.Errorf("%s: %s, close %v", method, resp.Status, resp.Close)
		}
	}
	for _, kind := range []string{"h2c", "TLS/1.0", "websocket, h2c", "foo"} {
		resp, body := w.ask(t, "GET", "app.test", "/ws", "Connection: Upgrade", "Upgrade: "+kind, "Sec-WebSocket-Key: x")
		if resp.StatusCode != 403 || !strings.Contains(body, "websocket") {
			t.Errorf("Upgrade: %s: %s %s", kind, resp.Status, body)
		}
	}
	if n := f.App.requests.Load(); n != 3 {
		t.Errorf("%d requests reach the application", n)
	}
}
