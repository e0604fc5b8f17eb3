package postgres

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
)

// Bounds of who has shown no token.
const (
	loginTime   = 10 * time.Second
	loginBytes  = 16 << 10 // of the startup packet, and of the password
	bufferBytes = 8 << 10  // of each direction of a connection
	writeTime   = 2 * time.Minute
	// farewellTime is how long a client may take to hear why it must go.
	farewellTime = 500 * time.Millisecond
)

// A caller is a connection that has shown no token yet.
type caller struct {
	*Broker
	guest   *accept.Guest
	conn    *patient // the guest's, or TLS over it
	buf     *bufio.Reader
	in      *pgwire.Reader
	out     *bufio.Writer
	startup *pgwire.StartupMessage
}

// A patient connection gives up on a client which stops reading: late, as long
// as there is no hurry.
type patient struct {
	net.Conn
	over atomic.Bool
}

func (p *patient) Write(b []byte) (int, error) {
	for hurried := p.over.Load(); ; hurried = true {
		wait := writeTime
		if hurried {
			wait = farewellTime
		}
		if err := p.SetWriteDeadline(time.Now().Add(wait)); err != nil {
			return 0, err
		}
		if hurried == p.over.Load() {
			return p.Conn.Write(b)
		}
	}
}

// hurry makes the write in progress and all to come give up soon.
func (p *patient) hurry() {
	p.over.Store(true)
	p.SetWriteDeadline(time.Now().Add(farewellTime)) //nolint:errcheck // a closed connection fails as well
}

func (c *caller) use(conn net.Conn) {
	c.conn = &patient{Conn: conn}
	c.buf = bufio.NewReaderSize(conn, bufferBytes)
	c.in = pgwire.NewReader(c.buf)
	c.out = bufio.NewWriterSize(c.conn, bufferBytes)
}

// begin reads up to the startup message. It returns false if there is none:
// the connection was for a CancelRequest.
func (c *caller) begin(ctx context.Context) (bool, error) {
	// A client asks for each kind of encryption once.
	for range 3 {
		m, err := c.in.ReadStartup(loginBytes)
		if err != nil {
			return false, gone(err)
		}
		switch m := m.(type) {
		case pgwire.SSLRequest:
			err = c.encrypt(ctx)
		case pgwire.GSSENCRequest:
			err = c.decline()
		case *pgwire.CancelRequest:
			return false, c.cancelFor(ctx, m)
		case *pgwire.StartupMessage:
			c.startup = m
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, refusal.New(refusal.Malformed, "postgres: no end of requests for encryption")
}

// decline says that there is no such encryption here.
func (c *caller) decline() error {
	if err := c.out.WriteByte('N'); err != nil {
		return err
	}
	return c.out.Flush()
}

// encrypt begins TLS, if there is a certificate. Bytes that came before the
// handshake would be plain text taken for part of it.
func (c *caller) encrypt(ctx context.Context) error {
	if c.encrypted() || c.buf.Buffered() > 0 {
		return refusal.New(refusal.Malformed, "postgres: %d bytes before the TLS handshake", c.buf.Buffered())
	}
	if c.TLS == nil {
		return c.decline()
	}
	if _, err := c.conn.Write([]byte{'S'}); err != nil {
		return err
	}
	t := tls.Server(c.conn.Conn, c.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		return gone(fmt.Errorf("postgres: TLS: %w", err))
	}
	c.use(t)
	return nil
}

func (c *caller) encrypted() bool {
	_, ok := c.conn.Conn.(*tls.Conn)
	return ok
}

// secure refuses to ask for a token that would cross a network in clear.
func (c *caller) secure() error {
	if c.encrypted() || c.guest.IsLocal() {
		return nil
	}
	return refusal.Hinted(refusal.Unauthenticated, "connect with sslmode=verify-full", "postgres: no TLS from %v", c.guest.Addr)
}

// negotiate tells a client of a newer protocol what is spoken here.
func (c *caller) negotiate() error {
	var unknown []string
	for _, p := range c.startup.Params {
		if strings.HasPrefix(p.Name, "_pq_.") {
			unknown = append(unknown, p.Name)
		}
	}
	if c.startup.Version == pgwire.Version30 && len(unknown) == 0 {
		return nil
	}
	return c.say(&pgwire.NegotiateProtocolVersion{Newest: pgwire.Version30, Unrecognised: unknown})
}

func (c *caller) say(ms ...pgwire.Message) error {
	for _, m := range ms {
		p, err := m.Encode(nil)
		if err != nil {
			return err
		}
		if _, err := c.out.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// farewell tells the client why its connection ends.
func (c *caller) farewell(f *fault) error {
	p, err := f.encode(nil, "FATAL")
	if err != nil {
		return err
	}
	c.conn.hurry()
	if _, err := c.out.Write(p); err != nil {
		return err
	}
	return c.out.Flush()
}
