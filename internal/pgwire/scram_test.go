package pgwire

import (
	"strings"
	"testing"

	"github.com/isocore/isocore/secret"
)

// The exchange of RFC 7677, section 3.
const (
	clientNonce = "rOprNGfwEbeRWgbNEkqO"
	serverFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	clientFinal = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	serverFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func TestSCRAMSpeaksRFC7677(t *testing.T) {
	s := newSCRAM("user", secret.New("pencil"), clientNonce)
	if got := string(s.First()); got != "n,,n=user,r="+clientNonce {
		t.Errorf("first: %s", got)
	}
	got, err := s.Continue([]byte(serverFirst))
	if err != nil || string(got) != clientFinal {
		t.Errorf("final: %s, %v", got, err)
	}
	if err := s.Finish([]byte(serverFinal)); err != nil {
		t.Error(err)
	}
	if err := s.Finish([]byte(serverFinal)); err == nil {
		t.Error("it finishes twice")
	}
}

func TestSCRAMRefusesTheStore(t *testing.T) {
	for name, first := range map[string]string{
		"nothing":             "",
		"another nonce":       strings.Replace(serverFirst, "rOpr", "xOpr", 1),
		"our nonce only":      "r=" + clientNonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"no salt":             "r=" + clientNonce + "x,s=,i=4096",
		"salt with a newline": "r=" + clientNonce + "x,s=W22Z\n,i=4096",
		"few iterations":      strings.Replace(serverFirst, "i=4096", "i=4095", 1),
		"many iterations":     strings.Replace(serverFirst, "i=4096", "i=99999999", 1),
		"not a number":        strings.Replace(serverFirst, "i=4096", "i=x", 1),
		"an extension":        serverFirst + ",m=x",
		"a mandatory one":     "m=x," + serverFirst,
		"too long":            serverFirst + strings.Repeat("0", maxServer),
	} {
		s := newSCRAM("user", secret.New("pencil"), clientNonce)
		s.First()
		if got, err := s.Continue([]byte(first)); err == nil {
			t.Errorf("%s: %s", name, got)
		}
		if err := s.Finish([]byte(serverFinal)); err == nil {
			t.Errorf("%s, and it finishes", name)
		}
	}
	for name, final := range map[string]string{
		"nothing": "", "an error": "e=other-error", "another key": "v=" + strings.Repeat("A", 43) + "=", "not base64": "v=!", "junk": serverFinal + "\n",
	} {
		s := newSCRAM("user", secret.New("pencil"), clientNonce)
		s.First()
		if _, err := s.Continue([]byte(serverFirst)); err != nil {
			t.Fatal(err)
		}
		if err := s.Finish([]byte(final)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestNewSCRAM(t *testing.T) {
	for _, password := range []string{"", "é", "a\nb", "\x00"} {
		if _, err := NewSCRAM("", secret.New(password)); err == nil {
			t.Errorf("%q is accepted", password)
		}
	}
	a, err := NewSCRAM("a=b,c", secret.New("pencil"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewSCRAM("", secret.New("pencil"))
	if err != nil || a.nonce == b.nonce || len(a.nonce) < 20 {
		t.Errorf("nonces %q and %q, %v", a.nonce, b.nonce, err)
	}
	if got := string(a.First()); !strings.HasPrefix(got, "n,,n=a=3Db=2Cc,r=") {
		t.Errorf("first: %s", got)
	}
	if _, err := b.Continue([]byte(serverFirst)); err == nil {
		t.Error("it continues before it began")
	}
}
