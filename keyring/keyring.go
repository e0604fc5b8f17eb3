// Package keyring has a key for each tenant, which nobody reads without the
// key-encryption key of this installation, and nobody at all once destroyed.
//
// A tenant's keys are drawn at random, wrapped with AES-256-GCM under the KEK
// and kept in the registry. A wrapped key is bound to its tenant, purpose,
// version and KEK: a row that was moved opens nothing.
package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// Audit is the purpose of the keys that seal audit records.
const Audit = "audit"

// How long one reading of the store may take, how many there may be until one
// is not overtaken by a change, and of how many tenants keys are in memory.
const (
	patience  = 2 * time.Second
	attempts  = 4
	maxCached = 1 << 16
)

// What there is instead of a key.
var (
	ErrNone      = errors.New("there is no such key")
	ErrDestroyed = errors.New("the key was destroyed")
)

// A Store keeps wrapped keys. The registry is one.
type Store interface {
	WrappedKeys(ctx context.Context, t tenant.ID, purpose string) ([]registry.WrappedKey, error)
	AddWrappedKey(ctx context.Context, k registry.WrappedKey) error
	DestroyWrappedKeys(ctx context.Context, t tenant.ID) error
	// KeyVersion returns what last changed a key of t, as far as this node has
	// heard. It reads memory only.
	KeyVersion(t tenant.ID) int64
}

// A Config is what a [Keyring] needs. Former may be empty.
type Config struct {
	KEK    secret.Text   // what kek.key holds, 32 bytes: it wraps every key that is made
	Former []secret.Text // KEKs that still open what they wrapped
	Store  Store
}

// A Keyring gives out tenants' keys. It is safe for concurrent use. It
// implements audit.Keys for the purpose [Audit].
type Keyring struct {
	current kek
	keks    map[string]kek
	store   Store

	mu     sync.RWMutex // guards what follows
	cached map[tenant.ID]*keys
	flight singleflight.Group
}

// keys are one tenant's for one purpose. They do not change.
type keys struct {
	changed int64 // as the store counts
	current uint32
	open    map[uint32][keySize]byte
	over    map[uint32]bool // destroyed
}

// New returns the keyring that c describes, or everything that is wrong with c.
func New(c Config) (*Keyring, error) {
	r := &Keyring{keks: make(map[string]kek), store: c.Store, cached: make(map[tenant.ID]*keys)}
	var errs []error
	if c.Store == nil {
		errs = append(errs, errors.New("keyring: Store is missing"))
	}
	for i, contents := range append([]secret.Text{c.KEK}, c.Former...) {
		e, err := newKEK(contents)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, twice := r.keks[e.id]; twice {
			errs = append(errs, fmt.Errorf("keyring: two KEKs are called %s", e.id))
		}
		r.keks[e.id] = e
		if i == 0 {
			r.current = e
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// Create gives t its first key for purpose. If it has one, nothing happens; if
// its keys were destroyed, the cause is [ErrDestroyed].
func (r *Keyring) Create(ctx context.Context, t tenant.ID, purpose string) error {
	had, err := r.load(ctx, t, purpose)
	if err != nil {
		return err
	}
	if len(had.over) > 0 {
		return fault(t, purpose, 0, ErrDestroyed)
	}
	if len(had.open) > 0 {
		return nil
	}
	err = r.add(ctx, t, purpose, 1)
	if errors.Is(err, registry.ErrTaken) {
		return nil // another node was faster
	}
	return err
}

// Rotate gives t another key for purpose; what former versions sealed they
// still open.
func (r *Keyring) Rotate(ctx context.Context, t tenant.ID, purpose string) error {
	had, err := r.load(ctx, t, purpose)
	if err != nil {
		return err
	}
	if had.current == 0 {
		return had.missing(t, purpose, 0)
	}
	return r.add(ctx, t, purpose, had.current+1)
}

func (r *Keyring) add(ctx context.Context, t tenant.ID, purpose string, version uint32) error {
	k := registry.WrappedKey{Tenant: t, Purpose: purpose, Version: version}
	var key [keySize]byte
	rand.Read(key[:]) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	r.current.wrap(&k, key)
	return r.store.AddWrappedKey(ctx, k)
}

// Destroy erases every version of every key of t, for ever, on every node
// within a second. What they sealed cannot be read again, but for whoever has
// both the KEK and a copy of the database from before.
func (r *Keyring) Destroy(ctx context.Context, t tenant.ID) error {
	err := r.store.DestroyWrappedKeys(ctx, t)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.cached, t)
	return err
}

// Current returns the key that seals audit records of log now. The zero log is
// the operator's.
func (r *Keyring) Current(log tenant.ID) (version uint32, key [32]byte, err error) {
	k, err := r.of(log)
	if err != nil {
		return 0, key, err
	}
	if k.current == 0 {
		return 0, key, k.missing(log, Audit, 0)
	}
	return k.current, k.open[k.current], nil
}

// At returns the key that sealed audit records of log as version.
func (r *Keyring) At(log tenant.ID, version uint32) (key [32]byte, err error) {
	k, err := r.of(log)
	if err != nil {
		return key, err
	}
	key, ok := k.open[version]
	if !ok {
		return key, k.missing(log, Audit, version)
	}
	return key, nil
}

// of returns the audit keys of t: from memory, unless the store has changed
// them since.
func (r *Keyring) of(t tenant.ID) (*keys, error) {
	r.mu.RLock()
	k := r.cached[t]
	r.mu.RUnlock()
	for n := 0; k == nil || k.changed < r.store.KeyVersion(t); n++ {
		if n == attempts {
			return nil, refusal.New(refusal.Unavailable, "keyring: keys of tenant %s change faster than they are read", t)
		}
		found, err, _ := r.flight.Do(t.String(), func() (any, error) { return r.read(t) })
		if err != nil {
			return nil, err
		}
		k = found.(*keys)
	}
	return k, nil
}

// read is what one of those who want keys of t at once does for all.
func (r *Keyring) read(t tenant.ID) (*keys, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k, err := r.load(ctx, t, Audit)
	if err == nil && k.changed > 0 {
		r.remember(t, k)
	}
	return k, err
}

// remember makes room by forgetting anybody: they are read again when needed.
func (r *Keyring) remember(t tenant.ID, k *keys) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for other := range r.cached {
		if len(r.cached) < maxCached {
			break
		}
		delete(r.cached, other)
	}
	r.cached[t] = k
}

// load reads and opens all versions. One that does not open fails them all:
// somebody has touched them.
func (r *Keyring) load(ctx context.Context, t tenant.ID, purpose string) (*keys, error) {
	rows, err := r.store.WrappedKeys(ctx, t, purpose)
	if err != nil {
		return nil, err
	}
	k := &keys{open: make(map[uint32][keySize]byte), over: make(map[uint32]bool)}
	for _, row := range rows {
		row.Tenant, row.Purpose = t, purpose // what was asked for, whatever the store says
		k.changed = max(k.changed, row.Changed)
		if row.State == registry.KeyDestroyed {
			k.over[row.Version] = true
			continue
		}
		e, ok := r.keks[row.KEK]
		if !ok {
			return nil, fault(t, purpose, row.Version, fmt.Errorf("no KEK %.16q is here", row.KEK))
		}
		if k.open[row.Version], err = e.unwrap(&row); err != nil {
			return nil, fault(t, purpose, row.Version, err)
		}
		if row.State == registry.KeyCurrent {
			k.current = row.Version
		}
	}
	return k, nil
}

// missing says why there is no key of this version, or of any if it is 0.
func (k *keys) missing(t tenant.ID, purpose string, version uint32) error {
	if k.over[version] || version == 0 && len(k.over) > 0 {
		return fault(t, purpose, version, ErrDestroyed)
	}
	return fault(t, purpose, version, ErrNone)
}

func fault(t tenant.ID, purpose string, version uint32, err error) error {
	if version == 0 {
		return fmt.Errorf("keyring: %s key of tenant %s: %w", purpose, t, err)
	}
	return fmt.Errorf("keyring: %s key %d of tenant %s: %w", purpose, version, t, err)
}
