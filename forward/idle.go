package forward

import (
	"context"
	"sync"
	"time"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// links are the connections to one application: each of one tenant, all of
// them bounded, the idle ones closed in the order of their age.
type links struct {
	c UpstreamConfig

	mu             sync.Mutex // guards what follows
	places         map[tenant.ID]*place
	open           int // lent, idle, or being made
	oldest, newest *link
	closed         bool
	sweep          *time.Timer // when there are idle ones
}

// A place is what one tenant has.
type place struct {
	open int
	idle []*link // the newest last
}

// reuse returns an idle connection of t, if one is as it was left.
func (s *links) reuse(t tenant.ID) *link {
	for {
		s.mu.Lock()
		l := s.pop(t)
		s.mu.Unlock()
		if l == nil || l.silent() {
			return l
		}
		s.destroy(l)
	}
}

// pop takes the newest idle connection of t out of its place.
func (s *links) pop(t tenant.ID) *link {
	p := s.places[t]
	if p == nil || len(p.idle) == 0 {
		return nil
	}
	last := len(p.idle) - 1
	l := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	s.unlink(l)
	return l
}

// fresh returns a new connection for t.
func (s *links) fresh(ctx context.Context, t tenant.ID) (*link, error) {
	if err := s.reserve(t); err != nil {
		return nil, err
	}
	conn, raw, err := s.c.connect(ctx)
	if err == nil {
		var l *link
		if l, err = newLink(conn, raw, t, s.c.Idle); err == nil {
			return l, nil
		}
		raw.Close() //nolint:errcheck // it was never used
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack(t)
	return nil, err
}

// reserve counts a connection for t that is about to be made. If there are as
// many as may be, the one that was idle for longest makes room.
func (s *links) reserve(t tenant.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.places[t]
	switch {
	case s.closed:
		return refusal.New(refusal.Draining, "forward: the upstream %s is closed", s.c.Address)
	case p != nil && p.open >= s.c.Each:
		return refusal.New(refusal.TooMany, "forward: tenant %s has %d connections to %s", t, s.c.Each, s.c.Address)
	case s.open >= s.c.Max && s.oldest == nil:
		return refusal.New(refusal.TooMany, "forward: %d connections to %s", s.c.Max, s.c.Address)
	case s.open >= s.c.Max:
		s.evict(s.oldest)
	}
	s.open++
	if p = s.places[t]; p == nil {
		p = &place{}
		s.places[t] = p
	}
	p.open++
	return nil
}

// giveBack is the inverse of reserve.
func (s *links) giveBack(t tenant.ID) {
	s.open--
	p := s.places[t]
	if p.open--; p.open == 0 {
		delete(s.places, t)
	}
}

// evict closes an idle connection: of its tenant's, it is the oldest.
func (s *links) evict(l *link) {
	s.unlink(l)
	p := s.places[l.owner]
	p.idle[0] = nil
	p.idle = append(p.idle[:0], p.idle[1:]...)
	l.cut()
	s.giveBack(l.owner)
}

// unlink takes l out of the order of age.
func (s *links) unlink(l *link) {
	if l.older == nil {
		s.oldest = l.newer
	} else {
		l.older.newer = l.newer
	}
	if l.newer == nil {
		s.newest = l.older
	} else {
		l.newer.older = l.older
	}
	l.older, l.newer = nil, nil
}

// keep takes l back, in step and silent, for another request of its tenant.
func (s *links) keep(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.cut()
		s.giveBack(l.owner)
		return
	}
	l.since = time.Now()
	p := s.places[l.owner]
	p.idle = append(p.idle, l)
	l.older = s.newest
	if s.newest == nil {
		s.oldest = l
	} else {
		s.newest.newer = l
	}
	s.newest = l
	if s.sweep == nil {
		s.sweep = time.AfterFunc(s.c.Idle, s.expire)
	}
}

// expire closes what has been idle for too long, and comes again for the rest.
func (s *links) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.oldest != nil && time.Since(s.oldest.since) >= s.c.Idle {
		s.evict(s.oldest)
	}
	if s.oldest == nil {
		s.sweep = nil
		return
	}
	s.sweep.Reset(s.c.Idle - time.Since(s.oldest.since))
}

// destroy ends l, which was lent.
func (s *links) destroy(l *link) {
	l.cut()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack(l.owner)
}

// close ends what is idle, and what is not once it is.
func (s *links) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.oldest != nil {
		s.evict(s.oldest)
	}
	if s.sweep != nil {
		s.sweep.Stop()
	}
}
