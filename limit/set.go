package limit

import (
	"golang.org/x/time/rate"
)

// Set gives every tenant the limits of c, from its next operation on. What
// is counted stays counted, and what c says of strangers, and of how many
// tenants are remembered, is left as it was.
func (l *Limiter) Set(c Config) error {
	if _, err := New(c); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c.Connections, l.c.Sessions, l.c.Rate, l.c.Burst = c.Connections, c.Sessions, c.Rate, c.Burst
	l.c.Queue, l.c.RecordBytes = c.Queue, c.RecordBytes
	now := l.c.Now()
	for _, u := range l.tenants {
		u.bucket.SetLimitAt(now, rate.Limit(c.Rate))
		u.bucket.SetBurstAt(now, c.Burst)
	}
	return nil
}
