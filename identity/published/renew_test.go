package published

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/refusal"
)

func TestRotationLeavesNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		w.start()
		defer w.stop()
		time.Sleep(pause)

		// The new set is on its way for two seconds: the old one holds meanwhile.
		d := doc(t, "a", "b")
		w.at(issuer, func(context.Context) (document, error) {
			time.Sleep(2 * time.Second)
			return document{d, defaultLife}, nil
		})
		renewed := make(chan error)
		go func() { renewed <- w.Renew(t.Context(), issuer) }()
		for range 19 {
			time.Sleep(100 * time.Millisecond)
			w.want("a")
		}
		if err := <-renewed; err != nil {
			t.Errorf("a renewal that brought a key: %v", err)
		}
		w.want("ab")

		// Who had looked at the old one may look again, at no cost.
		n := len(w.times(issuer))
		if err := w.Renew(t.Context(), issuer); err != nil || len(w.times(issuer)) != n {
			t.Errorf("a moment after the change: %v, %d fetches more", err, len(w.times(issuer))-n)
		}

		// The old key goes, and a renewal on another's behalf shows it.
		time.Sleep(time.Minute)
		w.has("b")
		if err := w.Renew(t.Context(), issuer); err != nil {
			t.Error(err)
		}
		w.want("b")
	})
}

func TestAFloodOfUnknownKeysAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		w.start()
		defer w.stop()
		time.Sleep(time.Minute)
		before := len(w.times(issuer))
		var all sync.WaitGroup
		var refused atomic.Int64
		for range 10000 {
			all.Go(func() {
				if refusal.Of(w.Renew(t.Context(), issuer)) == refusal.Unauthenticated {
					refused.Add(1)
				}
			})
		}
		all.Wait()
		if n := len(w.times(issuer)) - before; n != 1 {
			t.Errorf("10,000 renewals at once are %d fetches", n)
		}
		if refused.Load() != 10000 {
			t.Errorf("%d of 10,000 were refused", refused.Load())
		}
	})
}

func TestALongFloodIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		d := doc(t, "a")
		w.at(issuer, func(context.Context) (document, error) { return document{d, maxLife}, nil })
		w.start()
		defer w.stop()
		for range 3600 {
			time.Sleep(time.Second)
			if err := w.Renew(t.Context(), issuer); err == nil && len(w.times(issuer)) > 1 {
				t.Fatal("there are no other keys, and it said there may be")
			}
		}
		all := w.times(issuer)
		if n := len(all); n < 100 || n > 1+renewals+int(time.Hour/renewEvery) {
			t.Errorf("%d fetches in an hour", n)
		}
		for i := 1; i < len(all); i++ {
			if gap := all[i].Sub(all[i-1]); gap < pause {
				t.Errorf("two fetches within %v", gap)
			}
		}

		// What the flood spent is not spent on a real rotation for longer than
		// half a minute.
		w.has("b")
		begun := time.Now()
		for w.Renew(t.Context(), issuer) != nil {
			time.Sleep(time.Second)
		}
		if waited := time.Since(begun); waited > renewEvery {
			t.Errorf("a rotation under a flood took %v", waited)
		}
		w.want("b")
	})
}

func TestRenewalsShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := doc(t, "a")
		w.at(issuer, func(context.Context) (document, error) {
			time.Sleep(time.Second)
			return document{d, defaultLife}, nil
		})
		w.start()
		defer w.stop()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if err := w.Renew(t.Context(), issuer); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := len(w.times(issuer)); n != 1 {
			t.Errorf("%d fetches: the first one was under way", n)
		}
		w.want("a")
	})
}

func TestRenewIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		w.start()
		defer w.stop()
		time.Sleep(pause)
		w.at(issuer, hang)

		begun := time.Now()
		err := w.Renew(t.Context(), issuer)
		if refusal.Of(err) != refusal.Unauthenticated || time.Since(begun) != renewWait {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		w.want("a")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		err = w.Renew(ctx, issuer)
		if refusal.Of(err) != refusal.Unauthenticated || !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

func TestADropEndsItsRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.at(issuer, hang)
		w.start()
		defer w.stop()
		renewed := make(chan error)
		begun := time.Now()
		go func() { renewed <- w.Renew(t.Context(), issuer) }()
		synctest.Wait()
		w.move()
		if err := <-renewed; refusal.Of(err) != refusal.Unauthenticated || time.Since(begun) != 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}
