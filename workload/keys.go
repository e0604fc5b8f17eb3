package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/isocore/isocore/identity"
)

// How long keys are believed, and how often they are asked for.
const (
	keysFresh = 5 * time.Minute  // then they are asked for again
	keysStale = time.Hour        // after which, without an answer, nothing is believed
	keysPause = 10 * time.Second // between two attempts
	maxKeys   = 256 << 10        // bytes of the document
)

// errPause is the answer to who would ask again too soon.
var errPause = errors.New("asked for a moment ago")

// keys are those of the issuer, as they were last published.
type keys struct {
	fetch func(context.Context) ([]byte, error)
	turn  chan struct{} // held by the one who asks

	mu    sync.Mutex // guards what follows
	set   *identity.KeySet
	had   time.Time // when set was published
	asked time.Time
	err   error // of the last attempt
}

func newKeys(fetch func(context.Context) ([]byte, error)) *keys {
	return &keys{fetch: fetch, turn: make(chan struct{}, 1)}
}

// current returns the keys to verify with. It waits only if there are none, or
// if it is the one that asks for newer ones.
func (k *keys) current(ctx context.Context) (*identity.KeySet, error) {
	set, age := k.have()
	if set != nil && age < keysFresh {
		return set, nil
	}
	if set == nil || age >= keysStale {
		return k.renew(ctx, set)
	}
	select {
	case k.turn <- struct{}{}:
	default:
		return set, nil // somebody else is asking
	}
	defer func() { <-k.turn }()
	if newer, err := k.ask(ctx, set); err == nil {
		return newer, nil
	}
	return set, nil
}

// renew returns newer keys than old. Those who need them wait for one attempt
// together, and there is one every [keysPause] at the most: whoever makes up
// names of keys makes no more calls than that.
func (k *keys) renew(ctx context.Context, old *identity.KeySet) (*identity.KeySet, error) {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-k.turn }()
	return k.ask(ctx, old)
}

func (k *keys) have() (*identity.KeySet, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.set, time.Since(k.had)
}

// ask asks for newer keys than old, unless they are there. Whoever calls it
// holds the turn.
func (k *keys) ask(ctx context.Context, old *identity.KeySet) (*identity.KeySet, error) {
	k.mu.Lock()
	set, early, err := k.set, time.Since(k.asked) < keysPause, k.err
	if set == old && !early {
		k.asked = time.Now()
	}
	k.mu.Unlock()
	if set != old {
		return set, nil
	}
	if early {
		return nil, errors.Join(errPause, err)
	}
	// The attempt serves all who wait: it does not end with the one who makes it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	doc, err := k.fetch(ctx)
	if err == nil {
		set, err = identity.ParseKeySet(doc)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
	if err != nil {
		return nil, err
	}
	k.set, k.had = set, time.Now()
	return set, nil
}

// published returns a function that fetches the JWK Set at url.
func published(c *http.Client, url string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		answer, err := c.Do(r)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answers %s", url, answer.Status)
		}
		doc, err := io.ReadAll(io.LimitReader(answer.Body, maxKeys+1))
		if err == nil && len(doc) > maxKeys {
			err = fmt.Errorf("%s is over %d bytes", url, maxKeys)
		}
		return doc, err
	}
}
