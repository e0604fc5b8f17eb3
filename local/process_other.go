//go:build !linux

package local

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithUs does nothing where the kernel offers nothing: a store that outlives
// a killed isocore is stopped by the next start.
func dieWithUs(*syscall.SysProcAttr, syscall.Signal) {}

// workingDir returns the working directory of a process.
func workingDir(pid int) (string, error) {
	out, err := exec.Command("lsof", "-a", "-p", strconv.Itoa(pid), "-d", "cwd", "-Fn").Output()
	if err != nil {
		return "", fmt.Errorf("local: lsof: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if dir, found := strings.CutPrefix(strings.TrimSpace(line), "n"); found {
			return dir, nil
		}
	}
	return "", errors.New("local: lsof prints no working directory")
}

// bornAt returns a text that tells a process from all others that have had, or
// will have, the same pid.
func bornAt(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", fmt.Errorf("local: ps: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
