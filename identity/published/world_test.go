package published

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
)

const issuer = "https://issuer.test/"

// doc returns a JWK Set with a key of each name; a name has the same key in
// every set.
func doc(t testing.TB, names ...string) []byte {
	t.Helper()
	var keys []jws.Key
	for _, name := range names {
		var seed [ed25519.SeedSize]byte
		copy(seed[:], name)
		k, err := jws.NewKey(name, ed25519.NewKeyFromSeed(seed[:]).Public())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	set, err := jws.NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := set.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A world has publishers and what a fetcher makes of them.
type world struct {
	*Fetcher
	t    *testing.T
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex // guards what follows
	sources []Source
	moved   chan struct{}
	publish map[string]func(context.Context) (document, error)
	asked   map[string][]time.Time
	busy    int
	most    int // fetches at once
	changes []Change
	record  func(Change) error
	log     strings.Builder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, moved: make(chan struct{}), done: make(chan struct{}),
		publish: map[string]func(context.Context) (document, error){}, asked: map[string][]time.Time{},
	}
	f, err := New(Config{
		Sources: func() []Source {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.sources
		},
		Changed: func() <-chan struct{} {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.moved
		},
		Now:    time.Now,
		Log:    slog.New(slog.NewTextHandler(w, nil)),
		KeySet: w.keySet,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.get = w.get
	w.Fetcher = f
	return w
}

// Write implements [io.Writer]: the log goes there.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) logged(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.log.String(), what)
}

func (w *world) keySet(ctx context.Context, c Change) error {
	w.mu.Lock()
	record := w.record
	w.changes = append(w.changes, c)
	w.mu.Unlock()
	if record == nil {
		return nil
	}
	return record(c)
}

func (w *world) get(ctx context.Context, s Source) (document, error) {
	w.mu.Lock()
	w.asked[s.Issuer] = append(w.asked[s.Issuer], time.Now())
	w.busy++
	w.most = max(w.most, w.busy)
	answer := w.publish[s.Issuer]
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	d, err := answer(ctx)
	w.mu.Lock()
	w.busy--
	w.mu.Unlock()
	return d, err
}

func (w *world) times(of string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[of]
}

// at makes issuer publish by answer.
func (w *world) at(issuer string, answer func(context.Context) (document, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.publish[issuer] = answer
}

// records makes record what a change is told to.
func (w *world) records(record func(Change) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record = record
}

func (w *world) has(names ...string) {
	w.t.Helper()
	d := doc(w.t, names...)
	w.at(issuer, func(context.Context) (document, error) { return document{d, defaultLife}, nil })
}

func (w *world) fails(with error) {
	w.at(issuer, func(context.Context) (document, error) { return document{}, with })
}

func hang(ctx context.Context) (document, error) {
	<-ctx.Done()
	return document{}, ctx.Err()
}

// move makes sources all that there are.
func (w *world) move(sources ...Source) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sources = sources
	close(w.moved)
	w.moved = make(chan struct{})
}

// start runs the fetcher with one source, and waits for its first fetch.
func (w *world) start() {
	if w.sources == nil {
		w.sources = []Source{{Issuer: issuer, URI: issuer}}
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.stop = func() {
		cancel()
		<-w.done
	}
	go func() {
		defer close(w.done)
		w.Run(ctx)
	}()
	synctest.Wait()
}

// names says whose keys of a few names an issuer has.
func (w *world) names(of string) string {
	w.t.Helper()
	set := w.Keys(of)
	var found strings.Builder
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		one, err := jws.ParseKeySet(doc(w.t, name))
		if err != nil {
			w.t.Fatal(err)
		}
		if holds(w.t, set, one) {
			found.WriteString(name)
		}
	}
	return found.String()
}

// holds reports whether the one key of one is in set.
func holds(t *testing.T, set, one *identity.KeySet) bool {
	t.Helper()
	c, err := compare("", set, one)
	if err != nil {
		t.Fatal(err)
	}
	return c.Kept == 1
}

func (w *world) want(names string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.names(issuer); got != names {
		w.t.Errorf("%v: the keys are %q, want %q", time.Now(), got, names)
	}
}

// closed reports whether c is.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
