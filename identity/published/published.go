// Package published fetches the keys that identity providers publish, and
// believes a document only as long and as far as it should be.
//
// What an issuer publishes replaces all it published before, at once. What
// cannot be fetched, read or recorded changes nothing, until the last good
// answer is [MaxAge] old: then the issuer has no keys. One that is slow, or
// answers nonsense, costs the others nothing but a place among few.
package published

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isocore/isocore/identity"
)

// Limits of what is fetched at once.
const (
	maxSources = 1000
	places     = 4 // fetches at once
	doubtful   = 2 // of them, by publishers that failed or were slow the last time
)

// A Config is what a [Fetcher] needs. Every field is required.
type Config struct {
	// Sources returns where issuers publish. A change is announced by Changed:
	// the channel it returns is closed at the next one.
	Sources func() []Source
	Changed func() <-chan struct{}

	Now func() time.Time
	Log *slog.Logger

	// KeySet is told of each change before it holds, and records it. If it
	// returns an error the old set stays.
	KeySet func(ctx context.Context, c Change) error
}

// A Fetcher has the key sets that issuers publish. It is safe for concurrent
// use.
type Fetcher struct {
	c       Config
	get     func(context.Context, Source) (document, error)
	sources atomic.Pointer[map[string]*source] // by issuer; only Run stores it
	changed atomic.Pointer[chan struct{}]
	places  chan struct{}
	doubted chan struct{}
}

// New returns the fetcher that c describes, or everything that c lacks. It
// fetches nothing before [Fetcher.Run].
func New(c Config) (*Fetcher, error) {
	var errs []error
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("published: "+what+" is missing"))
		}
	}
	want(c.Sources != nil, "Sources")
	want(c.Changed != nil, "Changed")
	want(c.Now != nil, "Now")
	want(c.Log != nil, "Log")
	want(c.KeySet != nil, "KeySet")
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	n := network{
		lookup: net.DefaultResolver.LookupNetIP,
		dial:   (&net.Dialer{}).DialContext,
	}
	f := &Fetcher{c: c, get: n.get, places: make(chan struct{}, places), doubted: make(chan struct{}, doubtful)}
	f.sources.Store(&map[string]*source{})
	changed := make(chan struct{})
	f.changed.Store(&changed)
	return f, nil
}

// Keys returns what the issuer whose iss is exactly this publishes, and nil
// if nothing good was heard of it yet, or for too long. It asks memory only.
func (f *Fetcher) Keys(issuer string) *identity.KeySet {
	s := f.source(issuer)
	if s == nil {
		return nil
	}
	h := s.held.Load()
	if h == nil || !f.c.Now().Before(h.until) {
		return nil
	}
	return h.set
}

// Changed returns a channel that is closed at the next change of anything that
// [Fetcher.Keys] would answer.
func (f *Fetcher) Changed() <-chan struct{} { return *f.changed.Load() }

func (f *Fetcher) announce() {
	next := make(chan struct{})
	close(*f.changed.Swap(&next))
}

func (f *Fetcher) source(issuer string) *source { return (*f.sources.Load())[issuer] }

// Run fetches at once and whenever it is time, and follows the sources, until
// ctx is done. Then it waits for the fetches under way. It runs once.
func (f *Fetcher) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for ctx.Err() == nil {
		changed := f.c.Changed()
		for _, s := range f.follow() {
			var of context.Context
			of, s.stop = context.WithCancel(ctx)
			running.Go(func() { f.keep(of, s) })
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// follow drops what is no longer a source, and returns those that are new. One
// that changed in any way is new: the keys it had came from somewhere else.
func (f *Fetcher) follow() (added []*source) {
	before := *f.sources.Load()
	after := make(map[string]*source)
	for issuer, where := range f.wanted() {
		s := before[issuer]
		if s == nil || s.Source != where {
			s = newSource(where, s)
			added = append(added, s)
		}
		after[issuer] = s
	}
	f.sources.Store(&after)
	dropped := false
	for issuer, s := range before {
		if after[issuer] != s {
			s.stop()
			dropped = true
		}
	}
	if dropped {
		f.announce()
	}
	return added
}

// wanted returns the sources by issuer. Two of one issuer are none: nobody
// could say whose keys it has.
func (f *Fetcher) wanted() map[string]Source {
	all := f.c.Sources()
	if len(all) > maxSources {
		f.c.Log.Error("too many issuers publish keys: the last ones have none", "issuers", len(all), "limit", maxSources)
		all = all[:maxSources]
	}
	wanted, twice := make(map[string]Source), make(map[string]struct{})
	for _, s := range all {
		if other, taken := wanted[s.Issuer]; taken && other != s {
			twice[s.Issuer] = struct{}{}
		}
		wanted[s.Issuer] = s
	}
	for issuer := range twice {
		f.c.Log.Error("an issuer publishes its keys at two places: it has none", "issuer", issuer)
		delete(wanted, issuer)
	}
	return wanted
}
