package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/admin"
)

// serve with a configuration of one's own stands on a store of one's own,
// shows its certificate, and takes over another, and other limits, on SIGHUP.
func TestServe(t *testing.T) {
	long(t)
	t.Parallel()
	h := newHome(t)
	h.up("--no-demo")
	dir := filepath.Join(filepath.Dir(h.dir), "node")
	h.production(dir)
	certificate(t, dir, 1)
	config := filepath.Join(dir, "isocore.yaml")
	n := &home{T: t, dir: filepath.Join(dir, "none")} // everything it does is by --config
	h.fails(0, []string{"nothing is wrong"}, "config", "check", config)
	s := n.serveConfig(config)
	at := strings.Fields(strings.Split(n.must("--config", config, "endpoints"), "\n")[1])[1]
	n.must("--config", config, "tenant", "create", "acme")
	token := strings.TrimSpace(n.must("--config", config, "token", "issue", "--tenant", "acme"))
	if serial := n.serial(at); serial != 1 {
		t.Errorf("it shows certificate %d", serial)
	}
	certificate(t, dir, 2)
	s.edit(config, "connections: 64", "connections: 2")
	s.cmd.Process.Signal(syscall.SIGHUP) //nolint:errcheck // what it does is looked at
	n.until(10*time.Second, "it shows the other certificate", func() bool { return n.serial(at) == 2 })
	for i := range 3 {
		conn, err := connect(t.Context(), at, token)
		if (err == nil) != (i < 2) || i == 2 && codeOf(err) != "53300" {
			t.Errorf("connection %d of two: %v", i+1, err)
		}
		if err == nil {
			defer conn.Close(t.Context()) //nolint:errcheck // it was counted
		}
	}
	s.edit(config, "trust_domain: prod.example", "trust_domain: other.example")
	s.cmd.Process.Signal(syscall.SIGHUP) //nolint:errcheck // likewise
	n.until(10*time.Second, "it refuses", func() bool { return strings.Contains(s.said.String(), "takes a restart") })
	if !strings.Contains(s.said.String(), `"trust_domain: \"prod.example\"" is "trust_domain: \"other.example\"" now`) {
		t.Error(s.said)
	}
	s.stop()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit %d: %s", code, s.said)
	}
}

// production makes what an operator would: a registry, passwords, keys, a
// configuration, here over the store of h.
func (h *home) production(dir string) {
	h.Helper()
	keys := filepath.Join(dir, "keys")
	if err := os.MkdirAll(keys, 0o700); err != nil {
		h.Fatal(err)
	}
	store := h.endpoints()["store"]
	super := h.super("postgres")
	for _, s := range []string{"CREATE DATABASE isocore2 OWNER isocore_registry", "REVOKE ALL ON DATABASE isocore2 FROM PUBLIC"} {
		if _, err := super.Exec(h.Context(), s); err != nil {
			h.Fatal(err)
		}
	}
	h.copyKeys(keys)
	text := fmt.Sprintf(`version: 1
trust_domain: prod.example
admin: {socket: run/admin.sock, listen: 127.0.0.1:0}
audit: {min_free: 1%%}
limits: {default: {connections: 64}}
brokers:
  postgres:
    listen: 127.0.0.1:0
    tls: {cert_file: tls.crt, key_file: tls.key}
    store: {address: %q, login_file: keys/login.password, keeper_file: keys/keeper.password}
    databases: {app: {schemas: [app]}}
`, store)
	if err := os.WriteFile(filepath.Join(dir, "isocore.yaml"), []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
}

// copyKeys copies what the store of h knows, and draws what it need not.
func (h *home) copyKeys(keys string) {
	h.Helper()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(keys, name), b, 0o600); err != nil {
			h.Fatal(err)
		}
	}
	for _, name := range []string{"login.password", "keeper.password", "registry.dsn"} {
		b, err := os.ReadFile(filepath.Join(h.dir, "keys", name))
		if err != nil {
			h.Fatal(err)
		}
		write(name, bytes.Replace(b, []byte("dbname='isocore'"), []byte("dbname='isocore2'"), 1))
	}
	for _, name := range []string{"kek", "mint", "checkpoint", "admin"} {
		b := make([]byte, 32)
		rand.Read(b) //nolint:errcheck // it never fails
		write(name+".key", b)
	}
}

// serveConfig starts isocore serve, which has no state directory.
func (h *home) serveConfig(config string) *server {
	h.Helper()
	s := &server{home: h, cmd: h.command("--config", config, "serve"), said: &output{}, over: make(chan struct{})}
	s.cmd.Dir = ""
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	if err := s.cmd.Start(); err != nil {
		h.Fatal(err)
	}
	go func() {
		defer close(s.over)
		s.cmd.Wait() //nolint:errcheck // its state is looked at
	}()
	h.Cleanup(s.stop)
	h.until(time.Minute, "isocore serve serves", func() bool {
		select {
		case <-s.over:
			h.Fatalf("isocore serve ended: %s", s.said)
		default:
		}
		return strings.Contains(s.said.String(), "admin.sock")
	})
	return s
}

// edit replaces a piece of a file.
func (h *home) edit(path, old, new string) {
	h.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(new), 1), 0o600)
	}
	if err != nil {
		h.Fatal(err)
	}
}

// certificate writes a certificate with this serial number, and its key.
func certificate(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "isocore"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serial returns the number of the certificate that the broker shows.
func (h *home) serial(at string) int64 {
	h.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil { // SSLRequest
		h.Fatal(err)
	}
	var yes [1]byte
	if _, err := io.ReadFull(conn, yes[:]); err != nil || yes[0] != 'S' {
		h.Fatalf("%q, %v", yes, err)
	}
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // only its number is looked at
	if err := c.Handshake(); err != nil {
		h.Fatal(err)
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// The public port says whether the node lives and which keys it signs with,
// to whoever asks for it by address, and nothing else to anybody.
func TestPublicPort(t *testing.T) {
	long(t)
	t.Parallel()
	h := newHome(t)
	h.up("--no-demo")
	at := h.endpoints()["public"]
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	ask := func(method, path, host string) int {
		r, err := http.NewRequest(method, "http://"+at+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close() //nolint:errcheck // only the status counts
		return res.StatusCode
	}
	for _, path := range admin.PublicPaths {
		for host, want := range map[string]int{at: 200, "localhost:" + port: 200, "evil.example:" + port: 403, "evil.example": 403, "localhost": 403, "127.0.0.1.evil.example:" + port: 403} {
			if got := ask("GET", path, host); got != want {
				t.Errorf("GET %s of %s: %d, want %d", path, host, got, want)
			}
		}
	}
	for _, path := range []string{"/", "/v1/tenants", "/v1/posture", "/metrics", "/debug/pprof/"} {
		if got := ask("GET", path, at); got != 404 {
			t.Errorf("GET %s: %d", path, got)
		}
	}
	for method, want := range map[string]int{"GET": 405, "POST": 400, "DELETE": 405} { // only with a Txn-Token it is worth more
		if got := ask(method, "/v1/token", at); got != want {
			t.Errorf("%s /v1/token: %d, want %d", method, got, want)
		}
	}
}

// Strangers who are refused are counted in the operator's log.
func TestStrangers(t *testing.T) {
	long(t)
	t.Parallel()
	h := newHome(t)
	s := h.up("--no-demo")
	at := h.endpoints()["postgres"]
	for range 7 {
		var conn *pgx.Conn
		conn, err := connect(t.Context(), at, "not-a-token")
		if codeOf(err) != "28P01" {
			t.Errorf("%v, %v", conn, err)
		}
	}
	s.stop()
	h.up("--no-demo")
	if out := h.must("audit", "tail"); !strings.Contains(out, "refused strangers") || !strings.Contains(out, "postgres 127.0.0.0/24 Unauthenticated 7") {
		t.Error(out)
	}
}
