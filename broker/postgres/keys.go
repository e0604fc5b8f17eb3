package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/broker/postgres/protect"
)

const (
	keyLife  = 2 * time.Hour // of a key at the store
	keyTurn  = time.Hour     // from one key to the next
	keyRetry = 5 * time.Second
)

// keys holds the key that contexts are signed with towards one database. It
// is made here at each start and hourly, and never leaves but for the database.
type keys struct {
	keeper func(context.Context) (*pgx.Conn, error)
	now    func() time.Time
	key    atomic.Pointer[liveKey]
}

type liveKey struct {
	key   protect.Key
	until time.Time
}

var errNoKey = errors.New("postgres: no key is installed at the store")

// current returns the newest key, if the store still takes it.
func (k *keys) current() (protect.Key, error) {
	l := k.key.Load()
	if l == nil || !k.now().Before(l.until) {
		return protect.Key{}, errNoKey
	}
	return l.key, nil
}

// turn makes a new key and installs it at the store.
func (k *keys) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := k.keeper(ctx)
	if err != nil {
		return fmt.Errorf("postgres: keeper: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it is done with
	l := &liveKey{protect.NewKey(), k.now().Add(keyLife)}
	if err := l.key.Install(ctx, conn, l.until); err != nil {
		return err
	}
	if k.key.Swap(l) == nil {
		return l.key.RetireAllBut(ctx, conn)
	}
	return nil
}

// keep turns the key hourly until ctx is done, and soon again after a failure.
// As long as it fails, the last key serves until its end, and then nobody.
func (k *keys) keep(ctx context.Context, failed func(error)) {
	wait := keyTurn
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = keyTurn
		if err := k.turn(ctx); err != nil {
			failed(err)
			wait = keyRetry
		}
	}
}
