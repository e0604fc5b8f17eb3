package postgres

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/internal/pgwire"
)

// certificate returns a certificate of the name, and the path of its PEM.
func certificate(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

func TestTLS(t *testing.T) {
	cert, ca := certificate(t, "localhost")
	f := newFixture(t, func(c *Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	})
	_, port, _ := net.SplitHostPort(f.Addr)
	dsn := fmt.Sprintf("host=localhost port=%s user=u password=%s dbname=app sslmode=verify-full sslrootcert=%s", port, f.Token(f.A).Reveal(), ca)
	conn, err := pgx.Connect(t.Context(), dsn)
	f.must(t, err)
	defer conn.Close(t.Context())
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM doc").Scan(&n); err != nil || n != 100 {
		t.Errorf("%d rows: %v", n, err)
	}
	if _, err := pgx.Connect(t.Context(), strings.Replace(dsn, "host=localhost", "host=127.0.0.1", 1)); err == nil {
		t.Error("a certificate of another name is good enough")
	}
	// Plain text behind the request would be taken for part of the session.
	w := f.dial(t)
	w.send(t, pgwire.SSLRequest{}, startup("user", "u", "database", "app"))
	if got, _ := readAll(w); !bytes.HasPrefix(got, []byte("E")) || !bytes.Contains(got, []byte("C08P01")) {
		t.Errorf("injected: %q", got)
	}
	// Again, within.
	inner := f.dial(t)
	inner.send(t, pgwire.SSLRequest{})
	if _, err := inner.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s := tls.Client(inner.Conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // what it says matters here, not who
	twice := newWire(t, s)
	twice.send(t, pgwire.SSLRequest{})
	if got := twice.rest(t); len(got) != 1 || !strings.Contains(got[0], "C=08P01") {
		t.Errorf("TLS in TLS: %q", got)
	}
	// A handshake that is none harms nobody.
	w = f.dial(t)
	w.send(t, pgwire.SSLRequest{}, raw(""))
	_, _ = w.Read(make([]byte, 1))
	_, _ = w.Write([]byte("not a handshake at all"))
	_, _ = readAll(w)
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM doc").Scan(&n); err != nil {
		t.Error(err)
	}
}

// TestNoTLS: without a certificate a client hears N; from elsewhere, no token
// is asked for.
func TestNoTLS(t *testing.T) {
	f := newFixture(t)
	w := f.dial(t)
	w.send(t, pgwire.SSLRequest{})
	var answer [1]byte
	if _, err := w.Read(answer[:]); err != nil || answer[0] != 'N' {
		t.Errorf("%q: %v", answer, err)
	}
	_, port, _ := net.SplitHostPort(f.Addr)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := pgx.Connect(ctx, fmt.Sprintf("host=127.0.0.1 port=%s user=u password=x dbname=app sslmode=require", port)); err == nil {
		t.Error("sslmode=require is satisfied")
	}
	far := f.far(t)
	far.send(t, startup("user", "u", "database", "app"), &pgwire.Password{Password: f.Token(f.A)})
	got := far.rest(t)
	if len(got) != 1 || !strings.Contains(got[0], "C=28P01") || !strings.Contains(got[0], "sslmode=verify-full") {
		t.Errorf("from elsewhere: %q", got)
	}
}

// far returns a connection that seems to come from another machine.
func (f *fixture) far(t *testing.T) *wire {
	t.Helper()
	client, server := net.Pipe()
	ln := &oneConn{conn: elsewhere{server}, closed: make(chan struct{})}
	b, err := New(f.config)
	f.must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, ln, f.Gate) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return newWire(t, client)
}

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:4000"))
}

// oneConn is a listener of one connection.
type oneConn struct {
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
	gone   sync.Once
}

func (l *oneConn) Accept() (c net.Conn, err error) {
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.gone.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }
