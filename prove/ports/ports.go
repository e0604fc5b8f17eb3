// Package ports finds what a deployment listens on, and asks there as a
// stranger would: over HTTP, as clients of stores do, and in no language at all.
package ports

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Listener is a socket that waits for strangers.
type Listener struct {
	Network string // tcp, udp or unix
	Address string // host:port, or a path; a name without one begins with @
	Pid     int
	Command string // of the process
}

func (l Listener) String() string {
	return fmt.Sprintf("%s %s of %s (%d)", l.Network, l.Address, l.Command, l.Pid)
}

// An Answer is what came back to a knock.
type Answer struct {
	Knock string
	Said  string // the beginning of it; empty: nothing was said
}

// Opens reports whether a is more than a refusal: whoever knocked was told
// something, or let in. Silence refuses, and so does a question for a password.
func (a Answer) Opens() bool {
	s := a.Said
	switch {
	case s == "" || s == "N" || s == "S": // of PostgreSQL: whether it speaks TLS
		return false
	case strings.HasPrefix(s, "HTTP/"):
		return a.Status() < 400
	case s[0] == 0x15 && strings.HasPrefix(s[1:], "\x03"): // a TLS alert
		return false
	case a.IsTLS():
		return false // what is behind it is asked next
	case s[0] == '-': // a Redis error
		return false
	case s[0] == 'E' && len(s) > 5 && int(binary.BigEndian.Uint32([]byte(s[1:5]))) < 1<<16: // PostgreSQL's ErrorResponse
		return false
	case s[0] == 'R' && len(s) >= 9: // PostgreSQL's Authentication: 0 lets in, others ask for more
		return binary.BigEndian.Uint32([]byte(s[5:9])) == 0
	default:
		return true
	}
}

// IsTLS reports whether a is the beginning of a TLS handshake.
func (a Answer) IsTLS() bool { return strings.HasPrefix(a.Said, "\x16\x03") }

// Status returns that of an answer over HTTP; 0 if it is none.
func (a Answer) Status() int {
	_, rest, _ := strings.Cut(a.Said, " ")
	word, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(word)
	if err != nil || !strings.HasPrefix(a.Said, "HTTP/") {
		return 0
	}
	return n
}

// Guarded returns an error unless only its own account and the superuser can
// open the unix socket at path: by its mode, or by that of a folder above it.
func Guarded(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("ports: %s has no place in the file system, and so no mode", path)
	}
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("ports: %w", err)
	}
	if st.Mode().Perm()&0o022 == 0 { // to connect is to write
		return nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		above, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("ports: %w", err)
		}
		if above.Mode().Perm()&0o011 == 0 {
			return nil
		}
		if dir == filepath.Dir(dir) {
			return fmt.Errorf("ports: %s is of mode %v, and no folder above it keeps others out", path, st.Mode()&(fs.ModePerm|fs.ModeType))
		}
	}
}

// parseInet reads one line of /proc/net/tcp, tcp6, udp or udp6.
func parseInet(line []byte) (address, state, inode string, ok bool) {
	f := bytes.Fields(line)
	if len(f) < 10 {
		return "", "", "", false
	}
	host, port, found := strings.Cut(string(f[1]), ":")
	at, err := parseAddress(host, port)
	if !found || err != nil {
		return "", "", "", false
	}
	return at, string(f[3]), string(f[9]), true
}
