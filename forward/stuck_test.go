package forward_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/refusal"
)

// lend returns a connection to what stands at the other end of a pipe, and a
// turn of a request that no buffer holds.
func lend(t *testing.T, w *brokertest.World) (c *forward.Conn, store net.Conn, turn *forward.Turn) {
	t.Helper()
	client, store := net.Pipe()
	t.Cleanup(func() { _ = store.Close() })
	p := &forward.Pool{
		Dial: func(context.Context) (net.Conn, error) { return client, nil },
		Open: func(context.Context, *bufio.ReadWriter) (forward.Peer, error) { return &peer{}, nil },
		Max:  1, Each: 1, Wait: time.Second,
	}
	s := session(t, w, w.A)
	c, err := p.Get(t.Context(), s.Scope())
	if err != nil {
		t.Fatal(err)
	}
	turn, err = forward.Send(t.Context(), c, admit(t, s, "GET", strings.Repeat("x", 1<<20)))
	if err != nil {
		t.Fatal(err)
	}
	return c, store, turn
}

// TestSendDoesNotWait has a store that reads nothing until what it says was
// read: the turn must exist before the bytes go.
func TestSendDoesNotWait(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	c, store, turn := lend(t, w)
	if c.Buffered() < 1<<20 {
		t.Errorf("%d bytes are buffered", c.Buffered())
	}
	flushed := make(chan error, 1)
	go func() { flushed <- c.Flush() }()
	go func() {
		_, _ = io.WriteString(store, "this first\n")
		_, _ = io.Copy(io.Discard, store)
	}()
	if err := turn.Answer(t.Context(), read); err != nil {
		t.Error(err)
	}
	if err := <-flushed; err != nil || c.Buffered() > 0 {
		t.Errorf("%v; %d bytes are left", err, c.Buffered())
	}
}

// TestStuck has a store that reads nothing at all.
func TestStuck(t *testing.T) {
	w := brokertest.New(t, "postgres", brokertest.Limits())
	c, _, turn := lend(t, w)
	c.Limit(time.Millisecond)
	if err := c.Flush(); refusal.Of(err) != refusal.Unavailable {
		t.Errorf("Flush: %v", err)
	}
	if c.Err() == nil {
		t.Error("the connection lives on")
	}
	if err := turn.Answer(t.Context(), read); err == nil {
		t.Error("it has an answer")
	}
	until(t, func() bool { return len(statuses(t, w, w.A)) == 1 })
}
