package registry

import (
	"maps"

	"github.com/isocore/isocore/tenant"
)

// A member is where a principal belongs.
type member struct {
	tenant tenant.ID
	issuer [16]byte
}

// A roll is all principals, in memory: they are only ever added, some hundred
// bytes each, and [maxPrincipals] bounds them. The alternative, a cache of
// those seen, would need I/O in Check for the others or a refusal of people
// who did nothing wrong.
//
// It is immutable, in layers of falling size, so that one more principal does
// not copy a million: a layer takes in the next when that is half as large.
type roll []map[[16]byte]member

func (r roll) find(id [16]byte) (member, bool) {
	for _, layer := range r {
		if m, ok := layer[id]; ok {
			return m, true
		}
	}
	return member{}, false
}

func (r roll) size() (n int) {
	for _, layer := range r {
		n += len(layer)
	}
	return n
}

// with returns r and more, which it takes over.
func (r roll) with(more map[[16]byte]member) roll {
	if len(more) == 0 {
		return r
	}
	n := len(r)
	for n > 0 && len(r[n-1]) <= 2*len(more) {
		merged := maps.Clone(r[n-1])
		maps.Copy(merged, more)
		more, n = merged, n-1
	}
	return append(r[:n:n], more)
}

// only returns those of r that ok says yes to.
func (r roll) only(ok func(member) bool) roll {
	kept := make(map[[16]byte]member, r.size())
	for _, layer := range r {
		for id, m := range layer {
			if ok(m) {
				kept[id] = m
			}
		}
	}
	return roll(nil).with(kept)
}

// crowds returns how many of r each tenant has.
func (r roll) crowds() map[tenant.ID]int {
	n := make(map[tenant.ID]int)
	for _, layer := range r {
		for _, m := range layer {
			n[m.tenant]++
		}
	}
	return n
}
