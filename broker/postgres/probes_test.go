package postgres

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/scope"
)

func TestEveryRowHasProbes(t *testing.T) {
	if err := prove.Check((*Broker)(nil).Rows(), Probes()); err != nil {
		t.Error(err)
	}
	for name, rule := range table {
		if _, ok := samples[name]; rule.Verdict == scope.Deny && !ok && name != "FunctionCall" && name != "CopyData" && name != "Replication" {
			t.Errorf("row %q has no sample", name)
		}
	}
	for name := range samples {
		if rule, ok := table[name]; !ok || rule.Verdict != scope.Deny {
			t.Errorf("sample of %q, which is no row that denies", name)
		}
	}
}

// TestEveryKnownAttack: the lists of known attacks that concern this broker
// are tried, or are said not to be.
func TestEveryKnownAttack(t *testing.T) {
	tried := map[string]bool{}
	for _, p := range Probes() {
		for _, ref := range p.Refs {
			tried[ref] = true
		}
	}
	for _, gap := range Gaps() {
		ref, why, ok := strings.Cut(gap, ": ")
		if !ok || why == "" {
			t.Errorf("gap %q has no reason", gap)
		}
		tried[ref] = true
	}
	for list, n := range map[string]int{"holes": 36, "postgres.md": 22} {
		for i := range n {
			if ref := fmt.Sprintf("%s %d", list, i+1); !tried[ref] {
				t.Errorf("%s is neither tried nor listed as a gap", ref)
			}
		}
	}
}

// TestProbes attacks a real deployment with everything there is.
func TestProbes(t *testing.T) {
	p := newProving(t)
	r := prove.Run(t.Context(), p.target, Probes(), prove.Options{Gaps: Gaps()})
	t.Log(r.Summary())
	for _, o := range r.Outcomes {
		if o.Status != prove.Held {
			t.Errorf("%s: %v: %s", o.Probe, o.Status, o.Why)
		}
	}
}

// TestProbesOverTLS: the attacks go the way clients go.
func TestProbesOverTLS(t *testing.T) {
	p := newProving(t)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	certificate, roots := selfSigned(t)
	p.broker.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	if err := p.start(p.addr); err != nil {
		t.Fatal(err)
	}
	p.target.Roots = roots
	r := prove.Run(t.Context(), p.target, prove.Select(Probes(), "postgres/Startup"), prove.Options{})
	if !r.Passed() {
		t.Errorf("%s %q", r.Summary(), r.NotTested)
	}
	p.target.Roots = x509.NewCertPool() // a certificate of somebody else
	r = prove.Run(t.Context(), p.target, prove.Select(Probes(), "postgres/Sync"), prove.Options{})
	for _, o := range r.Outcomes {
		if o.Status != prove.Blind {
			t.Errorf("%s with another certificate: %v", o.Probe, o.Status)
		}
	}
}

// selfSigned returns a certificate of 127.0.0.1 and the pool that trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, roots
}
