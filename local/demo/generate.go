package demo

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// How many rows there are. The counts are the same in every tenant, as the
// numbers and ids are.
const (
	persons   = 400
	documents = 2400
	messages  = 1200
	tasks     = 600
	numbers   = 100001 // the first external_no and account number
)

// seed is drawn from for all that differs between tenants; another one makes
// another world.
const seed = "isocore example data 1"

// today is when the example data end.
var today = time.Date(2026, time.March, 2, 9, 0, 0, 0, time.UTC)

// generate returns the rows of kind, tables that are referred to first.
func generate(kind Kind) ([]table, error) {
	switch kind {
	case Clinic, Clinic2:
		return append(shared(kind, clinicWords), encounters(kind), medications(kind)), nil
	case Advisory:
		return append(shared(kind, advisoryWords), accounts(kind), holdings(kind), trades(kind), suitabilities(kind)), nil
	default:
		return nil, fmt.Errorf("demo: there is no example data for %.40q", string(kind))
	}
}

// A draw makes the choices for one table of one tenant.
type draw struct{ *rand.Rand }

func newDraw(kind Kind, table string) draw {
	h := sha256.Sum256([]byte(seed + "/" + string(kind) + "/" + table))
	return draw{rand.New(rand.NewPCG(binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:])))}
}

// one returns one of words.
func (d draw) one(words []string) string { return words[d.IntN(len(words))] }

// between returns a number from low to high.
func (d draw) between(low, high int) int { return low + d.IntN(high-low+1) }

// decimal returns a number from low to high with places digits behind the point.
func (d draw) decimal(low, high, places int) string {
	scale := 1
	for range places {
		scale *= 10
	}
	n := d.between(low*scale, high*scale)
	return fmt.Sprintf("%d.%0*d", n/scale, places, n%scale)
}

// ago returns a time up to days before today, to the minute.
func (d draw) ago(days int) time.Time {
	return today.Add(-time.Duration(d.IntN(days*24*60)) * time.Minute)
}

// date returns a day up to days before today.
func (d draw) date(days int) time.Time { return d.ago(days).Truncate(24 * time.Hour) }

// name makes up the name of a person from syllables.
func (d draw) name() string { return d.word(2) + " " + d.word(3) }

func (d draw) word(syllables int) string {
	var b strings.Builder
	for range syllables {
		b.WriteString(d.one(onsets) + d.one(vowels))
	}
	w := b.String()
	return strings.ToUpper(w[:1]) + w[1:]
}

// fill writes pattern with each {list} replaced by one of that list of words.
func (d draw) fill(pattern string, words map[string][]string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(pattern, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, "}")
		if name == "n" {
			b.WriteString(strconv.Itoa(d.between(2, 14)))
		} else {
			b.WriteString(d.one(words[name]))
		}
		pattern = after
	}
}

// uuidOf returns the id of the i-th of what: the same one in every tenant.
func uuidOf(what string, i int) [16]byte {
	h := sha256.Sum256([]byte(seed + "/" + what + "/" + strconv.Itoa(i)))
	id := [16]byte(h[:16])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8 and variant of RFC 9562
	return id
}

// number returns the i-th external or account number.
func number(i int) string { return strconv.Itoa(numbers + i) }
