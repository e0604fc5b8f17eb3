package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A record is one of the audit log, as audit verify --records --json has it.
type record struct {
	Seq       uint64  `json:"seq"`
	Kind      string  `json:"kind"`
	Class     string  `json:"class"`
	Of        *uint64 `json:"of"`
	Operation string  `json:"operation"`
	Text      string  `json:"text"`
	Status    string  `json:"status"`
	Reason    string  `json:"reason"`
}

// records exports the log of a tenant, verifies it, and returns what is in it.
func (h *home) records(tenant string) []record {
	h.Helper()
	file := filepath.Join(filepath.Dir(h.dir), strings.ReplaceAll(tenant, "/", "-")+".zip")
	h.must("audit", "export", "--tenant", tenant, "--out", file, "--yes")
	r := h.run("--json", "audit", "verify", "--records", file)
	if r.code != 3 {
		h.Fatalf("the log of %s: %v", tenant, r)
	}
	var all []record
	d := json.NewDecoder(strings.NewReader(r.out))
	for d.More() {
		var v record
		if err := d.Decode(&v); err != nil {
			h.Fatal(err)
		}
		if v.Kind != "" { // the last is the report
			all = append(all, v)
		}
	}
	return all
}

// Killed under load again and again, a node has lost nothing that it
// acknowledged: the row is there, and so is the decision, with its outcome or
// with the start that explains why there is none.
func TestKill(t *testing.T) {
	t.Parallel()
	n := *rounds
	if testing.Short() {
		n = min(n, 5)
	}
	h := newHome(t)
	s := h.up("--no-demo")
	load := &load{home: h, acked: map[string]map[int]bool{}}
	for _, name := range []string{"a1", "a2", "a3"} {
		h.must("tenant", "create", name)
		load.acked[name] = map[int]bool{}
	}
	began := time.Now()
	for round := range n {
		load.run(s)
		s = h.up("--no-demo")
		for name := range load.acked {
			load.check(round, name)
		}
		if t.Failed() {
			return
		}
	}
	total := 0
	for _, ids := range load.acked {
		total += len(ids)
	}
	t.Logf("%d rounds in %v: %d acknowledged writes, none lost; %d were in doubt", n, time.Since(began).Round(time.Second), total, load.doubtful)
	if total < n {
		t.Errorf("%d acknowledged writes are no load", total)
	}
}

// A load is several tenants that write all the time.
type load struct {
	*home
	mu       sync.Mutex // guards what follows
	acked    map[string]map[int]bool
	next     int
	doubtful int
}

// writers is how many sessions each tenant writes with.
const writers = 3

// run writes until s, which is killed in the middle of it, answers no more.
func (l *load) run(s *server) {
	l.Helper()
	at := s.endpoints()["postgres"]
	before := l.count()
	var writing sync.WaitGroup
	for name := range l.acked {
		token := l.token(name)
		for range writers {
			conn, err := connect(l.Context(), at, token)
			if err != nil {
				l.Fatal(err)
			}
			writing.Go(func() { l.write(name, conn) })
		}
	}
	enough := before + 20 + rand.IntN(400)
	l.until(time.Minute, "the load is acknowledged", func() bool { return l.count() >= enough })
	s.kill()
	writing.Wait()
}

// insert writes rows from first on, each with its number in the text of its
// statement, by which its record is found.
func insert(ctx context.Context, conn *pgx.Conn, first, rows int) error {
	one := func(id int) string {
		return fmt.Sprintf("INSERT INTO person (id, external_no, name, born) VALUES (%d, '%d', 'x', '2000-01-01')", id, id)
	}
	if rows == 1 {
		_, err := conn.Exec(ctx, one(first))
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for id := first; id < first+rows; id++ {
			if _, err := tx.Exec(ctx, one(id)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, ids := range l.acked {
		n += len(ids)
	}
	return n
}

// write inserts rows, one in a statement or a few in a transaction, and notes
// those that were acknowledged.
func (l *load) write(name string, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	defer cancel()
	defer conn.Close(ctx) //nolint:errcheck // it is cut
	for i := 0; ; i++ {
		rows := 1 + 2*(i%3/2)
		l.mu.Lock()
		first := l.next + 1
		l.next += rows
		l.mu.Unlock()
		err := insert(ctx, conn, first, rows)
		l.mu.Lock()
		if err != nil {
			l.doubtful += rows
			l.mu.Unlock()
			return
		}
		for id := first; id < first+rows; id++ {
			l.acked[name][id] = true
		}
		l.mu.Unlock()
	}
}

// check compares what tenant name was told with its rows and its records.
func (l *load) check(round int, name string) {
	l.Helper()
	there := l.rows(name)
	for id := range l.acked[name] {
		if !there[id] {
			l.Errorf("round %d: %s: row %d was acknowledged and is gone", round, name, id)
		}
	}
	decided, settled := map[uint64]bool{}, map[uint64]bool{}
	inserts, boots := map[int]bool{}, 0
	for _, r := range l.records(name) {
		switch {
		case r.Kind == "decision":
			decided[r.Seq] = true
			var id int
			if _, values, ok := strings.Cut(r.Text, "VALUES ("); ok {
				fmt.Sscan(values, &id) //nolint:errcheck // 0 is none
			}
			inserts[id] = true
		case r.Kind == "outcome" && r.Of != nil:
			if !decided[*r.Of] || settled[*r.Of] {
				l.Errorf("round %d: %s: record %d is an outcome of %d, which is no decision or has one", round, name, r.Seq, *r.Of)
			}
			settled[*r.Of] = true
		}
	}
	for _, r := range l.records("") {
		if r.Class == "boot" {
			boots++
		}
	}
	for id := range there {
		if !inserts[id] {
			l.Errorf("round %d: %s: row %d is there, and no decision to insert it", round, name, id)
		}
	}
	if boots != round+2 {
		l.Errorf("round %d: %d starts are recorded", round, boots)
	}
	// What has no outcome was under way when a node died: at most one group
	// of messages a session and round.
	if open := len(decided) - len(settled); open > (round+1)*writers*8 {
		l.Errorf("round %d: %s: %d decisions have no outcome", round, name, open)
	}
}

// rows returns which rows of a tenant there are.
func (l *load) rows(name string) map[int]bool {
	l.Helper()
	conn := l.client(name)
	defer conn.Close(l.Context()) //nolint:errcheck // it was read
	rows, err := conn.Query(l.Context(), "SELECT id FROM person")
	if err != nil {
		l.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		l.Fatal(err)
	}
	there := map[int]bool{}
	for _, id := range ids {
		there[id] = true
	}
	return there
}
