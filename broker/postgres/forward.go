package postgres

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
)

// A Store is how one database of a PostgreSQL server is reached.
type Store struct {
	Address  string      // path of a unix socket, or host:port
	TLS      *tls.Config // nil only for a unix socket or loopback
	Database string
	Password secret.Text // of the role isocore_login
	// Statement bounds the run of one statement, and the idle time in a transaction.
	Statement time.Duration
}

// dialTimeout bounds a connection to the store, login included.
const dialTimeout = 5 * time.Second

// checkInterval is how often the store looks, while it runs a statement,
// whether we still hold the connection.
const checkInterval = 500 * time.Millisecond

// dial connects to the store. This file and the pool are the only ones that do.
func (s Store) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	network := "tcp"
	if strings.HasPrefix(s.Address, "/") {
		network = "unix"
	}
	c, err := new(net.Dialer).DialContext(ctx, network, s.Address)
	if err != nil || s.TLS == nil {
		return c, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if err := s.askTLS(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	t := tls.Client(c, s.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return t, c.SetDeadline(time.Time{})
}

func (s Store) askTLS(c net.Conn) error {
	ask, err := pgwire.SSLRequest{}.Encode(nil)
	if err != nil {
		return err
	}
	if _, err := c.Write(ask); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := c.Read(answer[:]); err != nil {
		return err
	}
	if answer[0] != 'S' {
		return errors.New("postgres: the store does not speak TLS")
	}
	return nil
}

// cancel asks the store to stop what the backend with this key is running.
func (s Store) cancel(ctx context.Context, key pgwire.BackendKeyData) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the store closes it as well
	if err := c.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	ask, err := (&pgwire.CancelRequest{PID: key.PID, Secret: key.Secret}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err = c.Write(ask); err != nil {
		return err
	}
	var end [1]byte
	c.Read(end[:]) //nolint:errcheck // the store says nothing; it closes when the signal is sent
	return nil
}

// A backend is one process of the store that serves this broker. It
// implements [forward.Peer].
type backend struct {
	key     pgwire.BackendKeyData
	start   time.Time     // of the postmaster
	skew    time.Duration // of the store's clock against ours
	status  []pgwire.ParameterStatus
	keys    *keys
	owner   scope.Scope
	out     *bufio.Writer
	settled bool
}

var errOwner = errors.New("postgres: the backend belongs to another tenant")

// Enter implements [forward.Peer]: from now on b mints contexts of one tenant
// alone.
func (b *backend) Enter(_ context.Context, s scope.Scope) error {
	if s.Tenant().IsZero() || b.settled {
		return errOwner
	}
	b.owner, b.settled = s, true
	return nil
}

// Leave implements [forward.Peer]: it says goodbye. A backend serves one
// session and is never used again.
func (b *backend) Leave(context.Context) error {
	bye, err := pgwire.Terminate{}.Encode(nil)
	if err != nil {
		return err
	}
	if _, err := b.out.Write(bye); err != nil {
		return err
	}
	return b.out.Flush()
}

// context returns the text that proves to the database that the transaction
// about to begin on b is one of s.
func (b *backend) context(s scope.Scope) (string, error) {
	p := s.Principal()
	if !b.settled || b.owner.Tenant() != s.Tenant() {
		return "", errOwner
	}
	key, err := b.keys.current()
	if err != nil {
		return "", err
	}
	claims := protect.Claims{
		Tenant: s.Tenant(), Principal: p.ID(), Reach: p.Reach(),
		IssuedAt: b.keys.now().Add(b.skew), Expires: p.Expires().Add(b.skew),
	}
	if err := claims.Check(); err != nil {
		return "", err
	}
	return key.Context(claims, b.key.PID, b.start), nil
}

// open logs in to the store and makes the connection ready for a tenant.
func (s Store) open(keys *keys) func(context.Context, *bufio.ReadWriter) (*backend, error) {
	return func(_ context.Context, rw *bufio.ReadWriter) (*backend, error) {
		l := &login{Store: s, in: pgwire.NewReader(rw.Reader), out: rw.Writer, b: &backend{keys: keys, out: rw.Writer}}
		if err := l.run(); err != nil {
			return nil, fmt.Errorf("postgres: login to the store: %w", err)
		}
		return l.b, nil
	}
}

// A login is the conversation that makes a backend.
type login struct {
	Store
	in  *pgwire.Reader
	out *bufio.Writer
	b   *backend
}

// maxLogin bounds a message of the store while logging in.
const maxLogin = 64 << 10

func (l *login) run() error {
	timeout := strconv.FormatInt(l.Statement.Milliseconds(), 10)
	err := l.say(&pgwire.StartupMessage{Version: pgwire.Version30, Params: []pgwire.Param{
		{Name: "user", Value: protect.Login},
		{Name: "database", Value: l.Database},
		{Name: "client_encoding", Value: "UTF8"},
		{Name: "application_name", Value: "isocore"},
		{Name: "standard_conforming_strings", Value: "on"},
		{Name: "statement_timeout", Value: timeout},
		{Name: "idle_in_transaction_session_timeout", Value: timeout},
		{Name: "client_connection_check_interval", Value: strconv.FormatInt(checkInterval.Milliseconds(), 10)},
	}})
	if err != nil {
		return err
	}
	if err := l.authenticate(); err != nil {
		return err
	}
	if err := l.greeting(); err != nil {
		return err
	}
	row, err := l.query("SELECT pg_catalog.pg_backend_pid()::text," +
		" (extract(epoch from pg_catalog.pg_postmaster_start_time())*1000000)::pg_catalog.int8::text," +
		" (extract(epoch from pg_catalog.clock_timestamp())*1000000)::pg_catalog.int8::text")
	if err != nil {
		return err
	}
	if err := l.identify(row); err != nil {
		return err
	}
	if _, err = l.query("SET ROLE " + protect.Runtime); err != nil {
		return err
	}
	row, err = l.query("SELECT current_user, session_user, pg_catalog.current_setting('isocore.ctx', true)")
	if err != nil {
		return err
	}
	if len(row) != 3 || row[0] != protect.Runtime || row[1] != protect.Login || row[2] != "" {
		return fmt.Errorf("postgres: the session is %q after login", row)
	}
	return nil
}

func (l *login) say(m pgwire.Message) error {
	p, err := m.Encode(nil)
	if err != nil {
		return err
	}
	if _, err := l.out.Write(p); err != nil {
		return err
	}
	return l.out.Flush()
}

// next returns the next message that is not a notice.
func (l *login) next() (pgwire.Message, error) {
	for {
		t, p, err := l.in.ReadMessage(maxLogin)
		if err != nil {
			return nil, err
		}
		m, err := pgwire.DecodeBackend(pgwire.Backend(t), p)
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgwire.NoticeResponse:
		case *pgwire.ErrorResponse:
			return nil, fmt.Errorf("postgres: the store says %s: %s", m.Value(pgwire.FieldSQLState), m.Value(pgwire.FieldMessage))
		default:
			return m, nil
		}
	}
}

// authenticate proves who we are by SCRAM-SHA-256, and proves the store too:
// nothing weaker is answered.
func (l *login) authenticate() error {
	scram, err := pgwire.NewSCRAM(protect.Login, l.Password)
	if err != nil {
		return err
	}
	proved := false
	for {
		m, err := l.next()
		if err != nil {
			return err
		}
		a, ok := m.(*pgwire.Authentication)
		if !ok {
			return fmt.Errorf("postgres: %T while logging in", m)
		}
		switch a.Kind {
		case pgwire.AuthSASL:
			if !slices.Contains(a.Mechanisms, pgwire.SCRAMSHA256) {
				return errors.New("postgres: the store does not offer SCRAM-SHA-256")
			}
			err = l.say(&pgwire.SASLInitialResponse{Mechanism: pgwire.SCRAMSHA256, Data: scram.First()})
		case pgwire.AuthSASLContinue:
			var data []byte
			if data, err = scram.Continue(a.Data); err == nil {
				err = l.say(&pgwire.SASLResponse{Data: data})
			}
		case pgwire.AuthSASLFinal:
			err, proved = scram.Finish(a.Data), true
		case pgwire.AuthOK:
			if !proved {
				return errors.New("postgres: the store asked for no password; demand scram-sha-256 in pg_hba.conf")
			}
			return nil
		default:
			return fmt.Errorf("postgres: the store asks for authentication %d; demand scram-sha-256 in pg_hba.conf", a.Kind)
		}
		if err != nil {
			return err
		}
	}
}

// greeting reads what the store says of itself before the first query.
func (l *login) greeting() error {
	for {
		m, err := l.next()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgwire.ParameterStatus:
			if err := pinned(m); err != nil {
				return err
			}
			l.b.status = append(l.b.status, *m)
		case *pgwire.BackendKeyData:
			l.b.key = *m
		case *pgwire.ReadyForQuery:
			return nil
		default:
			return fmt.Errorf("postgres: %T while logging in", m)
		}
	}
}

// pinned reports a parameter that the scanner relies on and that is not as it
// must be: with it otherwise, we and the store would read a text differently.
func pinned(m *pgwire.ParameterStatus) error {
	want, ok := map[string]string{"standard_conforming_strings": "on", "client_encoding": "UTF8"}[m.Name]
	if ok && m.Value != want {
		return fmt.Errorf("postgres: %s is %.20q at the store", m.Name, m.Value)
	}
	return nil
}

// query runs a statement of ours and returns its one row, if it has one.
func (l *login) query(text string) (row []string, err error) {
	if err := l.say(&pgwire.Query{Text: text}); err != nil {
		return nil, err
	}
	for {
		m, err := l.next()
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgwire.DataRow:
			row = row[:0]
			for _, v := range m.Values {
				row = append(row, string(v))
			}
		case *pgwire.ReadyForQuery:
			if m.Status != pgwire.Idle {
				return nil, errors.New("postgres: not idle after login")
			}
			return row, nil
		case *pgwire.ParameterStatus:
			if err := pinned(m); err != nil {
				return nil, err
			}
			l.b.status = append(l.b.status, *m)
		}
	}
}

// identify notes which backend of which run of the server it is.
func (l *login) identify(row []string) error {
	if len(row) != 3 {
		return errors.New("postgres: the store does not say which backend it is")
	}
	pid, err := strconv.ParseUint(row[0], 10, 32)
	if err != nil {
		return err
	}
	if uint32(pid) != l.b.key.PID {
		return errors.New("postgres: a pooler stands before the store: its process ids are not the backend's")
	}
	start, err := strconv.ParseInt(row[1], 10, 64)
	if err != nil {
		return err
	}
	clock, err := strconv.ParseInt(row[2], 10, 64)
	if err != nil {
		return err
	}
	l.b.start = time.UnixMicro(start)
	l.b.skew = time.UnixMicro(clock).Sub(l.b.keys.now())
	return nil
}
