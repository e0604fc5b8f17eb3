// Package prove attacks a live IsoCore and says what it found.
//
// It knows no protocol: a broker describes its attacks as a list of [Probe],
// [Run] carries them out against a [Target] between two tenants that exist for
// the run only, and the [Report] says of each whether it held. An attack that
// could not be tried is not one that held.
package prove

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/isocore/isocore/secret"
)

// A Flaw is what is wrong with a token that must not be taken.
type Flaw uint8

// The flaws a run can ask for.
const (
	Forged    Flaw = iota + 1 // says a key of the issuer and is signed by another
	Expired                   // was good and is over
	Elsewhere                 // is good at another broker
	Stranger                  // is well signed, by an issuer nobody has listed
)

func (f Flaw) String() string {
	switch f {
	case Forged:
		return "forged"
	case Expired:
		return "expired"
	case Elsewhere:
		return "for another broker"
	case Stranger:
		return "of an issuer nobody knows"
	default:
		return "without a name"
	}
}

// A Tenant is one that was made for the run and goes with it.
type Tenant struct {
	Name   string // for people
	ID     string // 32 hexadecimal digits: an attacker is taken to know it
	Canary string // words that stand in no other tenant's data

	// Token returns a good token for the named broker, of the given reach.
	Token func(ctx context.Context, broker string, reach ...string) (secret.Text, error)

	// Flawed returns a token that must not be taken. Where it is nil, or says
	// [Skip], the probes that need it are skipped.
	Flawed func(ctx context.Context, broker string, f Flaw) (secret.Text, error)

	// Suspend and Resume change the tenant's standing; nil where the run
	// cannot.
	Suspend, Resume func(ctx context.Context) error
}

// A Target is what is attacked: a deployment as its clients meet it.
type Target struct {
	Addr     map[string]string // of each broker: host:port, or the path of a unix socket
	Roots    *x509.CertPool    // that certificates must go back to; nil where brokers listen without TLS
	Database string            // the name clients connect to
	Grade    string            // what the store's own lock is worth, in the broker's words
	A, B     Tenant            // A attacks; B has canaries

	Plain     map[string]bool // brokers without TLS, where others have it
	Routes    []Route         // to applications behind the edge
	Providers []*Provider     // made for the run; the first speaks for both tenants
}

// A Route is how an application is asked for. In its parts {tenant} and
// {partner} stand for the names of whoever asks.
type Route struct {
	Name  string
	Host  string
	Path  string
	Reach []string // of what a principal reaches, what it passes on
}

// Dial connects to the named broker, without TLS.
func (t *Target) Dial(ctx context.Context, broker string) (net.Conn, error) {
	addr, ok := t.Addr[broker]
	if !ok {
		return nil, Skip("no address of broker %s", broker)
	}
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// ServerName returns the name that the certificate of a broker must bear.
func (t *Target) ServerName(broker string) string {
	host, _, err := net.SplitHostPort(t.Addr[broker])
	if err != nil {
		return "localhost"
	}
	return host
}

// A Class says what a probe does to the deployment if its defence is off.
type Class uint8

// Destructive is the zero Class: a probe nobody graded runs in a laboratory only.
const (
	Destructive Class = iota // may harm whoever else is there
	CanaryOnly               // changes rows of the run's own two tenants
	Passive                  // changes nothing
)

func (c Class) String() string {
	switch c {
	case Passive:
		return "passive"
	case CanaryOnly:
		return "canary-only"
	case Destructive:
		return "destructive"
	default:
		return "destructive"
	}
}

// MarshalText implements [encoding.TextMarshaler].
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// A Probe is one attack with its control.
type Probe struct {
	Name  string
	What  string   // the attack in one sentence
	Rows  []string // of the posture, as "broker/name": what it covers, and which mutants it must catch
	Refs  []string // where the attack is known from: "museum 15", "holes 3", "postgres.md 4"
	Class Class
	Grade string // the only grade it is about; "" is any
	Alone bool   // no other probe may run meanwhile

	// Lacks returns what a deployment does not have that the probe is about; ""
	// is nothing, as for a nil func. See [Fit].
	Lacks func(*Target) string

	// Control shows that the tenant reaches its own data this way. Without it
	// an attack that finds nothing proves nothing: the probe is blind.
	Control func(context.Context, *Target) error

	// Attack returns what it found, or nil: held.
	Attack func(context.Context, *Target) (*Finding, error)
}

// A Finding is an attack that worked.
type Finding struct {
	Row      string `json:"row,omitempty"`
	Got      string `json:"got"`
	Want     string `json:"want"`
	Evidence string `json:"evidence"` // holds the other tenant's canary, or the difference seen
}

// A Status is what came of a probe.
type Status uint8

// Only Held is a pass.
const (
	Failed  Status = iota // the attack could not be carried out
	Held                  // the attack found nothing
	Found                 // the attack worked
	Blind                 // the control failed
	Skipped               // not tried
)

func (s Status) String() string {
	switch s {
	case Held:
		return "held"
	case Found:
		return "FOUND"
	case Blind:
		return "blind"
	case Skipped:
		return "skipped"
	case Failed:
		return "failed"
	default:
		return "failed"
	}
}

// MarshalText implements [encoding.TextMarshaler].
func (s Status) MarshalText() ([]byte, error) { return []byte(strings.ToLower(s.String())), nil }

// An Outcome is what came of one probe.
type Outcome struct {
	Probe   string        `json:"probe"`
	Rows    []string      `json:"rows"`
	Refs    []string      `json:"refs,omitempty"`
	Status  Status        `json:"status"`
	Why     string        `json:"why,omitempty"`
	Finding *Finding      `json:"finding,omitempty"`
	Took    time.Duration `json:"took_ns"`
}

// A skip is why a probe was not tried.
type skip struct{ why string }

func (s *skip) Error() string { return s.why }

// Skip returns an error by which a control or an attack says that this target
// does not let it try.
func Skip(format string, args ...any) error { return &skip{fmt.Sprintf(format, args...)} }

func skipped(err error) (why string, ok bool) {
	s, ok := errors.AsType[*skip](err)
	if !ok {
		return "", false
	}
	return s.why, true
}
