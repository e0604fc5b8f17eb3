package published

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
)

func TestNewSaysAllThatIsMissing(t *testing.T) {
	_, err := New(Config{})
	for _, field := range []string{"Sources", "Changed", "Now", "Log", "KeySet"} {
		if err == nil || !strings.Contains(err.Error(), field+" is missing") {
			t.Errorf("%v does not say %s", err, field)
		}
	}
}

func TestKeysAreFetchedAtOnceAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		w.want("")
		changed := w.Changed()
		w.start()
		defer w.stop()
		w.want("a")
		if !closed(changed) {
			t.Error("the first keys were not announced")
		}
		if w.Keys("https://other.test/") != nil {
			t.Error("another issuer has keys")
		}
		changed = w.Changed()
		time.Sleep(10 * time.Hour)
		if n := len(w.times(issuer)); n < 11 || n > 14 {
			t.Errorf("asked %d times in 10 hours for what is good for one", n)
		}
		if closed(changed) || len(w.changes) != 1 {
			t.Errorf("the same keys are %d changes", len(w.changes))
		}
	})
}

func TestWhatIsPublishedReplacesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a", "b")
		w.start()
		defer w.stop()
		w.want("ab")
		changed := w.Changed()
		w.has("b", "c")
		w.want("ab")
		time.Sleep(defaultLife)
		w.want("bc")
		if !closed(changed) {
			t.Error("the change was not announced")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if c := w.changes[1]; c.Issuer != issuer || c.Before == nil || c.After == nil || c.Kept != 1 || c.Added != 1 || c.Gone != 1 || c.Abrupt() {
			t.Errorf("the change is %+v", c)
		}
	})
}

func TestLastGoodAnswerIsBelievedForADay(t *testing.T) {
	for name, bad := range map[string]func(context.Context) (document, error){
		"an error":      func(context.Context) (document, error) { return document{}, errors.New("status 500") },
		"no answer":     hang,
		"not a key set": func(context.Context) (document, error) { return document{[]byte("<html>"), maxLife}, nil },
		"a private member": func(context.Context) (document, error) {
			return document{[]byte(`{"keys":[{"kty":"oct","k":"AA","kid":"k"}]}`), maxLife}, nil
		},
		"no keys": func(context.Context) (document, error) { return document{[]byte(`{"keys":[]}`), maxLife}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.has("a")
				w.start()
				defer w.stop()
				time.Sleep(3 * defaultLife)
				w.at(issuer, bad)
				all := w.times(issuer)
				time.Sleep(time.Until(all[len(all)-1].Add(MaxAge - time.Nanosecond)))
				w.want("a")
				changed := w.Changed()
				time.Sleep(time.Nanosecond)
				w.want("")
				time.Sleep(fetchTime)
				synctest.Wait()
				if !closed(changed) || w.logged("too old") != 1 {
					t.Error("the end was not announced")
				}
				changed = w.Changed()
				w.has("a")
				time.Sleep(lastWait)
				w.want("a")
				if !closed(changed) {
					t.Error("the return was not announced")
				}
				if n := len(w.changes); n != 1 {
					t.Errorf("%d changes of keys", n)
				}
			})
		})
	}
}

func TestFailuresBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.fails(errors.New("refused"))
		w.start()
		defer w.stop()
		time.Sleep(time.Hour)
		all := w.times(issuer)
		if len(all) < 12 || len(all) > 40 {
			t.Errorf("asked %d times in an hour", len(all))
		}
		for i := 1; i < len(all); i++ {
			longest := min(firstWait<<(i-1), lastWait)
			if gap := all[i].Sub(all[i-1]); gap < longest/2 || gap > longest {
				t.Errorf("%v before try %d, want %v to %v", gap, i, longest/2, longest)
			}
		}
	})
}

func TestNoChangeHoldsUnrecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a", "b")
		w.start()
		defer w.stop()
		w.has("b", "c")
		w.records(func(Change) error {
			if got := w.names(issuer); got != "ab" {
				t.Errorf("%q hold before their record", got)
			}
			return errors.New("disk full")
		})
		time.Sleep(2 * defaultLife)
		w.want("ab")
		w.records(nil)
		time.Sleep(lastWait)
		w.want("bc")
	})
}

func TestARecordThatTakesForeverIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		var ended []error
		w.c.KeySet = func(ctx context.Context, _ Change) error {
			<-ctx.Done()
			ended = append(ended, ctx.Err())
			return ctx.Err()
		}
		w.start()
		time.Sleep(recordTime)
		w.want("")
		w.stop()
		if len(ended) != 1 {
			t.Errorf("%d records were given up", len(ended))
		}
	})
}

func TestAbrupt(t *testing.T) {
	for _, c := range []struct {
		before, after string
		abrupt        bool
	}{
		{"a", "a", false},
		{"a", "ab", false},
		{"ab", "a", false},
		{"ab", "bc", false},
		{"abc", "bcd", false},
		{"abcd", "cde", false},
		{"", "abc", false},
		{"a", "b", true},
		{"a", "abc", true},
		{"abc", "a", true},
		{"ab", "cd", true},
		{"abc", "cde", true},
	} {
		sets := [2]*identity.KeySet{}
		for i, names := range []string{c.before, c.after} {
			if names == "" {
				continue
			}
			set, err := jws.ParseKeySet(doc(t, strings.Split(names, "")...))
			if err != nil {
				t.Fatal(err)
			}
			sets[i] = set
		}
		got, err := compare(issuer, sets[0], sets[1])
		if err != nil || got.Abrupt() != c.abrupt {
			t.Errorf("%s to %s: %+v is abrupt: %v, %v", c.before, c.after, got, got.Abrupt(), err)
		}
	}
}

func TestPoisoningRaisesAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a", "b")
		w.start()
		defer w.stop()
		if w.logged("more than half") != 0 || w.changes[0].Abrupt() {
			t.Error("the first set is an alarm")
		}
		w.has("c", "d")
		time.Sleep(defaultLife)
		w.want("cd")
		if w.logged("more than half") != 1 || !w.changes[1].Abrupt() {
			t.Error("all keys changed at once, and nobody heard of it")
		}
	})
}

func TestWhoIsNoSourceAnyMoreIsDroppedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		w.start()
		defer w.stop()
		w.want("a")
		changed := w.Changed()
		w.move()
		w.want("")
		if !closed(changed) {
			t.Error("the drop was not announced")
		}
		if err := w.Renew(t.Context(), issuer); refusal.Of(err) != refusal.Unauthenticated {
			t.Errorf("a renewal of one who is none: %v", err)
		}
		n := len(w.times(issuer))
		time.Sleep(MaxAge)
		if len(w.times(issuer)) != n {
			t.Error("it was asked again")
		}
	})
}

func TestADropInMidFetchBringsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		answer := make(chan struct{})
		d := doc(t, "a")
		w.at(issuer, func(context.Context) (document, error) {
			<-answer
			return document{d, defaultLife}, nil
		})
		w.start()
		defer w.stop()
		w.move()
		synctest.Wait()
		close(answer)
		w.want("")
		if len(w.changes) != 0 {
			t.Error("keys of nobody were recorded")
		}
	})
}

func TestAnotherPlaceIsAnotherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		w.start()
		defer w.stop()
		w.at(issuer, hang)
		w.move(Source{Issuer: issuer, URI: issuer + "moved"})
		w.want("")
		w.has("b")
		time.Sleep(fetchTime + firstWait)
		w.want("b")
		if c := w.changes[1]; c.Before == nil || !c.Abrupt() {
			t.Errorf("a move to other keys is %+v", c)
		}
		n := len(w.times(issuer))
		w.move(w.sources...)
		w.want("b")
		if len(w.times(issuer)) != n {
			t.Error("a source that stayed the same was asked again")
		}
	})
}

func TestTwoPlacesOfOneIssuerAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		one, other := Source{Issuer: issuer, URI: issuer}, Source{Issuer: issuer, URI: issuer, Private: true}
		w.sources = []Source{one, other, one}
		w.start()
		defer w.stop()
		w.want("")
		w.move(one, one)
		w.want("a")
	})
}

func TestSourcesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := doc(t, "a")
		for i := range maxSources + 5 {
			of := fmt.Sprintf("https://%d.test/", i)
			w.at(of, func(context.Context) (document, error) { return document{d, maxLife}, nil })
			w.sources = append(w.sources, Source{Issuer: of, URI: of})
		}
		w.start()
		defer w.stop()
		known := 0
		for _, s := range w.sources {
			if w.Keys(s.Issuer) != nil {
				known++
			}
		}
		if known != maxSources || w.Keys(w.sources[maxSources].Issuer) != nil {
			t.Errorf("%d issuers have keys", known)
		}
		if w.most > places {
			t.Errorf("%d fetches at once", w.most)
		}
	})
}

// TestACrowdOfHangingPublishersDelaysNobody has a publisher that answers at
// once among fifty that never do: once they are known for it, they cost it
// nothing.
func TestACrowdOfHangingPublishersDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		w.sources = []Source{{Issuer: issuer, URI: issuer}}
		for i := range 50 {
			of := fmt.Sprintf("https://%d.test/", i)
			w.at(of, hang)
			w.sources = append(w.sources, Source{Issuer: of, URI: of})
		}
		w.start()
		defer w.stop()
		time.Sleep(50 / places * fetchTime * 2)
		w.want("a")
		for i := range 100 {
			time.Sleep(time.Minute)
			w.has("a", string(rune('b'+i%2)))
			begun := time.Now()
			if err := w.Renew(t.Context(), issuer); err != nil || time.Since(begun) != 0 {
				t.Fatalf("a renewal took %v, %v", time.Since(begun), err)
			}
		}
		if w.most > places {
			t.Errorf("%d fetches at once", w.most)
		}
	})
}

func TestRunWaitsForWhatItStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.has("a")
		hung := "https://hung.test/"
		w.at(hung, func(ctx context.Context) (document, error) {
			defer time.Sleep(time.Second)
			return hang(ctx)
		})
		w.sources = []Source{{Issuer: issuer, URI: issuer}, {Issuer: hung, URI: hung}}
		w.start()
		w.stop()
		if w.busy != 0 {
			t.Error("a fetch outlived Run")
		}
		if w.names(issuer) != "a" {
			t.Error("those who are still served have no keys")
		}
		time.Sleep(pause)
		begun := time.Now()
		if err := w.Renew(t.Context(), issuer); refusal.Of(err) != refusal.Unauthenticated || time.Since(begun) != 0 {
			t.Errorf("a renewal after the end: %v after %v", err, time.Since(begun))
		}
		time.Sleep(MaxAge)
		if w.names(issuer) != "" {
			t.Error("keys that nobody renews hold for ever")
		}
	})
}
