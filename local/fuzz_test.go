package local

import (
	"strconv"
	"strings"
	"testing"
)

func FuzzParseVersion(f *testing.F) {
	f.Add("15", "18", " (Debian 15.18-0+deb12u1)\n")
	f.Add("17", "6", "")
	// Oracle: no panic, and a version that was printed is the one that is read.
	f.Fuzz(func(t *testing.T, major, minor, rest string) {
		ma, mi, err := parseVersion("postgres (PostgreSQL) " + major + "." + minor + rest)
		a, err1 := strconv.ParseUint(major, 10, 8)
		b, err2 := strconv.ParseUint(minor, 10, 8)
		printed := err1 == nil && err2 == nil && (rest == "" || strings.HasPrefix(rest, " "))
		if printed && (err != nil || ma != int(a) || mi != int(b)) {
			t.Errorf("%d.%d, %v", ma, mi, err)
		}
	})
}

func FuzzParseInstance(f *testing.F) {
	f.Add("4711 7d4f0d0e-0000-4000-8000-000000000000/123456\n")
	f.Add("1 x\n")
	// Oracle: what is accepted is spelled again, and is never init or a group.
	f.Fuzz(func(t *testing.T, s string) {
		i, err := parseInstance(s)
		if err == nil && (i.String() != s || i.Pid <= 1) {
			t.Errorf("parseInstance(%q) = %+v", s, i)
		}
	})
}

func FuzzOffers(f *testing.F) {
	f.Add(policy("15.18-0+deb12u1"), 15)
	f.Add(policy("(none)"), 17)
	// Oracle: no panic, and nothing below the floor is offered.
	f.Fuzz(func(t *testing.T, s string, m int) {
		if floor, known := floors[m]; offers(s, m) && (!known || !strings.Contains(s, "Candidate: "+strconv.Itoa(m)+".") || floor < 0) {
			t.Errorf("offers(%q, %d)", s, m)
		}
	})
}
