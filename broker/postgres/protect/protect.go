// Package protect is the database's side of the PostgreSQL lock: it installs,
// seals and examines what keeps tenants apart inside the store itself.
//
// The broker proves to the database whose transaction it is with a context, a
// short text under a MAC that only the two of them can make ([Key.Context]).
// Row security compares every row with isocore.tenant(), which verifies that
// text anew in each statement and knows nobody else's word for it.
//
// [Install] puts the schema isocore and the roles there, [Apply] protects the
// application's tables, [Seal] takes from PUBLIC the built-in functions that
// see past row security, [Check] looks for whatever would undo all this.
package protect

import (
	"errors"
	"fmt"
	"strings"

	"github.com/isocore/isocore/secret"
)

// The roles, which belong to the whole cluster.
const (
	Owner    = "isocore_owner"  // owns the schemas isocore and isocore_compat; nobody logs in as it
	Runtime  = "isocore_rt"     // has the grants tenants' statements run under; owns nothing
	Login    = "isocore_login"  // what the broker logs in as, before SET ROLE
	Keeper   = "isocore_keeper" // may install and retire keys, and nothing else
	AppOwner = "app_owner"      // owns the application's tables
)

// The schemas.
const (
	Schema = "isocore"        // context, keys
	Compat = "isocore_compat" // stands before pg_catalog for the runtime role
)

// Options say what to protect, and for whom.
type Options struct {
	Schemas   []string // the application's, in the order of the runtime search path
	Column    string   // the tenant column, a uuid; "" is tenant_id
	Functions []string // volatile or SECURITY DEFINER functions a tenant may call, as the server prints them: app.f(integer, text)

	LoginPassword  secret.Text // of [Login]; the zero Text leaves what there is
	KeeperPassword secret.Text // of [Keeper]; likewise
}

// A Severity says what a Finding means for the promise.
type Severity uint8

// Error is the zero Severity: a finding nobody graded is taken seriously.
const (
	Error   Severity = iota // tenants are not kept apart, or cannot be
	Warning                 // a stated weakness, or a thing that will fail
	Note                    // worth knowing
)

func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Note:
		return "note"
	case Error:
		return "error"
	default:
		return "error"
	}
}

// A Finding is one thing that is not as it must be.
type Finding struct {
	Code     string // what kind, e.g. index-lead
	Severity Severity
	Object   string // the table, function, role it is about
	Text     string
	Hint     string // what to do; may be empty
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s: %s", f.Severity, f.Code, f.Object, f.Text)
}

// Errors returns an error naming every finding of severity Error, or nil.
func Errors(findings []Finding) error {
	var errs []error
	for _, f := range findings {
		if f.Severity == Error {
			errs = append(errs, errors.New("protect: "+f.String()))
		}
	}
	return errors.Join(errs...)
}

func (o Options) column() string {
	if o.Column == "" {
		return "tenant_id"
	}
	return o.Column
}

func (o Options) check() error {
	for _, s := range append([]string{o.column()}, o.Schemas...) {
		if s == "" || len(s) > 63 || strings.ContainsAny(s, "\x00") {
			return fmt.Errorf("protect: %.70q is not a name", s)
		}
	}
	for _, s := range o.Schemas {
		if s == Schema || s == Compat || s == "information_schema" || strings.HasPrefix(s, "pg_") {
			return fmt.Errorf("protect: schema %s is not an application's", s)
		}
	}
	return nil
}
