package edge

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

func newTable(t *testing.T, most int) (*brokertest.World, *sessions) {
	t.Helper()
	w := brokertest.New(t, Name, brokertest.Limits())
	w.Token(w.A)
	w.Token(w.B)
	s := newSessions(w.Gate, most, time.Now)
	t.Cleanup(s.close)
	return w, s
}

var here, there = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

// begun returns why the sessions of A ended, and how many began.
func begun(t *testing.T, w *brokertest.World, id tenant.ID) (n int, ended []string) {
	t.Helper()
	for _, r := range w.Records(t, id) {
		switch r.Class {
		case audit.ClassSessionBegun:
			n++
		case audit.ClassSessionEnded:
			ended = append(ended, r.Reason)
		default:
		}
	}
	return n, ended
}

func TestOneTokenEntersOnce(t *testing.T) {
	w, s := newTable(t, 8)
	token := w.Token(w.A)
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[*session]bool{}
	for range 50 {
		all.Go(func() {
			one, err := s.enter(t.Context(), token, here)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			seen[one] = true
			s.release(one)
		})
	}
	all.Wait()
	if n, _ := begun(t, w, w.A); n != 1 || len(seen) != 1 {
		t.Errorf("%d sessions of one token, recorded %d times", len(seen), n)
	}
	// Another address, or another token, is another session.
	other, err1 := s.enter(t.Context(), token, there)
	another, err2 := s.enter(t.Context(), w.Token(w.A), here)
	if err := errors.Join(err1, err2); err != nil || other == another || seen[other] || seen[another] {
		t.Errorf("%v", err)
	}
	s.release(other)
	s.release(another)
	s.close()
	if n, ended := begun(t, w, w.A); n != 3 || len(ended) != 3 || ended[0] != "Draining" {
		t.Errorf("%d began, ended for %q", n, ended)
	}
}

// TestRoom: the one unused for longest goes, and nobody who is at work.
func TestRoom(t *testing.T) {
	w, s := newTable(t, 3)
	var tokens []secret.Text
	for range 4 {
		tokens = append(tokens, w.Token(w.A))
	}
	busy := make([]*session, 3)
	for i := range 3 {
		var err error
		if busy[i], err = s.enter(t.Context(), tokens[i], here); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.enter(t.Context(), tokens[3], here); refusal.Of(err) != refusal.TooMany {
		t.Errorf("a fourth of three: %v", err)
	}
	s.release(busy[1])
	s.release(busy[0])
	fourth, err := s.enter(t.Context(), tokens[3], here)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, true} { // 1 was unused for longest
		again, first := s.find(keyOf(tokens[i], here))
		if first == want {
			t.Errorf("session %d is there: %v", i, !first)
		}
		if first {
			again.err = errors.New("not begun")
			close(again.ready)
			s.drop(again, again.err)
		}
		s.release(again)
	}
	s.release(fourth)
	s.release(busy[2])
	if s.begun != 3 || len(s.all) != 3 || s.idle.Len() != 3 {
		t.Errorf("%d of %d, %d idle", s.begun, len(s.all), s.idle.Len())
	}
}

// TestNothingIsKeptOfStrangers: a token that is no good takes no place.
func TestNothingIsKeptOfStrangers(t *testing.T) {
	w, s := newTable(t, 2)
	good, err := s.enter(t.Context(), w.Token(w.A), here)
	if err != nil {
		t.Fatal(err)
	}
	s.release(good)
	for i := range 20 {
		for _, token := range []secret.Text{w.Forged(w.A), w.Expired(w.A), secret.New(fmt.Sprint("x", i))} {
			if _, err := s.enter(t.Context(), token, here); err == nil {
				t.Error("it is let in")
			}
		}
	}
	if len(s.all) != 1 || s.begun != 1 || s.idle.Len() != 1 {
		t.Errorf("%d kept", len(s.all))
	}
}

// TestNobodyOutlivesStanding: what was verified is asked again for each
// request, and what is over leaves by itself.
func TestNobodyOutlivesStanding(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*brokertest.World)
		want   refusal.Reason
	}{
		"suspended":         {func(w *brokertest.World) { w.Standing.Suspend(w.A.UUID()) }, refusal.Suspended},
		"gone":              {func(w *brokertest.World) { w.Standing.Forget(w.A) }, refusal.Unauthenticated},
		"keys gone":         {func(w *brokertest.World) { w.Rotate() }, refusal.Unauthenticated},
		"registry lost":     {func(w *brokertest.World) { w.Standing.Lose() }, refusal.Unavailable},
		"audience replaced": {func(w *brokertest.World) { p := *w.Provider(); p.Audiences = []string{"other"}; w.Register(p) }, refusal.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newTable(t, 8)
			token := w.Token(w.A)
			one, err := s.enter(t.Context(), token, here)
			if err != nil {
				t.Fatal(err)
			}
			s.release(one)
			c.change(w)
			<-one.life.Done()
			if _, err := s.enter(t.Context(), token, here); refusal.Of(err) != c.want {
				t.Errorf("%v", err)
			}
			s.leaving.Wait()
			if n, ended := begun(t, w, w.A); n != 1 || len(ended) != 1 || ended[0] != c.want.String() {
				t.Errorf("%d began, ended for %q", n, ended)
			}
		})
	}
}

func TestShares(t *testing.T) {
	s := newShares("things", 8)
	a, b := tenant.New(), tenant.New()
	if err := s.take(a, 2); err != nil {
		t.Error(err)
	}
	if err := s.take(a, 1); refusal.Of(err) != refusal.TooMany {
		t.Errorf("more than a quarter: %v", err)
	}
	for _, id := range []tenant.ID{b, tenant.New(), tenant.New()} {
		if err := s.take(id, 2); err != nil {
			t.Error(err)
		}
	}
	if err := s.take(tenant.New(), 1); refusal.Of(err) != refusal.TooMany {
		t.Errorf("more than there are: %v", err)
	}
	s.give(b, 2)
	if err := s.take(b, 1); err != nil || len(s.of) != 4 || s.all != 7 {
		t.Errorf("%v, %+v", err, s)
	}
}

// TestStays: who stays is told once, whoever has left before, and who comes
// after the end at once.
func TestStays(t *testing.T) {
	w, all := newTable(t, 8)
	stays := map[int]*stay{}
	told := make(chan int, 9)
	come := func(i int, s *session) {
		x := &exchange{visitor: &visitor{serving: &serving{sessions: all}}}
		x.cancel = func(error) { told <- i }
		stays[i] = &stay{x: x, s: s}
		all.stay(stays[i])
	}
	token := w.Token(w.A)
	enter := func() *session {
		s, err := all.enter(t.Context(), token, here)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for i := range 5 {
		come(i, enter())
	}
	s := stays[0].s
	for _, i := range []int{4, 0, 2} { // the newest, the oldest, one between
		all.part(stays[i])
	}
	w.Standing.Suspend(w.A.UUID())
	if got := []int{<-told, <-told}; got[0]+got[1] != 1+3 {
		t.Errorf("%v are told", got)
	}
	come(5, s)
	if got := <-told; got != 5 {
		t.Errorf("%d is told", got)
	}
	all.part(stays[1])
	all.part(stays[3])
	all.mu.Lock()
	defer all.mu.Unlock()
	if s.stays != nil || s.users != 0 || len(told) > 0 {
		t.Errorf("%v stays of %d, %d are told again", s.stays, s.users, len(told))
	}
}
