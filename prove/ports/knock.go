package ports

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Bounds of a knock.
const (
	silence = time.Second // after which nothing is taken for the answer
	enough  = 4 << 10     // bytes of an answer
)

// paths are what a stranger asks for over HTTP.
var paths = []string{
	"/", "/metrics", "/debug/pprof/", "/debug/vars", "/healthz", "/readyz", "/status", "/info", "/version", "/admin", "/api", "/console", "/v1/tenants", "/v1/token", "/v1/audit/records",
	"/v1/posture", "/v1/endpoints", "/v1/issuers", "/v1/routes", "/.well-known/jwks.json", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server",
	"/.well-known/isocore/mirror", "/documents", "/graphql", "/server-status", "/.env", "/openapi.json",
}

// A knock is what a stranger says.
type knock struct {
	name string
	says string
}

// knocks are all that a stranger says at an address.
func knocks(addr string) []knock {
	all := web(addr)
	return append(all,
		knock{"PostgreSQL", "\x00\x00\x00\x29\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"},
		knock{"PostgreSQL's question for TLS", "\x00\x00\x00\x08\x04\xd2\x16\x2f"},
		knock{"Redis", "PING\r\n"},
		knock{"Redis in its protocol", "*1\r\n$4\r\nPING\r\n"},
		knock{"plain bytes", "hello\r\n\r\n"},
		knock{"zeros", "\x00\x00\x00\x00\x00\x00\x00\x00"},
	)
}

// web are the knocks over HTTP.
func web(addr string) []knock {
	var all []knock
	for _, path := range paths {
		all = append(all, knock{"GET " + path, "GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nConnection: close\r\n\r\n"})
	}
	return append(all,
		knock{"GET / at localhost", "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"},
		knock{"GET / of HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"},
		knock{"POST /v1/token", "POST /v1/token HTTP/1.1\r\nHost: " + addr + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
		knock{"POST /v1/tenants", "POST /v1/tenants HTTP/1.1\r\nHost: " + addr + "\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"},
		knock{"CONNECT", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n"},
	)
}

// Knock says everything a stranger could say at addr, host:port, each on a
// connection of its own, and returns what came back. Nobody at all answers
// with an error that is [syscall.ECONNREFUSED].
func Knock(ctx context.Context, addr string) ([]Answer, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	all := each(ctx, addr, knocks(addr), nil)
	hello, secure := greet(ctx, addr)
	all = append(all, hello)
	if secure {
		all = append(all, each(ctx, addr, web(addr), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})...) //nolint:gosec // a stranger trusts anybody
	}
	return all, nil
}

// Greets reports whether somebody speaks TLS at addr.
func Greets(ctx context.Context, addr string) bool {
	_, secure := greet(ctx, addr)
	return secure
}

// greet begins a TLS handshake, and reports whether somebody ends it.
func greet(ctx context.Context, addr string) (Answer, bool) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}} //nolint:gosec // as above
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return Answer{Knock: "TLS"}, false
	}
	return Answer{Knock: "TLS", Said: "\x16\x03"}, conn.Close() == nil
}

// together is how many knocks are said at once.
const together = 4

// each says the knocks, behind TLS if there is a configuration of it.
func each(ctx context.Context, addr string, knocks []knock, secure *tls.Config) []Answer {
	answers := make([]Answer, len(knocks))
	places := make(chan struct{}, together)
	var all sync.WaitGroup
	for i, k := range knocks {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			answers[i] = Answer{k.name, say(ctx, addr, k.says, secure)}
			if secure != nil {
				answers[i].Knock += " behind TLS"
			}
		})
	}
	all.Wait()
	return answers
}

// say returns what is answered; whatever goes wrong is silence.
func say(ctx context.Context, addr, text string, secure *tls.Config) string {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return ""
	}
	defer conn.Close() //nolint:errcheck // it was read
	if err := conn.SetDeadline(time.Now().Add(silence)); err != nil {
		return ""
	}
	if secure != nil {
		conn = tls.Client(conn, secure)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return ""
	}
	b := make([]byte, enough)
	n, err := io.ReadAtLeast(conn, b, 1)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ""
	}
	return string(b[:n])
}
