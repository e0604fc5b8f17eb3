package published

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
)

// MaxAge is how long keys are believed after the last good answer of their
// publisher.
const MaxAge = 24 * time.Hour

const (
	firstWait = 2 * time.Second // after a failure, doubled at each
	lastWait  = 5 * time.Minute

	// Tokens that name unknown keys cost their senders nothing, so what they
	// make us ask of a publisher is little.
	pause      = 10 * time.Second // between the last fetch and a renewal
	renewals   = 3                // in a row
	renewEvery = 30 * time.Second // in the long run
	renewWait  = 3 * time.Second  // of a renewal for its fetch

	slow       = time.Second     // what a publisher is doubted for
	recordTime = 5 * time.Second // for the record of a change
)

// A source is one place of publication, and what is known of it. It is kept
// by one goroutine, [Fetcher.keep].
type source struct {
	Source
	held  atomic.Pointer[held]
	stop  context.CancelFunc
	gone  chan struct{} // closed when nobody fetches any more
	asked chan struct{} // a renewal; it holds one, sent only where none is under way

	// Only keep touches what follows.
	last     *identity.KeySet // the last one, be it over its age or from another place
	failures int              // since the last good answer
	doubted  bool
	over     bool // its end was announced

	mu     sync.Mutex    // guards what follows
	flight chan struct{} // closed at the end of the fetch asked for or under way; nil if there is none
	landed time.Time     // when the last fetch ended
	bucket *rate.Limiter
}

// held is a set that holds.
type held struct {
	set   *identity.KeySet
	since time.Time // when it replaced another
	until time.Time // when it is over, unless confirmed
}

// newSource returns the source at where, which replaces one for the same
// issuer unless that is nil. Its first fetch is under way.
func newSource(where Source, replaces *source) *source {
	s := &source{
		Source: where,
		gone:   make(chan struct{}),
		asked:  make(chan struct{}, 1),
		flight: make(chan struct{}),
		bucket: rate.NewLimiter(rate.Every(renewEvery), renewals),
	}
	if replaces == nil {
		return s
	}
	if h := replaces.held.Load(); h != nil {
		s.last = h.set
	}
	return s
}

// Renew is for a token that names a key which its issuer's set lacks, and for
// nothing else: a bad signature is no reason to ask anyone. It returns nil if
// another set may be there now, because it was fetched for this call or came a
// moment ago. However many call, an issuer is asked once at a time, not within
// ten seconds of the last time, and every half a minute in the long run.
func (f *Fetcher) Renew(ctx context.Context, issuer string) error {
	s := f.source(issuer)
	if s == nil {
		return refuse(issuer, errors.New("it publishes nowhere"))
	}
	if s.fresh(f.c.Now()) {
		return nil
	}
	flight, err := s.ask(f.c.Now())
	if err != nil {
		return refuse(issuer, err)
	}
	ctx, cancel := context.WithTimeout(ctx, renewWait)
	defer cancel()
	select {
	case <-flight:
	case <-s.gone:
	case <-ctx.Done():
	}
	if s.fresh(f.c.Now()) {
		return nil
	}
	if ctx.Err() != nil {
		return refuse(issuer, ctx.Err())
	}
	return refuse(issuer, errors.New("there are no other keys"))
}

func refuse(issuer string, why error) error {
	return refusal.New(refusal.Unauthenticated, "published: keys of %.100q: %w", issuer, why)
}

// fresh reports whether the set is so new that who asks may have looked at the
// one before.
func (s *source) fresh(now time.Time) bool {
	h := s.held.Load()
	return h != nil && now.Before(h.since.Add(pause))
}

// ask returns the end of the fetch under way. If there is none and it is not
// too soon for one, it begins one.
func (s *source) ask(now time.Time) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight, nil
	}
	if now.Before(s.landed.Add(pause)) || !s.bucket.AllowN(now, 1) {
		return nil, errors.New("it was asked a moment ago")
	}
	s.flight = make(chan struct{})
	s.asked <- struct{}{}
	return s.flight, nil
}

// begin makes the fetch that is due the one that was asked for, if any.
func (s *source) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil {
		s.flight = make(chan struct{})
	}
	select {
	case <-s.asked:
	default:
	}
}

func (s *source) end(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.flight)
	s.flight, s.landed = nil, now
}

// keep fetches s at once, whenever it is time and when asked.
func (f *Fetcher) keep(ctx context.Context, s *source) {
	defer close(s.gone)
	for ctx.Err() == nil {
		due := time.NewTimer(f.refresh(ctx, s))
		select {
		case <-ctx.Done():
		case <-due.C:
		case <-s.asked:
		}
		due.Stop()
	}
}

// refresh fetches s once, and returns how long to wait with the next time.
func (f *Fetcher) refresh(ctx context.Context, s *source) time.Duration {
	s.begin()
	life, err := f.fetch(ctx, s)
	s.end(f.c.Now())
	if ctx.Err() != nil {
		return 0
	}
	if err == nil {
		s.failures, s.over = 0, false
		return ahead(life)
	}
	s.failures++
	f.c.Log.Warn("no keys from an issuer", "issuer", s.Issuer, "uri", s.URI, "failures", s.failures, "err", err)
	return min(backOff(s.failures), f.left(s))
}

// left returns how long the set of s still holds, and says when it is over.
func (f *Fetcher) left(s *source) time.Duration {
	h := s.held.Load()
	if h == nil || s.over {
		return lastWait
	}
	if left := h.until.Sub(f.c.Now()); left > 0 {
		return left
	}
	s.over = true
	f.c.Log.Error("the keys of an issuer are too old: it has none", "issuer", s.Issuer, "uri", s.URI, "until", h.until)
	f.announce()
	return lastWait
}

// fetch asks the publisher and makes its answer hold.
func (f *Fetcher) fetch(ctx context.Context, s *source) (time.Duration, error) {
	leave, err := f.enter(ctx, s)
	if err != nil {
		return 0, err
	}
	begun := f.c.Now()
	d, err := f.get(ctx, s.Source)
	now := f.c.Now()
	s.doubted = err != nil || now.Sub(begun) > slow
	leave()
	if err != nil {
		return 0, err
	}
	set, err := jws.ParsePublished(d.body)
	if err != nil {
		return 0, err
	}
	return d.life, f.settle(ctx, s, set, now)
}

// enter waits for a place among those who fetch. Who failed or was slow shares
// fewer, so that a crowd of them leaves places free.
func (f *Fetcher) enter(ctx context.Context, s *source) (leave func(), err error) {
	if !s.doubted {
		return take(ctx, f.places)
	}
	leaveDoubted, err := take(ctx, f.doubted)
	if err != nil {
		return nil, err
	}
	leavePlace, err := take(ctx, f.places)
	if err != nil {
		leaveDoubted()
		return nil, err
	}
	return func() {
		leavePlace()
		leaveDoubted()
	}, nil
}

func take(ctx context.Context, places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// settle makes set hold, once its difference from the last one is recorded. A
// set that was only confirmed holds longer.
func (f *Fetcher) settle(ctx context.Context, s *source, set *identity.KeySet, now time.Time) error {
	h := s.held.Load()
	if h != nil && h.set.Digest() == set.Digest() {
		s.held.Store(&held{set, h.since, now.Add(MaxAge)})
		if !now.Before(h.until) {
			f.announce()
		}
		return nil
	}
	c, err := compare(s.Issuer, s.last, set)
	if err != nil {
		return err
	}
	if err := f.tell(ctx, c); err != nil {
		return err
	}
	s.last = set
	s.held.Store(&held{set, f.c.Now(), now.Add(MaxAge)})
	f.announce()
	return nil
}

func (f *Fetcher) tell(ctx context.Context, c Change) error {
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.Abrupt() {
		f.c.Log.Warn("more than half of the keys of an issuer changed at once",
			"issuer", c.Issuer, "kept", c.Kept, "added", c.Added, "gone", c.Gone)
	}
	return f.c.KeySet(ctx, c)
}

// ahead returns when to ask again about an answer that is good for life: a
// little before, so that there is time for more than one try, and not when
// everybody else does.
func ahead(life time.Duration) time.Duration {
	return max(minLife, life-life/10-rand.N(life/10))
}

// backOff returns how long to wait after so many failures.
func backOff(failures int) time.Duration {
	wait := min(firstWait<<min(failures-1, 16), lastWait)
	return wait/2 + rand.N(wait/2)
}
