// Package brokertest is the contract that every broker keeps, as a test suite.
//
// A broker's test makes a [World], the gate and what stands behind it, all of
// it real but for where the batches of records are kept, starts the broker
// over it, and calls [Run] with a [Harness] of a dozen lines.
package brokertest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/identitytest"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// Origin is that of the logs of a World.
const Origin = "isocore.test/audit"

// A World is a gate with everything behind it.
type World struct {
	*identitytest.Domain
	Gate    *broker.Gate
	Log     *audit.Log
	Limiter *limit.Limiter
	Commits *Commits
	Counts  *Counts
	A, B    tenant.ID // two tenants in good standing

	over over
}

// Limits are those of a World, unless a test changes them.
func Limits() limit.Config {
	return limit.Config{
		Connections: 64, Sessions: 64, Rate: 1e6, Burst: 1 << 20, Queue: 4096, RecordBytes: 1 << 40,
		Strangers: 256, StrangersPerNet: 256, Tenants: 100, Now: time.Now,
	}
}

// New returns a world for one test of the named broker.
func New(t testing.TB, name string, limits limit.Config) *World {
	t.Helper()
	w := &World{Domain: identitytest.New(t), Commits: &Commits{}, Counts: &Counts{}, A: tenant.New(), B: tenant.New()}
	w.Broker = name
	var err error
	if w.Limiter, err = limit.New(limits); err != nil {
		t.Fatal(err)
	}
	w.Log = w.open(t)
	w.over.Verifier = w.Verifier
	w.Gate = &broker.Gate{Verifier: &w.over, Limiter: w.Limiter, Log: w.Log, Counter: w.Counts, Now: time.Now}
	if err := w.Gate.Check(); err != nil {
		t.Fatal(err)
	}
	return w
}

// Expire makes every token of a tenant one that is over, without waiting.
func (w *World) Expire(id tenant.ID) {
	w.over.tenants.Store(id, true)
	w.Standing.Touch()
}

// over is a verifier for which the tokens of some tenants are over.
type over struct {
	*identity.Verifier
	tenants sync.Map
}

func (o *over) Live(p identity.Principal) error {
	if _, ok := o.tenants.Load(p.Tenant()); ok {
		return refusal.New(refusal.Expired, "brokertest: over")
	}
	return o.Verifier.Live(p)
}

func (w *World) open(t testing.TB) *audit.Log {
	t.Helper()
	skey, _, err := note.GenerateKey(rand.Reader, Origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(t.Context(), audit.Config{
		Commit: w.Commits, Keys: keys{}, Signer: signer, Origin: Origin, Dir: t.TempDir(),
		Interval: time.Millisecond, Queue: 4096, Deadline: 5 * time.Second, MinFree: 0.0001, Epoch: time.Hour, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil && l.Err() == nil {
			t.Errorf("the log does not close: %v", err)
		}
	})
	return l
}

// Records returns what the log of id holds, in order.
func (w *World) Records(t testing.TB, id tenant.ID) []audit.Record {
	t.Helper()
	var rs []audit.Record
	err := w.Log.Tail(context.Background(), id, 0, func(o audit.Opened) error {
		rs = append(rs, o.Record)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// keys derives the key of each log from its name: a test has nothing to hide.
type keys struct{}

func (keys) Current(log tenant.ID) (uint32, [32]byte, error) {
	return 1, sha256.Sum256([]byte(log.String())), nil
}

func (k keys) At(log tenant.ID, _ uint32) ([32]byte, error) {
	_, key, err := k.Current(log)
	return key, err
}

// Commits is a commit log in memory that can be made to fail.
type Commits struct {
	mu      sync.Mutex
	batches []audit.Batch
	err     error
}

// Fail makes every Append from now on fail with err.
func (c *Commits) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// Append implements [audit.CommitLog].
func (c *Commits) Append(_ context.Context, b audit.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	b.Frame = slices.Clone(b.Frame)
	c.batches = append(c.batches, b)
	return nil
}

// Replay implements [audit.CommitLog].
func (c *Commits) Replay(_ context.Context, from uint64, f func(audit.Batch) error) error {
	c.mu.Lock()
	batches := slices.Clone(c.batches)
	c.mu.Unlock()
	for _, b := range batches {
		if b.No < from {
			continue
		}
		b.Frame = slices.Clone(b.Frame)
		if err := f(b); err != nil {
			return err
		}
	}
	return nil
}

// Close implements [audit.CommitLog].
func (c *Commits) Close() error { return nil }

// ErrDisk is what a failing disk says.
var ErrDisk = errors.New("brokertest: input/output error")

// Counts are what the gate counted.
type Counts struct {
	mu      sync.Mutex
	refused map[refusal.Reason]int
	decided map[string]int
}

// Refused implements [broker.Counter].
func (c *Counts) Refused(_ string, _ netip.Addr, r refusal.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = map[refusal.Reason]int{}
	}
	c.refused[r]++
}

// Decided implements [broker.Counter].
func (c *Counts) Decided(_, operation string, _ scope.Verdict, _ refusal.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.decided == nil {
		c.decided = map[string]int{}
	}
	c.decided[operation]++
}

// Of returns how often strangers were refused for r.
func (c *Counts) Of(r refusal.Reason) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused[r]
}
