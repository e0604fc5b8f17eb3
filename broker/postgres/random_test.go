package postgres

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/isocore/isocore/internal/pgwire"
)

var (
	seed  = flag.Uint64("seed", 0, "of the first random play; 0 draws one")
	plays = flag.Int("plays", 60, "how many random plays there are")
)

// TestRandomPlays compares the broker with a plain server in plays that nobody
// has thought of.
func TestRandomPlays(t *testing.T) {
	w := newTwin(t)
	first := *seed
	if first == 0 {
		first = rand.Uint64()
	}
	n := *plays
	if testing.Short() {
		n = min(n, 20)
	}
	for i := range uint64(n) {
		d := &dice{rand.New(rand.NewPCG(first+i, 0))}
		w.compare(t, d.play(), vague)
		if t.Failed() {
			t.Fatalf("seed %d", first+i)
		}
	}
}

// vague takes the words from a line that depend on which names and portals a
// failed transaction has: there the broker lets the server say that it failed,
// where a server asked directly may say what else is wrong.
func vague(line string) string {
	for _, code := range []string{"25P02", "34000", "26000", "08P01", "55000"} {
		if strings.Contains(line, "C="+code) {
			return "Error for a name, a portal or a failed transaction"
		}
	}
	return line
}

// dice makes plays at random.
type dice struct{ *rand.Rand }

func pick[T any](d *dice, of ...T) T { return of[d.IntN(len(of))] }

// play makes a play of groups, each a Query or messages up to a Sync.
func (d *dice) play() play {
	var ms []pgwire.Message
	for range 2 + d.IntN(8) {
		if d.IntN(2) == 0 {
			ms = append(ms, q(d.query()))
			continue
		}
		for range 1 + d.IntN(5) {
			ms = append(ms, d.extended()...)
		}
		if d.IntN(6) > 0 {
			ms = append(ms, syn)
		}
	}
	return say(ms...)
}

func (d *dice) query() string {
	text := d.statement()
	if d.IntN(3) == 0 {
		for range d.IntN(4) {
			text += ";" + pick(d, " ", "\n", "/* ö; */", "") + d.statement()
		}
	}
	return text
}

func (d *dice) statement() string {
	return pick(d,
		"BEGIN", "BEGIN", "COMMIT", "COMMIT", "ROLLBACK", "START TRANSACTION READ ONLY",
		"COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a", "", "-- nothing",
		"SELECT count(*) FROM doc", "SELECT id, title FROM doc ORDER BY id LIMIT 3", "SELECT nope", "SELECT 1/0", "SELECT 'ü', nope", "SELECT 1",
		"SELECT i, 6/(3-i) FROM generate_series(1, 4) i", "SET timezone = 'UTC'", "RESET timezone", "SHOW timezone",
		"DEALLOCATE s", "DEALLOCATE ALL", "FETCH 2 FROM p", "CLOSE p", "MOVE 1 FROM p", "UNLISTEN *",
		"COPY (SELECT id FROM doc ORDER BY id LIMIT 3) TO STDOUT", "SET application_name = 'r'",
		fmt.Sprintf("INSERT INTO doc (id, title) VALUES (%d, 'new')", 100+d.IntN(10)),
		fmt.Sprintf("INSERT INTO late (id) VALUES (%d)", d.IntN(6)), "SELECT id FROM late ORDER BY id",
		fmt.Sprintf("DELETE FROM late WHERE id = %d RETURNING id", d.IntN(6)),
		fmt.Sprintf("UPDATE doc SET body = 'b' WHERE id = %d", d.IntN(110)),
	)
}

// something is a statement that is not empty: a portal of nothing runs in a
// failed transaction too, as long as it lives, which the broker does not know.
func (d *dice) something() string {
	for {
		if s := d.statement(); s != "" && s != "-- nothing" {
			return s
		}
	}
}

func (d *dice) name() string { return pick(d, "", "", "s", "t") }

func (d *dice) portal() string { return pick(d, "", "", "p", "q") }

func (d *dice) extended() []pgwire.Message {
	// The unnamed portal alone is left out: at the server a Query leaves one behind.
	name, portal, named := d.name(), d.portal(), pick(d, "p", "q")
	limit := pick[int32](d, 0, 0, 0, 1, 2)
	switch d.IntN(12) {
	case 0:
		return one(p(name, d.something()))
	case 1:
		return one(b(portal, name))
	case 2:
		return one(en(named, limit))
	case 3:
		return one(pick(d, pgwire.Message(&pgwire.Describe{Target: pgwire.Statement, Name: pick(d, "s", "t")}), dp(named)))
	case 4:
		return one(pick(d, c(name), cp(portal)))
	case 5:
		return one(pick(d, flush, p(name, "SELECT 1; SELECT 2"), b(portal, name, "1")))
	case 6:
		return one(p(name, "SELECT id FROM doc WHERE id < $1 ORDER BY id"), b(portal, name, pick(d, "3", "x")), dp(portal), en(portal, limit))
	case 7:
		return one(b(portal, name), en(portal, limit))
	default:
		return one(p("", d.something()), b("", ""), dp(""), e(""))
	}
}
