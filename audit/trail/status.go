package trail

// What came of an operation: the values of [Result.Status].
const (
	StatusOK         = "ok"
	StatusFailed     = "failed"      // the store said no; Code is its own
	StatusRefused    = "refused"     // the broker said no
	StatusSkipped    = "skipped"     // not run, because something before it failed
	StatusRolledBack = "rolled-back" // run, and undone
	StatusAbandoned  = "abandoned"   // the client or the store went before the end was known
	StatusUnknown    = "unknown"     // the node stopped before the end was known
)
