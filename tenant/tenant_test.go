package tenant

import (
	"strings"
	"testing"
)

func TestParseIsTheInverseOfString(t *testing.T) {
	for range 1000 {
		id := New()
		again, err := Parse(id.String())
		if err != nil || again != id || id.IsZero() {
			t.Fatalf("Parse(%q) = %v, %v", id, again, err)
		}
		if FromUUID(id.UUID()) != id {
			t.Fatalf("FromUUID(%v.UUID()) is another", id)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := New().String()
	for _, s := range []string{
		"", good[1:], good + "0", strings.ToUpper("a" + good[1:]), " " + good[1:], good[:31] + "\n",
		good[:31] + "g", strings.Repeat("0", 32), "{" + good[1:], good[:8] + "-" + good[9:], good[:31] + "\x00",
	} {
		if id, err := Parse(s); err == nil || !id.IsZero() {
			t.Errorf("Parse(%q) = %v, %v", s, id, err)
		}
	}
}

func TestNames(t *testing.T) {
	for s, want := range map[string]bool{
		"clinic": true, "a1": true, "a-b": true, strings.Repeat("a", 40): true,
		"": false, "a": false, "-ab": false, "ab-": false, "A1": false, "a_b": false, "a b": false, "a/b": false,
		"a\x00b": false, "é1": false, strings.Repeat("a", 41): false, "a:b": false, "a.b": false,
	} {
		if _, err := ParseName(s); (err == nil) != want {
			t.Errorf("ParseName(%q): %v", s, err)
		}
	}
	p, err := ParsePath("north/clinic", "local")
	if err != nil || p.String() != "north/clinic" {
		t.Errorf("ParsePath: %v, %v", p, err)
	}
	p, err = ParsePath("clinic", "local")
	if err != nil || p.String() != "local/clinic" {
		t.Errorf("ParsePath: %v, %v", p, err)
	}
	for _, s := range []string{"/clinic", "a/b/c", "north/", "north//clinic"} {
		if p, err := ParsePath(s, "local"); err == nil {
			t.Errorf("ParsePath(%q) = %v", s, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(New().String())
	f.Add("00000000000000000000000000000000")
	// Oracle: what Parse accepts, String spells again.
	f.Fuzz(func(t *testing.T, s string) {
		id, err := Parse(s)
		if err == nil && (id.String() != s || id.IsZero()) {
			t.Errorf("Parse(%q) spells %q", s, id)
		}
	})
}
