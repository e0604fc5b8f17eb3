package e2e

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/isocore/isocore/internal/jws"
)

// An authority signs the certificates of one test.
type authority struct {
	*testing.T
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{T: t, key: newKey(t)}
	a.root = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "private authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, a.root, a.root, a.key.Public(), a.key)
	if err == nil {
		a.root, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue writes tls.crt and tls.key for names on loopback.
func (a *authority) issue(dir string, names ...string) {
	a.Helper()
	key := newKey(a.T)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: names,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.root, key.Public(), a.key)
	if err != nil {
		a.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.Fatal(err)
	}
	write(a.T, filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(a.T, filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// pem returns a's own certificate.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
}

// client returns a client that believes a and nobody else, on connections of
// its own.
func (a *authority) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 16}
	a.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A member is a program of an organisation that the identity provider knows.
type member struct {
	ID           string `json:"id"`
	Secret       string `json:"secret"`
	Organisation string `json:"organisation"`
	Algorithm    string `json:"alg"`
}

// members are programs of three organisations; the last has no tenant.
var members = []member{
	{"clinic-portal", "of-the-clinic-portal", "org_clinic", "ES256"},
	{"advisory-portal", "of-the-advisory-portal", "org_advisory", "RS256"},
	{"stranger", "of-a-stranger-to-us", "org_stranger", "ES256"},
}

// appAudience is what the tokens of the identity provider are for.
const appAudience = "https://app.example.test"

// An idp is an identity provider that runs: see idp/server.mjs.
type idp struct {
	*testing.T
	url    string
	client *http.Client
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan string // what it says
	said   *output
	over   chan struct{} // closed when it has ended
}

// modules installs what the identity provider is made of, as its lock file
// says, once.
var modules = sync.OnceValue(func() error {
	lock, err := os.Stat("idp/package-lock.json")
	if err != nil {
		return err
	}
	if done, err := os.Stat("idp/node_modules/.package-lock.json"); err == nil && done.ModTime().After(lock.ModTime()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts")
	c.Dir = "idp"
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

// newIdP starts an identity provider with a certificate of a.
func newIdP(a *authority) *idp {
	a.Helper()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			a.Skip("missing: " + name)
		}
	}
	if err := modules(); err != nil {
		a.Fatal(err)
	}
	dir := a.TempDir()
	a.issue(dir)
	clients, err := json.Marshal(map[string]any{"audience": appAudience, "clients": members})
	if err != nil {
		a.Fatal(err)
	}
	write(a.T, filepath.Join(dir, "clients.json"), clients)
	p := &idp{T: a.T, client: a.client(), cmd: exec.Command("node", "idp/server.mjs", dir), lines: make(chan string, 8), said: &output{}, over: make(chan struct{})}
	p.start()
	p.url = p.line()
	return p
}

func (p *idp) start() {
	p.Helper()
	p.cmd.Stderr = p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := p.cmd.StdinPipe()
	out, errOut := p.cmd.StdoutPipe()
	if err := errors.Join(err, errOut, p.cmd.Start()); err != nil {
		p.Fatal(err)
	}
	p.in = in
	go func() {
		defer close(p.over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
		p.cmd.Wait() //nolint:errcheck // it ends with its stdin
	}()
	p.Cleanup(p.stop)
}

// line waits for the next line that p says.
func (p *idp) line() string {
	p.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	select {
	case s := <-p.lines:
		return s
	case <-p.over:
		p.Fatalf("the identity provider ended: %s", p.said)
	case <-late.C:
		p.Fatalf("the identity provider says nothing: %s", p.said)
	}
	return ""
}

// do has p carry out a command.
func (p *idp) do(command string) {
	p.Helper()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		p.Fatal(err)
	}
	if said := p.line(); said != command {
		p.Fatalf("%s: %s", command, said)
	}
}

// stop ends p and waits for it.
func (p *idp) stop() {
	p.in.Close() //nolint:errcheck // it may be gone
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	select {
	case <-p.over:
	case <-late.C:
		p.cmd.Process.Kill() //nolint:errcheck // it may be gone
		p.Errorf("the identity provider does not end with its stdin: %s", p.said)
	}
}

// token returns an access token for the program with this id.
func (p *idp) token(id string) string {
	p.Helper()
	for _, m := range members {
		if m.ID != id {
			continue
		}
		form := url.Values{"grant_type": {"client_credentials"}}
		r, err := http.NewRequestWithContext(p.Context(), http.MethodPost, p.url+"/token", strings.NewReader(form.Encode()))
		if err != nil {
			p.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(m.ID, m.Secret)
		var answer struct {
			Token string `json:"access_token"`
		}
		if err := json.Unmarshal(p.answer(r), &answer); err != nil || answer.Token == "" {
			p.Fatalf("token of %s: %v", id, err)
		}
		return answer.Token
	}
	p.Fatalf("no member %s", id)
	return ""
}

// keys returns what p publishes.
func (p *idp) keys() *jws.KeySet {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), http.MethodGet, p.url+"/jwks", nil)
	if err != nil {
		p.Fatal(err)
	}
	doc := p.answer(r)
	set, err := jws.ParsePublished(doc)
	if err != nil {
		p.Fatalf("%v\n%s", err, doc)
	}
	return set
}

// answer returns the body of a good answer.
func (p *idp) answer(r *http.Request) []byte {
	p.Helper()
	a, err := p.client.Do(r)
	if err != nil {
		p.Fatal(err)
	}
	defer a.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err != nil || a.StatusCode != http.StatusOK {
		p.Fatalf("%s %s: %s, %v\n%s", r.Method, r.URL, a.Status, err, b)
	}
	return b
}

// The identity provider is one: its tokens verify with the keys it publishes
// when they should, through a rotation, and say what the other tests rely on.
func TestIdP(t *testing.T) {
	long(t)
	t.Parallel()
	a := newAuthority(t)
	p := newIdP(a)
	var old []string
	for _, m := range members {
		old = append(old, p.token(m.ID))
		p.says(old[len(old)-1], m)
	}
	verify := func(when string, set *jws.KeySet, token string, want bool) {
		t.Helper()
		parsed, err := jws.ParseForeign(token)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := set.Verify(parsed); (err == nil) != want {
			t.Errorf("%s: %v", when, err)
		}
	}
	first := p.keys()
	p.do("rotate")
	both, young := p.keys(), p.token(members[0].ID)
	p.do("retire")
	last := p.keys()
	for _, token := range old {
		verify("before the rotation", first, token, true)
		verify("while both are published", both, token, true)
		verify("after the old one was retired", last, token, false)
	}
	verify("new, with the old keys", first, young, false)
	verify("new, while both are published", both, young, true)
	verify("new, after the old one was retired", last, young, true)
	if _, err := (&http.Client{Timeout: 10 * time.Second}).Get(p.url + "/jwks"); err == nil {
		t.Error("everybody believes a private authority")
	}
}

// says looks at what a token of m says.
func (p *idp) says(token string, m member) {
	p.Helper()
	head, body := decodeToken(p.T, token)
	if head["alg"] != m.Algorithm || head["typ"] != "at+jwt" || head["kid"] == "" {
		p.Errorf("header of %s: %v", m.ID, head)
	}
	if body["org_id"] != m.Organisation || body["iss"] != p.url || body["aud"] != appAudience || body["sub"] != m.ID || body["client_id"] != m.ID {
		p.Errorf("claims of %s: %v", m.ID, body)
	}
}

// decodeToken returns what a token says, and does not verify it.
func decodeToken(t *testing.T, token string) (head, body map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a token: %d parts", len(parts))
	}
	for i, into := range []*map[string]any{&head, &body} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return head, body
}
