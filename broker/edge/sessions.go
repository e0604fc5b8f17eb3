package edge

import (
	"container/list"
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// Bounds of sessions.
const (
	sessionIdle  = 60 * time.Second
	afterExpiry  = 60 * time.Second // for what was in progress when its token expired
	sweepEvery   = 5 * time.Second
	enterTime    = 10 * time.Second
	leavingAtOne = 64 // sessions whose end is being recorded at once
)

// A key is what makes two requests of one session: the same token from the
// same address. It is compared as it is, and never spelled as one text.
type key struct {
	token [sha256.Size]byte
	peer  netip.Addr
}

// keyOf is the key of every request. Most tokens fit the array, which costs no
// memory.
var keyOf = func(token secret.Text, peer netip.Addr) key {
	var room [1536]byte
	return key{sha256.Sum256(append(room[:0], token.Reveal()...)), peer}
}

// A session is a broker.Session that many requests share, at once or in turn.
type session struct {
	*broker.Session
	key    key
	tokens tokens
	life   context.Context // ends when the principal does, or afterExpiry
	end    context.CancelFunc
	ready  chan struct{} // closed once err is set, and Session unless err is

	err error

	users int           // guarded, as all that follows, by the sessions' mutex
	stays *stay         // those who are told when life ends
	ended bool          // life has, and they were told
	entry bool          // it is one of those that have entered
	used  time.Time     // last
	idle  *list.Element // in the sessions' idle, if nobody uses it
	over  bool          // nobody will find it any more
	why   error         // it is over
}

// sessions are the tokens at work, at most so many.
type sessions struct {
	gate *broker.Gate
	most int
	now  func() time.Time

	mu    sync.Mutex // guards what follows
	all   map[key]*session
	begun int       // those that have entered
	idle  list.List // those nobody uses, the longest unused first

	leaving sync.WaitGroup
	places  chan struct{} // of those who are leaving
}

func newSessions(g *broker.Gate, most int, now func() time.Time) *sessions {
	return &sessions{gate: g, most: most, now: now, all: map[key]*session{}, places: make(chan struct{}, leavingAtOne)}
}

// enter returns the session of a token from peer, for one request that ends
// with release. However many requests come at once, the token enters once.
func (t *sessions) enter(ctx context.Context, token secret.Text, peer netip.Addr) (*session, error) {
	k := keyOf(token, peer)
	for {
		s, first := t.find(k)
		if first {
			t.begin(ctx, s, token)
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			t.release(s)
			return nil, refusal.New(refusal.TooLong, "edge: to enter: %w", context.Cause(ctx))
		}
		if s.err != nil {
			t.release(s)
			return nil, s.err
		}
		if first {
			return s, nil
		}
		// What was verified under another policy, say, is verified anew.
		err := t.gate.Verifier.Live(s.Scope().Principal())
		if err == nil {
			return s, nil
		}
		t.drop(s, err)
		t.release(s)
	}
}

// find returns the session of k, taken, and whether it is for the caller to
// begin.
func (t *sessions) find(k key) (s *session, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.all[k]
	if !ok {
		s = &session{key: k, ready: make(chan struct{})}
		t.all[k] = s
	}
	if s.idle != nil {
		t.idle.Remove(s.idle)
		s.idle = nil
	}
	s.users++
	return s, !ok
}

// begin lets the token of s in, for all who wait for it.
func (t *sessions) begin(ctx context.Context, s *session, token secret.Text) {
	defer close(s.ready)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enterTime)
	defer cancel()
	entered, err := t.gate.Visit(ctx, Name, netip.AddrPortFrom(s.key.peer, 0), token)
	if err != nil {
		s.err = err
		t.drop(s, err)
		return
	}
	s.Session = entered
	s.live(context.WithoutCancel(ctx), t.now())
	_, err = broker.Admit(ctx, entered, table, &request{op: opToken})
	if err == nil {
		err = t.count(s)
	}
	if err != nil {
		s.err = err
		t.drop(s, err)
		return
	}
	context.AfterFunc(s.life, func() {
		t.drop(s, context.Cause(s.life))
		t.tell(s)
	})
}

// live gives s its life, from now on.
func (s *session) live(ctx context.Context, now time.Time) {
	life, end := s.Context(ctx, refusal.Expired)
	ctx, cut := context.WithCancelCause(life)
	until := s.Scope().Principal().Expires().Add(afterExpiry)
	late := time.AfterFunc(until.Sub(now), func() {
		cut(refusal.New(refusal.Expired, "edge: %v after the token", afterExpiry))
	})
	s.life, s.end = ctx, func() {
		late.Stop()
		cut(context.Canceled)
		end()
	}
}

// A stay is that of one exchange in a session, whose end it is told.
type stay struct {
	x            *exchange
	s            *session
	older, newer *stay
}

// stay has the exchange of y told when its session is over, until their part.
func (t *sessions) stay(y *stay) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if y.s.ended {
		go y.x.ended(y)
		return
	}
	if y.older = y.s.stays; y.older != nil {
		y.older.newer = y
	}
	y.s.stays = y
}

// part ends y, and releases its session.
func (t *sessions) part(y *stay) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case y.newer != nil:
		y.newer.older = y.older
	case y.s.stays == y:
		y.s.stays = y.older
	}
	if y.older != nil {
		y.older.newer = y.newer
	}
	y.older, y.newer = nil, nil
	t.releases(y.s)
}

// tell tells all who stay in s, each in a goroutine of its own: they may wait.
func (t *sessions) tell(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.ended = true
	for y := s.stays; y != nil; y = y.older {
		go y.x.ended(y)
	}
}

// count takes s as one of those that have entered, for which the one unused
// for longest may have to go.
func (t *sessions) count(s *session) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun >= t.most {
		oldest := t.idle.Front()
		if oldest == nil {
			return refusal.New(refusal.TooMany, "edge: %d sessions", t.most)
		}
		t.remove(oldest.Value.(*session), refusal.New(refusal.TooMany, "edge: room for another session")) //nolint:errcheck,forcetypeassert // the list has nothing else
	}
	t.begun++
	s.entry = true
	return nil
}

// release says that a request of s is over.
func (t *sessions) release(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.releases(s)
}

// releases is release for who holds the mutex.
func (t *sessions) releases(s *session) {
	s.users--
	if s.users > 0 {
		return
	}
	if s.over {
		t.leave(s)
		return
	}
	s.used = t.now()
	s.idle = t.idle.PushBack(s)
}

// drop lets nobody find s any more, because of why. It leaves when its last
// request has.
func (t *sessions) drop(s *session, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(s, why)
}

// remove is drop for who holds the mutex.
func (t *sessions) remove(s *session, why error) {
	if s.over {
		return
	}
	s.over, s.why = true, why
	if t.all[s.key] == s {
		delete(t.all, s.key)
	}
	if s.entry {
		t.begun--
	}
	if s.idle != nil {
		t.idle.Remove(s.idle)
		s.idle = nil
	}
	if s.users == 0 {
		t.leave(s)
	}
}

// leave records that s is over. Nobody waits for it but close.
func (t *sessions) leave(s *session) {
	if s.Session == nil {
		return
	}
	t.leaving.Go(func() {
		t.places <- struct{}{}
		defer func() { <-t.places }()
		s.end()
		if err := s.Leave(context.Background(), s.why); err != nil {
			return // the trail fails: whoever asks next is told
		}
	})
}

// sweep ends the sessions that are idle, until ctx is done.
func (t *sessions) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.forget(t.now().Add(-sessionIdle))
		case <-ctx.Done():
			return
		}
	}
}

// forget ends the sessions unused since a time.
func (t *sessions) forget(since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.idle.Front(); e != nil; e = t.idle.Front() {
		s, ok := e.Value.(*session)
		if !ok || s.used.After(since) {
			return
		}
		t.remove(s, refusal.New(refusal.TooLong, "edge: unused for %v", sessionIdle))
	}
}

// close ends all sessions, and waits until that is recorded.
func (t *sessions) close() {
	t.mu.Lock()
	for _, s := range t.all {
		t.remove(s, refusal.New(refusal.Draining, "edge: the node goes away"))
	}
	t.mu.Unlock()
	t.leaving.Wait()
}
