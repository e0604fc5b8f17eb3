package audit

import "github.com/isocore/isocore/audit/trail"

// What came of an operation: the values of [Result.Status].
const (
	StatusOK         = trail.StatusOK
	StatusFailed     = trail.StatusFailed
	StatusRefused    = trail.StatusRefused
	StatusSkipped    = trail.StatusSkipped
	StatusRolledBack = trail.StatusRolledBack
	StatusAbandoned  = trail.StatusAbandoned
	StatusUnknown    = trail.StatusUnknown
)
