//go:build unix && !linux

package segment

import "os"

// syncData makes what was written to f durable, its length included.
func syncData(f *os.File) error { return f.Sync() }
