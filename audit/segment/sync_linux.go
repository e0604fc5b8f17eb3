package segment

import (
	"os"
	"syscall"
)

// syncData makes what was written to f durable, its length included.
func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
