// Package audit is room 5: nothing is answered that is not recorded.
//
// A [Log] keeps one tree of records per tenant, and one for the operator. What
// is appended is sealed in the goroutine of the caller; one goroutine numbers
// it, commits it in batches to a [CommitLog] and wakes who waits. Everything
// else on disk (index, checkpoints, snapshots) is derived from the batches, can
// be rebuilt from them, and is never evidence.
package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/tenant"
)

// The formats, which package trail defines for whoever verifies without a log.
type (
	Kind   = trail.Kind
	Class  = trail.Class
	Ref    = trail.Ref
	Record = trail.Record
	Result = trail.Result
	Header = trail.Header
	Opened = trail.Opened
	Batch  = trail.Batch
	Head   = trail.Head
)

// The kinds of records.
const (
	Decision = trail.Decision
	Outcome  = trail.Outcome
	Entry    = trail.Entry
	Admin    = trail.Admin
	System   = trail.System
)

// The classes of records, registered in docs/records.md.
const (
	ClassSessionBegun    = trail.ClassSessionBegun
	ClassSessionEnded    = trail.ClassSessionEnded
	ClassSessionRefused  = trail.ClassSessionRefused
	ClassStatement       = trail.ClassStatement
	ClassTransaction     = trail.ClassTransaction
	ClassRequest         = trail.ClassRequest
	ClassExchange        = trail.ClassExchange
	ClassTenant          = trail.ClassTenant
	ClassToken           = trail.ClassToken
	ClassKey             = trail.ClassKey
	ClassIssuer          = trail.ClassIssuer
	ClassConfig          = trail.ClassConfig
	ClassBoot            = trail.ClassBoot
	ClassShutdown        = trail.ClassShutdown
	ClassGap             = trail.ClassGap
	ClassUnauthenticated = trail.ClassUnauthenticated
	ClassKeySet          = trail.ClassKeySet
)

// A CommitLog keeps batches. It is the evidence.
type CommitLog interface {
	// Append makes b durable before it returns, and keeps no reference to it.
	// After one error it always fails; so does a second writer.
	Append(ctx context.Context, b Batch) error
	// Replay calls f with the durable batches from number from on, in order and
	// checked, and returns f's error. It may run beside Append. The batch is
	// f's until f returns.
	Replay(ctx context.Context, from uint64, f func(Batch) error) error
	Close() error
}

// Keys holds the key of every log, the operator's too, which is that of the
// zero ID. It is safe for concurrent use and does not block.
type Keys interface {
	Current(log tenant.ID) (version uint32, key [32]byte, err error)
	At(log tenant.ID, version uint32) (key [32]byte, err error)
}

// A Config is what a log needs. Every field is required but Shard and
// Parameters, whose zero values mean something.
type Config struct {
	Commit CommitLog // the log's, once Open succeeded
	Shard  uint32    // of the batches
	Keys   Keys
	Signer note.Signer // Ed25519; its name is Origin
	Origin string      // of all logs: that of one is Origin/t/<log id>
	Dir    string      // for what is derived: snap, t

	Interval time.Duration // between commits, when there is more than one to make
	Queue    int           // records waiting at most
	Deadline time.Duration // of a receipt
	MinFree  float64       // part of Dir's file system, where Commit's should be too, below which nothing is accepted
	Epoch    time.Duration // between checkpoints of a log that grows

	Parameters Parameters // what is kept of bound parameters
	Now        func() time.Time
}

// Parameters says what a log keeps of the parameters that a statement was given.
type Parameters uint8

// The zero Parameters keeps a keyed digest of each: enough to find the same
// value again, and to prove what a value was.
const (
	DigestParameters Parameters = iota
	FullParameters              // the values, sealed like everything else
	NoParameters                // nothing, not even how many
)

// check returns everything that is wrong with c.
func (c *Config) check() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("audit: "+format, args...))
		}
	}
	want(c.Commit != nil, "Commit is missing")
	want(c.Keys != nil, "Keys is missing")
	want(c.Signer != nil, "Signer is missing")
	want(c.Signer == nil || c.Signer.Name() == c.Origin, "the name of Signer is not Origin, %q", c.Origin)
	errs = append(errs, trail.CheckOrigin(c.Origin))
	want(c.Dir != "", "Dir is missing")
	want(c.Interval > 0 && c.Interval <= time.Second, "Interval %v is not above 0 and up to 1s", c.Interval)
	want(c.Queue > 0 && c.Queue <= 1<<20, "Queue %d is not 1 to %d", c.Queue, 1<<20)
	want(c.Deadline > c.Interval && c.Deadline <= time.Minute, "Deadline %v is not above Interval and up to 1m", c.Deadline)
	want(c.MinFree > 0 && c.MinFree < 1, "MinFree %v is not between 0 and 1", c.MinFree)
	want(c.Epoch >= 10*time.Millisecond && c.Epoch <= time.Hour, "Epoch %v is not 10ms to 1h", c.Epoch)
	want(c.Parameters <= NoParameters, "Parameters is %d", c.Parameters)
	want(c.Now != nil, "Now is missing")
	return errors.Join(errs...)
}
