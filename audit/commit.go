package audit

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

const (
	statAtMost = 5 * time.Millisecond   // how often free space is looked up while there is enough
	statLow    = 250 * time.Millisecond // and while there is not
)

// A committer is the state of the one goroutine that numbers and commits;
// nobody else touches it after Open.
type committer struct {
	heads   map[tenant.ID]*head // ahead of the durable ones during a commit
	touched map[tenant.ID]*head
	buf     []byte
	no      uint64
	prev    [32]byte
	began   time.Time // the last commit
	groups  int       // in it
	looked  time.Time // at free space
	low     bool
	lowFrom time.Time
}

// run commits what is queued until the log is closed or a commit fails: at
// once when somebody waits, and with a crowd at most every Interval.
func (l *Log) run(ctx context.Context) {
	defer close(l.done)
	for {
		last := l.rest()
		groups := l.take()
		if len(groups) == 0 {
			if last {
				return
			}
			continue
		}
		if err := l.space(); err != nil {
			l.spare(groups, err)
			continue
		}
		l.commits.began, l.commits.groups = time.Now(), len(groups)
		if err := l.commit(ctx, groups); err != nil {
			l.fail(err)
			settleAll(groups, refusal.New(refusal.Unrecorded, "audit: commit: %w", err))
			return
		}
		settleAll(groups, nil)
	}
}

// crowd is how many groups make a commit that others are worth waiting for.
const crowd = 32

// rest waits until there is something to commit and it is time to. It reports
// whether the log is being closed.
func (l *Log) rest() (closing bool) {
	c := &l.commits
	for {
		wait, queued := l.due()
		if queued && wait <= 0 {
			break
		}
		var timer *time.Timer
		var due, look <-chan time.Time
		switch {
		case queued:
			timer = time.NewTimer(wait)
			due = timer.C
		case c.low:
			timer = time.NewTimer(statLow)
			look = timer.C
		}
		select {
		case <-l.wake:
		case <-due:
		case <-look:
			c.looked = time.Time{}
			l.space() //nolint:errcheck // groups that meet it hear of it
		case <-l.closing:
			closing = true
		}
		if timer != nil {
			timer.Stop()
		}
		if closing {
			return true
		}
	}
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// due returns how long what is queued may still wait for company: not at all
// if somebody waits for it and the last commit had little; an Interval from
// the last commit if that was a crowd; else an Interval from when it came.
func (l *Log) due() (wait time.Duration, queued bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.queue) == 0:
		return 0, false
	case l.wanted && l.commits.groups < crowd:
		return 0, true
	case l.wanted:
		return time.Until(l.commits.began.Add(l.c.Interval)), true
	default:
		return time.Until(l.first.Add(l.c.Interval)), true
	}
}

// commit numbers groups, makes them durable as one batch, and publishes that.
func (l *Log) commit(ctx context.Context, groups []*group) error {
	c := &l.commits
	now := uint64(max(l.c.Now().UnixMilli(), 0))
	clear(c.touched)
	c.buf = append(c.buf[:0], make([]byte, trail.FrameSize)...)
	for _, g := range groups {
		h := c.heads[g.log]
		if h == nil {
			h = new(head)
			c.heads[g.log] = h
		}
		c.touched[g.log] = h
		h.commit = max(h.commit, now)
		g.receipt.ref = Ref{Log: g.log, Seq: h.Size()}
		for _, r := range g.records {
			trail.Number(r, h.Size(), h.commit)
			h.Append(trail.Leaf(r[:trail.HeaderSize]))
			c.buf = trail.AppendRecord(c.buf, r)
		}
	}
	b, err := trail.NewBatch(l.c.Shard, c.no, c.prev, c.buf)
	if err != nil {
		return err
	}
	sum := b.Sum()
	if err := l.c.Commit.Append(ctx, b); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("the disk is full: %w", err)
		}
		return err
	}
	c.no, c.prev = c.no+1, sum
	l.publish()
	return nil
}

// publish makes what the committer reached the durable state.
func (l *Log) publish() {
	c := &l.commits
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, h := range c.touched {
		if l.heads[id] == nil {
			l.heads[id] = new(head)
		}
		l.heads[id].set(h)
		l.newer[id] = true
	}
	l.next, l.last, l.since = c.no, c.prev, time.Time{}
	close(l.grown)
	l.grown = make(chan struct{})
}

// spare refuses groups without failing the log.
func (l *Log) spare(groups []*group, err error) {
	n := 0
	for _, g := range groups {
		n += len(g.records)
	}
	l.mu.Lock()
	l.since = time.Time{}
	l.refused += uint64(n)
	l.mu.Unlock()
	settleAll(groups, refusal.New(refusal.Unrecorded, "%w", err))
}

// space returns why there is not enough of it, or nil. It notes the change from
// one to the other for Append, and records the gap that a lack of space left.
func (l *Log) space() error {
	c := &l.commits
	now := time.Now()
	if every := statAtMost; !c.looked.IsZero() && now.Sub(c.looked) < every {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.low
	}
	c.looked = now
	free, err := freePart(l.c.Dir)
	if err == nil && free < l.c.MinFree {
		err = fmt.Errorf("audit: the disk is full: %.2g%% of the file system of %s is free, %.2g%% is kept free",
			100*free, l.c.Dir, 100*l.c.MinFree)
	}
	l.mu.Lock()
	refused, was := l.refused, l.low
	l.low, l.refused = err, 0
	if err != nil {
		l.refused = refused
	}
	l.mu.Unlock()
	switch {
	case err != nil && !c.low:
		c.low, c.lowFrom = true, l.c.Now()
	case err == nil && c.low:
		c.low = false
		l.gap(refused, was)
	}
	return err
}

// gap records that for a while nothing was.
func (l *Log) gap(refused uint64, why error) {
	g, err := l.seal([]Record{{
		Kind: System, Class: ClassGap,
		Detail: fmt.Sprintf("%d records refused since %s: %v", refused, l.commits.lowFrom.UTC().Format(time.RFC3339), why),
		Result: Result{Rows: int64(refused)},
	}})
	if err != nil {
		l.fail(err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.push(g)
	}
}
