package protect

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
	"github.com/jackc/pgx/v5"
)

// domain begins every MAC input, so that no other use of a key can be mistaken for a context.
const domain = "isocore.ctx.v1"

// The layout of a context, which is fixed up to the reach: v1, key id, tenant,
// principal, issued, expires, MAC, reach. All but the first and the last are
// lower-case hexadecimal.
const (
	reachAt  = 2 + 8 + 32 + 32 + 16 + 16 + 64
	maxReach = 512
)

// MaxKeyAge is how far ahead the end of a key may lie.
const MaxKeyAge = 24 * time.Hour

// A Key signs contexts. It is drawn by the broker, shown to the database once
// through [Key.Install], and stored nowhere else. The zero Key is installed
// nowhere, so what it signs is refused.
type Key struct {
	id     [4]byte
	secret [32]byte
}

// NewKey draws a key.
func NewKey() Key {
	var k Key
	rand.Read(k.id[:])     //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	rand.Read(k.secret[:]) //nolint:errcheck // likewise
	return k
}

// ID returns the name of k: 8 hexadecimal digits.
func (k Key) ID() string { return hex.EncodeToString(k.id[:]) }

func (k Key) String() string { return secret.Hidden }

// Format implements [fmt.Formatter], so that no verb sees the fields.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, secret.Hidden) }

// MarshalText implements [encoding.TextMarshaler], so that no encoder sees them.
func (k Key) MarshalText() ([]byte, error) { return []byte(secret.Hidden), nil }

// pads returns the two blocks that make HMAC out of two plain hashes (RFC
// 2104), which is all a core PostgreSQL can compute.
func (k Key) pads() (inner, outer []byte) {
	inner, outer = make([]byte, sha256.BlockSize), make([]byte, sha256.BlockSize)
	copy(inner, k.secret[:])
	copy(outer, k.secret[:])
	for i := range inner {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	return inner, outer
}

// Install gives k to the database, until the given time. Two keys live at
// once: the newest and the one before.
func (k Key) Install(ctx context.Context, keeper *pgx.Conn, until time.Time) error {
	if k == (Key{}) {
		return errors.New("protect: the zero key")
	}
	inner, outer := k.pads()
	if _, err := keeper.Exec(ctx, `SELECT isocore.install_key($1, $2, $3, $4)`, k.ID(), inner, outer, until); err != nil {
		return fmt.Errorf("protect: install key: %w", err)
	}
	return nil
}

// RetireAllBut removes every other key from the database: what a starting
// broker does after installing its own.
func (k Key) RetireAllBut(ctx context.Context, keeper *pgx.Conn) error {
	if _, err := keeper.Exec(ctx, `SELECT isocore.retire_keys($1)`, k.ID()); err != nil {
		return fmt.Errorf("protect: retire keys: %w", err)
	}
	return nil
}

// Claims are what a context tells the database of one transaction.
type Claims struct {
	Tenant    tenant.ID
	Principal [16]byte
	Reach     []string
	IssuedAt  time.Time // the transaction must begin within 2 s of it
	Expires   time.Time
}

// Check reports why no context can be made of c.
func (c Claims) Check() error {
	switch {
	case c.Tenant.IsZero():
		return errors.New("protect: claims without a tenant")
	case c.Principal == [16]byte{}:
		return errors.New("protect: claims without a principal")
	case !c.IssuedAt.After(epoch) || !c.Expires.After(c.IssuedAt):
		return errors.New("protect: claims without a time to live")
	}
	size := -1
	for _, w := range c.Reach {
		if !isWord(w) {
			return fmt.Errorf("protect: %.40q is not a word of a reach", w)
		}
		size += 1 + len(w)
	}
	if size > maxReach {
		return fmt.Errorf("protect: a reach of %d bytes", size)
	}
	return nil
}

// isWord reports whether w is printable ASCII without space, quote and
// backslash: a scope-token of RFC 6749.
func isWord(w string) bool {
	for i := range len(w) {
		if c := w[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return w != ""
}

// epoch is where the server's own clock begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Context returns the text that [Claims] c travel in, valid for one backend of
// one run of the server: pid is what pg_backend_pid() returns there, start
// what pg_postmaster_start_time() does, to the microsecond. Claims that do not
// [Claims.Check] yield "", which isocore.enter refuses.
//
// It is given to isocore.enter as a bind parameter, never in a statement's text.
func (k Key) Context(c Claims, pid uint32, start time.Time) string {
	if c.Check() != nil {
		return ""
	}
	b := make([]byte, 0, reachAt+maxReach)
	b = append(b, "v1"...)
	b = hex.AppendEncode(b, k.id[:])
	b = append(b, c.Tenant.String()...)
	b = hex.AppendEncode(b, c.Principal[:])
	b = appendTime(b, c.IssuedAt)
	b = appendTime(b, c.Expires)
	at := len(b)
	b = b[:at+2*sha256.Size]
	for i, w := range c.Reach {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, w...)
	}
	mac := k.mac(b[2:74], b[74:106], b[reachAt:], pid, start)
	hex.Encode(b[at:], mac[:])
	return string(b)
}

// mac computes over who (key, tenant, principal), when (issued, expires) and
// the reach, and binds them to a backend.
func (k Key) mac(who, when, reach []byte, pid uint32, start time.Time) (sum [sha256.Size]byte) {
	digest := sha256.Sum256(reach)
	m := make([]byte, 0, 256)
	m = append(m, domain...)
	m = append(m, who...)
	m = hex.AppendEncode(m, digest[:])
	m = hex.AppendEncode(m, binary.BigEndian.AppendUint32(nil, pid))
	m = appendTime(m, start)
	m = append(m, when...)
	h := hmac.New(sha256.New, k.secret[:])
	h.Write(m)
	h.Sum(sum[:0])
	return sum
}

// appendTime writes t as the server's timestamptz_send does: microseconds
// since 2000, in 16 digits, which compare as text.
func appendTime(b []byte, t time.Time) []byte {
	us := uint64(t.UnixMicro() - epoch.UnixMicro())
	return hex.AppendEncode(b, binary.BigEndian.AppendUint64(nil, us))
}
