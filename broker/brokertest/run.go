package brokertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// An Ask is something every broker can be asked for, in its own protocol.
type Ask string

// What Run asks for.
const (
	Read      Ask = "read"      // the tenant's own data: answered with words that hold the tenant's ID
	Write     Ask = "write"     // of the tenant's own data, any number of times
	Slow      Ask = "slow"      // runs in the store until it is stopped
	Big       Ask = "big"       // answered with more than any buffer holds
	Denied    Ask = "denied"    // the table says no
	Unlisted  Ask = "unlisted"  // the table says nothing
	TooLarge  Ask = "too large" // over a limit of the broker's
	Malformed Ask = "malformed" // not the protocol
	Begin     Ask = "begin"     // a transaction that stays open; the same as Read where there are none
	End       Ask = "end"       // of the transaction
)

// A Client is one connection to the broker.
type Client interface {
	// Ask asks and waits for the answer.
	Ask(ctx context.Context, what Ask) (answer string, err error)
	// Pipeline asks for everything at once. There is one answer or error each.
	Pipeline(ctx context.Context, what ...Ask) (answers []string, errs []error)
	// Send asks and reads nothing; Answer reads the answer.
	Send(ctx context.Context, what Ask) error
	Answer(ctx context.Context) (string, error)
	// Wait returns the error with which the broker ends the connection.
	Wait(ctx context.Context) error
	// Hang goes without a word.
	Hang()
}

// A Target is a broker that runs over a world.
type Target struct {
	*World
	Dial func(ctx context.Context, token secret.Text) (Client, error)
	// Stop drains the broker. It returns when nobody is connected.
	Stop func()
	// Busy returns how many connections the store has from the broker.
	Busy func() int
	// Logged returns what the operator was told.
	Logged func() string
	// Secrets are those of the broker, which nobody may read anywhere.
	Secrets []string
}

// A Harness is one broker, to the suite.
type Harness struct {
	Start func(t *testing.T, limits limit.Config) *Target
	// Down is Start with a store that is out of reach.
	Down func(t *testing.T, limits limit.Config) *Target
	// Code returns how the protocol says the error, and its text; ok is false
	// for an error that is not the broker's.
	Code func(err error) (code, text string, ok bool)
	// Codes are what a client hears, beside the text, for every Reason.
	Codes map[refusal.Reason]string
	// Login is the code of a token that is no good.
	Login string
	// Requests says that the protocol has requests and nothing around them, as
	// HTTP: no transactions, no store held by who asks for nothing, and a
	// connection on which nothing is asked ends without a word. A token is not
	// shown before the first request, so Dial asks for Read.
	Requests bool
}

// entered returns how many decisions it takes to enter.
func (h Harness) entered() int {
	if h.Requests {
		return 1
	}
	return 0
}

// patience is how long anything may take.
const patience = 20 * time.Second

// Run checks that a broker keeps the contract of all brokers.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, Harness){
		"works": works, "entry": entry, "refuses": refuses, "reasons": reasons, "too fast": tooFast, "audit down": auditDown,
		"store down": storeDown, "expiry": expiry, "slow client": slowClient, "pipeline": pipeline, "records": records,
		"hang up": hangUp, "drain idle": drainIdle, "drain in transaction": drainBusy, "drain, grace over": drainCut,
		"suspension": suspension, "two tenants": twoTenants, "secrets": secrets, "store lost": registryLost,
	} {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
}

func (h Harness) start(t *testing.T) *Target { return h.Start(t, Limits()) }

// dial connects as the tenant, or ends the test.
func (x *Target) dial(t *testing.T, token secret.Text) Client {
	t.Helper()
	c, err := x.Dial(within(t), token)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(c.Hang)
	return c
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func ask(t *testing.T, c Client, what Ask) string {
	t.Helper()
	answer, err := c.Ask(within(t), what)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return answer
}

// says checks that err is what a client hears for r, and nothing of ours.
func (h Harness) says(t *testing.T, what string, err error, r refusal.Reason) {
	t.Helper()
	h.saysCode(t, what, err, r, h.Codes[r])
}

func (h Harness) saysCode(t *testing.T, what string, err error, r refusal.Reason, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s is not refused", what)
		return
	}
	code, text, ok := h.Code(err)
	if !ok || code != want || text != r.Text() {
		t.Errorf("%s: %q %q, want %q %q (%v)", what, code, text, want, r.Text(), err)
	}
	for _, word := range []string{"broker:", "postgres:", "forward:", "audit:", "limit:", "identity:", "protect:", "accept:", "registry:", "/tmp", "goroutine", ErrDisk.Error()} {
		if strings.Contains(err.Error(), word) {
			t.Errorf("%s tells the client %q: %v", what, word, err)
		}
	}
}

// eventually waits until ok, which must be soon.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); {
		if time.Now().After(end) {
			t.Errorf("not within %v: %s", within, what)
			return
		}
		<-time.After(5 * time.Millisecond)
	}
}

// works is the control of all the others.
func works(t *testing.T, h Harness) {
	x := h.start(t)
	for _, id := range []tenant.ID{x.A, x.B} {
		c := x.dial(t, x.Token(id))
		if got := ask(t, c, Read); !strings.Contains(got, id.String()) {
			t.Errorf("%s reads %.200q", id, got)
		}
		ask(t, c, Write)
		ask(t, c, Begin)
		ask(t, c, Read)
		ask(t, c, End)
	}
}

func entry(t *testing.T, h Harness) {
	x := h.start(t)
	suspended := tenant.New()
	token := x.Token(suspended)
	x.Standing.Suspend(suspended.UUID())
	for what, c := range map[string]struct {
		token secret.Text
		r     refusal.Reason
		code  string
	}{
		"no token":             {secret.Text{}, refusal.Unauthenticated, h.Login},
		"no token at all":      {secret.New("password"), refusal.Unauthenticated, h.Login},
		"a forged token":       {x.Forged(x.A), refusal.Unauthenticated, h.Login},
		"a forged expired one": {x.ForgedExpired(x.A), refusal.Unauthenticated, h.Login},
		"an expired token":     {x.Expired(x.A), refusal.Expired, h.Codes[refusal.Expired]},
		"another's audience":   {x.WrongAudience(x.A), refusal.Unauthenticated, h.Login},
		"a suspended tenant":   {token, refusal.Suspended, h.Codes[refusal.Suspended]},
	} {
		_, err := x.Dial(within(t), c.token)
		h.saysCode(t, what, err, c.r, c.code)
	}
	if n := x.Busy(); n != 0 {
		t.Errorf("%d connections to the store for nobody", n)
	}
}

func refuses(t *testing.T, h Harness) {
	x := h.start(t)
	for what, r := range map[Ask]refusal.Reason{
		Denied: refusal.Denied, Unlisted: refusal.Unlisted, Malformed: refusal.Malformed, TooLarge: refusal.TooLarge,
	} {
		_, err := x.dial(t, x.Token(x.A)).Ask(within(t), what)
		h.says(t, string(what), err, r)
	}
	narrow, err := x.Dial(within(t), x.Token(x.A, "nothing:read"))
	if err == nil {
		_, err = narrow.Ask(within(t), Read)
	} else if !h.Requests {
		t.Errorf("a narrow token is not let in: %v", err)
	}
	h.says(t, "a narrow token", err, refusal.Narrow)
	// A refusal is no reason to go, and leaves nothing behind.
	c := x.dial(t, x.Token(x.A))
	for range 3 {
		_, err := c.Ask(within(t), Denied)
		h.says(t, "denied", err, refusal.Denied)
		ask(t, c, Read)
	}
}

func reasons(t *testing.T, h Harness) {
	heard := map[string][]refusal.Reason{}
	for _, r := range refusal.Reasons {
		code := h.Codes[r]
		if code == "" {
			t.Errorf("%v has no answer", r)
		}
		heard[code+r.Text()] = append(heard[code+r.Text()], r)
	}
	for said, rs := range heard {
		if len(rs) > 1 && !slices.Equal(rs, []refusal.Reason{refusal.Narrow, refusal.Denied}) {
			t.Errorf("%q is said for %v", said, rs)
		}
	}
}

func tooFast(t *testing.T, h Harness) {
	limits := Limits()
	limits.Rate, limits.Burst = 0.001, 3
	x := h.Start(t, limits)
	c := x.dial(t, x.Token(x.A))
	var err error
	for range 4 {
		if _, err = c.Ask(within(t), Read); err != nil {
			break
		}
	}
	h.says(t, "too fast", err, refusal.TooFast)
	ask(t, x.dial(t, x.Token(x.B)), Read) // whom it does not concern

	limits = Limits()
	limits.Connections = 2
	x = h.Start(t, limits)
	x.dial(t, x.Token(x.A))
	x.dial(t, x.Token(x.A))
	_, err = x.Dial(within(t), x.Token(x.A))
	h.says(t, "too many", err, refusal.TooMany)
	ask(t, x.dial(t, x.Token(x.B)), Read)
}

func auditDown(t *testing.T, h Harness) {
	x := h.start(t)
	c := x.dial(t, x.Token(x.A))
	ask(t, c, Read)
	x.Commits.Fail(ErrDisk)
	_, err := c.Ask(within(t), Write)
	h.says(t, "a write that is not recorded", err, refusal.Unrecorded)
	_, err = x.Dial(within(t), x.Token(x.A))
	h.says(t, "a session that is not recorded", err, refusal.Unrecorded)
}

func storeDown(t *testing.T, h Harness) {
	x := h.Down(t, Limits())
	_, err := x.Dial(within(t), x.Token(x.A))
	h.says(t, "a store that is down", err, refusal.Unavailable)
}

// registryLost: what nobody can check is denied.
func registryLost(t *testing.T, h Harness) {
	x := h.start(t)
	c := x.dial(t, x.Token(x.A))
	ask(t, c, Read)
	x.Standing.Lose()
	h.says(t, "nobody knows", c.Wait(within(t)), refusal.Unavailable)
}

func expiry(t *testing.T, h Harness) {
	x := h.start(t)
	c := x.dial(t, x.Token(x.A))
	ask(t, c, Read)
	if err := c.Send(within(t), Big); err != nil { // in progress when the token expires
		t.Fatal(err)
	}
	x.decided(t, 2+h.entered())
	x.Expire(x.A)
	if _, err := c.Answer(within(t)); err != nil {
		t.Errorf("what was in progress: %v", err)
	}
	_, err := c.Ask(within(t), Read)
	h.says(t, "the next", err, refusal.Expired)
}

// slowClient: who does not read disturbs nobody.
func slowClient(t *testing.T, h Harness) {
	x := h.start(t)
	slow := x.dial(t, x.Token(x.A))
	if err := slow.Send(within(t), Big); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ask(t, x.dial(t, x.Token(x.B)), Read)
		ask(t, x.dial(t, x.Token(x.A)), Read)
	}
	// Suspended, it is gone all the same.
	x.Standing.Suspend(x.A.UUID())
	eventually(t, "the store lets go of a client that does not read", 3*time.Second, func() bool { return x.Busy() <= 5 })
}

func pipeline(t *testing.T, h Harness) {
	x := h.start(t)
	asks := []Ask{Read, Denied, Read, Unlisted, Write, Denied, Read}
	answers, errs := x.dial(t, x.Token(x.A)).Pipeline(within(t), asks...)
	for i, what := range asks {
		switch what {
		case Denied:
			h.says(t, fmt.Sprint(i), errs[i], refusal.Denied)
		case Unlisted:
			h.says(t, fmt.Sprint(i), errs[i], refusal.Unlisted)
		default:
			if errs[i] != nil || what == Read && !strings.Contains(answers[i], x.A.String()) {
				t.Errorf("%d, %s: %.100q, %v", i, what, answers[i], errs[i])
			}
		}
	}
}

func twoTenants(t *testing.T, h Harness) {
	x := h.start(t)
	var both sync.WaitGroup
	for i := range 8 {
		mine, other := x.A, x.B
		if i%2 == 1 {
			mine, other = x.B, x.A
		}
		c := x.dial(t, x.Token(mine))
		both.Go(func() {
			for range 20 {
				got, err := c.Ask(within(t), Read)
				if err != nil || !strings.Contains(got, mine.String()) || strings.Contains(got, other.String()) {
					t.Errorf("%s reads %.200q, %v", mine, got, err)
				}
				if _, err := c.Ask(within(t), Write); err != nil {
					t.Errorf("%s writes: %v", mine, err)
				}
			}
		})
	}
	both.Wait()
}

func secrets(t *testing.T, h Harness) {
	x := h.start(t)
	token := x.Token(x.A)
	c := x.dial(t, token)
	for _, what := range []Ask{Read, Write, Denied, Unlisted, Begin, End} {
		_, _ = c.Ask(within(t), what)
	}
	bad := x.Forged(x.B)
	_, _ = x.Dial(within(t), bad)
	c.Hang()
	x.Stop()
	all := x.Logged()
	for _, id := range []tenant.ID{x.A, x.B, {}} {
		for _, r := range x.Records(t, id) {
			all += fmt.Sprintf("%+v %s\n", r, r.Text)
		}
	}
	for _, s := range append(slices.Clone(x.Secrets), token.Reveal(), bad.Reveal(), token.Reveal()[len(token.Reveal())-20:]) {
		if strings.Contains(all, s) {
			t.Errorf("%.10q... is in a log or a record", s)
		}
	}
	if !strings.Contains(all, x.A.String()) {
		t.Error("the logs are empty")
	}
}
