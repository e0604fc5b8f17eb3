package e2e

import (
	"encoding/json"
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
			Status string `json:"status"`
		} `json:"outcomes"`
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || !report.Passed || report.Grade != "sealed" || len(report.Outcomes) < 100 {
		t.Errorf("%v, %+v", err, report)
	}
	t.Logf("%d probes held in %v", len(report.Outcomes), time.Since(began).Round(100*time.Millisecond))
	h.fails(0, []string{"verified: ", " held; grade: sealed"}, "prove", "--verify", file)
	h.forgedReport(file)
	h.clean()
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

// clean wants no tenant and no row of the prover's to be left.
func (h *home) clean() {
	h.Helper()
	if out := h.must("tenant", "list"); strings.Contains(out, "prove-") {
		h.Errorf("tenants are left: %s", out)
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
