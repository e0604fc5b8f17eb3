package admin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/audit/bundle"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/local"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// noKeys stands for the keyring: the logs of a World have keys of their own.
type noKeys struct{}

func (noKeys) Create(context.Context, tenant.ID, string) error { return nil }

func (noKeys) Destroy(context.Context, tenant.ID) error { return nil }

// A desk is an API at its socket, and who calls there.
type desk struct {
	*testing.T
	*brokertest.World
	registry *registry.Registry
	socket   string
	client   *http.Client
	policy   *bundle.Policy
}

// newDesk returns the desk of an API over a registry of its own.
func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t, World: brokertest.New(t, "postgres", brokertest.Limits()), registry: openRegistry(t)}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	minter, err := identity.NewMinter("https://isocore.test", key, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.registry.SetIssuer(t.Context(), minter.Issuer(), minter.Keys()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.registry.CreatePartner(t.Context(), Home); err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.New(identity.Config{
		TrustDomain: "isocore.test", Issuers: d.registry.Keys, Standing: d.registry, MaxLifetime: identity.MaxLifetime, Now: time.Now, CacheSize: 64,
		Providers: d.registry.Provider, Enrol: d.registry.Enrol,
		Renew: func(context.Context, string) error { return errors.New("keys are given here, not fetched") },
	})
	if err != nil {
		t.Fatal(err)
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, brokertest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	if d.policy, err = bundle.ParsePolicy("log " + vkey + "\nquorum none\n"); err != nil {
		t.Fatal(err)
	}
	d.serve(New(Config{
		Registry: d.registry, Keyring: noKeys{}, Minter: minter, Verifier: verifier, Log: d.Log, Policy: d.policy, Signer: signer,
		Rows: func() []scope.Row { return nil }, Grade: func() string { return "sealed" }, Doors: func() map[string]string { return nil },
		Ready: d.registry.Reachable, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}))
	return d
}

func openRegistry(t *testing.T) *registry.Registry {
	t.Helper()
	password := secret.New("registry of the tests")
	if err := localtest.Postgres(t).Provision(t.Context(), password); err != nil {
		t.Fatal(err)
	}
	name := localtest.Database(t)
	if _, err := localtest.Super(t, name).Exec(t.Context(), "ALTER DATABASE "+name+" OWNER TO "+local.RegistryRole); err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(t.Context(), registry.Config{
		DSN: localtest.Postgres(t).DSN(local.RegistryRole, password, name), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// serve serves a at a socket that every account can reach, so that what keeps
// them out is not its mode.
func (d *desk) serve(a *API) {
	d.Helper()
	dir, err := os.MkdirTemp("", "isocore-admin-*")
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // it is a temporary folder
	d.socket = filepath.Join(dir, "s")
	ln, err := net.Listen("unix", d.socket)
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err == nil {
		err = os.Chmod(d.socket, 0o666)
	}
	if err != nil {
		d.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(d.Context()))
	over := make(chan error, 1)
	go func() { over <- a.Serve(ctx, ln) }()
	d.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			d.Error(err)
		}
	})
	d.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.socket)
	}}}
	d.Cleanup(d.client.CloseIdleConnections)
}

// call makes a call, and returns its status and its answer.
func (d *desk) call(method, path, body string) (int, string) {
	d.Helper()
	r, err := http.NewRequestWithContext(d.Context(), method, "http://isocore"+path, strings.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	res, err := d.client.Do(r)
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.Fatal(err)
	}
	if res.StatusCode >= 400 {
		d.problem(res, b)
	}
	return res.StatusCode, string(b)
}

// problem wants a failure to be one of RFC 9457 with a Reason.
func (d *desk) problem(res *http.Response, body []byte) {
	d.Helper()
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Status != res.StatusCode || p.Reason == "" || p.Title == "" || p.Type == "" ||
		res.Header.Get("Content-Type") != "application/problem+json" {
		d.Errorf("%s %s: no problem: %s", res.Request.Method, res.Request.URL, body)
	}
}

// want makes a call that has to be answered with status and a text that holds word.
func (d *desk) want(status int, word, method, path, body string) string {
	d.Helper()
	code, text := d.call(method, path, body)
	if code != status || !strings.Contains(text, word) {
		d.Errorf("%s %s %.200s: %d %.400s, want %d and %q", method, path, body, code, text, status, word)
	}
	return text
}

// What is not exactly a call of the API is refused with a problem.
func TestStrict(t *testing.T) {
	d := newDesk(t)
	d.want(200, "home/acme", "POST", "/v1/tenants", `{"path":"acme"}`)
	for _, x := range []struct {
		status             int
		method, path, body string
	}{
		{400, "POST", "/v1/tenants", ``},
		{400, "POST", "/v1/tenants", `{`},
		{400, "POST", "/v1/tenants", `[]`},
		{400, "POST", "/v1/tenants", `{"path":"b1"} {}`},
		{400, "POST", "/v1/tenants", `{"path":"b1","frob":1}`},
		{400, "POST", "/v1/tenants", `{"path":"b1","path":"b2"}`},
		{400, "POST", "/v1/tenants", `{"Path":"b1"}`},
		{400, "POST", "/v1/tenants", `{"path":1}`},
		{400, "POST", "/v1/tenants", "{\"path\":\"b\xff\"}"},
		{400, "POST", "/v1/tenants", `{"path":"B1"}`},
		{400, "POST", "/v1/tenants", `{"path":"b1","region":"No Region"}`},
		{413, "POST", "/v1/tenants", `{"path":"` + strings.Repeat("x", maxBody) + `"}`},
		{403, "POST", "/v1/tenants", `{"path":"acme"}`},
		{404, "POST", "/v1/tenants", `{"path":"nobody/acme"}`},
		{400, "GET", "/v1/tenants?state=frozen", ``},
		{400, "GET", "/v1/tenants?partner=No", ``},
		{400, "GET", "/v1/tenants?frob=1", ``},
		{400, "GET", "/v1/tenants?state=gone&state=active", ``},
		{400, "GET", "/v1/tenants?%zz", ``},
		{404, "GET", "/v1/tenants/home/none", ``},
		{400, "GET", "/v1/tenants/home/No", ``},
		{400, "PATCH", "/v1/tenants/home/acme", `{"state":"gone"}`},
		{400, "PATCH", "/v1/tenants/home/acme", `{"state":""}`},
		{403, "DELETE", "/v1/tenants/home/acme", ``},
		{400, "PATCH", "/v1/partners/home", `{"state":"gone"}`},
		{404, "PATCH", "/v1/partners/none", `{"state":"suspended"}`},
		{400, "POST", "/v1/partners", `{"name":"N"}`},
		{400, "POST", "/v1/token", `{"tenant":"acme","for":"postgres","reach":["pg:read"],"ttl":"16m"}`},
		{400, "POST", "/v1/token", `{"tenant":"acme","for":"postgres","reach":["pg:read"],"ttl":"-1s"}`},
		{400, "POST", "/v1/token", `{"tenant":"acme","for":"postgres","reach":["pg:read"],"ttl":"1500ms"}`},
		{400, "POST", "/v1/token", `{"tenant":"acme","for":"postgres","reach":[],"ttl":"1m"}`},
		{400, "POST", "/v1/token", `{"tenant":"acme","for":"","reach":["pg:read"],"ttl":"1m"}`},
		{404, "POST", "/v1/token", `{"tenant":"none","for":"postgres","reach":["pg:read"],"ttl":"1m"}`},
		{401, "POST", "/v1/token/verify", `{"token":"x","for":"postgres"}`},
		{400, "GET", "/v1/audit/records?last=x", ``},
		{400, "GET", "/v1/audit/records?after=-1", ``},
		{400, "GET", "/v1/audit/records?follow=perhaps", ``},
		{404, "GET", "/v1/audit/records?tenant=00000000000000000000000000000001", ``},
		{400, "POST", "/v1/audit/exports", `{"tenant":"","key_for":"age1"}`},
		{400, "POST", "/v1/audit/exports", `{"tenant":"","previous":"x"}`},
		{400, "POST", "/v1/audit/exports", `{"tenant":"","since":"yesterday"}`},
		{400, "POST", "/v1/prove/reports", `not JSON`},
		{413, "POST", "/v1/prove/reports", `"` + strings.Repeat("x", maxReport) + `"`},
		{404, "GET", "/", ``},
		{404, "GET", "/v1/tokens", ``},
		{404, "DELETE", "/v1/partners/home", ``},
		{404, "GET", "/metrics", ``},
	} {
		d.want(x.status, `"reason":"`, x.method, x.path, x.body)
	}
	d.want(200, "home/acme", "GET", "/v1/tenants", "")
}

// A change is in the operator's log and in that of whom it touches, with what
// came of it, before it is answered.
func TestChangesAreRecorded(t *testing.T) {
	d := newDesk(t)
	var made Tenant
	if err := json.Unmarshal([]byte(d.want(200, "active", "POST", "/v1/tenants", `{"path":"acme"}`)), &made); err != nil {
		t.Fatal(err)
	}
	id, err := tenant.Parse(made.ID)
	if err != nil {
		t.Fatal(err)
	}
	d.want(200, "access_token", "POST", "/v1/token", `{"tenant":"acme","for":"postgres","reach":["pg:read"],"ttl":"1m","subject":"ada"}`)
	d.want(200, "suspended", "PATCH", "/v1/tenants/home/acme", `{"state":"suspended"}`)
	d.want(403, "suspended cannot become suspended", "PATCH", "/v1/tenants/home/acme", `{"state":"suspended"}`)
	d.want(403, "isocore tenant resume home/acme", "POST", "/v1/token", `{"tenant":"acme","for":"postgres","reach":["pg:read"],"ttl":"1m"}`)
	d.want(200, "active", "PATCH", "/v1/tenants/home/acme", `{"state":"active"}`)
	d.want(200, "suspended", "PATCH", "/v1/partners/home", `{"state":"suspended"}`)
	d.want(403, "isocore partner resume home", "POST", "/v1/token", `{"tenant":"acme","for":"postgres","reach":["pg:read"],"ttl":"1m"}`)
	d.want(200, "", "GET", "/v1/audit/records?tenant=acme", "")
	want := []string{
		"tenant create ok", "token issue ", "tenant suspend ", "tenant suspend ok", "tenant suspend ", "tenant suspend failed",
		"tenant resume ", "tenant resume ok", "partner suspend ok", "audit read ",
	}
	if got := d.told(id); !slices.Equal(got, want) {
		t.Errorf("the tenant's log: %q, want %q", got, want)
	}
	ours := d.told(tenant.ID{})
	for _, w := range append(want, "partner suspend ", "tenant create ") {
		if !slices.Contains(ours, w) {
			t.Errorf("the operator's log has no %q: %q", w, ours)
		}
	}
	for _, r := range d.Records(t, id) {
		if !strings.HasPrefix(r.Subject, fmt.Sprintf("uid %d pid %d", os.Geteuid(), os.Getpid())) {
			t.Errorf("%s was done by %q", r.Operation, r.Subject)
		}
	}
}

// told returns what the admin records of a log say, in order.
func (d *desk) told(log tenant.ID) (said []string) {
	d.Helper()
	for _, r := range d.Records(d.T, log) {
		if r.Kind == audit.Admin {
			said = append(said, r.Operation+" "+r.Result.Status)
		}
	}
	return said
}

// What cannot be recorded is not done.
func TestUnrecorded(t *testing.T) {
	d := newDesk(t)
	d.want(200, "active", "POST", "/v1/tenants", `{"path":"acme"}`)
	before := d.want(200, "", "GET", "/v1/tenants", "") + d.want(200, "", "GET", "/v1/partners", "")
	d.Commits.Fail(brokertest.ErrDisk)
	for _, x := range [][3]string{
		{"POST", "/v1/tenants", `{"path":"other"}`},
		{"PATCH", "/v1/tenants/home/acme", `{"state":"suspended"}`},
		{"POST", "/v1/partners", `{"name":"msp"}`},
		{"PATCH", "/v1/partners/home", `{"state":"suspended"}`},
		{"POST", "/v1/token", `{"tenant":"acme","for":"postgres","reach":["pg:read"],"ttl":"1m"}`},
		{"GET", "/v1/audit/records", ""},
		{"POST", "/v1/audit/exports", `{"tenant":"acme"}`},
		{"POST", "/v1/prove/reports", `{}`},
	} {
		d.want(503, `"reason":"Unrecorded"`, x[0], x[1], x[2])
	}
	if after := d.want(200, "", "GET", "/v1/tenants", "") + d.want(200, "", "GET", "/v1/partners", ""); after != before {
		t.Errorf("%s was %s", after, before)
	}
}

// A signed report opens with the log's key, and nothing else that the key has
// signed passes for one.
func TestReport(t *testing.T) {
	d := newDesk(t)
	signed := d.want(200, "isocore prove report v1", "POST", "/v1/prove/reports", `{"passed":true}`)
	b, err := OpenReport([]byte(signed), d.policy)
	if err != nil || !bytes.Contains(b, []byte(`"passed": true`)) {
		t.Errorf("%s, %v", b, err)
	}
	for i := range signed {
		bad := []byte(signed)
		bad[i] ^= 1
		if b, err := OpenReport(bad, d.policy); err == nil {
			t.Errorf("with bit %d flipped: %s", i, b)
		}
	}
	skey, vkey, err := note.GenerateKey(rand.Reader, "isocore.test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := bundle.ParsePolicy("log " + vkey + "\nquorum none\n")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := OpenReport([]byte(signed), policy); err == nil {
		t.Errorf("with another's key: %s", b)
	}
	other, err := note.Sign(&note.Note{Text: "isocore.test/t/0\n{}\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := OpenReport(other, policy); err == nil {
		t.Errorf("a checkpoint passes for a report: %s", b)
	}
}

// Another account's process is refused at the socket, whatever its mode.
func TestOtherAccount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing: root")
	}
	d := newDesk(t)
	answers := make(chan string, 2)
	for _, uid := range []int{65534, 0} { // and the control
		go d.ask(uid, answers)
		got, want := <-answers, "401"
		if uid == 0 {
			want = "200"
		}
		if !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("uid %d: %s", uid, got)
		}
	}
}

// ask asks for the tenants as another account. Accounts are the kernel's, of a
// thread: this one is not used again.
func (d *desk) ask(uid int, answers chan<- string) {
	runtime.LockOSThread() // and not unlocked: the thread ends with us
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
		answers <- errno.Error()
		return
	}
	answers <- d.raw()
}

func (d *desk) raw() string {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: d.socket})
	}
	if err == nil {
		_, err = unix.Write(fd, []byte("GET /v1/tenants HTTP/1.1\r\nHost: isocore\r\nConnection: close\r\n\r\n"))
	}
	if err != nil {
		return err.Error()
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return line
}
