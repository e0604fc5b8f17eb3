package local

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// dieWithUs has the kernel send sig to the child when the thread that started
// it ends, which is why that thread is held until the child is gone.
func dieWithUs(a *syscall.SysProcAttr, sig syscall.Signal) { a.Pdeathsig = sig }

// workingDir returns the working directory of a process.
func workingDir(pid int) (string, error) {
	dir, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
	return strings.TrimSuffix(dir, " (deleted)"), err
}

// bornAt returns a text that tells a process from all others that have had, or
// will have, the same pid: the boot and the tick of it at which it started.
func bornAt(pid int) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("local: %w", err)
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", fmt.Errorf("local: %w", err)
	}
	// The second field is the name in brackets, which may hold anything;
	// the start is the 20th after it (proc(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("local: /proc/%d/stat is short", pid)
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19], nil
}
