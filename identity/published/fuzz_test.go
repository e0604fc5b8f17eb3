package published

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLifetime(t *testing.T) {
	for lines, want := range map[string]time.Duration{
		"":                                  defaultLife,
		"public":                            defaultLife,
		"s-maxage=7200":                     defaultLife,
		"max-age=7200":                      2 * time.Hour,
		`Max-Age="7200"`:                    2 * time.Hour,
		"public , max-age=7200 ,x":          2 * time.Hour,
		"max-age=7200, max-age=3600":        time.Hour,
		"max-age=3600\nmax-age=7200":        time.Hour,
		"max-age=300":                       minLife,
		"max-age=299":                       minLife,
		"max-age=86400":                     maxLife,
		"max-age=86401":                     maxLife,
		"max-age=99999999999999999999":      maxLife,
		"max-age=-1":                        minLife,
		"max-age=1e9":                       minLife,
		"max-age=7200.0":                    minLife,
		"max-age":                           minLife,
		"max-age=":                          minLife,
		`max-age="`:                         minLife,
		"max-age=7200, no-store":            minLife,
		"NO-STORE":                          minLife,
		"no-cache":                          minLife,
		`no-cache="set-cookie"`:             minLife,
		`ext="no-store, max-age=7200"`:      defaultLife,
		`ext="a\", no-store", max-age=7200`: 2 * time.Hour,
		`ext="open, max-age=7200`:           defaultLife,
		",,,":                               defaultLife,
	} {
		if got := lifetime(strings.Split(lines, "\n")); got != want {
			t.Errorf("%q: %v, want %v", lines, got, want)
		}
	}
	if got := lifetime(nil); got != defaultLife {
		t.Errorf("no line: %v", got)
	}
}

func FuzzLifetime(f *testing.F) {
	for _, line := range []string{"", "max-age=7200", `ext="a\",b", max-age=86401`, "no-store", "max-age=600,max-age=1e9"} {
		f.Add(line, uint32(7200))
	}
	// Oracle "shorter and in bounds": whatever stands before it, a max-age of our
	// own spelling behind it is never exceeded and the bounds hold; alone it is
	// read back; and no-store before everything is the minimum.
	f.Fuzz(func(t *testing.T, line string, age uint32) {
		own := time.Duration(age%(uint32(maxLife/time.Second)+1)) * time.Second
		ours := fmt.Sprintf("max-age=%d", own/time.Second)
		if got := lifetime([]string{ours}); got != max(minLife, own) {
			t.Errorf("%q is %v", ours, got)
		}
		got := lifetime([]string{ours, line})
		if got < minLife || got > max(minLife, own) {
			t.Errorf("%q and %q: %v", ours, line, got)
		}
		if got := lifetime([]string{line}); got < minLife || got > maxLife {
			t.Errorf("%q: %v", line, got)
		}
		if got := lifetime([]string{"no-store", line}); got != minLife {
			t.Errorf("no-store and %q: %v", line, got)
		}
	})
}

func FuzzAdmits(f *testing.F) {
	for _, a := range []string{"8.8.8.8", "127.0.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "fe80::1", "2606:4700::1111"} {
		f.Add(netip.MustParseAddr(a).AsSlice())
	}
	// Oracle "the library's words": what is admitted is by net/netip's own
	// account global unicast and not private, and is so under every spelling;
	// and what is admitted as public is admitted as private.
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok || (Source{}).admits(a) != nil {
			return
		}
		plain := a.Unmap()
		if !plain.IsGlobalUnicast() || plain.IsPrivate() || plain.IsLoopback() || plain.IsLinkLocalUnicast() {
			t.Errorf("%s is admitted", a)
		}
		if plain.Is4() && slices.Contains([]byte{0, 10, 127}, plain.As4()[0]) {
			t.Errorf("%s is admitted", a)
		}
		if err := (Source{}).admits(netip.AddrFrom16(a.As16())); err != nil {
			t.Errorf("%s, mapped: %v", a, err)
		}
		if err := (Source{Private: true}).admits(a); err != nil {
			t.Errorf("%s, private: %v", a, err)
		}
	})
}
