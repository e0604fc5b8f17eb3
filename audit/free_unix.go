//go:build unix

package audit

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freePart returns which part of the file system of dir is free for us.
func freePart(dir string) (float64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("audit: free space of %s: %w", dir, err)
	}
	return float64(s.Bavail) / float64(max(s.Blocks, 1)), nil
}
