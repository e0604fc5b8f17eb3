package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/refusal"
)

// limits are those of the tests: small enough to be gone over.
var limits = Limits{Head: 1024, Time: time.Second, Fields: 8, Body: 1000, Chunk: 500}

// A stream is a connection that a client has written to and closed.
type stream struct {
	net.Conn
	io.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// SetReadDeadline implements [net.Conn].
func (stream) SetReadDeadline(time.Time) error { return nil }

// A dribble gives one byte a time.
type dribble struct{ io.Reader }

func (d dribble) Read(p []byte) (int, error) { return d.Reader.Read(p[:min(1, len(p))]) }

// A seen is what a server sees of one request.
type seen struct{ method, target, body string }

// serve reads what came through a guard as net/http's server does. It returns
// the requests, and why the last was refused.
func serve(g io.Reader) (all []seen, refused, broken error) {
	in := bufio.NewReader(g)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return all, nil, err
		}
		if err, ok := Refused(r); ok {
			return all, err, nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return all, nil, err
		}
		all = append(all, seen{r.Method, r.RequestURI, string(body)})
	}
}

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// passing are what a guard lets through.
var passing = map[string]struct {
	wire string
	want []seen
}{
	"one":              {get, []seen{{"GET", "/", ""}}},
	"pipelined":        {get + get, []seen{{"GET", "/", ""}, {"GET", "/", ""}}},
	"length":           {"POST /x?y=%20 HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 3\r\n\r\nabc" + get, []seen{{"POST", "/x?y=%20", "abc"}, {"GET", "/", ""}}},
	"length, no space": {"PUT / HTTP/1.1\r\nHost:a\r\nContent-Length:3\r\n\r\nabc", []seen{{"PUT", "/", "abc"}}},
	"zero":             {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + get, []seen{{"POST", "/", ""}, {"GET", "/", ""}}},
	"GET with a body":  {"GET / HTTP/1.1\r\nHost: a\r\ncontent-length: 26\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n" + get, []seen{{"GET", "/", "GET /smuggled HTTP/1.1\r\n\r\n"}, {"GET", "/", ""}}},
	"chunked":          {"POST / HTTP/1.1\r\nHost: [::1]:8080\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\r\n" + get, []seen{{"POST", "/", "abc0123456789"}, {"GET", "/", ""}}},
	"empty chunked":    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000\r\n\r\n", []seen{{"POST", "/", ""}}},
	"expect":           {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", []seen{{"POST", "/", "x"}}},
	"upgrade":          {"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", []seen{{"GET", "/ws", ""}}},
	"any method":       {"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\nTRACE / HTTP/1.1\r\nHost: a\r\n\r\nCONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", []seen{{"M-SEARCH", "/", ""}, {"TRACE", "/", ""}, {"CONNECT", "/", ""}}},
	"odd values":       {"GET /~a!$&'()*+,;=:@%00 HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t\xff \r\n!#$%&'*+-.^_`|~1aZ: x\r\n\r\n", []seen{{"GET", "/~a!$&'()*+,;=:@%00", ""}}},
}

func TestPasses(t *testing.T) {
	for name, c := range passing {
		for how, in := range map[string]io.Reader{"at once": strings.NewReader(c.wire), "byte by byte": dribble{strings.NewReader(c.wire)}} {
			got, refused, broken := serve(Guard(stream{Reader: in}, limits))
			if refused != nil || broken != io.EOF || len(got) != len(c.want) {
				t.Errorf("%s, %s: %q, %v, %v", name, how, got, refused, broken)
				continue
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("%s, %s: %q, want %q", name, how, got[i], c.want[i])
				}
			}
			again, err := io.ReadAll(Guard(stream{Reader: strings.NewReader(c.wire)}, limits))
			if err != nil || string(again) != c.wire {
				t.Errorf("%s: not unchanged: %q", name, again)
			}
		}
	}
}

// head returns a request with these lines between its Host and its end.
func head(lines ...string) string {
	return "POST / HTTP/1.1\r\nHost: a\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// refusing are what a guard refuses before any of it is seen.
var refusing = map[string]struct {
	wire string
	want fault
}{
	"lower-case method":        {"get / HTTP/1.1\r\nHost: a\r\n\r\n", badStart},
	"our own method":           {"refused /Malformed/1 HTTP/1.1\r\nHost: a\r\n\r\n", badStart},
	"mixed method":             {"Get / HTTP/1.1\r\nHost: a\r\n\r\n", badMethod},
	"long method":              {"ABCDEFGHIJKLMNOPQRSTU / HTTP/1.1\r\nHost: a\r\n\r\n", badMethod},
	"method with a digit":      {"GET1 / HTTP/1.1\r\nHost: a\r\n\r\n", badMethod},
	"no target":                {"GET HTTP/1.1\r\nHost: a\r\n\r\n", badVersion},
	"empty target":             {"GET  HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"two spaces":               {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"absolute form":            {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"authority form":           {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"asterisk":                 {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"no slash":                 {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"fragment":                 {"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"backslash":                {"GET /\\x HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"quote":                    {"GET /\" HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"markup":                   {"GET /<x> HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"bytes beyond ASCII":       {"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"NUL in the target":        {"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"broken escape":            {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"cut escape":               {"GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n", badTarget},
	"a third word":             {"GET / x HTTP/1.1\r\nHost: a\r\n\r\n", badVersion},
	"HTTP/1.0":                 {"GET / HTTP/1.0\r\nHost: a\r\n\r\n", badVersion},
	"HTTP/0.9":                 {"GET /\r\n", badVersion},
	"HTTP/2 preface":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", badTarget},
	"lower-case version":       {"GET / http/1.1\r\nHost: a\r\n\r\n", badVersion},
	"space behind the version": {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", badVersion},
	"tab for a space":          {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", badMethod},
	"TLS":                      {"\x16\x03\x01\x02\x00\x01", badStart},
	"empty line before":        {"\r\n" + get, badStart},
	"bare LF":                  {"GET / HTTP/1.1\nHost: a\n\n", badLineEnd},
	"bare LF in the fields":    {"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", badLineEnd},
	"bare LF at the end":       {"GET / HTTP/1.1\r\nHost: a\r\n\n", badLineEnd},
	"bare CR":                  {head("X: a\rb"), badValue},
	"bare CR for a line end":   {head("X: a\rContent-Length: 5"), badValue},
	"two CRs":                  {head("X: a\r"), badValue},
	"folded":                   {head("X: a", " b"), badFold},
	"folded with a tab":        {head("X: a", "\tTransfer-Encoding: chunked"), badFold},
	"folded first":             {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", badFold},
	"NUL":                      {head("X: a\x00b"), badValue},
	"control byte":             {head("X: a\x1bb"), badValue},
	"DEL":                      {head("X: a\x7f"), badValue},
	"space before the colon":   {head("Content-Length : 5"), badName},
	"tab before the colon":     {head("Transfer-Encoding\t: chunked"), badName},
	"no colon":                 {head("X"), badName},
	"no name":                  {head(": x"), badName},
	"a name with a slash":      {head("a/b: x"), badName},
	"a name beyond ASCII":      {head("\xc3\xbc: x"), badName},
	"no Host":                  {"GET / HTTP/1.1\r\n\r\n", noHost},
	"two Hosts":                {head("Host: a"), twoHosts},
	"two Hosts, another case":  {head("hOST: b"), twoHosts},
	"empty Host":               {"GET / HTTP/1.1\r\nHost:\r\n\r\n", badHost},
	"Host with a user":         {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", badHost},
	"Host with a path":         {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", badHost},
	"Host with a comma":        {"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", badHost},
	"Host with a space":        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", badHost},
	"Host with a tab before":   {"GET / HTTP/1.1\r\nHost:\ta\r\n\r\n", badHost},
	"Host with a space behind": {"GET / HTTP/1.1\r\nHost: a \r\n\r\n", badHost},
	"Host with an escape":      {"GET / HTTP/1.1\r\nHost: a%41\r\n\r\n", badHost},
	"Host with two ports":      {"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", badHost},
	"Host with a long port":    {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", badHost},
	"Host with no port":        {"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", badHost},
	"Host with a port name":    {"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", badHost},
	"Host that is a port":      {"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", badHost},
	"Host with half a bracket": {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", badHost},
	"Host with a zone":         {"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", badHost},
	"CL.TE":                    {head("Content-Length: 6", "Transfer-Encoding: chunked") + "0\r\n\r\nG", lengthAndCoding},
	"TE.CL":                    {head("Transfer-Encoding: chunked", "Content-Length: 4") + "5c\r\n", lengthAndCoding},
	"CL.0 with TE":             {head("Content-Length: 0", "Transfer-Encoding: chunked"), lengthAndCoding},
	"two equal lengths":        {head("Content-Length: 5", "Content-Length: 5") + "hello", twoLengths},
	"two lengths":              {head("Content-Length: 0", "content-length: 44") + get, twoLengths},
	"list of lengths":          {head("Content-Length: 5, 5") + "hello", badLength},
	"length with a plus":       {head("Content-Length: +5") + "hello", badLength},
	"length below zero":        {head("Content-Length: -1"), badLength},
	"length with zeros before": {head("Content-Length: 05") + "hello", badLength},
	"length 00":                {head("Content-Length: 00"), badLength},
	"empty length":             {head("Content-Length:"), badLength},
	"length with a space":      {head("Content-Length: 5 ") + "hello", badLength},
	"length with a tab":        {head("Content-Length:\t5") + "hello", badLength},
	"length in hexadecimal":    {head("Content-Length: 0x5") + "hello", badLength},
	"length in parts":          {head("Content-Length: 1 0"), badLength},
	"length with a point":      {head("Content-Length: 5.0"), badLength},
	"length that wraps":        {head("Content-Length: 18446744073709551621"), badLength},
	"length over 2^53":         {head("Content-Length: 9007199254740993"), badLength},
	"length with an underline": {head("Content_Length: 5") + "hello", badAlias},
	"length with a point name": {head("content.length: 5") + "hello", badAlias},
	"coding with an underline": {head("Transfer_Encoding: chunked") + "0\r\n\r\n", badAlias},
	"TE.TE":                    {head("Transfer-Encoding: chunked", "Transfer-encoding: x"), twoCodings},
	"TE.TE, the other order":   {head("Transfer-Encoding: x", "Transfer-encoding: chunked"), badCoding},
	"two codings":              {head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), twoCodings},
	"xchunked":                 {head("Transfer-Encoding: xchunked"), badCoding},
	"list of codings":          {head("Transfer-Encoding: gzip, chunked"), badCoding},
	"chunked twice":            {head("Transfer-Encoding: chunked, chunked"), badCoding},
	"identity":                 {head("Transfer-Encoding: identity"), badCoding},
	"chunked, identity":        {head("Transfer-Encoding: chunked, identity"), badCoding},
	"empty coding":             {head("Transfer-Encoding:"), badCoding},
	"coding with a tab":        {head("Transfer-Encoding:\tchunked"), badCoding},
	"coding with a tab behind": {head("Transfer-Encoding: chunked\t"), badCoding},
	"coding with a space":      {head("Transfer-Encoding: chunked "), badCoding},
	"coding in quotes":         {head(`Transfer-Encoding: "chunked"`), badCoding},
	"coding with a parameter":  {head("Transfer-Encoding: chunked;a=b"), badCoding},
	"coding with a vertical":   {head("Transfer-Encoding: \x0bchunked"), badValue},
	"coding in capitals":       {head("Transfer-Encoding: Chunked"), badCoding},
	"coding, space in front":   {"POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n", badFold},
	"expectation":              {head("Expect: 200-ok"), badExpect},
	"upgrade with a body":      {head("Upgrade: h2c", "Content-Length: 1"), badUpgrade},
	"upgrade with chunks":      {head("Transfer-Encoding: chunked", "Upgrade: h2c"), badUpgrade},
	"announced trailers":       {head("Transfer-Encoding: chunked", "Trailer: X"), badTrailer},
	"many fields":              {head(slices.Repeat([]string{"X: y"}, 8)...), tooManyFields},
	"long head":                {head("X: " + strings.Repeat("x", 1000)), headTooLarge},
	"long line, no end":        {"GET /" + strings.Repeat("x", 1100), headTooLarge},
	"long body":                {head("Content-Length: 1001"), bodyTooLarge},
}

func TestRefuses(t *testing.T) {
	for name, c := range refusing {
		for _, before := range []string{"", get, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd"} {
			wire := before + c.wire + get + get
			for how, in := range map[string]io.Reader{"at once": strings.NewReader(wire), "byte by byte": dribble{strings.NewReader(wire)}} {
				got, refused, broken := serve(Guard(stream{Reader: in}, limits))
				if broken != nil || refused == nil || !errors.Is(refused, c.want) || refusal.Of(refused) != faults[c.want].reason {
					t.Errorf("%s, %s: %v, %v, want %v", name, how, refused, broken, c.want)
				}
				if len(got) > 0 != (before != "") || len(got) > 1 {
					t.Errorf("%s, %s: %q came through", name, how, got)
				}
			}
		}
	}
}

// breaking are bodies that go wrong when a part of them was passed on.
var breaking = map[string]struct {
	body string
	want fault
}{
	"extension":            {"3;a=b\r\nabc\r\n0\r\n\r\n", badChunk},
	"empty extension":      {"3;\r\nabc\r\n0\r\n\r\n", badChunk},
	"0x":                   {"0x3\r\nabc\r\n0\r\n\r\n", badChunk},
	"underline":            {"0_3\r\nabc\r\n0\r\n\r\n", badChunk},
	"plus":                 {"+3\r\nabc\r\n0\r\n\r\n", badChunk},
	"minus":                {"-3\r\nabc\r\n0\r\n\r\n", badChunk},
	"space before":         {" 3\r\nabc\r\n0\r\n\r\n", badChunk},
	"space behind":         {"3 \r\nabc\r\n0\r\n\r\n", badChunk},
	"nine digits":          {"000000003\r\nabc\r\n0\r\n\r\n", badChunk},
	"no digits":            {"\r\nabc\r\n0\r\n\r\n", badChunk},
	"no line":              {"33333333333333333333", badChunk},
	"bare LF":              {"3\nabc\r\n0\r\n\r\n", badLineEnd},
	"bare CR":              {"3\rabc\r\n0\r\n\r\n", badChunk},
	"bare LF at the end":   {"0\n\n", badLineEnd},
	"LF behind the chunk":  {"3\r\nabc\n0\r\n\r\n", badChunkEnd},
	"nothing behind":       {"3\r\nabc0\r\n\r\n", badChunkEnd},
	"a longer chunk":       {"3\r\nabcd\r\n0\r\n\r\n", badChunkEnd},
	"CR and another":       {"3\r\nabc\rx0\r\n\r\n", badChunkEnd},
	"trailer":              {"0\r\nX: y\r\n\r\n", badTrailer},
	"LF and another after": {"0\r\nx\n", badTrailer},
	"framing trailer":      {"0\r\nContent-Length: 5\r\n\r\n", badTrailer},
	"CR and another after": {"0\r\n\rx", badTrailer},
	"large chunk":          {"1f5\r\n" + strings.Repeat("x", 501) + "\r\n0\r\n\r\n", chunkTooLarge},
	"chunk over all":       {"ffffffff\r\n", chunkTooLarge},
	"many chunks":          {strings.Repeat("1f4\r\n"+strings.Repeat("x", 500)+"\r\n", 3) + "0\r\n\r\n", bodyTooLarge},
}

func TestBreaks(t *testing.T) {
	for name, c := range breaking {
		for _, before := range []string{"", "1\r\nx\r\n"} {
			wire := head("Transfer-Encoding: chunked") + before + c.body + get
			for how, in := range map[string]io.Reader{"at once": strings.NewReader(wire), "byte by byte": dribble{strings.NewReader(wire)}} {
				got, refused, broken := serve(Guard(stream{Reader: in}, limits))
				if len(got) > 0 || refused != nil || !errors.Is(broken, c.want) || refusal.Of(broken) != faults[c.want].reason {
					t.Errorf("%s, %s: %q, %v, %v, want %v", name, how, got, refused, broken, c.want)
				}
			}
		}
	}
}

// TestCut: a request that ends with its connection is none.
func TestCut(t *testing.T) {
	for _, wire := range []string{passing["chunked"].wire, passing["length"].wire} {
		whole := strings.TrimSuffix(wire, get)
		for end := 1; end < len(whole); end++ {
			got, refused, broken := serve(Guard(stream{Reader: strings.NewReader(whole[:end])}, limits))
			if len(got) > 0 || refused != nil || !errors.Is(broken, io.ErrUnexpectedEOF) {
				t.Errorf("%q: %q, %v, %v", whole[:end], got, refused, broken)
			}
		}
	}
}

func TestTheZeroLimitsDeny(t *testing.T) {
	if _, refused, _ := serve(Guard(stream{Reader: strings.NewReader(get)}, Limits{})); refusal.Of(refused) != refusal.TooLarge {
		t.Errorf("%v", refused)
	}
}

func TestRefused(t *testing.T) {
	for _, target := range []string{"/", "/Malformed/0", "/Malformed/255", "/Malformed/x", ""} {
		if err, ok := Refused(&http.Request{Method: "refused", ProtoMajor: 1, RequestURI: target}); !ok || refusal.Of(err) != refusal.Malformed {
			t.Errorf("%q: %v", target, err)
		}
	}
	for _, r := range []*http.Request{{Method: "GET", ProtoMajor: 1}, {Method: "refused", ProtoMajor: 2, RequestURI: "/Malformed/1"}} {
		if err, ok := Refused(r); ok {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for f := range faults {
		if faults[f].what == "" {
			t.Errorf("fault %d has no words", f)
		}
	}
}

// BenchmarkGuard reads a head of 500 bytes.
func BenchmarkGuard(b *testing.B) {
	one := "GET /documents?q=something HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer " + strings.Repeat("x", 200) +
		"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\nCookie: " +
		strings.Repeat("y", 60) + "\r\n\r\n"
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	in := &repeat{one: one}
	g := Guard(stream{Reader: in}, Limits{Head: 64 << 10, Time: time.Second, Fields: 64, Body: 1 << 20, Chunk: 1 << 20})
	p := make([]byte, 4096)
	for b.Loop() {
		if n, err := g.Read(p); err != nil || n != len(one) {
			b.Fatal(n, err)
		}
	}
}

type repeat struct{ one string }

func (r *repeat) Read(p []byte) (int, error) { return copy(p, r.one), nil }

// TestAllValue: eight bytes at a time say the same as one.
func TestAllValue(t *testing.T) {
	for c := range 256 {
		for at := range 17 {
			s := bytes.Repeat([]byte("\xffa ~"), 5)[:17]
			s[at] = byte(c)
			if allValue(s) != all(s, inValue) {
				t.Errorf("%q: %v", s, allValue(s))
			}
		}
	}
}

// A timed connection has one part a Read, and keeps its deadline.
type timed struct {
	net.Conn
	parts []string
	until []time.Time // at each Read
	now   time.Time
}

func (c *timed) Read(p []byte) (int, error) {
	c.until = append(c.until, c.now)
	if len(c.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.parts[0])
	c.parts = c.parts[1:]
	return n, nil
}

func (c *timed) SetReadDeadline(t time.Time) error { c.now = t; return nil }

// TestHeadTime: from its first byte a head has its time, unless the server
// gives it less; what is not a head has the server's.
func TestHeadTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		late, soon := begin.Add(time.Hour), begin.Add(time.Millisecond)
		ofHead := begin.Add(limits.Time)
		for name, c := range map[string]struct {
			server time.Time
			parts  []string
			want   []time.Time
		}{
			"whole":       {late, []string{get, get}, []time.Time{late, late, late}},
			"in parts":    {late, []string{get[:1], get[1:5], get[5:], get}, []time.Time{late, ofHead, ofHead, late, late}},
			"the second":  {late, []string{get + get[:1], get[1:]}, []time.Time{late, ofHead, late}},
			"none by it":  {time.Time{}, []string{get[:1], get[1:]}, []time.Time{{}, ofHead, {}}},
			"less by it":  {soon, []string{get[:1], get[1:]}, []time.Time{soon, soon, soon}},
			"with a body": {late, []string{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx", "x", get}, []time.Time{late, late, late, late}},
		} {
			conn := &timed{parts: c.parts}
			g := Guard(conn, limits)
			g.SetReadDeadline(c.server) //nolint:errcheck // it is a test's
			io.Copy(io.Discard, g)      //nolint:errcheck // how it ends is no question here
			if !slices.Equal(conn.until, c.want) {
				t.Errorf("%s: %v, want %v", name, conn.until, c.want)
			}
		}
	})
}
