package limit

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/identitytest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

func config() Config {
	return Config{
		Connections: 2, Sessions: 3, Rate: 10, Burst: 20, Queue: 30, RecordBytes: 1 << 20,
		Strangers: 5, StrangersPerNet: 3, Tenants: 100, Now: time.Now,
	}
}

func limiter(t *testing.T, change func(*Config)) *Limiter {
	t.Helper()
	c := config()
	change(&c)
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func principals(t *testing.T, n int) []identity.Principal {
	t.Helper()
	d := identitytest.New(t)
	ps := make([]identity.Principal, n)
	for i := range ps {
		ps[i] = d.Principal(t, tenant.New(), "pg:read")
	}
	return ps
}

func ops(n int) []scope.Operation {
	return slices.Repeat([]scope.Operation{{Name: "select", Text: []byte("select 1")}}, n)
}

func reserve(l *Limiter, p identity.Principal, n int) (Hold, refusal.Reason) {
	h, err := l.Reserve(p, ops(n))
	return h, reason(err)
}

// granted is no Reason: there was nothing to refuse.
const granted = refusal.Draining + 1

func reason(err error) refusal.Reason {
	if err == nil {
		return granted
	}
	return refusal.Of(err)
}

func want(t *testing.T, got, want refusal.Reason, what string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %d %v, want %d %v", what, got, got, want, want)
	}
}

func TestNewSaysEverythingMissing(t *testing.T) {
	_, err := New(Config{})
	for _, name := range []string{"Connections", "Rate", "Burst", "Queue", "RecordBytes", "Strangers", "StrangersPerNet", "Tenants", "Now"} {
		if err == nil || !strings.Contains(err.Error(), " "+name+" ") {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

func TestNothingMeansNo(t *testing.T) {
	var zero Limiter
	p := principals(t, 1)[0]
	_, errReserve := zero.Reserve(p, ops(1))
	_, errConnect := zero.Connect(p)
	_, errArrive := zero.Arrive(netip.MustParseAddr("127.0.0.1"))
	if errReserve == nil || errConnect == nil || errArrive == nil {
		t.Error("a zero Limiter lets something through")
	}
	l := limiter(t, func(*Config) {})
	_, err := l.Reserve(identity.Principal{}, ops(1))
	want(t, reason(err), refusal.Unauthenticated, "nobody reserves")
	_, err = l.Connect(identity.Principal{})
	want(t, reason(err), refusal.Unauthenticated, "nobody connects")
}

func TestRateIsOfOneTenant(t *testing.T) {
	ps := principals(t, 2)
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, func(*Config) {})
		use := func(p identity.Principal, n int) refusal.Reason {
			h, r := reserve(l, p, n)
			if h != nil {
				h.Settle(audit.Result{})
			}
			return r
		}
		want(t, use(ps[0], 20), granted, "the burst")
		want(t, use(ps[0], 1), refusal.TooFast, "one more")
		want(t, use(ps[1], 20), granted, "the burst of somebody else")
		time.Sleep(500 * time.Millisecond)
		want(t, use(ps[0], 6), refusal.TooFast, "more than half a second's")
		want(t, use(ps[0], 5), granted, "half a second's, after a refusal that took nothing")
		time.Sleep(time.Hour)
		want(t, use(ps[0], 21), refusal.TooFast, "more than the burst after an hour")
		want(t, use(ps[0], 20), granted, "the burst after an hour")
	})
}

func TestQueueIsGivenBackOnce(t *testing.T) {
	ps := principals(t, 2)
	l := limiter(t, func(c *Config) { c.Rate, c.Burst, c.Queue = 1e9, 1e6, 3 })
	first, r := reserve(l, ps[0], 2)
	want(t, r, granted, "two of three")
	_, r = reserve(l, ps[0], 2)
	want(t, r, refusal.TooFast, "four of three")
	_, r = reserve(l, ps[1], 3)
	want(t, r, granted, "three of somebody else's")
	second, r := reserve(l, ps[0], 1)
	want(t, r, granted, "the third")
	first.Settle(audit.Result{})
	first.Settle(audit.Result{})
	_, r = reserve(l, ps[0], 3)
	want(t, r, refusal.TooFast, "three when two are free")
	second.Settle(audit.Result{})
	_, r = reserve(l, ps[0], 3)
	want(t, r, granted, "three when three are free")
}

func TestBudgetIsOfADay(t *testing.T) {
	ps := principals(t, 2)
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, func(c *Config) { c.Queue, c.RecordBytes = 1000, 25_000 })
		long := []scope.Operation{{Name: "select", Resources: []string{"person"}, Text: make([]byte, 1<<20)}}
		for range 2 {
			_, err := l.Reserve(ps[0], long)
			want(t, reason(err), granted, "a long text weighs what is kept of it")
		}
		_, err := l.Reserve(ps[0], long)
		want(t, reason(err), refusal.OverBudget, "a third")
		h, r := reserve(l, ps[0], 1)
		want(t, r, granted, "a short one")
		h.Settle(audit.Result{Provenance: make([][32]byte, 100)})
		_, r = reserve(l, ps[0], 1)
		want(t, r, refusal.OverBudget, "after what went into a context window")
		_, r = reserve(l, ps[1], 1)
		want(t, r, granted, "somebody else")
		time.Sleep(24 * time.Hour)
		_, err = l.Reserve(ps[0], long)
		want(t, reason(err), granted, "the next day")
	})
}

func TestConnectionsAreOfOneTenant(t *testing.T) {
	ps := principals(t, 2)
	l := limiter(t, func(*Config) {})
	release, err := l.Connect(ps[0])
	want(t, reason(err), granted, "first")
	_, err = l.Connect(ps[0])
	want(t, reason(err), granted, "second")
	_, err = l.Connect(ps[0])
	want(t, reason(err), refusal.TooMany, "third")
	_, err = l.Connect(ps[1])
	want(t, reason(err), granted, "somebody else's")
	release()
	release()
	_, err = l.Connect(ps[0])
	want(t, reason(err), granted, "after one left")
	_, err = l.Connect(ps[0])
	want(t, reason(err), refusal.TooMany, "one left once")
}

func TestStrangers(t *testing.T) {
	l := limiter(t, func(*Config) {})
	arrive := func(s string) (func(), refusal.Reason) {
		release, err := l.Arrive(netip.MustParseAddr(s))
		return release, reason(err)
	}
	leave, r := arrive("192.0.2.1")
	want(t, r, granted, "first of a /24")
	_, r = arrive("::ffff:192.0.2.200")
	want(t, r, granted, "the same /24 as IPv6")
	_, r = arrive("192.0.2.3")
	want(t, r, granted, "third of a /24")
	_, r = arrive("192.0.2.4")
	want(t, r, refusal.TooMany, "fourth of a /24")
	leaveSix, r := arrive("2001:db8:1:2::1")
	want(t, r, granted, "a /48")
	_, r = arrive("2001:db8:1:3::1%eth0")
	want(t, r, granted, "the same /48")
	_, r = arrive("2001:db8:2::1")
	want(t, r, refusal.TooMany, "a sixth of five in all")
	leave()
	leave()
	_, err := l.Arrive(netip.Addr{})
	want(t, reason(err), granted, "a unix socket")
	_, r = arrive("203.0.113.1")
	want(t, r, refusal.TooMany, "one left once")
	leaveSix()
	if len(l.door.byNet) != 3 || l.door.all != 4 {
		t.Errorf("%d networks and %d strangers are remembered", len(l.door.byNet), l.door.all)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	ps := principals(t, 8)
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, func(c *Config) { c.Tenants = 4 })
		for _, p := range ps[2:4] {
			leave, err := l.Connect(p)
			want(t, reason(err), granted, "passing by")
			leave()
		}
		time.Sleep(24 * time.Hour) // their records were yesterday's
		release, err := l.Connect(ps[0])
		want(t, reason(err), granted, "connected")
		h, r := reserve(l, ps[1], 1)
		want(t, r, granted, "in progress")
		for _, p := range ps[4:6] {
			_, err := l.Connect(p)
			want(t, reason(err), granted, "instead of the idle")
		}
		_, err = l.Connect(ps[6])
		want(t, reason(err), refusal.TooMany, "when all are busy")
		release()
		h.Settle(audit.Result{})
		_, err = l.Connect(ps[6])
		want(t, reason(err), refusal.TooMany, "not looked at again within a second")
		time.Sleep(time.Second)
		_, err = l.Connect(ps[6])
		want(t, reason(err), refusal.TooMany, "who wrote today is not forgotten, gone or not")
		time.Sleep(24 * time.Hour)
		_, err = l.Connect(ps[6])
		want(t, reason(err), granted, "when one has left")
		h, r = reserve(l, ps[1], 1)
		want(t, r, granted, "another writes")
		h.Settle(audit.Result{})
		_, err = l.Connect(ps[7])
		want(t, reason(err), refusal.TooMany, "who wrote today is not forgotten today")
		time.Sleep(24 * time.Hour)
		_, err = l.Connect(ps[7])
		want(t, reason(err), granted, "and tomorrow is")
		if len(l.tenants) > 4 {
			t.Errorf("%d tenants are remembered", len(l.tenants))
		}
	})
}

// At no time do more hold than may, and in the end nobody holds anything.
func TestConcurrentUse(t *testing.T) {
	ps := principals(t, 4)
	l := limiter(t, func(c *Config) { c.Rate, c.Burst, c.RecordBytes, c.Tenants = 1e9, 1e6, 1<<40, 3 })
	var all sync.WaitGroup
	errs := make(chan error, 64)
	for i := range 16 {
		p := ps[i%len(ps)]
		all.Go(func() {
			for range 200 {
				errs <- once(l, p)
			}
		})
	}
	go func() { all.Wait(); close(errs) }()
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	for id, u := range l.tenants {
		if u.connections != 0 || u.queued != 0 {
			t.Errorf("%s still holds %+v", id, u)
		}
	}
	if l.door.all != 0 || len(l.door.byNet) != 0 {
		t.Errorf("the door still holds %d", l.door.all)
	}
}

func once(l *Limiter, p identity.Principal) error {
	leave, err := l.Arrive(netip.AddrFrom4([4]byte{10, 0, 0, 1}))
	if err != nil {
		return only(err, refusal.TooMany)
	}
	defer leave()
	release, err := l.Connect(p)
	if err != nil {
		return only(err, refusal.TooMany)
	}
	defer release()
	h, err := l.Reserve(p, ops(20))
	if err != nil {
		return only(err, refusal.TooFast)
	}
	l.mu.Lock()
	u := l.tenants[p.Tenant()]
	over := u.queued > l.c.Queue || u.connections > l.c.Connections
	l.mu.Unlock()
	h.Settle(audit.Result{})
	if over {
		return errors.New("more than may")
	}
	return nil
}

func only(err error, r refusal.Reason) error {
	if refusal.Of(err) != r {
		return fmt.Errorf("not %v: %w", r, err)
	}
	return nil
}

func BenchmarkReserve(b *testing.B) {
	d := identitytest.New(b)
	p := d.Principal(b, tenant.New(), "pg:read")
	c := config()
	c.Rate, c.Burst, c.RecordBytes = 1e12, 1<<30, 1<<60
	l, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	one := ops(1)
	b.ReportAllocs()
	for b.Loop() {
		h, err := l.Reserve(p, one)
		if err != nil {
			b.Fatal(err)
		}
		h.Settle(audit.Result{})
	}
}

// Connecting is an operation, and its records are paid for: neither is a way
// around the limits.
func TestConnectingIsPaidFor(t *testing.T) {
	p := principals(t, 1)[0]
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, func(c *Config) { c.Burst, c.Rate, c.Connections = 3, 1, 100 })
		for range 3 {
			_, err := l.Connect(p)
			want(t, reason(err), granted, "in the burst")
		}
		_, err := l.Connect(p)
		want(t, reason(err), refusal.TooFast, "beyond it")
	})
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, func(c *Config) { c.RecordBytes, c.Connections = 2*connectWeight, 100 })
		for range 2 {
			_, err := l.Connect(p)
			want(t, reason(err), granted, "within the budget")
		}
		_, err := l.Connect(p)
		want(t, reason(err), refusal.OverBudget, "beyond it")
	})
}
