package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The prover finds nothing, signs what it found, and leaves nothing behind,
// not even when it is interrupted or killed.
func TestProve(t *testing.T) {
	long(t)
	t.Parallel()
	h := newHome(t)
	h.up()
	file := filepath.Join(filepath.Dir(h.dir), "report.txt")
	began := time.Now()
	r := h.run("prove", "--json", "--out", file)
	if r.code != 0 {
		t.Errorf("%v", r)
	}
	var report struct {
		Passed   bool   `json:"passed"`
		Grade    string `json:"grade"`
		Outcomes []struct {
			Probe  string `json:"probe"`
			Status string `json:"status"`
		} `json:"outcomes"`
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || !report.Passed || report.Grade != "sealed" || len(report.Outcomes) < 200 {
		t.Errorf("%v, %+v", err, report)
	}
	of := map[string]int{}
	for _, o := range report.Outcomes {
		name, _, _ := strings.Cut(o.Probe, ":")
		of[name]++
	}
	if of["postgres"] == 0 || of["edge"] == 0 || of["exchange"] == 0 || of["ports"] != 5 {
		t.Errorf("not everything is attacked: %v", of)
	}
	t.Logf("%d probes held in %v", len(report.Outcomes), time.Since(began).Round(100*time.Millisecond))
	h.fails(0, []string{"verified: ", " held; grade: sealed"}, "prove", "--verify", file)
	h.forgedReport(file)
	h.clean()
	h.careless()
	h.interrupted(os.Interrupt)
	h.clean()
	h.interrupted(syscall.SIGKILL)
	h.must("prove", "--probe", "Execute select")
	h.clean()
}

// forgedReport changes a signed report: it does not verify.
func (h *home) forgedReport(file string) {
	h.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), `"held"`, `"HELD"`, 1)), 0o600); err != nil {
		h.Fatal(err)
	}
	h.fails(1, []string{"does not verify"}, "prove", "--verify", file)
	head := filepath.Join(h.dir, "trust", "policy.txt")
	h.fails(1, []string{"does not verify"}, "prove", "--verify", head)
}

// careless puts an application behind the edge that answers whoever comes: the
// prover finds it, though its edge is as good as before.
func (h *home) careless() {
	h.Helper()
	ln, err := net.Listen("tcp", decode[[]struct {
		Upstream string `json:"upstream"`
	}](h, "routes")[0].Upstream[len("http://"):])
	if err != nil {
		h.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Listener.Close()
	s.Listener = ln
	s.Start()
	defer s.Close()
	h.fails(1, []string{"applications behind the edge", "whoever has no Txn-Token", "1 found"}, "prove", "--probe", "ports: applications")
	h.must("prove", "--probe", "edge: ")
}

// An edge without a store and without an exchange is attacked as what it is,
// behind TLS, where every tenant has a host of its own.
func TestProveEdgeAlone(t *testing.T) {
	long(t)
	t.Parallel()
	s := newScene(t)
	r := s.run("--config", s.config, "prove", "--ca", filepath.Join(filepath.Dir(s.config), "idp.pem"))
	if r.code != 0 || strings.Contains(r.out, "postgres/") || !strings.Contains(r.out, "edge/Mirror") || !strings.Contains(r.out, "grade: no store") {
		t.Errorf("%v", r)
	}
	if out := s.must("--config", s.config, "issuer", "list"); strings.Contains(out, "prover-") {
		t.Errorf("identity providers are left: %s", out)
	}
}

// clean wants no tenant, no identity provider and no row of the prover's to be
// left.
func (h *home) clean() {
	h.Helper()
	if out := h.must("tenant", "list"); strings.Contains(out, "prove-") {
		h.Errorf("tenants are left: %s", out)
	}
	if out := h.must("issuer", "list"); strings.Contains(out, "prover-") {
		h.Errorf("identity providers are left: %s", out)
	}
	var n int
	if err := h.super("app").QueryRow(h.Context(), "SELECT count(*) FROM app.isocore_canary").Scan(&n); err != nil || n != 0 {
		h.Errorf("%d canaries are left, %v", n, err)
	}
}

// interrupted sends sig to a prover at its work. Meanwhile there is no second.
func (h *home) interrupted(sig os.Signal) {
	h.Helper()
	c := h.command("prove")
	if err := c.Start(); err != nil {
		h.Fatal(err)
	}
	canaries := h.super("app")
	h.until(20*time.Second, "the prover is at its work", func() bool {
		var n int
		err := canaries.QueryRow(h.Context(), "SELECT count(*) FROM app.isocore_canary").Scan(&n)
		return err == nil && n > 0
	})
	h.fails(1, []string{"another isocore prove runs"}, "prove")
	c.Process.Signal(sig) //nolint:errcheck // its end is waited for
	c.Wait()              //nolint:errcheck // its state is looked at
	if sig == os.Interrupt && c.ProcessState.ExitCode() != 1 {
		h.Errorf("an interrupted prover: %v", c.ProcessState)
	}
}
