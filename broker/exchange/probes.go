package exchange

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// Probes returns the attacks on the exchange.
func Probes() []prove.Probe {
	var probes []prove.Probe
	for _, a := range attacks() {
		probes = append(probes, a.probe())
	}
	return probes
}

// Gaps returns the known attacks on an exchange that no probe here tries, each
// with its reason.
func Gaps() []string {
	return []string{
		"exchange: a Txn-Token of another trust domain: there is no second one in a run",
		"exchange: replacing a Txn-Token by another: nothing here makes one of one",
	}
}

// rows of the table, as attacks name them.
const store = "exchange postgres"

// An attack is a Probe of this broker before it is one.
type attack struct {
	name  string
	what  string
	rows  []string // without the broker
	refs  []string
	alone bool
	run   func(*act) (*prove.Finding, error)
}

func attacks() []attack {
	of := func(name, what string, refs []string, run func(*act) (*prove.Finding, error), rows ...string) attack {
		if len(rows) == 0 {
			rows = []string{store}
		}
		return attack{name: name, what: what, rows: rows, refs: refs, run: run}
	}
	all := []attack{
		of("whose token comes out", "Exchange A's Txn-Token: what comes out is A's, of the same person and txn, of no more reach and no longer life.", []string{"holes 42", "museum 18"}, (*act).same),
		of("many at once", "Exchange A's and B's Txn-Tokens at once: to each its own.", []string{"museum 16"}, (*act).together),
		of("more reach", "Ask for more reach than the Txn-Token has, for all there is, and for none.", []string{"edge-ai 2.4"}, (*act).widen),
		of("a longer life", "Ask for a longer life, and compare what is given with what the Txn-Token has left.", []string{"edge-ai 2.4", "museum 54"}, (*act).longer),
		of("reach that opens nothing", "Exchange a Txn-Token that reaches nothing of the store.", []string{"edge-ai 2.4"}, (*act).needs),
		of("other audiences", "Ask for a token for what does not run here, for the edge, for the exchange, and for almost the store.", []string{"holes 40", "edge-ai 2.4"}, (*act).audiences, "exchange elsewhere"),
		of("tokens of other doors", "Exchange an identity provider's token, a store token, and what came out of an exchange.", []string{"holes 40", "museum 04"}, (*act).otherDoors),
		of("no token", "Exchange nothing, A's id, a token cut short, and one without its signature.", []string{"museum 10"}, (*act).noToken),
		of("kinds of tokens and grants", "Call the subject a refresh token or another kind, ask for another kind, and for other grants.", []string{"edge-ai 2.4"}, (*act).kinds),
		of("somebody who acts", "Say who acts: an actor's token, a claim, a client, a resource.", []string{"edge-ai 2.4", "museum 18"}, (*act).actors),
		of("parameters twice", "Say a parameter twice, in two spellings, in the query, in another body.", []string{"edge-ai 2.4"}, (*act).doubled),
		of("a token elsewhere", "Show the Txn-Token in a header or the query, and B's beside A's.", []string{"edge-ai 1.1"}, (*act).elsewhere),
	}
	for f, reason := range map[prove.Flaw]refusal.Reason{
		prove.Forged: refusal.Unauthenticated, prove.Expired: refusal.Expired, prove.Elsewhere: refusal.Unauthenticated, prove.Stranger: refusal.Unauthenticated,
	} {
		all = append(all, of("a token "+f.String(), "Exchange a Txn-Token of A's that is "+f.String()+".", []string{"museum 01", "edge-ai 2.4"},
			func(c *act) (*prove.Finding, error) { return c.flawed(f, reason) }))
	}
	slices.SortFunc(all, func(a, b attack) int { return strings.Compare(a.name, b.name) })
	suspended := of("a tenant that is suspended", "Suspend B: its Txn-Tokens are exchanged no more, within a second.", []string{"holes 49"}, (*act).suspended)
	suspended.alone = true
	return append(all, suspended)
}

// An act is one attack going on.
type act struct {
	context.Context
	t    *prove.Target
	row  string
	a, b secret.Text // good Txn-Tokens, of all reach
}

func (k *attack) probe() prove.Probe {
	rows := make([]string, 0, len(k.rows))
	for _, r := range k.rows {
		rows = append(rows, Name+"/"+r)
	}
	begin := func(ctx context.Context, t *prove.Target) (*act, error) {
		c := &act{Context: ctx, t: t, row: rows[0]}
		var errA, errB error
		c.a, errA = t.A.Token(ctx, Name, identity.PGRead, identity.PGWrite)
		c.b, errB = t.B.Token(ctx, Name, identity.PGRead, identity.PGWrite)
		return c, errors.Join(errA, errB)
	}
	return prove.Probe{
		Name: Name + ": " + k.name, What: k.what, Rows: rows, Refs: k.refs, Class: prove.Passive, Alone: k.alone,
		Control: func(ctx context.Context, t *prove.Target) error {
			c, err := begin(ctx, t)
			if err != nil {
				return err
			}
			return c.works()
		},
		Attack: func(ctx context.Context, t *prove.Target) (*prove.Finding, error) {
			c, err := begin(ctx, t)
			if err != nil {
				return nil, err
			}
			return k.run(c)
		},
	}
}

// works is the control: a good Txn-Token is exchanged for a token for the
// store. Whose that is, is for the attacks to see.
func (c *act) works() error {
	r, err := c.ask(good(c.a))
	if err != nil {
		return err
	}
	if r.status != http.StatusOK || r.Token == "" {
		return fmt.Errorf("exchange: a good Txn-Token is answered %.300s", r)
	}
	return nil
}

// A reply is what the endpoint answers.
type reply struct {
	status int
	body   string
	Token  string `json:"access_token"`
	Reason string `json:"reason"`
	Error  string `json:"error"`
	Life   int64  `json:"expires_in"`
	Scope  string `json:"scope"`
}

func (r *reply) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

// maxReply bounds an answer that a probe reads.
const maxReply = 64 << 10

// good is a good form.
func good(subject secret.Text) url.Values {
	return url.Values{
		"grant_type": {grantType}, "subject_token": {subject.Reveal()}, "subject_token_type": {txnToken}, "audience": {audience + "postgres"},
	}
}

// with is good with some parameters changed, or taken out where they are "".
func with(subject secret.Text, pairs ...string) url.Values {
	f := good(subject)
	for i := 0; i < len(pairs); i += 2 {
		if f.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			f.Del(pairs[i])
		}
	}
	return f
}

// ask posts a form.
func (c *act) ask(form url.Values, lines ...string) (*reply, error) {
	return c.send(http.MethodPost, "/v1/token", form.Encode(), append([]string{"Content-Type: application/x-www-form-urlencoded"}, lines...)...)
}

// send makes a request in bytes, on a connection of its own.
func (c *act) send(method, target, body string, lines ...string) (*reply, error) {
	conn, err := c.t.Dial(c, Name)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // it was read
	if deadline, ok := c.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if c.t.Roots != nil && !c.t.Plain[Name] {
		secure := tls.Client(conn, &tls.Config{RootCAs: c.t.Roots, ServerName: c.t.ServerName(Name), MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(c); err != nil {
			return nil, err
		}
		conn = secure
	}
	head := append([]string{
		method + " " + target + " HTTP/1.1", "Host: " + c.t.Addr[Name], "Connection: close", fmt.Sprintf("Content-Length: %d", len(body)),
	}, lines...)
	if _, err := io.WriteString(conn, strings.Join(head, "\r\n")+"\r\n\r\n"+body); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return nil, fmt.Errorf("exchange: answer: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return nil, err
	}
	r := &reply{status: resp.StatusCode, body: string(b)}
	if err := json.Unmarshal(b, r); err != nil {
		r.Reason = "" // it is no answer of the exchange's
	}
	return r, nil
}

// said are the claims of a token, which nobody has verified.
type said struct {
	Audience  string `json:"aud"`
	Expires   int64  `json:"exp"`
	Txn       string `json:"txn"`
	Scope     string `json:"scope"`
	Tenant    string `json:"tenant"`
	Principal string `json:"principal"`
	Subject   string `json:"sub"`
	Context   struct {
		Tenant string `json:"tenant"`
	} `json:"tctx"`
}

func claimsOf(token string) said {
	var s said
	_, payload, _ := strings.Cut(token, ".")
	payload, _, _ = strings.Cut(payload, ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(b, &s) != nil {
		return said{}
	}
	return s
}

// finding returns one of the act's row.
func (c *act) finding(how, want string, r *reply) *prove.Finding {
	s := claimsOf(r.Token)
	evidence := fmt.Sprintf("%d %s", r.status, r.Reason)
	if r.Token != "" { // a token is nothing for a report
		evidence = fmt.Sprintf("a token for %q of tenant %s, scope %q, until %d", s.Audience, s.Tenant, s.Scope, s.Expires)
	}
	return &prove.Finding{Row: c.row, Got: fmt.Sprintf("to %s: %.200s", how, evidence), Want: want, Evidence: evidence}
}

// refused returns a finding unless r is a refusal for one of the reasons.
func (c *act) refused(how string, r *reply, reasons ...refusal.Reason) *prove.Finding {
	for _, reason := range reasons {
		if r.Token == "" && r.Reason == reason.String() && r.status == codes[reason].status && r.Error == codes[reason].error {
			return nil
		}
	}
	return c.finding(how, fmt.Sprintf("a refusal for one of %v", reasons), r)
}

// each asks for each of the forms, and wants each refused.
func (c *act) each(forms map[string]url.Values, reasons ...refusal.Reason) (*prove.Finding, error) {
	for _, how := range slices.Sorted(maps.Keys(forms)) {
		r, err := c.ask(forms[how])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", how, err)
		}
		if f := c.refused(how, r, reasons...); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// goneWithin is how long a suspension may take to be felt.
const goneWithin = time.Second
