package limit

import (
	"testing"

	"github.com/isocore/isocore/refusal"
)

// Other limits hold from the next operation on, for those who are known
// already too; what was counted is counted, and nothing can be unlimited.
func TestSet(t *testing.T) {
	l := limiter(t, func(c *Config) { c.Connections, c.Queue, c.Rate, c.Burst = 3, 3, 1e9, 1e6 })
	p := principals(t, 1)[0]
	if _, err := l.Connect(p); err != nil {
		t.Fatal(err)
	}
	_, r := reserve(l, p, 2)
	want(t, r, granted, "two of three")
	c := config()
	c.Connections, c.Queue, c.Rate, c.Burst = 1, 2, 1e9, 1e6
	if err := l.Set(c); err != nil {
		t.Fatal(err)
	}
	_, err := l.Connect(p)
	want(t, reason(err), refusal.TooMany, "a second connection of one")
	_, r = reserve(l, p, 1)
	want(t, r, refusal.TooFast, "a third of two")
	c.Connections, c.Queue, c.Rate, c.Burst = 2, 100, 0.001, 3
	if err := l.Set(c); err != nil {
		t.Fatal(err)
	}
	_, err = l.Connect(p)
	want(t, reason(err), granted, "a second connection of two")
	_, r = reserve(l, p, 4)
	want(t, r, refusal.TooFast, "over the burst")
	c.Rate = 0
	if err := l.Set(c); err == nil {
		t.Error("no rate is taken for a rate")
	}
}
