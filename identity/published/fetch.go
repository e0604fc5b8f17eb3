package published

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of one fetch.
const (
	fetchTime = 5 * time.Second // from the look-up of the name to the last byte
	maxBody   = 256 << 10
	maxAnswer = 2 * maxBody // with its header and the sizes of its chunks
	maxURI    = 2 << 10
	maxCA     = 64 << 10
)

// A Source is where an issuer publishes its keys.
type Source struct {
	Issuer  string // exactly what its tokens have as iss
	URI     string // of the JWK Set: https, without a user or a fragment
	CA      string // PEM; whose certificates are believed there. "": those that the system believes
	Private bool   // it may be at a private or loopback address
}

// Check returns everything for which s cannot be fetched.
func (s Source) Check() error {
	_, errURI := s.url()
	_, errCA := s.roots()
	if s.Issuer == "" {
		return errors.Join(errors.New("published: a source without an issuer"), errURI, errCA)
	}
	return errors.Join(errURI, errCA)
}

func (s Source) url() (*url.URL, error) {
	u, err := url.Parse(s.URI)
	if err != nil || len(s.URI) > maxURI {
		return nil, errors.New("published: the URI is not one, or too long")
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Contains(s.URI, "#") {
		return nil, errors.New("published: the URI is not https://host..., without a user and a fragment")
	}
	for _, c := range u.Host {
		if c <= ' ' || c > '~' {
			return nil, errors.New("published: the host in the URI is not ASCII")
		}
	}
	if _, err := port(u); err != nil {
		return nil, err
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return u, s.admits(a)
	}
	return u, nil
}

func port(u *url.URL) (uint16, error) {
	if u.Port() == "" {
		return 443, nil
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("published: the port in the URI is none")
	}
	return uint16(n), nil
}

// roots returns nil, which means those of the system, only where no CA is
// given. Anything in it that is not a certificate refuses it.
func (s Source) roots() (*x509.CertPool, error) {
	if s.CA == "" {
		return nil, nil
	}
	if len(s.CA) > maxCA {
		return nil, fmt.Errorf("published: a CA of over %d bytes", maxCA)
	}
	pool := x509.NewCertPool()
	for rest := []byte(s.CA); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("published: the CA is not PEM certificates only")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("published: the CA: %w", err)
		}
		pool.AddCert(cert)
		if len(bytes.TrimSpace(rest)) == 0 {
			return pool, nil
		}
	}
}

// A document is what a publisher answered, and how long it is good.
type document struct {
	body []byte
	life time.Duration
}

// get asks s once. There is one connection, one request and one answer, and
// nothing of what a client for everything adds: no proxy, redirect, cookie,
// compression, HTTP/2 or second try.
func (n network) get(ctx context.Context, s Source) (document, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	req, err := s.request(ctx)
	if err != nil {
		return document{}, err
	}
	conn, err := n.connect(ctx, s, req.URL)
	if err != nil {
		return document{}, err
	}
	// Below TLS: its own Close has another word to send. The body is not closed,
	// for that reads on to its end, and there may be none.
	defer conn.NetConn().Close()
	stop := context.AfterFunc(ctx, func() { conn.NetConn().Close() })
	defer stop()
	if err := req.Write(conn); err != nil {
		return document{}, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxAnswer)), req)
	if err != nil {
		return document{}, fmt.Errorf("published: %w", errors.Join(ctx.Err(), err))
	}
	return read(answer)
}

func (s Source) request(ctx context.Context) (*http.Request, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URI, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", "isocore")
	return req, nil
}

// connect returns a connection to whom a certificate confirms as the host of
// u.
func (n network) connect(ctx context.Context, s Source, u *url.URL) (*tls.Conn, error) {
	number, err := port(u)
	if err != nil {
		return nil, err
	}
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	plain, err := n.reach(ctx, s, u.Hostname(), number)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(plain, &tls.Config{
		ServerName: u.Hostname(),
		MinVersion: tls.VersionTLS12,
		RootCAs:    roots,
		NextProtos: []string{"http/1.1"},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}

// read takes a JWK Set out of an answer, and nothing that only resembles one.
func read(answer *http.Response) (document, error) {
	if answer.StatusCode != http.StatusOK {
		return document{}, fmt.Errorf("published: status %d", answer.StatusCode)
	}
	if err := checkType(answer.Header); err != nil {
		return document{}, err
	}
	if answer.ContentLength > maxBody {
		return document{}, fmt.Errorf("published: a document of over %d bytes", maxBody)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	if err != nil {
		return document{}, fmt.Errorf("published: half a document: %w", err)
	}
	if len(body) > maxBody {
		return document{}, fmt.Errorf("published: a document of over %d bytes", maxBody)
	}
	return document{body, lifetime(answer.Header.Values("Cache-Control"))}, nil
}

func checkType(h http.Header) error {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return fmt.Errorf("published: a document encoded as %.40q", e)
	}
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return fmt.Errorf("published: %d content types", len(types))
	}
	kind, parameters, err := mime.ParseMediaType(types[0])
	if err != nil || kind != "application/json" && kind != "application/jwk-set+json" {
		return fmt.Errorf("published: a document of type %.60q", types[0])
	}
	if c := parameters["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return fmt.Errorf("published: a document in %.40q", c)
	}
	return nil
}
