package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// Limits of what one call of Append takes, and of what waits.
const (
	MaxTogether   = 1024    // records of one call
	maxGroup      = 8 << 20 // their bytes
	maxQueueBytes = 64 << 20
)

// A group is what one call of Append commits together.
type group struct {
	log     tenant.ID
	records [][]byte // sealed, not numbered
	bytes   int
	receipt *Receipt
}

// A Receipt is the promise of one group commit.
type Receipt struct {
	done     chan struct{} // closed when ref and err are set
	deadline time.Time
	allowed  time.Duration
	log      *Log
	ref      Ref
	err      error
}

// Wait returns the place of the first record when all are durable, or
// Unrecorded if they never will be, are not within the log's deadline, or ctx
// is done before. The deadline is counted from Append; records may still become
// durable after it. A nil Receipt is nothing to wait for.
func (r *Receipt) Wait(ctx context.Context) (Ref, error) {
	if r == nil {
		return Ref{}, nil
	}
	select {
	case <-r.done:
		return r.ref, r.err
	default:
	}
	r.log.want()
	timer := time.NewTimer(time.Until(r.deadline))
	defer timer.Stop()
	select {
	case <-r.done:
		return r.ref, r.err
	case <-timer.C:
		return Ref{}, refusal.New(refusal.Unrecorded, "audit: not durable within %v", r.allowed)
	case <-ctx.Done():
		return Ref{}, refusal.New(refusal.Unrecorded, "audit: gave up waiting: %w", ctx.Err())
	}
}

// Append seals rs, all of the same log, and queues them to be made durable
// together and in this order, under consecutive numbers. It does not block:
// what cannot be queued is refused as Unrecorded at once. No records need no
// receipt.
func (l *Log) Append(rs ...Record) (*Receipt, error) {
	if len(rs) == 0 {
		return nil, nil
	}
	if err := l.accepts(rs); err != nil {
		return nil, err
	}
	g, err := l.seal(rs)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.room(g); err != nil {
		return nil, err
	}
	l.push(g)
	return g.receipt, nil
}

// accepts refuses rs that cannot be one group, before work is spent on them,
// and outcomes of decisions that are not durable.
func (l *Log) accepts(rs []Record) error {
	if len(rs) > MaxTogether {
		return refusal.New(refusal.TooLarge, "audit: %d records at once, %d at most", len(rs), MaxTogether)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refuses(len(rs)); err != nil {
		return err
	}
	size := uint64(0)
	if h := l.heads[rs[0].Log]; h != nil {
		size = h.Size()
	}
	for i := range rs {
		if rs[i].Log != rs[0].Log {
			return refusal.New(refusal.Internal, "audit: records of logs %s and %s at once", rs[0].Log, rs[i].Log)
		}
		if rs[i].Kind == Outcome && rs[i].Of.Seq >= size {
			return refusal.New(refusal.Internal, "audit: an outcome of %v, which is not recorded", rs[i].Of)
		}
	}
	return nil
}

// seal makes rs one group.
func (l *Log) seal(rs []Record) (*group, error) {
	g := &group{log: rs[0].Log, records: make([][]byte, len(rs))}
	version, key, err := l.c.Keys.Current(g.log)
	if err != nil {
		return nil, refusal.New(refusal.Unrecorded, "audit: key of log %s: %w", g.log, err)
	}
	for i, r := range rs {
		if r.Time.IsZero() {
			r.Time = l.c.Now()
		}
		if r, err = l.parameters(key, r); err != nil {
			return nil, refusal.New(refusal.Internal, "%w", err)
		}
		if g.records[i], err = trail.Seal(key, version, r); err != nil {
			return nil, err
		}
		g.bytes += 4 + len(g.records[i])
	}
	if g.bytes > maxGroup {
		return nil, refusal.New(refusal.TooLarge, "audit: %d bytes of records at once, %d at most", g.bytes, maxGroup)
	}
	g.receipt = &Receipt{done: make(chan struct{}), deadline: time.Now().Add(l.c.Deadline), allowed: l.c.Deadline, log: l}
	return g, nil
}

// parameters leaves of r's parameters what the log keeps of them.
func (l *Log) parameters(key [32]byte, r Record) (Record, error) {
	values := r.Parameters
	r.Digests = nil
	if len(values) == 0 || l.c.Parameters == FullParameters {
		return r, nil
	}
	r.Parameters = nil
	if l.c.Parameters == NoParameters {
		return r, nil
	}
	var err error
	r.Digests, err = trail.ParameterDigests(key, values)
	return r, err
}

var errClosed = errors.New("audit: closed")

// Ready returns why a record would be refused now, or nil. Unlike that of
// [Log.Err] its answer may change: the disk may have room again.
func (l *Log) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refuses(0)
}

// refuses returns why n records cannot be taken whatever their size, or nil.
// The caller holds l.mu.
func (l *Log) refuses(n int) error {
	switch {
	case l.err != nil:
		return refusal.New(refusal.Unrecorded, "audit: failed before: %w", l.err)
	case l.closed:
		return refusal.New(refusal.Unrecorded, "%w", errClosed)
	case l.low != nil:
		l.refused += uint64(n)
		return refusal.New(refusal.Unrecorded, "%w", l.low)
	case !l.since.IsZero() && time.Since(l.since) > l.c.Deadline:
		return refusal.New(refusal.Unrecorded, "audit: a commit has not returned for %v", time.Since(l.since))
	default:
		return nil
	}
}

// room is refuses for a group. The caller holds l.mu.
func (l *Log) room(g *group) error {
	if err := l.refuses(len(g.records)); err != nil {
		return err
	}
	if l.records+len(g.records) > l.c.Queue || l.bytes+g.bytes > maxQueueBytes {
		return refusal.New(refusal.Unrecorded, "audit: %d records of %d bytes are waiting, %d and %d are possible",
			l.records, l.bytes, l.c.Queue, maxQueueBytes)
	}
	return nil
}

// push queues g. The caller holds l.mu.
func (l *Log) push(g *group) {
	if len(l.queue) == 0 {
		l.first = time.Now()
	}
	l.queue = append(l.queue, g)
	l.records += len(g.records)
	l.bytes += g.bytes
	l.stir()
}

// want tells the committer that somebody waits for what is queued.
func (l *Log) want() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.wanted && len(l.queue) > 0 {
		l.wanted = true
		l.stir()
	}
}

// stir makes the committer look again at what is queued.
func (l *Log) stir() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take returns what is queued, as far as it fits into one batch.
func (l *Log) take() []*group {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, 0
	for n < len(l.queue) && size+l.queue[n].bytes <= trail.MaxBatch {
		size += l.queue[n].bytes
		l.records -= len(l.queue[n].records)
		n++
	}
	groups := l.queue[:n:n]
	l.queue = l.queue[n:]
	l.bytes -= size
	l.wanted = l.wanted && len(l.queue) > 0
	if n > 0 {
		l.since = time.Now()
	}
	return groups
}

// settleAll tells the waiters of groups what came of them.
func settleAll(groups []*group, err error) {
	for _, g := range groups {
		g.receipt.err = err
		if err != nil {
			g.receipt.ref = Ref{}
		}
		close(g.receipt.done)
	}
}

// fail makes err the last thing this log says.
func (l *Log) fail(err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	queue := l.queue
	l.queue, l.records, l.bytes = nil, 0, 0
	close(l.failed)
	l.mu.Unlock()
	settleAll(queue, refusal.New(refusal.Unrecorded, "audit: %w", fmt.Errorf("commit: %w", err)))
}
