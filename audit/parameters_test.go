package audit

import (
	"bytes"
	"testing"

	"github.com/isocore/isocore/audit/trail"
)

// What is kept of bound parameters is what the configuration says, and equal
// values of one log have equal digests.
func TestParameters(t *testing.T) {
	given := [][]byte{[]byte("100001"), nil, []byte("100001"), {}}
	for mode, want := range map[Parameters]struct{ values, digests int }{
		DigestParameters: {0, 4}, FullParameters: {4, 0}, NoParameters: {0, 0},
	} {
		c := config(t, t.TempDir(), &memory{})
		c.Parameters = mode
		l, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		r := statement(id(1), "x")
		r.Parameters = given
		receipt, err := l.Append(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receipt.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		err = l.Tail(t.Context(), id(1), 0, func(o Opened) error {
			p, d := o.Record.Parameters, o.Record.Digests
			if len(p) != want.values || len(d) != want.digests {
				t.Errorf("mode %d keeps %d values and %d digests", mode, len(p), len(d))
			}
			if len(d) == 4 && (d[1] != nil || !bytes.Equal(d[0], d[2]) || bytes.Equal(d[0], d[3]) || len(d[3]) != 32) {
				t.Errorf("digests %x", d)
			}
			if len(p) == 4 && (p[1] != nil || string(p[0]) != "100001" || p[3] == nil) {
				t.Errorf("values %q", p)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var a, b [32]byte
	b[0] = 1
	one, err := trail.ParameterDigests(a, given)
	if err != nil {
		t.Fatal(err)
	}
	two, err := trail.ParameterDigests(b, given)
	if err != nil || bytes.Equal(one[0], two[0]) {
		t.Error("another log's key makes the same digest", err)
	}
}
