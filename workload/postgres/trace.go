package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What a trace of pgx carries from its start to its end.
type (
	acquiring  struct{}
	connecting struct{}
)

// TraceAcquireStart implements [pgxpool.AcquireTracer]: somebody waits.
func (h *hooks) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	o, _, err := h.owner(ctx)
	if err != nil {
		return ctx
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting[o]++
	return context.WithValue(ctx, acquiring{}, o)
}

// TraceAcquireEnd implements [pgxpool.AcquireTracer]: somebody has what they
// waited for, or has given up.
func (h *hooks) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireEndData) {
	o, ok := ctx.Value(acquiring{}).(owner)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[o]--; h.waiting[o] <= 0 {
		delete(h.waiting, o)
	}
}

// TraceRelease implements [pgxpool.ReleaseTracer]. It closes what is over, and
// what is of no use to somebody who waits: that bounds how often they find a
// connection that is not their own, where pgxpool gives up after as many times
// as it has connections. An AfterRelease would do, but makes every release a
// goroutine, and a request's next query open another connection.
func (h *hooks) TraceRelease(_ *pgxpool.Pool, data pgxpool.TraceReleaseData) {
	t, ok := data.Conn.PgConn().CustomData()[tenureKey].(tenure)
	if ok && time.Until(t.expires) > margin && !h.others(t.owner) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	data.Conn.Close(ctx) //nolint:errcheck // the pool drops it either way
}

// TraceConnectStart implements [pgx.ConnectTracer]. The configuration it is
// given is the one that the connection keeps.
func (h *hooks) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	return context.WithValue(ctx, connecting{}, data.ConnConfig)
}

// TraceConnectEnd implements [pgx.ConnectTracer]. By now the password was
// shown, or there is nobody to show it to: neither the connection nor the
// error of one that failed keeps it.
func (h *hooks) TraceConnectEnd(ctx context.Context, _ pgx.TraceConnectEndData) {
	if c, ok := ctx.Value(connecting{}).(*pgx.ConnConfig); ok {
		c.Password = ""
	}
}

// TraceQueryStart implements [pgx.QueryTracer], which every tracer has to be.
func (h *hooks) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (h *hooks) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
