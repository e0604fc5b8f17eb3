// Package isocore is the map of the house. IsoCore stands between clients and
// the stores that hold tenants' data, and every protocol goes through the same
// five rooms:
//
//	bytes in -> accept -> identity -> scope -> forward -> audit
//	token -> identity.Principal -> scope.Scope -> broker.Pass -> bytes to the store
//
// It is a chain of types that only the room before can make: only
// [identity.Verifier.Verify] makes a Principal, only [scope.Of] a Scope, only
// [broker.Admit] a Pass, and only package forward takes the request out of it.
// Skipping a room is not a bug that can be written.
//
//	tenant refusal secret      leaf words: whose data, why not, what is never printed
//	accept                     connections arrive, bounded, timed, drained
//	identity                   a token becomes a Principal, or nothing; its preset and published know identity providers
//	scope                      a broker's table: operation, verdict, reason
//	broker                     Gate -> Session -> Pass, and the order in which a request is admitted
//	broker/brokertest          the contract every broker keeps, as a test suite
//	broker/edge                applications over HTTP: an identity provider's token in, a Txn-Token out
//	broker/exchange            a Txn-Token in, a narrower token for one store out
//	broker/postgres            PostgreSQL; its protect is the database's side of the lock
//	forward                    the only room that dials a store
//	audit                      trail (formats), tree, segment (the commit log), bundle (exports), view
//	registry keyring limit     what exists, with which keys, and how much of it
//	prove                      attacks on the live system; knows no protocol
//	local                      the embedded stores of isocore up, and the example data
//	config node admin          settings, one running process, the operator's door
//	internal                   codecs that know nothing of tenants: jws, h1, pgwire, pgsql
//	workload                   what applications import: middleware, transport, hooks of pgx
//	cmd/isocore                the command line
//
// The test beside this file keeps the arrows between them, each with its reason.
package isocore

import (
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/scope"
)

//go:generate go run ./tools/verdicts

// The chain, for the reader's editor to follow.
var (
	_ = identity.New
	_ = scope.Of
	_ broker.Gate
)
