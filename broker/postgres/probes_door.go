package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// doorAttacks are those of who is not let in, or should not be.
func doorAttacks() []attack {
	at := func(name, what string, refs []string, run func(*act) (*prove.Finding, error)) attack {
		return attack{name: name, what: what, rows: []string{"Startup"}, refs: refs, class: prove.Passive, run: run}
	}
	all := []attack{
		at("no token", "Log in with no password, with a wrong one and with what only looks like a token.", []string{"museum 10"}, (*act).noToken),
		at("a database that is not there", "Name another database, B's, or the store's own: the answer is that of a wrong password.",
			[]string{"museum 09"}, (*act).otherDatabases),
		at("a user name is not believed", "Say a user name that means something at the store, or B: whoever it says, the token decides.",
			[]string{"museum 10", "museum 03"}, (*act).userNames),
		at("parameters of the connection", "Ask for a role, a context or a way of reading text in the startup message and its options.",
			[]string{"holes 17", "holes 18", "holes 36", "museum 23"}, (*act).startupParams),
		at("extensions of the protocol", "Ask for protocol extensions and newer versions, which must be declined by name.", []string{"holes 17"}, (*act).extensions),
		at("bytes before the handshake", "Send a startup message in the same packet as the request for TLS.", []string{"holes 17"}, (*act).injectedStartup),
		at("cancel with a guessed key", "Cancel B's statement with keys that are not B's, A's own among them.", []string{"museum 14"}, (*act).guessedCancel),
	}
	for f, words := range map[prove.Flaw]*fault{
		prove.Forged:    {code: stateLogin, message: refusal.Unauthenticated.Text()},
		prove.Expired:   {code: states[refusal.Expired], message: refusal.Expired.Text()},
		prove.Elsewhere: {code: stateLogin, message: refusal.Unauthenticated.Text()},
		prove.Stranger:  {code: stateLogin, message: refusal.Unauthenticated.Text()},
	} {
		refs := map[prove.Flaw][]string{prove.Stranger: {"museum 01"}, prove.Elsewhere: {"museum 04", "holes 40"}, prove.Expired: {"museum 54"}}[f]
		all = append(all, at("a token "+f.String(), "Log in with a token of A's that is "+f.String()+".", refs,
			func(c *act) (*prove.Finding, error) { return c.flawed(f, words.spoken("FATAL")) }))
	}
	slices.SortFunc(all, func(a, b attack) int { return strings.Compare(a.name, b.name) })
	suspended := at("a tenant that is suspended", "Suspend B while it is idle, in a statement and away: each connection ends within a second, and none begins.",
		[]string{"holes 49"}, (*act).suspended)
	suspended.alone = true
	return append(all, suspended)
}

func stranger() spoken {
	return (&fault{code: stateLogin, message: refusal.Unauthenticated.Text()}).spoken("FATAL")
}

func (c *act) flawed(f prove.Flaw, words spoken) (*prove.Finding, error) {
	if c.t.A.Flawed == nil {
		return nil, prove.Skip("no token %v can be made here", f)
	}
	token, err := c.t.A.Flawed(c, Name, f)
	if err != nil {
		return nil, err
	}
	a, err := enterWith(c, c.t, token)
	if err == nil {
		defer a.close()
	}
	return c.turned("Startup", "a token "+f.String(), words, a, err)
}

func (c *act) noToken() (*prove.Finding, error) {
	good, err := c.t.A.Token(c, Name, read)
	if err != nil {
		return nil, err
	}
	token := good.Reveal()
	head, rest, _ := strings.Cut(token, ".")
	body, signature, _ := strings.Cut(rest, ".")
	for how, text := range map[string]string{
		"no password": "", "a name": c.t.B.Name, "B's id": c.t.B.ID, "a dot": "..", "a token without its signature": head + "." + body + ".",
		"a token without its claims": head + ".." + signature, "a token and more": token + ".x", "a token cut short": token[:len(token)-1],
		"a token twice": token + token, "a token with a space": " " + token, "a token that says none": "eyJhbGciOiJub25lIn0." + body + ".",
	} {
		a, err := enterWith(c, c.t, secret.New(text))
		if err == nil {
			defer a.close()
		}
		if f, err := c.turned("Startup", how, stranger(), a, err); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

func (c *act) otherDatabases() (*prove.Finding, error) {
	for _, name := range []string{
		"postgres", "template1", "isocore", c.t.B.ID, c.t.B.Name, c.t.Database + " ", strings.ToUpper(c.t.Database), c.t.Database + "/../postgres",
		c.t.Database + "?tenant=" + c.t.B.ID, "*", "%", "host=/tmp dbname=postgres", strings.Repeat("x", 5000),
	} {
		if name == c.t.Database {
			continue
		}
		f, err := c.rejects("Startup", fmt.Sprintf("database %.40q", name), stranger(), pgwire.Param{Name: "database", Value: name})
		if f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

func (c *act) userNames() (*prove.Finding, error) {
	own, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	token, err := c.t.A.Token(c, Name, read, write)
	if err != nil {
		return nil, err
	}
	for _, user := range []string{"postgres", "isocore_owner", "isocore_login", "app_owner", c.t.B.ID, c.t.B.Name, "' OR 1=1 --", c.t.A.Name + "/" + c.t.B.Name} {
		a, err := enterWith(c, c.t, token, pgwire.Param{Name: "user", Value: user})
		if err != nil {
			return nil, err
		}
		c.more = append(c.more, a)
		got, err := a.query("%s", c.rows())
		if err != nil {
			return nil, err
		}
		if f := c.differs("Startup", "user "+user, got, own); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

func (c *act) startupParams() (*prove.Finding, error) {
	no := refused("Execute set unlisted")("FATAL")
	for _, p := range []pgwire.Param{
		{Name: "role", Value: "isocore_owner"},
		{Name: "session_authorization", Value: "isocore_owner"},
		{Name: "isocore.ctx", Value: "v1"},
		{Name: "ISOCORE.CTX", Value: "v1"},
		{Name: "app.tenant_id", Value: c.t.B.ID},
		{Name: "row_security", Value: "off"},
		{Name: "standard_conforming_strings", Value: "off"},
		{Name: "client_encoding", Value: "SJIS"},
		{Name: "statement_timeout", Value: "1"},
		{Name: "local_preload_libraries", Value: "x"},
		{Name: "work_mem", Value: "2000000"},
		{Name: "synchronous_commit", Value: "off"},
		{Name: "exit_on_error", Value: "on"},
		{Name: "options", Value: "-c role=isocore_owner"},
		{Name: "options", Value: "--role=isocore_owner"},
		{Name: "options", Value: "-crow_security=off"},
		{Name: "options", Value: "-c application_name=x -c isocore.ctx=v1"},
		{Name: "options", Value: "--isocore.ctx=" + c.t.B.ID},
		{Name: "options", Value: "-c session-authorization=isocore_owner"},
	} {
		if f, err := c.rejects("Startup", p.Name+"="+p.Value, no, p); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

// extensions asks for more than version 3.0.
func (c *act) extensions() (*prove.Finding, error) {
	own, err := c.a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	token, err := c.t.A.Token(c, Name, read, write)
	if err != nil {
		return nil, err
	}
	a, err := enterWith(c, c.t, token, pgwire.Param{Name: "_pq_.tenant", Value: c.t.B.ID}, pgwire.Param{Name: "_pq_.isocore", Value: "v1"})
	if err != nil {
		return nil, err
	}
	c.more = append(c.more, a)
	negotiated := slices.ContainsFunc(a.greeting, func(h spoken) bool {
		return pgwire.Backend(h.kind) == pgwire.BackendNegotiateProtocolVersion && strings.Contains(h.body, "_pq_.tenant")
	})
	if !negotiated {
		return &prove.Finding{Row: Name + "/Startup", Got: "an extension of the protocol is not declined", Want: "NegotiateProtocolVersion", Evidence: a.greeting.String()}, nil
	}
	got, err := a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	return c.differs("Startup", "_pq_.tenant", got, own), nil
}

// injectedStartup sends plain text behind the request for TLS: what an
// attacker on the path would put before the client's own words.
func (c *act) injectedStartup() (*prove.Finding, error) {
	conn, err := c.t.Dial(c, Name)
	if err != nil {
		return nil, err
	}
	a := &attacker{}
	a.use(conn)
	defer a.close()
	deadline, ok := c.Deadline()
	if !ok {
		deadline = time.Now().Add(10 * time.Second)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	start := &pgwire.StartupMessage{Version: pgwire.Version30, Params: []pgwire.Param{{Name: "user", Value: "x"}, {Name: "database", Value: c.t.Database}}}
	if err := a.say(pgwire.SSLRequest{}, start); err != nil {
		return nil, err
	}
	got, err := a.hear(1)
	if err != nil {
		return nil, err
	}
	want := replies{(&fault{code: states[refusal.Malformed], message: refusal.Malformed.Text()}).spoken("FATAL"), {'!', "the connection ended"}}
	return c.differs("Startup", "a startup message before the handshake", got, want), nil
}

// guessedCancel tries to stop a statement of B's.
func (c *act) guessedCancel() (*prove.Finding, error) {
	b, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	if err := b.say(&pgwire.Query{Text: "SELECT pg_sleep(0.4), 'undisturbed'"}); err != nil {
		return nil, err
	}
	guesses := []pgwire.BackendKeyData{c.a.key, {PID: b.key.PID, Secret: c.a.key.Secret}, {PID: c.a.key.PID, Secret: b.key.Secret}}
	for range 20 {
		guesses = append(guesses, pgwire.BackendKeyData{PID: b.key.PID, Secret: secret.New(rand.Text()[:4])})
	}
	for _, g := range guesses {
		if err := c.sendCancel(g); err != nil {
			return nil, err
		}
	}
	got, err := b.hear(1)
	if err != nil {
		return nil, err
	}
	if v := got.values(); len(v) == 2 && v[1] == "undisturbed" {
		return nil, nil
	}
	return &prove.Finding{Row: Name + "/Startup", Got: "B's statement was stopped", Want: "undisturbed", Evidence: got.String()}, nil
}

func (c *act) sendCancel(key pgwire.BackendKeyData) error {
	a, err := knock(c, c.t)
	if err != nil {
		return err
	}
	defer a.conn.Close() //nolint:errcheck // the broker closes it as well
	if err := a.say(&pgwire.CancelRequest{PID: key.PID, Secret: key.Secret}); err != nil {
		return err
	}
	_, err = a.hear(1) // nothing is said; it ends when the cancel was sent
	return err
}

// suspended suspends B.
func (c *act) suspended() (f *prove.Finding, err error) {
	if c.t.B.Suspend == nil || c.t.B.Resume == nil {
		return nil, prove.Skip("the tenants of this run cannot be suspended")
	}
	resting, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	busy, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	token, err := c.t.B.Token(c, Name, read)
	if err != nil {
		return nil, err
	}
	if err := busy.say(&pgwire.Query{Text: "SELECT pg_sleep(10), 'undisturbed'"}); err != nil {
		return nil, err
	}
	if err := c.t.B.Suspend(c); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.t.B.Resume(context.WithoutCancel(c))) }()
	words := (&fault{code: states[refusal.Suspended], message: refusal.Suspended.Text()}).spoken("FATAL")
	for how, b := range map[string]*attacker{"an idle connection": resting, "a running statement": busy} {
		if err := b.conn.SetDeadline(time.Now().Add(1500 * time.Millisecond)); err != nil {
			return nil, err
		}
		got, err := b.hear(1)
		if err != nil {
			got = append(got, spoken{'!', "it goes on after a second: " + err.Error()})
		}
		if !slices.Contains(got, spoken{'!', "the connection ended"}) || strings.Contains(got.String(), "undisturbed") {
			return &prove.Finding{Row: Name + "/Startup", Got: how + " of a suspended tenant goes on", Want: "it ends", Evidence: got.String()}, nil
		}
	}
	b, err := enterWith(c, c.t, token)
	if err == nil {
		defer b.close()
	}
	return c.turned("Startup", "a suspended tenant", words, b, err)
}
