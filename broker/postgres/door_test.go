package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// wellFormed reports whether lines are what a broker may say to bad input: at
// most one FATAL, with one of the codes, and last.
func wellFormed(lines []string, codes ...string) bool {
	for i, l := range lines {
		if !strings.HasPrefix(l, "Error S=FATAL") {
			continue
		}
		known := slices.ContainsFunc(codes, func(c string) bool { return strings.Contains(l, "C="+c) })
		if !known || i != len(lines)-1 {
			return false
		}
	}
	return true
}

func badStartups(t *testing.T) [][]byte {
	t.Helper()
	good := encode(t, startup("user", "u", "database", "app"))
	var bad [][]byte
	for n := range good {
		bad = append(bad, good[:n])
	}
	for i := range good {
		for _, bit := range []byte{1, 0x80} {
			b := slices.Clone(good)
			b[i] ^= bit
			bad = append(bad, b)
		}
	}
	for _, n := range []uint32{0, 3, 4, 7, 8, 9, 16<<10 + 1, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		b := slices.Clone(good)
		binary.BigEndian.PutUint32(b, n)
		bad = append(bad, b)
	}
	bad = append(bad, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), bytes.Repeat([]byte{0}, 20000),
		bytes.Repeat(encode(t, pgwire.SSLRequest{}), 5), encode(t, pgwire.SSLRequest{}, pgwire.GSSENCRequest{}, pgwire.SSLRequest{}, pgwire.GSSENCRequest{}),
		encode(t, &pgwire.CancelRequest{PID: 1, Secret: secret.New("wxyz")}))
	return bad
}

// TestBadStartups says garbage before login: every truncation of a startup
// message, flipped bytes, impossible lengths. A good client comes in after all
// that.
func TestBadStartups(t *testing.T) {
	f := newFixture(t)
	bad := badStartups(t)
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for _, b := range bad {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			w := f.dial(t)
			_, _ = w.Write(b)
			_ = w.Conn.(*net.TCPConn).CloseWrite()
			// Either nothing, an N for each request for encryption, a question
			// for the password, or why not.
			p, _ := readAll(w)
			p = bytes.TrimLeft(p, "N")
			if len(p) > 0 && p[0] != 'R' && p[0] != 'E' && p[0] != 'v' {
				t.Errorf("%q is answered %q", b, p)
			}
			if i := bytes.IndexByte(p, 'E'); i == 0 && !bytes.Contains(p, []byte("C08P01")) && !bytes.Contains(p, []byte("C54000")) {
				t.Errorf("%q is answered %q", b, p)
			}
		})
	}
	all.Wait()
	if got := f.as(t).perform(t, queries(mine)); !contains(got, []string{mineLine}) {
		t.Errorf("afterwards: %q", got)
	}
	if f.Counts.Of(refusal.Malformed) == 0 {
		t.Error("nobody counts")
	}
}

func readAll(w *wire) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(w.Conn)
	return b.Bytes(), err
}

// badParams are settings of a startup message that are refused.
var badParams = map[string][]string{
	"another database": {"database", "postgres"}, "replication": {"replication", "database"}, "options": {"options", "-c role=isocore_owner"},
	"options, not -c": {"options", "-p 5432"}, "a setting unlisted": {"work_mem", "1GB"}, "a setting impossible": {"timezone", "Nowhere/Else"},
	"another encoding": {"client_encoding", "LATIN1"},
}

// TestBadLogins says something else in the place of a password.
func TestBadLogins(t *testing.T) {
	f := newFixture(t)
	first := encode(t, startup("user", "u", "database", "app"))
	for name, c := range map[string]struct {
		say  []byte
		want string
	}{
		"a query":              {encode(t, q("SELECT 1")), "08P01"},
		"nothing in it":        {[]byte("p\x00\x00\x00\x04"), "08P01"},
		"no end":               {[]byte("p\x00\x00\x00\x05x"), "08P01"},
		"empty":                {encode(t, &pgwire.Password{}), "28P01"},
		"huge":                 {encode(t, &pgwire.Password{Password: secret.New(strings.Repeat("x", 1<<20))}), "54000"},
		"length 3":             {[]byte("p\x00\x00\x00\x03"), "08P01"},
		"length 2^31-1":        {[]byte("p\x7f\xff\xff\xff"), "54000"},
		"length 2^32-1":        {[]byte("p\xff\xff\xff\xff"), "08P01"},
		"unknown type":         {[]byte("?\x00\x00\x00\x04"), "08P01"},
		"another database":     {nil, "28P01"},
		"replication":          {nil, "42501"},
		"options":              {nil, "42501"},
		"options, not -c":      {nil, "0A000"},
		"a setting unlisted":   {nil, "42501"},
		"a setting impossible": {nil, "0A000"},
		"another encoding":     {nil, "42501"},
	} {
		t.Run(name, func(t *testing.T) {
			w := f.dial(t)
			params := badParams[name]
			say := slices.Concat(first, c.say)
			if params != nil {
				if params[0] != "database" {
					params = append(params, "database", "app")
				}
				say = encode(t, startup(append(params, "user", "u")...), &pgwire.Password{Password: f.Token(f.A)})
			}
			_, _ = w.Write(say)
			got := w.rest(t)
			if len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "Error S=FATAL C="+c.want) {
				t.Errorf("got %q, want %s", got, c.want)
			}
		})
	}
}

// TestSettings has a client bring settings along, in every way there is.
func TestSettings(t *testing.T) {
	f := newFixture(t)
	control := f.dial(t)
	control.send(t, startup("user", "u", "database", "app", "options", "-c timezone=UTC --application-name=x", "client_encoding", "'utf-8'", "search_path", `app, "pg_catalog"`, "_pq_.x", "1"),
		&pgwire.Password{Password: f.Token(f.A)}, q("SHOW timezone"), q("SHOW search_path"), q(mine))
	if got := append(control.until(t, "Row"), append(control.until(t, "Row"), control.until(t, "Row")...)...); !contains(got, []string{"NegotiateProtocolVersion", `Row "UTC"`, `Row "app,`, mineLine}) {
		t.Errorf("control: %q", got)
	}
}

func badMessages(t *testing.T) [][]byte {
	t.Helper()
	whole := [][]byte{
		encode(t, q("SELECT 1")), encode(t, p("s", "SELECT $1", 23)), encode(t, b("p", "s", "1")), encode(t, d("s")), encode(t, e("p")),
		encode(t, c("s")), encode(t, syn), encode(t, flush), encode(t, &pgwire.CopyData{Data: []byte("x")}), encode(t, pgwire.CopyDone{}),
		encode(t, &pgwire.CopyFail{Reason: "x"}), encode(t, pgwire.Terminate{}), []byte("F\x00\x00\x00\x04"),
	}
	var bad [][]byte
	for _, m := range whole {
		for n := 1; n < len(m); n++ {
			bad = append(bad, m[:n])
		}
		for i := 5; i < len(m); i += 2 {
			b := slices.Clone(m)
			b[i] ^= 0x81
			bad = append(bad, b)
		}
		for _, n := range []uint32{0, 3, uint32(len(m)), 1<<31 - 1, 1 << 31, 1<<32 - 1} {
			b := slices.Clone(m)
			binary.BigEndian.PutUint32(b[1:], n)
			bad = append(bad, b)
		}
	}
	for _, typ := range []byte{0, '?', 'R', 'Z', 'p', 255} {
		bad = append(bad, []byte{typ, 0, 0, 0, 4})
	}
	return bad
}

// TestBadMessages says garbage after login: every truncation of every kind of
// message, flipped bytes, impossible lengths, unknown types.
func TestBadMessages(t *testing.T) {
	f := newFixture(t)
	bad := badMessages(t)
	token := f.Token(f.A)
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, b := range bad {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			w := hijack(t, f.dsn(token))
			_, _ = w.Write(b)
			_ = w.Conn.(*net.TCPConn).CloseWrite()
			if got := w.rest(t); !wellFormed(got, "08P01", "54000") {
				t.Errorf("%q is answered %q", b, got)
			}
			_ = w.Close()
		})
	}
	all.Wait()
	if got := f.as(t).perform(t, queries(mine)); !contains(got, []string{mineLine}) {
		t.Errorf("afterwards: %q", got)
	}
}

// TestTooMuch asks for more than a client may have.
func TestTooMuch(t *testing.T) {
	f := newFixture(t)
	w := f.as(t)
	var ms []pgwire.Message
	for i := range 10_000 {
		ms = append(ms, p(fmt.Sprint("s", i), "SELECT 1"), syn)
	}
	go func() { _, _ = w.Write(encode(t, ms...)) }()
	parsed, refused := 0, 0
	for range 10_000 {
		got := strings.Join(w.until(t, "Ready"), " ")
		switch {
		case strings.Contains(got, "ParseComplete"):
			parsed++
		case strings.Contains(got, "C=54000"):
			refused++
		}
	}
	if parsed != maxNames || refused != 10_000-maxNames {
		t.Errorf("%d prepared, %d refused", parsed, refused)
	}
	got := w.perform(t, say(b("", "s7"), e(""), syn, q("DEALLOCATE ALL"), p("again", "SELECT 2"), b("", "again"), e(""), syn))
	if !contains(got, []string{`Row "1"`, "Complete DEALLOCATE ALL", `Row "2"`}) {
		t.Errorf("afterwards: %q", got)
	}
	for name, c := range map[string]struct {
		say  []pgwire.Message
		want []string
	}{
		"a huge query":     {one(q("SELECT '"+strings.Repeat("x", 1<<20)+"'"), q(mine)), []string{"Error S=ERROR C=54000", mineLine}},
		"a huge message":   {one(q(strings.Repeat("x", 17<<20))), []string{"Error S=FATAL C=54000"}},
		"many statements":  {one(q(strings.Repeat("SELECT 1;", 1001)), q(mine)), []string{"Error S=ERROR C=54000", mineLine}},
		"a huge parameter": {all(run("SELECT length($1)", strings.Repeat("x", 15<<20)), one(syn)), []string{`Row "15728640"`}},
	} {
		t.Run(name, func(t *testing.T) {
			w := f.as(t)
			go func() { _, _ = w.Write(encode(t, append(c.say, pgwire.Terminate{})...)) }()
			if got := w.rest(t); !contains(got, c.want) {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestStrangers has a thousand connections that say one byte at a time. They
// cost little, and a good client is let in.
func TestStrangers(t *testing.T) {
	limits := brokertest.Limits()
	limits.Strangers, limits.StrangersPerNet = 1100, 1100
	f := newFixtureWith(t, limits)
	before := heap()
	first := encode(t, startup("user", "u", "database", "app"))
	conns := make([]*wire, 1000)
	for i := range conns {
		conns[i] = f.dial(t)
	}
	for _, b := range first[:8] {
		for _, c := range conns {
			_, _ = c.Write([]byte{b})
		}
		if got := f.as(t).perform(t, queries(mine)); !contains(got, []string{mineLine}) {
			t.Errorf("a good client hears %q", got)
		}
	}
	if grown := heap() - before; grown > 64<<20 {
		t.Errorf("they cost %d bytes", grown)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestNoTimeForStrangers: who says nothing has to go.
func TestNoTimeForStrangers(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Login = 300 * time.Millisecond })
	silent, half := f.dial(t), f.dial(t)
	half.send(t, startup("user", "u", "database", "app"))
	if got := half.rest(t); len(got) != 2 || !strings.HasPrefix(got[1], "Error S=FATAL C=57014") {
		t.Errorf("no password: %q", got)
	}
	if got := silent.rest(t); len(got) != 1 || !strings.HasPrefix(got[0], "Error S=FATAL C=57014") {
		t.Errorf("nothing: %q", got)
	}
	w := f.as(t) // who is in may take longer
	<-time.After(500 * time.Millisecond)
	if got := w.perform(t, queries(mine)); !contains(got, []string{mineLine}) {
		t.Errorf("a good client: %q", got)
	}
}
