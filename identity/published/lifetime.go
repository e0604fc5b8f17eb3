package published

import (
	"strconv"
	"strings"
	"time"
)

// How long an answer is good: what it says, within bounds.
const (
	minLife     = 5 * time.Minute
	defaultLife = time.Hour
	maxLife     = 24 * time.Hour
)

// lifetime reads Cache-Control (RFC 9111, 5.2.2). Of two directives that
// disagree, and of what cannot be read, it takes the shorter life.
func lifetime(lines []string) time.Duration {
	life, said := maxLife, false
	for directive := range directives(strings.Join(lines, ",")) {
		name, value, _ := strings.Cut(directive, "=")
		switch strings.ToLower(strings.Trim(name, " \t")) {
		case "no-store", "no-cache":
			return minLife
		case "max-age":
			life, said = min(life, seconds(value)), true
		}
	}
	if !said {
		return defaultLife
	}
	return life
}

// directives yields what commas separate, those within quotes excepted.
func directives(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		quoted, escaped, from := false, false, 0
		for i := range len(s) {
			switch {
			case escaped:
				escaped = false
			case quoted && s[i] == '\\':
				escaped = true
			case s[i] == '"':
				quoted = !quoted
			case s[i] == ',' && !quoted:
				if !yield(s[from:i]) {
					return
				}
				from = i + 1
			}
		}
		yield(s[from:])
	}
}

// seconds returns the age that value spells, in quotes or without, brought
// within the bounds.
func seconds(value string) time.Duration {
	value = strings.Trim(value, " \t")
	if len(value) > 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return minLife
		}
	}
	if value == "" {
		return minLife
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n > uint64(maxLife/time.Second) {
		return maxLife
	}
	return max(minLife, time.Duration(n)*time.Second)
}
