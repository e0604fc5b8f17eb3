package postgres

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/isocore/isocore/internal/pgwire"
)

// A wire is a client that speaks in messages.
type wire struct {
	net.Conn
	in *pgwire.Reader
}

// limit is how long anything may take before a test gives up on it.
const limitTime = 20 * time.Second

// hijack returns a wire that is logged in.
func hijack(t testing.TB, dsn string) *wire {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	h, err := conn.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	return newWire(t, h.Conn)
}

func newWire(t testing.TB, c net.Conn) *wire {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(limitTime)); err != nil {
		t.Fatal(err)
	}
	return &wire{c, pgwire.NewReader(bufio.NewReaderSize(c, 64<<10))}
}

// dial returns a wire that has said nothing yet.
func (f *fixture) dial(t testing.TB) *wire {
	t.Helper()
	c, err := net.Dial("tcp", f.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return newWire(t, c)
}

// as returns a wire of the tenant's.
func (f *fixture) as(t testing.TB, reach ...string) *wire {
	t.Helper()
	return hijack(t, f.dsn(f.Token(f.A, reach...)))
}

func encode(t testing.TB, ms ...pgwire.Message) []byte {
	t.Helper()
	var p []byte
	for _, m := range ms {
		var err error
		if p, err = m.Encode(p); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (w *wire) send(t testing.TB, ms ...pgwire.Message) {
	t.Helper()
	if _, err := w.Write(encode(t, ms...)); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// next returns the next message as a line, or "end".
func (w *wire) next(t testing.TB) string {
	t.Helper()
	typ, body, err := w.in.ReadMessage(1 << 30)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("no answer")
		}
		return "end"
	}
	m, err := pgwire.DecodeBackend(pgwire.Backend(typ), body)
	if err != nil {
		t.Fatalf("%q %q: %v", typ, body, err)
	}
	return line(typ, m)
}

// until reads up to the message whose line begins with one of the prefixes, or
// the end of the connection.
func (w *wire) until(t testing.TB, prefixes ...string) []string {
	t.Helper()
	var lines []string
	for {
		l := w.next(t)
		lines = append(lines, l)
		if l == "end" || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(l, p) }) {
			return lines
		}
	}
}

// line writes a message as text. What differs between two servers by nature
// is left out: places in the source, numbers of tables, values of parameters.
func line(typ byte, m pgwire.Message) string {
	switch m := m.(type) {
	case *pgwire.ErrorResponse:
		return "Error" + fields(m.Fields)
	case *pgwire.NoticeResponse:
		return "Notice" + fields(m.Fields)
	case *pgwire.ParameterStatus:
		return "Parameter " + m.Name
	case *pgwire.BackendKeyData:
		return "Key"
	case *pgwire.ReadyForQuery:
		return "Ready " + string(m.Status)
	case *pgwire.CommandComplete:
		return "Complete " + m.Tag
	case *pgwire.ParameterDescription:
		return fmt.Sprint("Parameters ", m.Types)
	case *pgwire.RowDescription:
		var b strings.Builder
		for _, c := range m.Columns {
			fmt.Fprintf(&b, " %s:%v:%d:%d:%d:%d:%d", c.Name, c.Table != 0, c.Attribute, c.Type, c.Size, c.Modifier, c.Format)
		}
		return "Columns" + b.String()
	case *pgwire.DataRow:
		var b strings.Builder
		for _, v := range m.Values {
			if v == nil {
				b.WriteString(" NULL")
				continue
			}
			fmt.Fprintf(&b, " %s", short(v))
		}
		return "Row" + b.String()
	case *pgwire.Opaque:
		return pgwire.Backend(typ).String() + " " + short(m.Body)
	default:
		return fmt.Sprintf("%v %+v", pgwire.Backend(typ), m)
	}
}

func short(p []byte) string {
	if len(p) > 200 {
		return fmt.Sprintf("%d bytes, %q", len(p), p[:20])
	}
	return fmt.Sprintf("%q", p)
}

func fields(fs pgwire.Fields) string {
	var b strings.Builder
	for _, f := range fs {
		// Row security makes the server leave details of violations out; the
		// broker leaves out the context.
		if !strings.ContainsRune("FLRsVtcdnDW", rune(f.Code)) {
			fmt.Fprintf(&b, " %c=%s", f.Code, f.Value)
		}
	}
	return b.String()
}

// startup returns the first message of a client.
func startup(params ...string) *pgwire.StartupMessage {
	m := &pgwire.StartupMessage{Version: pgwire.Version30}
	for i := 0; i+1 < len(params); i += 2 {
		m.Params = append(m.Params, pgwire.Param{Name: params[i], Value: params[i+1]})
	}
	return m
}

// rest reads whatever still comes until the connection ends.
func (w *wire) rest(t testing.TB) []string {
	t.Helper()
	lines := w.until(t)
	return lines[:len(lines)-1]
}

var _ io.Writer = (*wire)(nil)

// The messages, briefly.

func q(text string) pgwire.Message { return &pgwire.Query{Text: text} }

func p(name, text string, types ...uint32) pgwire.Message {
	return &pgwire.Parse{Name: name, Query: text, ParamTypes: types}
}

func b(portal, statement string, params ...string) pgwire.Message {
	m := &pgwire.Bind{Portal: portal, Statement: statement}
	for _, p := range params {
		m.Params = append(m.Params, []byte(p))
	}
	return m
}

func d(name string) pgwire.Message { return &pgwire.Describe{Target: pgwire.Statement, Name: name} }

func dp(name string) pgwire.Message { return &pgwire.Describe{Target: pgwire.Portal, Name: name} }

func e(portal string) pgwire.Message { return &pgwire.Execute{Portal: portal} }

func en(portal string, n int32) pgwire.Message { return &pgwire.Execute{Portal: portal, MaxRows: n} }

func c(name string) pgwire.Message { return &pgwire.Close{Target: pgwire.Statement, Name: name} }

func cp(name string) pgwire.Message { return &pgwire.Close{Target: pgwire.Portal, Name: name} }

var (
	syn   pgwire.Message = pgwire.Sync{}
	flush pgwire.Message = pgwire.Flush{}
)

// run is the messages of a statement in the extended protocol.
func run(text string, params ...string) []pgwire.Message {
	return []pgwire.Message{p("", text), b("", "", params...), dp(""), e("")}
}
