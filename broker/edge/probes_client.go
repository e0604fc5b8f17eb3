package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// maxReply bounds an answer that a probe reads.
const maxReply = 1 << 20

// A caller is one connection of a probe: raw bytes, for a library would mend
// what it is to send.
type caller struct {
	conn net.Conn
	in   *bufio.Reader
}

// A reply is one answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// volatile are the headers in which two answers to the same may differ.
var volatile = []string{"Date", "X-Request-Id"}

// String prints r without what is different each time.
func (r *reply) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", r.status)
	for _, name := range slices.Sorted(maps.Keys(r.header)) {
		if !slices.Contains(volatile, name) {
			fmt.Fprintf(&b, " | %s: %s", name, strings.Join(r.header[name], ", "))
		}
	}
	return b.String() + " | " + r.body
}

// says reports whether r is the refusal for a reason.
func (r *reply) says(reason refusal.Reason) bool {
	var p problem
	return json.Unmarshal([]byte(r.body), &p) == nil && r.status == statuses[reason] && p.Status == r.status &&
		p.Reason == reason.String() && p.Title == reason.Text()
}

// dial connects to the edge as a client that means host.
func (c *act) dial(host string) (*caller, error) {
	conn, err := c.t.Dial(c, Name)
	if err != nil {
		return nil, err
	}
	if deadline, ok := c.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	if c.t.Roots != nil && !c.t.Plain[Name] {
		if conn, err = encrypt(c, c.t, conn, host); err != nil {
			return nil, err
		}
	}
	one := &caller{conn, bufio.NewReader(conn)}
	c.more = append(c.more, one)
	return one, nil
}

// encrypt asks for the certificate of host, which need not be of that name:
// which names an operator has bought certificates for is not what is proved.
func encrypt(ctx context.Context, t *prove.Target, conn net.Conn, host string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	secure := tls.Client(conn, &tls.Config{
		ServerName: name, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		InsecureSkipVerify: true, //nolint:gosec // verified below, but for the name
		VerifyConnection: func(s tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, one := range s.PeerCertificates[1:] {
				between.AddCert(one)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: t.Roots, Intermediates: between})
			return err
		},
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

func (a *caller) say(raw string) error {
	_, err := io.WriteString(a.conn, raw)
	return err
}

// hear reads one answer to a method.
func (a *caller) hear(method string) (*reply, error) {
	resp, err := http.ReadResponse(a.in, &http.Request{Method: method})
	if err != nil {
		return nil, fmt.Errorf("edge: answer: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return &reply{status: resp.StatusCode, header: resp.Header}, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	return &reply{resp.StatusCode, resp.Header, string(b)}, err
}

// A call is a request that a probe makes.
type call struct {
	method, host, target string
	lines                []string // of its head
	body                 string
}

func (q call) String() string {
	return q.method + " " + q.target + " HTTP/1.1\r\nHost: " + q.host + "\r\n" + strings.Join(append(q.lines, "", q.body), "\r\n")
}

// bearer is the line that shows a token.
func bearer(token secret.Text) string { return "Authorization: Bearer " + token.Reveal() }

// reflected is the call for A's mirror with these lines.
func (c *act) reflected(lines ...string) call {
	return call{http.MethodGet, c.host(&c.t.A), mirrorPath, lines, ""}
}

// ask makes a call on a connection of its own.
func (c *act) ask(q call) (*reply, error) {
	one, err := c.dial(q.host)
	if err != nil {
		return nil, err
	}
	defer one.conn.Close() //nolint:errcheck // it was read
	if err := one.say(q.String()); err != nil {
		return nil, err
	}
	return one.hear(q.method)
}

// mirror shows what the application would get of a request with a token and
// these lines: no Mirror if that is refused.
func (c *act) mirror(token secret.Text, lines ...string) (*Mirror, *reply, error) {
	q := c.reflected(append([]string{bearer(token)}, lines...)...)
	if token.Reveal() == c.b.Reveal() {
		q.host = c.host(&c.t.B)
	}
	r, err := c.ask(q)
	if err != nil {
		return nil, nil, err
	}
	return r.mirror(), r, nil
}

// mirror returns the Mirror that r is, or nil.
func (r *reply) mirror() *Mirror {
	var m Mirror
	if r.status != http.StatusOK || json.Unmarshal([]byte(r.body), &m) != nil {
		return nil
	}
	return &m
}

// once are the claims of a Txn-Token that are new each time.
var once = []string{"txn", "iat", "exp"}

// settled returns the text of m without what is different each time.
func (m *Mirror) settled() string {
	one := *m
	one.Header = m.Header.Clone()
	one.Header.Del("X-Request-Id")
	one.Header.Del("Traceparent")
	var claims map[string]any
	if json.Unmarshal([]byte(one.Header.Get("Txn-Token")), &claims) == nil {
		maps.DeleteFunc(claims, func(name string, _ any) bool { return slices.Contains(once, name) })
		if b, err := json.Marshal(claims); err == nil {
			one.Header["Txn-Token"] = []string{string(b)}
		}
	}
	b, err := json.Marshal(one)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// passed returns what the Txn-Token of m reaches.
func (m *Mirror) passed() []string {
	var claims struct {
		Scope string `json:"scope"`
	}
	if json.Unmarshal([]byte(m.Header.Get("Txn-Token")), &claims) != nil {
		return nil
	}
	return strings.Fields(claims.Scope)
}
