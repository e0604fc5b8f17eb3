package protect

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// CheckIn is [Check] inside a transaction that the test rolls back.
func CheckIn(ctx context.Context, tx pgx.Tx, o Options) ([]Finding, error) { return check(ctx, tx, o) }

// GradeIn is [Grade] likewise.
func GradeIn(ctx context.Context, tx pgx.Tx) (bool, []Finding, error) { return grade(ctx, tx) }

// SealIn is the part of [Seal] that concerns the database, likewise.
func SealIn(ctx context.Context, tx pgx.Tx) error {
	if err := sealDatabase(ctx, tx); err != nil {
		return err
	}
	return sealed(ctx, tx)
}

// Resign puts the MAC that k makes of it into a context somebody altered.
func (k Key) Resign(text string, pid uint32, start time.Time) string {
	b := []byte(text)
	mac := k.mac(b[2:74], b[74:106], b[reachAt:], pid, start)
	hex.Encode(b[106:], mac[:])
	return string(b)
}

// Pads is what [Key.Install] gives away.
func (k Key) Pads() (inner, outer []byte) { return k.pads() }

// MAC is what [Key.Context] signs with.
func (k Key) MAC(text string, pid uint32, start time.Time) [32]byte {
	return k.mac([]byte(text[2:74]), []byte(text[74:106]), []byte(text[reachAt:]), pid, start)
}

// Secret is the key as HMAC takes it.
func (k Key) Secret() []byte { return k.secret[:] }

// Named returns the names of the functions the scripts create.
func Named() (names []string) {
	for _, f := range ours() {
		names = append(names, f.name)
	}
	return names
}

// Created counts the functions in the scripts in another way.
func Created() (n int) {
	for _, name := range scripts {
		n += strings.Count(script(name), "CREATE OR REPLACE FUNCTION")
	}
	return n
}

// Scram is what is stored of a password under a given salt.
var Scram = scram

// ApplyIn is [Apply] inside a transaction that the test rolls back.
func ApplyIn(ctx context.Context, tx pgx.Tx, o Options) ([]Step, []Finding, error) {
	return apply(ctx, tx, o)
}

// Supported is the floor of versions.
var Supported = supported
