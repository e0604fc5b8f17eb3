package admin

import (
	"bytes"
	"crypto/rand"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit/bundle"
)

// FuzzOpenReport's oracle: only what was signed opens, byte for byte.
func FuzzOpenReport(f *testing.F) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "a.example/audit")
	if err != nil {
		f.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		f.Fatal(err)
	}
	policy, err := bundle.ParsePolicy("log " + vkey + "\nquorum none\n")
	if err != nil {
		f.Fatal(err)
	}
	var all [][]byte
	for _, text := range []string{reportHead + "{}\n", reportHead + "not JSON\n", "a.example/audit/t/0\n1\nAAAA\n", "{}\n"} {
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(signed)
		all = append(all, signed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		report, err := OpenReport(b, policy)
		if err != nil {
			return
		}
		if !bytes.Equal(b, all[0]) || string(report) != "{}\n" {
			t.Errorf("%q opens as %q", b, report)
		}
	})
}
