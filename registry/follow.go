package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A querier is a pool, a connection or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// A source is a pool or a connection.
type source interface {
	querier
	BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error)
}

// follow keeps the view at most a poll behind, on a connection of its own,
// and tries again for as long as ctx lives.
func (r *Registry) follow(ctx context.Context, c *pgx.ConnConfig) {
	for lost := false; ; {
		err := r.listen(ctx, c, func() {
			if lost {
				r.log.InfoContext(ctx, "registry in reach again")
			}
			lost = false
		})
		if ctx.Err() != nil {
			return
		}
		if !lost {
			r.log.WarnContext(ctx, "registry out of reach", "err", err)
		}
		lost = true
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
}

// listen follows on one connection until that fails.
func (r *Registry) listen(ctx context.Context, c *pgx.ConnConfig, heard func()) error {
	conn, err := pgx.ConnectConfig(ctx, c.Copy())
	if err != nil {
		return err
	}
	defer within(context.WithoutCancel(ctx), patience, conn.Close) //nolint:errcheck // it is given up
	if err := within(ctx, patience, func(ctx context.Context) error {
		_, err := conn.Exec(ctx, "LISTEN isocore_standing")
		return err
	}); err != nil {
		return err
	}
	for err = r.renew(ctx, conn); err == nil; err = r.refresh(ctx, conn) {
		heard()
		if err := wait(ctx, conn); err != nil {
			return err
		}
	}
	return err
}

// wait returns when conn is told of a change, or it is time to ask.
func wait(ctx context.Context, conn *pgx.Conn) error {
	waiting, cancel := context.WithTimeout(ctx, pollEvery)
	defer cancel()
	_, err := conn.WaitForNotification(waiting)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil && !conn.IsClosed() {
		return nil
	}
	return err
}

func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// announce wakes whoever waits when the view becomes stale or fresh again,
// also while follow is waiting for an answer that does not come.
func (r *Registry) announce(ctx context.Context) {
	tick := time.NewTicker(pollEvery / 5)
	defer tick.Stop()
	was := error(nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if is := r.Reachable(); is != was {
			was = is
			r.tell()
		}
	}
}

// refresh brings the view to what q says now, if that is another version.
func (r *Registry) refresh(ctx context.Context, q source) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	asked := r.now() // before the question: what is answered may change while it travels
	old := r.view.Load()
	var version int64
	err := within(ctx, patience, func(ctx context.Context) error {
		return q.QueryRow(ctx, "SELECT n FROM standing_version").Scan(&version)
	})
	if err != nil {
		return failed(fmt.Errorf("ask for the version: %w", err))
	}
	if old != nil && old.version == version {
		r.view.Store(&view{asked, old.snapshot})
		return nil
	}
	return r.replace(ctx, q, asked, old)
}

// renew is refresh after the wire was cut: the database may have been restored
// meanwhile, and have come to the same version another way.
func (r *Registry) renew(ctx context.Context, q source) error {
	r.loading.Lock()
	defer r.loading.Unlock()
	return r.replace(ctx, q, r.now(), nil)
}

func (r *Registry) replace(ctx context.Context, q source, asked time.Time, old *view) error {
	var next *snapshot
	err := within(ctx, toLoad, func(ctx context.Context) (err error) {
		next, err = load(ctx, q, old)
		return err
	})
	if err != nil {
		return failed(fmt.Errorf("load the standing: %w", err))
	}
	for iss, err := range next.unfit {
		if old == nil || old.unfit[iss] == nil {
			r.log.WarnContext(ctx, "an identity provider is not believed: its row is unfit", "issuer", iss, "err", err)
		}
	}
	r.view.Store(&view{asked, next})
	if !next.onlyPeople {
		r.tell()
	}
	return nil
}
