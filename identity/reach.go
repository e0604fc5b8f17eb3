package identity

import (
	"errors"
	"slices"
	"strings"
)

// The reaches that brokers ask for.
const (
	PGRead  = "pg:read"  // SELECT and COPY TO
	PGWrite = "pg:write" // whatever changes rows
	HTTP    = "http"     // the applications behind the edge
)

// Limits of a reach list. The whole of it travels into stores, so it has one.
const (
	maxReach     = 16
	maxReachWord = 40
	maxReachText = 512
)

var errReach = errors.New("identity: a reach list is 1 to 16 different words of a-z, 0-9, colon, hyphen and underscore, 1 to 40 bytes each and 512 in all, one space between")

// ParseReach returns the words of s, a scope claim, sorted.
func ParseReach(s string) ([]string, error) {
	if len(s) > maxReachText || strings.Count(s, " ") >= maxReach {
		return nil, errReach
	}
	words := strings.Split(s, " ")
	slices.Sort(words)
	for i, w := range words {
		if !isReach(w) || i > 0 && words[i-1] == w {
			return nil, errReach
		}
	}
	return words, nil
}

func isReach(w string) bool {
	for i := range len(w) {
		if c := w[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != ':' && c != '_' && c != '-' {
			return false
		}
	}
	return w != "" && len(w) <= maxReachWord
}
