package ports

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// What the kernel calls the states of a socket that waits.
const (
	listening   = "0A" // TCP
	unconnected = "07" // UDP
	accepting   = 0x10000
)

// Of returns what a process and all that descend from it listen on. It is an
// error if that cannot be seen.
func Of(pid int) ([]Listener, error) {
	family, err := descendants(pid)
	if err != nil {
		return nil, err
	}
	var all []Listener
	for _, one := range family {
		theirs, err := of(one)
		if err != nil {
			return nil, err
		}
		all = append(all, theirs...)
	}
	return all, nil
}

// of returns what one process listens on.
func of(pid int) ([]Listener, error) {
	proc := fmt.Sprintf("/proc/%d", pid)
	open, err := sockets(filepath.Join(proc, "fd"))
	if os.IsNotExist(err) {
		return nil, nil // it has ended
	}
	if err != nil {
		return nil, fmt.Errorf("ports: %w", err)
	}
	comm, err := os.ReadFile(filepath.Join(proc, "comm"))
	if err != nil {
		return nil, nil //nolint:nilerr // it has ended
	}
	command := strings.TrimSpace(string(comm))
	var all []Listener
	for name, state := range map[string]string{"tcp": listening, "tcp6": listening, "udp": unconnected, "udp6": unconnected} {
		err := eachLine(filepath.Join(proc, "net", name), func(line []byte) {
			address, is, inode, ok := parseInet(line)
			if ok && is == state && open[inode] {
				all = append(all, Listener{strings.TrimSuffix(name, "6"), address, pid, command})
			}
		})
		if err != nil && !os.IsNotExist(err) { // a kernel may have no IPv6
			return nil, fmt.Errorf("ports: %w", err)
		}
	}
	err = eachLine(filepath.Join(proc, "net", "unix"), func(line []byte) {
		f := bytes.Fields(line)
		if len(f) < 8 || !open[string(f[6])] {
			return
		}
		if flags, err := strconv.ParseUint(string(f[3]), 16, 32); err == nil && flags&accepting != 0 {
			all = append(all, Listener{"unix", string(f[7]), pid, command})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("ports: %w", err)
	}
	return all, nil
}

// sockets returns the inodes of the sockets that a folder of /proc links to.
func sockets(dir string) (map[string]bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	open := map[string]bool{}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // it was closed meanwhile
		}
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			open[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return open, nil
}

func eachLine(path string, f func([]byte)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was read
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f(lines.Bytes())
	}
	return lines.Err()
}

// descendants returns a process and all that it started, and they did.
func descendants(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("ports: %w", err)
	}
	children := map[int][]int{}
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended
		}
		if parent, ok := parentIn(b); ok {
			children[parent] = append(children[parent], id)
		}
	}
	family := []int{pid}
	for i := 0; i < len(family); i++ {
		family = append(family, children[family[i]]...)
	}
	return family, nil
}

// parentIn returns the parent that a line of /proc/PID/stat names, behind a
// command that may have anything in it.
func parentIn(stat []byte) (int, bool) {
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 2 {
		return 0, false
	}
	n, err := strconv.Atoi(string(f[1]))
	return n, err == nil
}
