package bundle

import (
	"flag"
	"os"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write testdata again")

// versionOne is a bundle of the first version: records 6 to 12 of 20, with the
// head of 4 as previous one.
const versionOne = "testdata/version1.bundle"

// What was exported once is verified for ever.
func TestVersionOne(t *testing.T) {
	if *update {
		l := newLog(t, 20)
		b := export(t, l, Export{Window: Window{From: 6, To: 13}, Previous: head(t, l, id(1), 4)})
		if err := os.WriteFile(versionOne, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(versionOne)
	if err != nil {
		t.Fatal(err)
	}
	r := mustVerify(t, b, Options{Policy: policy(t)})
	if got := txns(t, r); !slices.Equal(got, numbers(id(1), 6, 13)) || r.Head.Size != 20 || r.Manifest.Previous.Size != 4 {
		t.Errorf("%v, %+v", got, r.Manifest)
	}
	mustVerify(t, b, Options{Policy: policy(t), Pin: &r.Manifest.Previous})
}
