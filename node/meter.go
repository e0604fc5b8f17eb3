package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// A meter counts what is refused before anybody is known. Each interval it
// writes the counts into the operator's log: a flood makes few records.
type meter struct {
	log    broker.Log
	logger *slog.Logger
	now    func() time.Time

	mu      sync.Mutex // guards what follows
	refused map[source]int64
	omitted int64
	first   []string // the first few of the interval, whole
}

// A source is where refused strangers came from, and why they were.
type source struct {
	broker string
	net    netip.Prefix
	reason refusal.Reason
}

const (
	meterInterval = 10 * time.Second
	maxFirst      = 5    // told whole in one interval
	maxSources    = 1000 // counted apart in one interval; the rest is counted together
	meterTimeout  = 5 * time.Second
)

func newMeter(log broker.Log, logger *slog.Logger, now func() time.Time) *meter {
	return &meter{log: log, logger: logger, now: now, refused: map[source]int64{}}
}

// Refused implements [broker.Counter].
func (m *meter) Refused(broker string, peer netip.Addr, r refusal.Reason) {
	s := source{broker, network(peer), r}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.first) < maxFirst {
		m.first = append(m.first, fmt.Sprintf("%s %s %v %v", m.now().UTC().Format(time.RFC3339Nano), broker, peer, r))
	}
	if _, known := m.refused[s]; !known && len(m.refused) >= maxSources {
		m.omitted++
		return
	}
	m.refused[s]++
}

// Decided implements [broker.Counter]. What was decided is in the records.
func (*meter) Decided(string, string, scope.Verdict, refusal.Reason) {}

// network returns the /24 or /48 that a is in.
func network(a netip.Addr) netip.Prefix {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// run writes the counts each interval, and once more when ctx is done.
func (m *meter) run(ctx context.Context) {
	t := time.NewTicker(meterInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.write(ctx)
		case <-ctx.Done():
			m.write(context.WithoutCancel(ctx))
			return
		}
	}
}

// write records the counts. If the trail does not take them they are said on
// the node's log instead: strangers were answered with nothing.
func (m *meter) write(ctx context.Context) {
	m.mu.Lock()
	refused, omitted, first := m.refused, m.omitted, m.first
	m.refused, m.omitted, m.first = map[source]int64{}, 0, nil
	m.mu.Unlock()
	if len(refused) == 0 {
		return
	}
	r := audit.Record{
		Kind: audit.System, Class: audit.ClassUnauthenticated, Time: m.now(), Operation: "refused strangers",
		Detail: fmt.Sprintf("in %v; %d more from other networks", meterInterval, omitted), Resources: counts(refused),
		Text: []byte(strings.Join(first, "\n")),
	}
	for _, n := range refused {
		r.Result.Rows += n
	}
	receipt, err := m.log.Append(r)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, meterTimeout)
		defer cancel()
		_, err = receipt.Wait(ctx)
	}
	if err != nil {
		m.logger.WarnContext(ctx, "refused strangers were not recorded", "count", r.Result.Rows, "err", err)
	}
}

// counts spells the counts, the largest first.
func counts(refused map[source]int64) []string {
	sources := make([]source, 0, len(refused))
	for s := range refused {
		sources = append(sources, s)
	}
	slices.SortFunc(sources, func(a, b source) int { return cmp.Compare(refused[b], refused[a]) })
	var out []string
	for _, s := range sources {
		out = append(out, fmt.Sprintf("%s %v %v %d", s.broker, s.net, s.reason, refused[s]))
	}
	return out
}
