package forward

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/scope"
)

// Local carries out one admitted request that no store is asked for: do gets
// it when its decision is durable, and its result is recorded before Local
// returns.
func Local[R scope.Request](ctx context.Context, p *broker.Pass[R], do func(context.Context, R) (audit.Result, error)) error {
	start := time.Now()
	req, err := p.Take(ctx)
	if err == nil {
		err = p.Recorded(ctx)
	}
	if err != nil {
		return abandon(ctx, p, err)
	}
	result, err := do(ctx, req)
	status := audit.StatusOK
	if err != nil {
		status = audit.StatusFailed
	}
	result.Status = cmp.Or(result.Status, status)
	result.Micros = time.Since(start).Microseconds()
	_, cerr := p.Close(ctx, result)
	return errors.Join(cerr, err)
}
