package postgres

import (
	"slices"
	"strings"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/pgsql"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// table is the posture of this broker: what a client may ask of PostgreSQL.
//
// The rows named by a message are judged when it comes without the Execute it
// prepares. The rows named "Execute ..." are judged by the kind of statement;
// a Parse of a kind that is denied is judged by that kind's row, so that its
// text never reaches the store. Every Confine comes to the same function, that
// of SET after a look at the value: the database is told, and verifies, whose
// transaction this is. That, the row policies and the grants are the first
// lock; this table is the second.
var table = scope.Table[*request]{
	"Parse":              {Verdict: scope.Allow, Why: "looks names up in the catalog, which is every tenant's; its Execute is judged"},
	"Describe statement": {Verdict: scope.Allow, Why: "tells the types of a parsed statement"},
	"Close":              {Verdict: scope.Allow, Why: "forgets a statement or portal of this connection"},
	"Flush":              {Verdict: scope.Allow, Why: "asks for the answers so far"},
	"Sync":               {Verdict: scope.Allow, Why: "ends a group and carries nothing"},
	"Refusal":            {Verdict: scope.Allow, Why: "a statement that fails in the store, in the place of what was refused"},
	"Startup":            {Verdict: scope.Allow, Why: "parameters of this connection, from the closed list"},
	"Open":               {Verdict: scope.Confine, Needs: read, Why: "begins the tenant's transaction, for messages that wait for their Execute", Confine: enter},
	"Bind":               {Verdict: scope.Confine, Needs: read, Why: "plans a statement, in the tenant's transaction", Confine: enter},
	"Bind write":         {Verdict: scope.Confine, Needs: write, Why: "a named portal that writes: a FETCH would run it", Confine: enter},

	"Execute empty":                       {Verdict: scope.Allow, Why: "asks for nothing"},
	"Execute begin":                       {Verdict: scope.Allow, Why: "opens a transaction; what runs in it is judged"},
	"Execute nested begin":                {Verdict: scope.Confine, Needs: read, Why: "a BEGIN within a transaction: the first one is sent, with the context", Confine: enter},
	"Execute set transaction":             {Verdict: scope.Allow, Why: "chooses the mode of the client's own transaction"},
	"Execute deallocate":                  {Verdict: scope.Allow, Why: "answered by the broker, which closes statements of this connection"},
	"Execute unlisten":                    {Verdict: scope.Allow, Why: "nobody listens here; drivers say it when they tidy up"},
	"Execute set":                         {Verdict: scope.Confine, Needs: read, Why: "a parameter of this connection, from the closed list", Confine: set},
	"Execute reset":                       {Verdict: scope.Confine, Needs: read, Why: "a parameter of this connection, from the closed list", Confine: enter},
	"Execute show":                        {Verdict: scope.Confine, Needs: read, Why: "a parameter, from the closed list", Confine: enter},
	"Execute select":                      {Verdict: scope.Confine, Needs: read, Why: "row security shows the tenant's rows", Confine: enter},
	"Execute values":                      {Verdict: scope.Confine, Needs: read, Why: "row security shows the tenant's rows", Confine: enter},
	"Execute table":                       {Verdict: scope.Confine, Needs: read, Why: "row security shows the tenant's rows", Confine: enter},
	"Execute with":                        {Verdict: scope.Confine, Needs: read, Why: "row security shows the tenant's rows", Confine: enter},
	"Execute copy to stdout":              {Verdict: scope.Confine, Needs: read, Why: "row security copies the tenant's rows", Confine: enter},
	"Execute declare":                     {Verdict: scope.Confine, Needs: read, Why: "a cursor of the tenant's transaction", Confine: enter},
	"Execute fetch":                       {Verdict: scope.Confine, Needs: read, Why: "rows of a cursor of the tenant's transaction", Confine: enter},
	"Execute move":                        {Verdict: scope.Confine, Needs: read, Why: "moves a cursor of the tenant's transaction", Confine: enter},
	"Execute close":                       {Verdict: scope.Confine, Needs: read, Why: "closes a cursor of the tenant's transaction", Confine: enter},
	"Execute commit":                      {Verdict: scope.Confine, Needs: read, Why: "ends the tenant's transaction, and is recorded", Confine: enter},
	"Execute commit and chain":            {Verdict: scope.Confine, Needs: read, Why: "the context is set again behind it", Confine: enter},
	"Execute rollback":                    {Verdict: scope.Confine, Needs: read, Why: "ends the tenant's transaction, and is recorded", Confine: enter},
	"Execute rollback and chain":          {Verdict: scope.Confine, Needs: read, Why: "the context is set again behind it", Confine: enter},
	"Execute savepoint":                   {Verdict: scope.Confine, Needs: read, Why: "the context was set before it", Confine: enter},
	"Execute release":                     {Verdict: scope.Confine, Needs: read, Why: "the context was set before it", Confine: enter},
	"Execute rollback to":                 {Verdict: scope.Confine, Needs: read, Why: "the context was set before the savepoint", Confine: enter},
	"Execute select for update":           {Verdict: scope.Confine, Needs: write, Why: "locks the tenant's rows", Confine: enter},
	"Execute with write":                  {Verdict: scope.Confine, Needs: write, Why: "row security checks every row written", Confine: enter},
	"Execute copy write to stdout":        {Verdict: scope.Confine, Needs: write, Why: "row security checks every row written", Confine: enter},
	"Execute insert":                      {Verdict: scope.Confine, Needs: write, Why: "row security checks every row written", Confine: enter},
	"Execute update":                      {Verdict: scope.Confine, Needs: write, Why: "row security checks every row written", Confine: enter},
	"Execute delete":                      {Verdict: scope.Confine, Needs: write, Why: "row security shows the tenant's rows alone", Confine: enter},
	"Execute merge":                       {Verdict: scope.Confine, Needs: write, Why: "row security checks every row written", Confine: enter},
	"Execute set constraints":             {Verdict: scope.Confine, Needs: write, Why: "when the tenant's own transaction checks", Confine: enter},
	"FunctionCall":                        {Why: "calls functions by number, past every statement", Hint: "call the function in a SELECT"},
	"Replication":                         {Why: "streams every tenant's changes"},
	"CopyData":                            {Why: "no COPY from the client is in progress: COPY FROM does not work under row security", Hint: "use INSERT"},
	"Execute copy from stdin":             {Why: "COPY FROM does not work under row security", Hint: "use INSERT"},
	"Execute copy file":                   {Why: "files and programs of the server are no tenant's"},
	"Execute serializable":                {Why: "serialization failures show other tenants' writes", Hint: "use REPEATABLE READ"},
	"Execute set transaction snapshot":    {Why: "a snapshot may be another tenant's"},
	"Execute set session characteristics": {Why: "would change the mode of transactions to come", Hint: "say it in BEGIN"},
	"Execute set unlisted":                {Why: "not in the closed list of parameters"},
	"Execute show unlisted":               {Why: "not in the closed list of parameters"},
	"Execute set role":                    {Why: "a role is a way around the grants"},
	"Execute set session authorization":   {Why: "a role is a way around the grants"},
	"Execute declare with hold":           {Why: "its rows outlive the transaction whose tenant was verified", Hint: "leave WITH HOLD out and stay in the transaction"},
	"Execute select into":                 {Why: "would create a table"},
	"Execute explain":                     {Why: "its estimates tell of every tenant's rows"},
	"Execute prepare":                     {Why: "statements are prepared by the protocol, where each is judged", Hint: "use the extended protocol"},
	"Execute execute":                     {Why: "statements are prepared by the protocol, where each is judged", Hint: "use the extended protocol"},
	"Execute discard":                     {Why: "would reset what the broker set", Hint: "close the connection instead"},
	"Execute prepare transaction":         {Why: "prepared transactions are visible to and ended by every tenant"},
	"Execute commit prepared":             {Why: "prepared transactions are visible to and ended by every tenant"},
	"Execute rollback prepared":           {Why: "prepared transactions are visible to and ended by every tenant"},
	"Execute listen":                      {Why: "channels are shared by every tenant"},
	"Execute notify":                      {Why: "channels are shared by every tenant"},
	"Execute lock":                        {Why: "locks the table for every tenant"},
	"Execute truncate":                    {Why: "row security does not apply: erases every tenant's rows"},
	"Execute do":                          {Why: "runs code that no table row has judged"},
	"Execute call":                        {Why: "a procedure may end the transaction whose tenant was verified"},
	"Execute create":                      {Why: "the schema is every tenant's"},
	"Execute alter":                       {Why: "the schema and the roles are every tenant's"},
	"Execute drop":                        {Why: "the schema is every tenant's"},
	"Execute grant":                       {Why: "privileges are every tenant's"},
	"Execute revoke":                      {Why: "privileges are every tenant's"},
	"Execute comment":                     {Why: "the schema is every tenant's"},
	"Execute security label":              {Why: "the schema is every tenant's"},
	"Execute import":                      {Why: "the schema is every tenant's"},
	"Execute reassign":                    {Why: "roles are every tenant's"},
	"Execute refresh":                     {Why: "a materialized view holds every tenant's rows"},
	"Execute vacuum":                      {Why: "works on every tenant's rows"},
	"Execute analyze":                     {Why: "works on every tenant's rows"},
	"Execute cluster":                     {Why: "works on every tenant's rows"},
	"Execute reindex":                     {Why: "works on every tenant's rows"},
	"Execute checkpoint":                  {Why: "works on the whole server"},
	"Execute load":                        {Why: "loads code into the server"},
}

// read and write are the reaches this broker asks for.
const (
	read  = identity.PGRead
	write = identity.PGWrite
)

// enter gives the request the context of s, minted for this one backend: the
// database verifies it before the first statement of every transaction.
func enter(r *request, _ int, s scope.Scope) error {
	if r.context != "" {
		return nil // the other operations of the same request
	}
	context, err := r.backend.context(s)
	if err != nil {
		return refusal.New(refusal.Internal, "%w", err)
	}
	r.context = context
	return nil
}

// set is [enter] for a SET, which must not ask for messages that tell of the
// server's inner life: transaction numbers count every tenant's writes.
func set(r *request, i int, s scope.Scope) error {
	c := pgsql.Classify(string(r.ops[i].Text))
	v := c.Value
	if c.Name != messages || v.Simple && (v.Default || len(v.Words) == 1 && audible(v.Words[0])) {
		return enter(r, i, s)
	}
	return refusal.Hinted(refusal.Denied, "set it to notice, warning or error", "postgres: %s to %.100q", messages, v.Words)
}

// messages is the parameter that says which messages the server sends.
const messages = "client_min_messages"

// audible reports whether level is one of the messages that a client may hear.
func audible(level string) bool {
	switch strings.ToLower(level) {
	case "notice", "warning", "error":
		return true
	default:
		return false
	}
}

// settable are the parameters a client may set and reset: they change how
// this connection's own values are read and written, and nothing else.
var settable = map[string]bool{
	"application_name": true, "bytea_output": true, "client_min_messages": true, "datestyle": true,
	"default_transaction_read_only": true, "extra_float_digits": true, "intervalstyle": true,
	"jit": true, "search_path": true, "timezone": true, "transaction_read_only": true,
	"enable_seqscan": true, "enable_indexscan": true, "enable_bitmapscan": true, "enable_hashjoin": true,
	"enable_mergejoin": true, "enable_nestloop": true, "enable_sort": true, "plan_cache_mode": true,
	"xmloption": true, "constraint_exclusion": true, "row_security": false,
}

// resettable returns what RESET ALL resets for a client, sorted.
func resettable() []string {
	var names []string
	for name, ok := range settable {
		if ok && name != "transaction_read_only" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// showable are the parameters a client may read besides those it may set.
var showable = map[string]bool{
	"client_encoding": true, "default_transaction_isolation": true, "integer_datetimes": true,
	"is_superuser": true, "lc_collate": true, "lc_ctype": true, "lc_messages": true, "lc_monetary": true, "lc_numeric": true,
	"lc_time": true, "max_identifier_length": true, "max_index_keys": true, "server_encoding": true,
	"server_version": true, "server_version_num": true, "session_authorization": true, "standard_conforming_strings": true,
	"statement_timeout": true, "lock_timeout": true, "idle_in_transaction_session_timeout": true,
	"transaction_isolation": true, "transaction_deferrable": true, "max_connections": true,
}
