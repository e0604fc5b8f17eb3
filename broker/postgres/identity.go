package postgres

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
)

// password asks for the token, as a password in clear text.
func (c *caller) password() (secret.Text, error) {
	if err := c.say(&pgwire.Authentication{Kind: pgwire.AuthCleartext}); err != nil {
		return secret.Text{}, err
	}
	if err := c.out.Flush(); err != nil {
		return secret.Text{}, err
	}
	t, p, err := c.in.ReadMessage(loginBytes)
	if err != nil {
		return secret.Text{}, gone(err)
	}
	if pgwire.Frontend(t) != pgwire.FrontendPassword {
		return secret.Text{}, refusal.New(refusal.Malformed, "postgres: %v in the place of a password", pgwire.Frontend(t))
	}
	m, err := pgwire.DecodeFrontend(pgwire.FrontendPassword, p)
	if err != nil {
		return secret.Text{}, err
	}
	return m.(*pgwire.Password).Password, nil
}

// enter makes a session of the token, on a database of the configuration. A
// database that is not there is answered as a wrong password.
func (c *caller) enter(ctx context.Context, g *broker.Gate) (*broker.Session, *database, error) {
	token, err := c.password()
	if err != nil {
		return nil, nil, err
	}
	peer := c.guest.Addr
	if !peer.IsValid() {
		peer = netip.AddrPortFrom(netip.IPv6Unspecified(), 0) // a unix socket
	}
	s, err := g.Enter(ctx, Name, peer, token)
	if err != nil {
		return nil, nil, err
	}
	name, ok := c.startup.Param("database")
	if !ok {
		name, _ = c.startup.Param("user")
	}
	d := c.databases[name]
	if d == nil {
		err := refusal.New(refusal.Unauthenticated, "postgres: no database %.64q", name)
		return nil, nil, errors.Join(err, s.Leave(ctx, err))
	}
	return s, d, nil
}

// greet gives the backend the client's settings, and tells the client that it
// is in. It returns what a CancelRequest of the client will show.
func (c *caller) greet(ctx context.Context, s *broker.Session, conn *forward.Conn, b *backend) (pgwire.BackendKeyData, error) {
	changed, err := c.configure(ctx, s, conn, b)
	if err != nil {
		return pgwire.BackendKeyData{}, err
	}
	if err := c.say(&pgwire.Authentication{Kind: pgwire.AuthOK}); err != nil {
		return pgwire.BackendKeyData{}, err
	}
	for i := range b.status {
		if err := c.say(&b.status[i]); err != nil {
			return pgwire.BackendKeyData{}, err
		}
	}
	if _, err := c.out.Write(changed); err != nil {
		return pgwire.BackendKeyData{}, err
	}
	key := newCancelKey()
	if err := c.say(&key, &pgwire.ReadyForQuery{Status: pgwire.Idle}); err != nil {
		return pgwire.BackendKeyData{}, err
	}
	return key, c.out.Flush()
}

// configure sets the parameters of the startup message, all of which must be
// in the closed list. It returns what the store says in answer.
func (c *caller) configure(ctx context.Context, s *broker.Session, conn *forward.Conn, b *backend) ([]byte, error) {
	req, err := c.settings(b)
	if err != nil {
		return nil, err
	}
	pass, err := broker.Admit(ctx, s, table, req)
	if err != nil {
		return nil, err
	}
	turn, err := forward.Send(ctx, conn, pass)
	if err != nil {
		return nil, err
	}
	if err := conn.Flush(); err != nil {
		return nil, errors.Join(err, turn.Answer(ctx, nothing))
	}
	var said bytes.Buffer
	a := &answers{out: bufio.NewWriter(&said)}
	if err := turn.Answer(ctx, func(store *bufio.Reader) ([]audit.Result, error) { return a.read(store, req) }); err != nil {
		return nil, err
	}
	if err := a.out.Flush(); err != nil {
		return nil, err
	}
	if a.failed {
		return nil, refusal.Hinted(refusal.Unlisted, "a parameter of the connection has a value the server does not take", "postgres: startup: %.200q", said.String())
	}
	return said.Bytes(), nil
}

// nothing reads no answer from a store that is gone.
func nothing(*bufio.Reader) ([]audit.Result, error) { return nil, errGone }

// settings builds the request that sets what the startup message asks for.
func (c *caller) settings(b *backend) (*request, error) {
	r := &request{backend: b}
	op := func(name, text string) {
		r.ops = append(r.ops, scope.Operation{Name: name, Text: []byte(text), Class: uint16(audit.ClassStatement)})
	}
	op("Startup", "")
	params, err := c.params()
	if err != nil {
		return nil, err
	}
	for _, p := range params {
		name := strings.ToLower(p.Name)
		switch {
		case name == "user" || name == "database" || strings.HasPrefix(name, "_pq_."):
		case name == "replication":
			op("Replication", p.Value)
		case name == "client_encoding":
			if !isUTF8(p.Value) {
				op("Execute set unlisted", p.Name)
			}
		case !settable[name], name == messages && !audible(p.Value):
			op("Execute set unlisted", p.Name)
		default:
			r.run("SET " + name + " TO " + setting(name, p.Value))
		}
	}
	r.say(pgwire.Sync{})
	r.expect(expect{what: ready, op: none, unseen: true})
	return r, nil
}

// setting returns a value as SET takes it. A list is written element by
// element: as one string it would be one element.
func setting(name, value string) string {
	words := []string{value}
	if name == "search_path" {
		words = strings.Split(value, ",")
	}
	for i, w := range words {
		if name == "search_path" {
			w = strings.TrimSpace(w)
			if quoted, ok := strings.CutPrefix(w, `"`); ok {
				w = strings.ReplaceAll(strings.TrimSuffix(quoted, `"`), `""`, `"`)
			} else {
				w = strings.ToLower(w)
			}
		}
		words[i] = "'" + strings.ReplaceAll(w, "'", "''") + "'"
	}
	return strings.Join(words, ", ")
}

// isUTF8 reports whether an encoding is the one that is spoken here. What
// psql says in a C locale is no wish for another.
func isUTF8(name string) bool {
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "", "'", "").Replace(name)) {
	case "utf8", "unicode", "sqlascii":
		return true
	default:
		return false
	}
}

// params returns the settings of the startup message, those within its
// options included.
func (c *caller) params() ([]pgwire.Param, error) {
	var all []pgwire.Param
	for _, p := range c.startup.Params {
		if p.Name != "options" {
			all = append(all, p)
			continue
		}
		words := strings.Fields(p.Value)
		for i := 0; i < len(words); i++ {
			w, ok := strings.CutPrefix(words[i], "--")
			if !ok {
				if w, ok = strings.CutPrefix(words[i], "-c"); ok && w == "" && i+1 < len(words) {
					i++
					w = words[i]
				}
			}
			name, value, eq := strings.Cut(w, "=")
			if !ok || !eq || strings.ContainsAny(w, `\`) {
				return nil, refusal.Hinted(refusal.Unlisted, "options takes -c name=value", "postgres: options %.100q", p.Value)
			}
			all = append(all, pgwire.Param{Name: strings.ReplaceAll(name, "-", "_"), Value: value})
		}
	}
	return all, nil
}

// newCancelKey draws what a client shows to cancel. It says nothing about the
// store's process.
func newCancelKey() pgwire.BackendKeyData {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	return pgwire.BackendKeyData{PID: binary.BigEndian.Uint32(b[:]) >> 1, Secret: secret.New(string(b[4:]))}
}

// cancelTime bounds the work of a CancelRequest.
const cancelTime = 5 * time.Second

// cancelFor cancels what the connection with the key of m is running. Whoever
// shows a wrong key hears the same as who shows a good one: nothing.
func (b *Broker) cancelFor(ctx context.Context, m *pgwire.CancelRequest) error {
	ctx, cancel := context.WithTimeout(ctx, cancelTime)
	defer cancel()
	b.mu.Lock()
	stop := b.running[cancelKey{m.PID, m.Secret.Reveal()}]
	b.mu.Unlock()
	if stop == nil {
		return nil
	}
	return stop(ctx)
}
