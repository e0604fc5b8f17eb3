package protect_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/tenant"
)

// FuzzContext encodes claims. Oracle: injectivity. Claims that differ in any
// one field, or the same for another backend, never share a MAC; what cannot
// be told apart in the text is refused before.
func FuzzContext(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), []byte("fedcba9876543210"), "pg:read pg:write", int64(1), int64(2), uint32(3))
	f.Add([]byte("0123456789abcdef"), []byte("fedcba9876543210"), "", int64(1), int64(1<<40), uint32(0))
	f.Add([]byte("a"), []byte("b"), "x  y", int64(-1), int64(2), uint32(3))
	k := protect.NewKey()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, who, principal []byte, reach string, issued, life int64, pid uint32) {
		var c protect.Claims
		var id [16]byte
		copy(id[:], who)
		copy(c.Principal[:], principal)
		c.Tenant = tenant.FromUUID(id)
		c.Reach = strings.Split(reach, " ")
		c.IssuedAt, c.Expires = time.UnixMicro(issued), time.UnixMicro(issued).Add(time.Duration(life))
		text := k.Context(c, pid, start)
		if (text == "") != (c.Check() != nil) {
			t.Fatalf("context %q, check %v", text, c.Check())
		}
		if text == "" {
			return
		}
		if text[170:] != reach {
			t.Errorf("reach %q was written as %q", reach, text[170:])
		}
		mac := k.MAC(text, pid, start)
		for i := 10; i < len(text); i++ {
			if i >= 106 && i < 170 {
				continue // the MAC itself
			}
			other := []byte(text)
			other[i] ^= 1
			if sum := k.MAC(string(other), pid, start); bytes.Equal(sum[:], mac[:]) {
				t.Fatalf("byte %d is not under the MAC", i)
			}
		}
		if k.MAC(text, pid^1, start) == mac || k.MAC(text, pid, start.Add(time.Microsecond)) == mac {
			t.Error("the backend is not under the MAC")
		}
	})
}
