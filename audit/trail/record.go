package trail

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// Limits of a record. What a client chooses is cut, and Cut says so; what says
// who it was is never cut: a record that cannot hold it is refused as TooLarge.
const (
	MaxText       = 8 << 10  // kept of Text; Digest is of all of it
	MaxSealed     = 32 << 10 // of a sealed payload
	MaxName       = 1 << 10  // refused beyond: Subject, Issuer, Txn, Session, Broker, Verdict, Reason, Status, Code, each Actor
	MaxActors     = 16       // refused beyond
	MaxProvenance = 256      // refused beyond
	MaxOperation  = 256      // cut: Operation, Peer, each Resource
	MaxResources  = 64       // cut
	MaxDetail     = 2 << 10  // cut
	MaxParameters = 64       // cut: values, and digests, of bound parameters
	MaxParameter  = 256      // cut: each value
)

// A Ref is the place of a record: gap-free in its log. The zero Log is the
// operator's own.
type Ref struct {
	Log tenant.ID
	Seq uint64
}

func (r Ref) String() string { return fmt.Sprintf("%s/%d", r.Log, r.Seq) }

// A Record is one line of the audit log. Log, Kind, Of and Class are in clear
// in its header; all else is sealed under the key of its log.
type Record struct {
	Log   tenant.ID
	Kind  Kind
	Of    Ref       // the decision, when Kind is Outcome; zero beside any other
	Time  time.Time // when it happened, by the clock of who saw it, to the microsecond; the header says when it was recorded
	Class Class

	Subject, Issuer, Txn, Peer, Session, Broker, Operation, Verdict string

	Reason    string // what the client heard
	Detail    string // what the operator may read
	Actors    []string
	Resources []string
	Text      []byte   // at most MaxText are kept
	Digest    [32]byte // SHA-256 of all of Text; the caller's own where there is no Text

	// What a statement was given beside its text; nil is NULL. A log keeps the
	// values, or their digests: HMAC-SHA256 under a key derived from the log's.
	Parameters, Digests [][]byte

	Cut    bool // something a client chose, Text aside, was longer than is kept
	Result Result
}

// A Result is what came of an operation.
type Result struct {
	Status, Code                string // ok failed refused skipped rolled-back abandoned unknown; the store's code
	Rows, BytesIn, BytesOut     int64
	TokensIn, TokensOut, Micros int64
	Provenance                  [][32]byte // what went into a context window
}

// check refuses a record that says something impossible.
func (r *Record) check() error {
	switch {
	case !r.Class.Fits(r.Kind):
		return refusal.New(refusal.Internal, "audit: %v does not go with %v", r.Class, r.Kind)
	case r.Kind == Outcome && r.Of.Log != r.Log:
		return refusal.New(refusal.Internal, "audit: an outcome in log %s of a decision in log %s", r.Log, r.Of.Log)
	case r.Kind != Outcome && r.Of != Ref{}:
		return refusal.New(refusal.Internal, "audit: Of is set beside %v", r.Kind)
	default:
		return nil
	}
}

// bounded returns r as it will be kept: cut where that is allowed, with valid
// UTF-8 and its digest, or TooLarge.
func (r Record) bounded() (Record, error) {
	for _, s := range []*string{
		&r.Subject, &r.Issuer, &r.Txn, &r.Session, &r.Broker, &r.Verdict, &r.Reason, &r.Result.Status, &r.Result.Code,
	} {
		if *s = valid(*s); len(*s) > MaxName {
			return Record{}, refusal.New(refusal.TooLarge, "audit: a name of %d bytes in a record, %d at most", len(*s), MaxName)
		}
	}
	if len(r.Actors) > MaxActors || len(r.Result.Provenance) > MaxProvenance {
		return Record{}, refusal.New(refusal.TooLarge, "audit: %d actors, %d at most; %d sources, %d at most",
			len(r.Actors), MaxActors, len(r.Result.Provenance), MaxProvenance)
	}
	actors := make([]string, len(r.Actors))
	for i, a := range r.Actors {
		if actors[i] = valid(a); len(actors[i]) > MaxName {
			return Record{}, refusal.New(refusal.TooLarge, "audit: an actor of %d bytes, %d at most", len(a), MaxName)
		}
	}
	r.Actors = actors
	r.Operation = r.cut(r.Operation, MaxOperation)
	r.Peer = r.cut(r.Peer, MaxOperation)
	r.Detail = r.cut(r.Detail, MaxDetail)
	r.Cut = r.Cut || len(r.Resources) > MaxResources
	resources := make([]string, min(len(r.Resources), MaxResources))
	for i := range resources {
		resources[i] = r.cut(r.Resources[i], MaxOperation)
	}
	r.Resources = resources
	r.Parameters = r.shortened(r.Parameters)
	r.Digests = r.shortened(r.Digests)
	if len(r.Text) > 0 {
		r.Digest = sha256.Sum256(r.Text)
		r.Text = r.Text[:min(len(r.Text), MaxText)]
	}
	return r, nil
}

// shortened returns at most MaxParameters of values, each of at most
// MaxParameter bytes, and notes in r if that is not all.
func (r *Record) shortened(values [][]byte) [][]byte {
	r.Cut = r.Cut || len(values) > MaxParameters
	kept := make([][]byte, min(len(values), MaxParameters))
	for i := range kept {
		r.Cut = r.Cut || len(values[i]) > MaxParameter
		kept[i] = values[i][:min(len(values[i]), MaxParameter)]
	}
	return kept
}

// cut returns at most n bytes of s, whole characters, and notes in r if that
// is not all.
func (r *Record) cut(s string, n int) string {
	if len(s) > n+utf8.UTFMax { // bounds the work below
		s, r.Cut = s[:n+utf8.UTFMax], true
	}
	s = valid(s)
	if len(s) <= n {
		return s
	}
	r.Cut = true
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
