package limit

import (
	"net/netip"
	"sync"

	"github.com/isocore/isocore/refusal"
)

// A door counts who has come and not said yet who they are. What it remembers
// is bounded by how many may stand there.
type door struct {
	mu    sync.Mutex // guards what follows
	all   int
	byNet map[netip.Prefix]int
}

// Arrive takes one of the places for connections that are not authenticated
// yet; release gives it back, once. Those without an address, as on a unix
// socket, are one network.
func (l *Limiter) Arrive(addr netip.Addr) (release func(), err error) {
	from := network(addr)
	d := &l.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all >= l.c.Strangers {
		return nil, refusal.New(refusal.TooMany, "limit: %d connections are not authenticated", d.all)
	}
	if d.byNet[from] >= l.c.StrangersPerNet {
		return nil, refusal.New(refusal.TooMany, "limit: %d connections from %v are not authenticated", d.byNet[from], from)
	}
	if d.byNet == nil {
		d.byNet = make(map[netip.Prefix]int)
	}
	d.all++
	d.byNet[from]++
	return sync.OnceFunc(func() { d.leave(from) }), nil
}

func (d *door) leave(from netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all--
	if d.byNet[from]--; d.byNet[from] == 0 {
		delete(d.byNet, from)
	}
}

// network returns the /24 or /48 that addr is in: what one customer of a
// provider is commonly given, so that nobody multiplies by changing address.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	p, _ := addr.Prefix(bits) // an address without a network is in the zero one
	return p
}
