package forward_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// A line is a request of a protocol of lines: "GET x" is confined to "GET <tenant>x".
type line struct {
	op, text string
	confined string
}

func (l *line) Operations() []scope.Operation {
	return []scope.Operation{{Name: l.op, Text: []byte(l.text), Class: uint16(audit.ClassStatement)}}
}

var errBare = errors.New("not confined")

func (l *line) Encode(dst []byte) ([]byte, error) {
	if l.confined == "" {
		return dst, errBare
	}
	return append(dst, l.op+" "+l.confined+"\n"...), nil
}

func confine(l *line, _ int, s scope.Scope) error {
	l.confined = s.Tenant().String() + l.text
	return nil
}

var table = scope.Table[*line]{
	"GET":  {Verdict: scope.Confine, Effect: scope.Read, Needs: identity.PGRead, Why: "prefixed", Confine: confine},
	"SET":  {Verdict: scope.Confine, Needs: identity.PGWrite, Why: "prefixed", Confine: confine},
	"BARE": {Verdict: scope.Confine, Needs: identity.PGRead, Why: "forgets to", Confine: func(*line, int, scope.Scope) error { return nil }},
}

var addr = netip.MustParseAddrPort("127.0.0.1:4000")

type peer struct{ enter, leave error }

func (p *peer) Enter(context.Context, scope.Scope) error { return p.enter }
func (p *peer) Leave(context.Context) error              { return p.leave }

// A store answers every line with itself, in capital letters.
type store struct {
	mu    sync.Mutex
	conns []net.Conn
	heard []string
}

func (s *store) dial(context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	s.mu.Lock()
	s.conns = append(s.conns, server)
	s.mu.Unlock()
	go func() {
		in := bufio.NewReader(server)
		for {
			text, err := in.ReadString('\n')
			if err != nil {
				return
			}
			s.mu.Lock()
			s.heard = append(s.heard, strings.TrimSpace(text))
			s.mu.Unlock()
			if _, err := io.WriteString(server, strings.ToUpper(text)); err != nil {
				return
			}
		}
	}()
	return client, nil
}

func (s *store) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heard)
}

func pool(s *store, p *peer, n int) *forward.Pool {
	return &forward.Pool{
		Dial: s.dial, Max: n, Each: n, Wait: time.Second,
		Open: func(context.Context, *bufio.ReadWriter) (forward.Peer, error) { return p, nil },
	}
}

func session(t *testing.T, w *brokertest.World, id tenant.ID) *broker.Session {
	t.Helper()
	s, err := w.Gate.Enter(t.Context(), "postgres", addr, w.Token(id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Leave(context.Background(), nil) })
	return s
}

func admit(t *testing.T, s *broker.Session, op, text string) *broker.Pass[*line] {
	t.Helper()
	p, err := broker.Admit(t.Context(), s, table, &line{op: op, text: text})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// statuses returns the status of each outcome, in order.
func statuses(t *testing.T, w *brokertest.World, id tenant.ID) []string {
	t.Helper()
	var all []string
	for _, r := range w.Records(t, id) {
		if r.Kind == audit.Outcome {
			all = append(all, r.Result.Status)
		}
	}
	return all
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}

func read(store *bufio.Reader) ([]audit.Result, error) {
	_, err := store.ReadString('\n')
	return []audit.Result{{Status: audit.StatusOK}}, err
}

// flush sends what is buffered, meanwhile; the function it returns waits for that.
func flush(c *forward.Conn) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Flush() // the answer would fail as well
	}()
	return func() { <-done }
}

func TestAnswersInTurn(t *testing.T) {
	w, s := brokertest.New(t, "postgres", brokertest.Limits()), &store{}
	p := pool(s, &peer{}, 1)
	a := session(t, w, w.A)
	c, err := p.Get(t.Context(), a.Scope())
	if err != nil {
		t.Fatal(err)
	}
	var turns []*forward.Turn
	for _, text := range []string{"x", "y", "z"} {
		turn, err := forward.Send(t.Context(), c, admit(t, a, "GET", text))
		if err != nil {
			t.Fatal(err)
		}
		turns = append(turns, turn)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- c.Flush() }()
	var got []string
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, turn := range slices.Backward(turns) {
		all.Go(func() {
			err := turn.Answer(t.Context(), func(store *bufio.Reader) ([]audit.Result, error) {
				text, err := store.ReadString('\n')
				mu.Lock()
				defer mu.Unlock()
				got = append(got, text[len(text)-2:len(text)-1])
				return []audit.Result{{Status: audit.StatusOK}}, err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := <-flushed; err != nil || strings.Join(got, "") != "XYZ" {
		t.Errorf("%q: %v", got, err)
	}
	until(t, func() bool { return len(statuses(t, w, w.A)) == 3 })
	p.Put(t.Context(), c)
	if c, err = p.Get(t.Context(), a.Scope()); err != nil {
		t.Fatalf("the slot is not given back: %v", err)
	}
	p.Put(t.Context(), c)
}

var errBoom = errors.New("boom")

// endings are the ways in which an operation ends that goes wrong.
var endings = map[string]struct {
	op   string
	do   func(t *testing.T, c *forward.Conn, p *broker.Pass[*line]) error
	want string
}{
	"destroyed before": {"GET", func(t *testing.T, c *forward.Conn, p *broker.Pass[*line]) error {
		c.Destroy(errBoom)
		_, err := forward.Send(t.Context(), c, p)
		return err
	}, audit.StatusAbandoned},
	"not confined": {"BARE", func(t *testing.T, c *forward.Conn, p *broker.Pass[*line]) error {
		_, err := forward.Send(t.Context(), c, p)
		if c.Err() == nil {
			t.Error("the connection is still good")
		}
		return err
	}, audit.StatusAbandoned},
	"the answer fails": {"SET", func(t *testing.T, c *forward.Conn, p *broker.Pass[*line]) error {
		turn, err := forward.Send(t.Context(), c, p)
		if err != nil {
			return err
		}
		return turn.Answer(t.Context(), func(*bufio.Reader) ([]audit.Result, error) { return nil, errBoom })
	}, audit.StatusAbandoned},
	"heard, settled later": {"SET", func(t *testing.T, c *forward.Conn, p *broker.Pass[*line]) error {
		turn, err := forward.Send(t.Context(), c, p)
		if err != nil {
			return err
		}
		defer flush(c)()
		if err := turn.Hear(t.Context(), func(store *bufio.Reader) error { _, err := read(store); return err }); err != nil {
			return err
		}
		return errors.Join(turn.Settle(t.Context(), audit.Result{Status: audit.StatusRolledBack}), errBoom)
	}, audit.StatusRolledBack},
	"cancelled": {"SET", func(t *testing.T, c *forward.Conn, p *broker.Pass[*line]) error {
		ctx, cancel := context.WithCancel(t.Context())
		turn, err := forward.Send(ctx, c, p)
		cancel()
		if err != nil {
			return err
		}
		defer flush(c)()
		return errors.Join(turn.Answer(ctx, read), errBoom)
	}, audit.StatusOK},
}

// TestEveryWayOutIsRecorded: what was admitted has an outcome and a place
// that was taken is given back, whatever goes wrong.
func TestEveryWayOutIsRecorded(t *testing.T) {
	for name, c := range endings {
		t.Run(name, func(t *testing.T) {
			limits := brokertest.Limits()
			limits.Queue = 1
			w, s := brokertest.New(t, "postgres", limits), &store{}
			pool := pool(s, &peer{}, 1)
			a := session(t, w, w.A)
			conn, err := pool.Get(t.Context(), a.Scope())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.do(t, conn, admit(t, a, c.op, "x")); err == nil {
				t.Error("it went well")
			}
			until(t, func() bool { return slices.Equal(statuses(t, w, w.A), []string{c.want}) })
			pool.Put(t.Context(), conn)
			again, err := pool.Get(t.Context(), a.Scope())
			if err != nil {
				t.Fatalf("the slot is not given back: %v", err)
			}
			pool.Put(t.Context(), again)
			admit(t, a, "GET", "the place in the queue is free")
		})
	}
}

func TestForeignPass(t *testing.T) {
	w, s := brokertest.New(t, "postgres", brokertest.Limits()), &store{}
	p := pool(s, &peer{}, 1)
	c, err := p.Get(t.Context(), session(t, w, w.A).Scope())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forward.Send(t.Context(), c, admit(t, session(t, w, w.B), "GET", "x")); refusal.Of(err) != refusal.Internal || c.Err() == nil {
		t.Errorf("B's request on A's connection: %v", err)
	}
	until(t, func() bool { return slices.Equal(statuses(t, w, w.B), []string{audit.StatusAbandoned}) })
	if got := s.lines(); len(got) != 0 {
		t.Errorf("the store heard %q", got)
	}
	p.Put(t.Context(), c)
}

// TestWritesWait: nothing of a write leaves before its decision is durable, and
// nothing of any answer comes.
func TestWritesWait(t *testing.T) {
	w, s := brokertest.New(t, "postgres", brokertest.Limits()), &store{}
	a := session(t, w, w.A)
	p := pool(s, &peer{}, 2)
	for _, op := range []string{"SET", "GET"} {
		c, err := p.Get(t.Context(), a.Scope())
		if err != nil {
			t.Fatal(err)
		}
		pass := admit(t, a, op, "x")
		if op == "GET" { // whose decision never becomes durable
			w.Commits.Fail(brokertest.ErrDisk)
			pass, err = broker.Admit(t.Context(), a, table, &line{op: op, text: "y"})
			if err != nil {
				break // the log has failed already
			}
		}
		turn, err := forward.Send(t.Context(), c, pass)
		if err != nil {
			t.Fatal(err)
		}
		flushed := flush(c)
		ran := false
		err = turn.Answer(t.Context(), func(store *bufio.Reader) ([]audit.Result, error) {
			ran = true
			return read(store)
		})
		if ok := err == nil && ran; ok != (op == "SET") {
			t.Errorf("%s: answered %v: %v", op, ran, err)
		}
		flushed()
		p.Put(t.Context(), c)
	}
}

func TestPool(t *testing.T) {
	w, s := brokertest.New(t, "postgres", brokertest.Limits()), &store{}
	a := session(t, w, w.A).Scope()
	p := pool(s, &peer{}, 2)
	one, err1 := p.Get(t.Context(), a)
	two, err2 := p.Get(t.Context(), a)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Get(t.Context(), a); refusal.Of(err) != refusal.TooMany {
		t.Errorf("a third of two: %v", err)
	}
	if _, err := p.Get(t.Context(), scope.Scope{}); refusal.Of(err) != refusal.Internal {
		t.Errorf("a connection for nobody: %v", err)
	}
	p.Put(t.Context(), one)
	if one.Err() == nil {
		t.Error("a connection outlives its session")
	}
	three, err := p.Get(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	p.Put(t.Context(), two)
	p.Put(t.Context(), three)

	for name, bad := range map[string]*forward.Pool{
		"dial":  {Dial: func(context.Context) (net.Conn, error) { return nil, errBoom }, Max: 1, Each: 1, Wait: time.Second},
		"open":  {Dial: s.dial, Open: func(context.Context, *bufio.ReadWriter) (forward.Peer, error) { return nil, errBoom }, Max: 1, Each: 1, Wait: time.Second},
		"enter": pool(s, &peer{enter: errBoom}, 1),
		"hangs": {Dial: s.dial, Open: func(_ context.Context, rw *bufio.ReadWriter) (forward.Peer, error) {
			_, err := rw.ReadByte()
			return nil, err
		}, Max: 1, Each: 1, Wait: 50 * time.Millisecond},
	} {
		for range 3 { // the slot is free again every time
			if _, err := bad.Get(t.Context(), a); refusal.Of(err) != refusal.Unavailable {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// One tenant cannot have every connection: there is one left for another.
func TestNoTenantHasAll(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	p := pool(&store{}, &peer{}, 2)
	p.Each = 1
	a, b := session(t, w, w.A).Scope(), session(t, w, w.B).Scope()
	first, err := p.Get(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Get(t.Context(), a); refusal.Of(err) != refusal.TooMany {
		t.Fatal(err)
	}
	other, err := p.Get(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	p.Put(t.Context(), first)
	again, err := p.Get(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	p.Put(t.Context(), again)
	p.Put(t.Context(), other)
}
