package postgres

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/secret"
)

// maxAnswer bounds a message that a probe reads.
const maxAnswer = 16 << 20

// An attacker is one connection of a probe: raw messages, so that answers can
// be compared byte by byte.
type attacker struct {
	conn     net.Conn
	in       *pgwire.Reader
	key      pgwire.BackendKeyData
	greeting replies
}

// A spoken is one message of an answer.
type spoken struct {
	kind byte
	body string
}

// replies are an answer, message by message.
type replies []spoken

// String prints every byte of s.
func (s replies) String() string {
	var b strings.Builder
	for i, h := range s {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%c%q", h.kind, h.body)
	}
	return b.String()
}

// failure returns the first error in s, or nil.
func (s replies) failure() *pgwire.ErrorResponse {
	for _, h := range s {
		if pgwire.Backend(h.kind) != pgwire.BackendErrorResponse {
			continue
		}
		m, err := pgwire.DecodeBackend(pgwire.BackendErrorResponse, []byte(h.body))
		if e, ok := m.(*pgwire.ErrorResponse); ok && err == nil {
			return e
		}
	}
	return nil
}

// code returns the SQLSTATE of the first error in s, or "".
func (s replies) code() string {
	if e := s.failure(); e != nil {
		return e.Value(pgwire.FieldSQLState)
	}
	return ""
}

// values returns the values of all rows in s, in order.
func (s replies) values() []string {
	var all []string
	for _, h := range s {
		if pgwire.Backend(h.kind) != pgwire.BackendDataRow {
			continue
		}
		m, err := pgwire.DecodeBackend(pgwire.BackendDataRow, []byte(h.body))
		row, ok := m.(*pgwire.DataRow)
		if err != nil || !ok {
			continue
		}
		for _, v := range row.Values {
			all = append(all, string(v))
		}
	}
	return all
}

// A rejection is a connection that the door ended, with its last words.
type rejection struct{ replies }

func (r *rejection) Error() string { return "postgres: not let in: " + r.String() }

// rawMessage is a message, or a part of one, that no codec here would write.
type rawMessage []byte

// Encode implements [pgwire.Message].
func (r rawMessage) Encode(dst []byte) ([]byte, error) { return append(dst, r...), nil }

// knock opens a connection up to where the startup message is due.
func knock(ctx context.Context, t *prove.Target) (*attacker, error) {
	conn, err := t.Dial(ctx, Name)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	a := &attacker{}
	a.use(conn)
	if t.Roots == nil || conn.RemoteAddr().Network() == "unix" {
		return a, nil
	}
	if err := a.encrypt(ctx, t); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return a, nil
}

func (a *attacker) use(conn net.Conn) {
	a.conn, a.in = conn, pgwire.NewReader(bufio.NewReader(conn))
}

func (a *attacker) encrypt(ctx context.Context, t *prove.Target) error {
	if err := a.say(pgwire.SSLRequest{}); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(a.conn, answer[:]); err != nil {
		return err
	}
	if answer[0] != 'S' {
		return errors.New("postgres: the broker does not speak TLS")
	}
	c := tls.Client(a.conn, &tls.Config{RootCAs: t.Roots, ServerName: t.ServerName(Name), MinVersion: tls.VersionTLS12})
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	a.use(c)
	return nil
}

func (a *attacker) close() {
	if p, err := (pgwire.Terminate{}).Encode(nil); err == nil {
		a.conn.Write(p) //nolint:errcheck // goodbye is a courtesy
	}
	a.conn.Close() //nolint:errcheck // nothing is expected of it any more
}

func (a *attacker) say(ms ...pgwire.Message) error {
	var p []byte
	for _, m := range ms {
		var err error
		if p, err = m.Encode(p); err != nil {
			return err
		}
	}
	_, err := a.conn.Write(p)
	return err
}

// hear reads up to the n-th ReadyForQuery. An end of the connection is the
// end of the answer: its last message says why.
func (a *attacker) hear(n int) (replies, error) {
	var s replies
	for n > 0 {
		kind, p, err := a.in.ReadMessage(maxAnswer)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) {
			return append(s, spoken{'!', "the connection ended"}), nil
		}
		if err != nil {
			return s, err
		}
		s = append(s, spoken{kind, string(bytes.Clone(p))})
		if pgwire.Backend(kind) == pgwire.BackendReadyForQuery {
			n--
		}
	}
	return s, nil
}

// isReset reports whether err is how a peer ends that closed in the middle.
func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

// ask sends messages and returns the whole answer.
func (a *attacker) ask(ms ...pgwire.Message) (replies, error) {
	n := 0
	for _, m := range ms {
		switch m.(type) {
		case *pgwire.Query, pgwire.Sync, rawMessage:
			n++
		}
	}
	if err := a.say(ms...); err != nil {
		if isReset(err) {
			return a.hear(1)
		}
		return nil, err
	}
	return a.hear(n)
}

// query is ask of a simple Query.
func (a *attacker) query(format string, args ...any) (replies, error) {
	return a.ask(&pgwire.Query{Text: fmt.Sprintf(format, args...)})
}

// run is ask of one statement by the extended protocol, with parameters.
func (a *attacker) run(text string, params ...string) (replies, error) {
	b := &pgwire.Bind{}
	for _, p := range params {
		b.Params = append(b.Params, []byte(p))
	}
	return a.ask(&pgwire.Parse{Query: text}, b, &pgwire.Describe{Target: pgwire.Portal}, &pgwire.Execute{}, pgwire.Sync{})
}

// enterWith logs in with a token, and what else the startup message shall say.
func enterWith(ctx context.Context, t *prove.Target, token secret.Text, params ...pgwire.Param) (*attacker, error) {
	a, err := knock(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := a.login(t, token, params); err != nil {
		return nil, errors.Join(err, a.conn.Close())
	}
	return a, nil
}

func (a *attacker) login(t *prove.Target, token secret.Text, params []pgwire.Param) error {
	all := append([]pgwire.Param(nil), params...)
	for _, p := range []pgwire.Param{{Name: "user", Value: "prove"}, {Name: "database", Value: t.Database}} {
		if !named(params, p.Name) {
			all = append(all, p)
		}
	}
	if err := a.say(&pgwire.StartupMessage{Version: pgwire.Version30, Params: all}); err != nil {
		return err
	}
	var first replies
	for {
		kind, p, err := a.in.ReadMessage(maxAnswer)
		if err != nil {
			return &rejection{append(first, spoken{'!', "the connection ended"})}
		}
		first = append(first, spoken{kind, string(bytes.Clone(p))})
		if pgwire.Backend(kind) == pgwire.BackendErrorResponse {
			return &rejection{first}
		}
		if pgwire.Backend(kind) == pgwire.BackendAuthentication {
			break
		}
	}
	if err := a.say(&pgwire.Password{Password: token}); err != nil {
		return err
	}
	s, err := a.hear(1)
	if err != nil {
		return err
	}
	a.greeting = append(first, s...)
	if s.failure() != nil || len(s) == 0 || pgwire.Backend(s[len(s)-1].kind) != pgwire.BackendReadyForQuery {
		return &rejection{a.greeting}
	}
	return a.remember(s)
}

// remember keeps what a CancelRequest would have to show.
func (a *attacker) remember(s replies) error {
	for _, h := range s {
		if pgwire.Backend(h.kind) != pgwire.BackendBackendKeyData {
			continue
		}
		m, err := pgwire.DecodeBackend(pgwire.BackendBackendKeyData, []byte(h.body))
		if err != nil {
			return err
		}
		if k, ok := m.(*pgwire.BackendKeyData); ok {
			a.key = *k
		}
	}
	return nil
}

func named(params []pgwire.Param, name string) bool {
	for _, p := range params {
		if p.Name == name {
			return true
		}
	}
	return false
}
