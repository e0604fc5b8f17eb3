package edge

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// wireAttacks are requests that two readers take for different ones.
func wireAttacks() []attack {
	return []attack{
		{
			name: "smuggling", rows: []string{http.MethodPost, http.MethodGet}, refs: []string{"edge-ai 2.6", "museum 14"}, class: prove.CanaryOnly,
			what: "Hide a second request in the body of one whose end two readers find in two places: there is one answer, a refusal, and then the end.", run: (*act).smuggling,
		},
		{
			name: "half an HTTP", rows: []string{opToken, "PRI"}, refs: []string{"edge-ai 2.6"}, class: prove.Passive,
			what: "Speak other versions, other line ends and other protocols at the door.", run: (*act).halfHTTP,
		},
		{
			name: "methods that no row lists", rows: []string{opToken, http.MethodGet}, refs: []string{"edge-ai 2.4"}, class: prove.Passive,
			what: "Ask by methods that nobody has thought of: what is not listed is refused.", run: (*act).unlistedMethods,
		},
	}
}

// smuggled are the ways in which a body ends in two places. In each {} is the
// request that is hidden.
var smuggled = map[string][2]string{
	"CL.TE":                   {"Content-Length: {n}\r\nTransfer-Encoding: chunked", "0\r\n\r\n{}"},
	"TE.CL":                   {"Transfer-Encoding: chunked\r\nContent-Length: 4", "{x}\r\n{}\r\n0\r\n\r\n"},
	"a coding twice":          {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n{}"},
	"a coding in a list":      {"Transfer-Encoding: gzip, chunked", "0\r\n\r\n{}"},
	"a coding obfuscated":     {"Transfer-Encoding: xchunked", "0\r\n\r\n{}"},
	"a coding behind a tab":   {"Transfer-Encoding:\tchunked", "0\r\n\r\n{}"},
	"a space before a colon":  {"Transfer-Encoding : chunked", "0\r\n\r\n{}"},
	"a coding folded":         {"Transfer-Encoding:\r\n chunked", "0\r\n\r\n{}"},
	"a coding in upper case":  {"Transfer-Encoding: CHUNKED", "0\r\n\r\n{}"},
	"a coding underscored":    {"Transfer_Encoding: chunked\r\nContent-Length: {n}", "0\r\n\r\n{}"},
	"a length underscored":    {"Content_Length: 0\r\nContent-Length: {n}", "{}"},
	"a length dotted":         {"Content.Length: 0\r\nContent-Length: {n}", "{}"},
	"two lengths":             {"Content-Length: 0\r\nContent-Length: {n}", "{}"},
	"two lengths, the same":   {"Content-Length: 0\r\nContent-Length: 0", "{}"},
	"a list of lengths":       {"Content-Length: 0, {n}", "{}"},
	"a length with a sign":    {"Content-Length: +0", "{}"},
	"a length of two zeros":   {"Content-Length: 00", "{}"},
	"a negative length":       {"Content-Length: -1", "{}"},
	"an empty length":         {"Content-Length:", "{}"},
	"a chunk extension":       {"Transfer-Encoding: chunked", "0;a=b\r\n\r\n{}"},
	"a chunk by line feeds":   {"Transfer-Encoding: chunked", "0\n\n{}"},
	"a chunk size with 0x":    {"Transfer-Encoding: chunked", "0x0\r\n\r\n{}"},
	"a chunk size too large":  {"Transfer-Encoding: chunked", "ffffffffffffffff0\r\n\r\n{}"},
	"a chunk that is longer":  {"Transfer-Encoding: chunked", "1\r\nxy\r\n0\r\n\r\n{}"},
	"an upgrade with a body":  {"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {n}", "{}"},
	"an expectation of other": {"Expect: 200-ok\r\nContent-Length: {n}", "{}"},
	"a NUL in a value":        {"X: a\x00b\r\nContent-Length: {n}", "{}"},
	"a name with a space":     {"Content-Length : {n}", "{}"},
	"a name with a control":   {"Content-Length\x01: {n}", "{}"},
}

// endless is how long a connection may stay silent before it is taken for one
// that goes on.
const endless = 3 * time.Second

func (c *act) smuggling() (*prove.Finding, error) {
	path := strings.TrimSuffix(fill(c.route.Path, c.t.A.Name), "/") + "/isocore-prove-" + c.t.A.ID
	for how, form := range smuggled {
		line, word := c.nonce()
		hidden := c.reflected(bearer(c.a), line).String()
		fill := strings.NewReplacer("{n}", fmt.Sprint(len(hidden)+5), "{x}", fmt.Sprintf("%x", len(hidden)), "{}", hidden)
		q := call{http.MethodPost, c.host(&c.t.A), path, []string{bearer(c.a), fill.Replace(form[0])}, fill.Replace(form[1])}
		if f, err := c.alone(how, q.method, q.String(), word); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

// alone sends what is one request and wants one refusal, the end, and nothing
// that has word in it.
func (c *act) alone(how, method, raw, word string) (*prove.Finding, error) {
	one, err := c.dial(c.host(&c.t.A))
	if err != nil {
		return nil, err
	}
	if err := one.say(raw); err != nil {
		return nil, err
	}
	r, err := one.hear(method)
	if err != nil { // hung up on, without a word
		r = &reply{}
	} else if f := c.refused(how, r, refusal.Malformed, refusal.TooLarge); f != nil {
		return f, nil
	}
	if err := one.conn.SetReadDeadline(time.Now().Add(endless)); err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(io.LimitReader(one.in, maxReply))
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return c.finding(how, "the end of the connection", r), nil
	}
	if len(rest) > 0 || strings.Contains(r.body, word) {
		r.body += string(rest)
		return c.finding(how, "one answer, and the end of the connection", r), nil
	}
	return nil, nil
}

func (c *act) halfHTTP() (*prove.Finding, error) {
	line, word := c.nonce()
	good := c.reflected(bearer(c.a), line).String()
	for how, raw := range map[string]string{
		"HTTP/1.0":             strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1),
		"HTTP/0.9":             "GET " + mirrorPath + "\r\n\r\n",
		"HTTP/2":               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/2.0":             strings.Replace(good, "HTTP/1.1", "HTTP/2.0", 1),
		"a version of its own": strings.Replace(good, "HTTP/1.1", "HTTP/1.11", 1),
		"line feeds":           strings.ReplaceAll(good, "\r\n", "\n"),
		"carriage returns":     strings.ReplaceAll(good, "\r\n", "\r") + "\n",
		"an empty line first":  "\r\n" + good,
		"a space first":        " " + good,
		"no host":              strings.Replace(good, "Host: ", "X-Host: ", 1),
		"a lower method":       strings.Replace(good, "GET ", "get ", 1),
		"two spaces":           strings.Replace(good, "GET ", "GET  ", 1),
		"a tab":                strings.Replace(good, "GET ", "GET\t", 1),
		"absolute form":        strings.Replace(good, mirrorPath, "http://"+c.host(&c.t.A)+mirrorPath, 1),
		"asterisk form":        strings.Replace(good, "GET "+mirrorPath, "OPTIONS *", 1),
		"authority form":       strings.Replace(good, "GET "+mirrorPath, "CONNECT "+c.host(&c.t.A)+":443", 1),
		"a fold":               strings.Replace(good, "X-Nonce: ", "X-Nonce:\r\n ", 1),
		"a field of no name":   strings.Replace(good, "X-Nonce: ", ": ", 1),
		"a field of two words": strings.Replace(good, "X-Nonce: ", "X Nonce: ", 1),
		"a field without end":  strings.Replace(good, "X-Nonce: ", "X-Nonce ", 1),
		"a PROXY line":         "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + good,
		"TLS":                  "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
		"PostgreSQL":           "\x00\x00\x00\x08\x04\xd2\x16\x2f",
		"Redis":                "*1\r\n$4\r\nPING\r\n",
		"fields without end":   strings.Replace(good, line, strings.Repeat("X: y\r\n", 4*headFields)+line, 1),
		"a head without end":   strings.Replace(good, line, "X: "+strings.Repeat("y", 2*headBytes)+"\r\n"+line, 1),
	} {
		if f, err := c.alone(how, http.MethodGet, raw, word); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

func (c *act) unlistedMethods() (*prove.Finding, error) {
	for _, method := range []string{"PROPFIND", "MOVE", "COPY", "SEARCH", "QUERY", "LINK", "PURGE", "BAN", "DEBUG", "REPORT", "GETT", "X-A", "GET-"} {
		q := c.requestOf(http.MethodGet)
		q.method = method
		r, err := c.with(q, bearer(c.a))
		if err != nil {
			return nil, err
		}
		if f := c.refused(method, r, refusal.Unlisted); f != nil {
			return f, nil
		}
	}
	q := c.reflected(bearer(c.a))
	q.method = http.MethodPost
	r, err := c.ask(q)
	if err != nil {
		return nil, err
	}
	return c.refused("POST of the mirror", r, refusal.Unlisted), nil
}

// turnAttacks are those of who shares with others what must not be shared: a
// connection, a session, a token, an answer.
func turnAttacks() []attack {
	at := func(name, what string, rows []string, run func(*act) (*prove.Finding, error)) attack {
		return attack{name: name, what: what, rows: rows, refs: []string{"museum 12", "museum 14", "museum 16"}, class: prove.Passive, run: run}
	}
	mirror := []string{opMirror, opToken}
	return []attack{
		at("turns on one connection", "Ask as A and as B by turns on one connection that is kept: each answer is of who asked, and of what was asked.", mirror, (*act).turns),
		at("turns in one write", "Send requests of A and of B in one packet: each answer is of who asked, in its turn.", mirror, (*act).pipelined),
		at("many at once", "Ask as A and as B on many connections at once: no answer, id or Txn-Token is another's.", mirror, (*act).together),
		at("a request that is cut", "Break a request of B's off at each byte, and an answer before it is read: who comes next gets their own.", mirror, (*act).cut),
		at("answers of an application", "Ask an application as A and as B by turns, for what it has not: no answer of B's comes to A.", []string{http.MethodGet, http.MethodPost}, (*act).applications),
	}
}

// rounds is how often a turn is taken.
const rounds = 20

// owner is whose turn it is.
func (c *act) owner(turn int) (*prove.Tenant, secret.Text) {
	if turn%2 == 0 {
		return &c.t.B, c.b
	}
	return &c.t.A, c.a
}

// turn returns the call of a turn, with the word that its answer must have.
func (c *act) turn(i int) (q call, word string) {
	who, token := c.owner(i)
	line, word := c.nonce()
	return call{http.MethodGet, c.host(who), mirrorPath, []string{bearer(token), line}, ""}, word
}

// heard wants r to be the answer of a turn. ids are of requests before.
func (c *act) heard(how string, i int, word string, r *reply, ids map[string]bool) *prove.Finding {
	who, _ := c.owner(i)
	m := r.mirror()
	if m == nil || m.Tenant != who.ID || m.Name != who.Name || m.Header.Get("X-Nonce") != word || !strings.Contains(m.Header.Get("Txn-Token"), `"tenant":"`+who.ID+`"`) {
		return c.finding(how, "the answer to "+who.Name+" with "+word, r)
	}
	id := r.header.Get("X-Request-Id")
	if id == "" || ids[id] || m.Header.Get("X-Request-Id") != id {
		return c.finding(how, "an id of its own", r)
	}
	ids[id] = true
	return nil
}

func (c *act) turns() (*prove.Finding, error) {
	if c.host(&c.t.A) != c.host(&c.t.B) && c.t.Roots != nil && !c.t.Plain[Name] {
		return c.together() // a connection behind TLS is of one host
	}
	one, err := c.dial(c.host(&c.t.A))
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for i := range rounds {
		q, word := c.turn(i)
		if err := one.say(q.String()); err != nil {
			return nil, err
		}
		r, err := one.hear(q.method)
		if err != nil {
			return nil, err
		}
		if f := c.heard("turns on one connection", i, word, r, ids); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

func (c *act) pipelined() (*prove.Finding, error) {
	if c.host(&c.t.A) != c.host(&c.t.B) && c.t.Roots != nil && !c.t.Plain[Name] {
		return c.together()
	}
	one, err := c.dial(c.host(&c.t.A))
	if err != nil {
		return nil, err
	}
	var raw strings.Builder
	var words []string
	for i := range rounds {
		q, word := c.turn(i)
		raw.WriteString(q.String())
		words = append(words, word)
	}
	sent := make(chan error, 1)
	go func() { sent <- one.say(raw.String()) }()
	ids := map[string]bool{}
	for i, word := range words {
		r, err := one.hear(http.MethodGet)
		if err != nil {
			return nil, errors.Join(err, one.conn.Close(), <-sent)
		}
		if f := c.heard("turns in one write", i, word, r, ids); f != nil {
			return f, nil
		}
	}
	return nil, <-sent
}

func (c *act) together() (*prove.Finding, error) {
	const callers = 8
	var mu sync.Mutex // guards what follows
	var found *prove.Finding
	var failed error
	ids := map[string]bool{}
	var all sync.WaitGroup
	for i := range callers {
		who, _ := c.owner(i)
		one, err := c.dial(c.host(who))
		if err != nil {
			return nil, err
		}
		all.Go(func() {
			for range rounds {
				q, word := c.turn(i)
				err := one.say(q.String())
				var r *reply
				if err == nil {
					r, err = one.hear(q.method)
				}
				mu.Lock()
				if failed = errors.Join(failed, err); err == nil && found == nil {
					found = c.heard("many at once", i, word, r, ids)
				}
				over := failed != nil || found != nil
				mu.Unlock()
				if over {
					return
				}
			}
		})
	}
	all.Wait()
	if found != nil {
		return found, nil
	}
	return nil, failed
}

// cut breaks requests of B off, and asks as A after each.
func (c *act) cut() (*prove.Finding, error) {
	q, _ := c.turn(0)
	raw := q.String()
	steps := []int{1, 3, 4, 5, len(raw) / 4, len(raw) / 2, len(raw) - 4, len(raw) - 3, len(raw) - 2, len(raw) - 1, len(raw)}
	ids := map[string]bool{}
	for _, n := range steps {
		b, err := c.dial(c.host(&c.t.B))
		if err != nil {
			return nil, err
		}
		if err := b.say(raw[:n]); err != nil {
			return nil, err
		}
		if err := b.conn.Close(); err != nil {
			return nil, err
		}
		next, word := c.turn(1)
		r, err := c.ask(next)
		if err != nil {
			return nil, err
		}
		if f := c.heard(fmt.Sprintf("a request after one of B's that was cut at %d of %d bytes", n, len(raw)), 1, word, r, ids); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// applications asks whatever is behind the edge, and answers or does not. One
// that repeats a word of its caller's shows whose answer it is.
func (c *act) applications() (*prove.Finding, error) {
	const path = "/isocore-prove"
	for i := range rounds {
		who, token := c.owner(i)
		other := &c.t.A
		if who == other {
			other = &c.t.B
		}
		base := strings.TrimSuffix(fill(c.route.Path, who.Name), "/")
		mine, theirs := "own-"+who.ID, "own-"+other.ID
		q := call{http.MethodGet, c.host(who), base + path + "?nonce=" + mine + rand.Text(), []string{bearer(token)}, ""}
		if i%4 > 1 {
			q.method, q.lines = http.MethodPost, append(q.lines, "Content-Length: 0")
		}
		r, err := c.ask(q)
		if err != nil {
			return nil, err
		}
		text := r.String()
		if strings.Contains(text, theirs) || strings.Contains(text, other.ID) || strings.Contains(text, other.Canary) {
			return c.finding("an application, as "+who.Name, "nothing of the other tenant's", r), nil
		}
	}
	return nil, nil
}
