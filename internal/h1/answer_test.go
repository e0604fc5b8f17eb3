package h1

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// answers are heads and whether they are taken, with the body if it is chunked.
var answers = map[string]struct {
	wire string
	bad  error
	want Answer
	body string
}{
	"sized":             {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-a: b \r\nx-A:c\r\n\r\nok", nil, Answer{Status: "200 OK", Code: 200, Length: 2}, ""},
	"no reason":         {"HTTP/1.1 404\r\n\r\n", nil, Answer{Status: "404", Code: 404, Length: -1}, ""},
	"empty reason":      {"HTTP/1.1 599 \r\n\r\n", nil, Answer{Status: "599 ", Code: 599, Length: -1}, ""},
	"interim":           {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", nil, Answer{Status: "103 Early Hints", Code: 103, Length: -1}, ""},
	"last":              {"HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n", nil, Answer{Status: "200 OK", Code: 200, Length: -1, Last: true}, ""},
	"old":               {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", nil, Answer{Status: "200 OK", Code: 200, Last: true, Old: true}, ""},
	"chunked":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nA\r\n0123456789\r\n0\r\nExpires: now\r\n\r\n", nil, Answer{Status: "200 OK", Code: 200, Length: -1, Chunked: true}, "ab0123456789"},
	"both":              {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", lengthAndCoding, Answer{}, ""},
	"two lengths":       {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", twoLengths, Answer{}, ""},
	"gzip, chunked":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", badCoding, Answer{}, ""},
	"old and chunked":   {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", badCoding, Answer{}, ""},
	"bare LF":           {"HTTP/1.1 200 OK\n\n", badLineEnd, Answer{}, ""},
	"bare LF after":     {"HTTP/1.1 200 OK\r\nX: y\n\r\n", badLineEnd, Answer{}, ""},
	"folded":            {"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", badFold, Answer{}, ""},
	"space before":      {"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", badName, Answer{}, ""},
	"NUL":               {"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", badValue, Answer{}, ""},
	"version 2":         {"HTTP/2 200 OK\r\n\r\n", badVersion, Answer{}, ""},
	"another protocol":  {"SSH-2.0-OpenSSH\r\n\r\n", badVersion, Answer{}, ""},
	"no version":        {"\r\n\r\n", badStatus, Answer{}, ""},
	"status 99":         {"HTTP/1.1 099 x\r\n\r\n", badStatus, Answer{}, ""},
	"status 600":        {"HTTP/1.1 600 x\r\n\r\n", badStatus, Answer{}, ""},
	"status of letters": {"HTTP/1.1 2x0 x\r\n\r\n", badStatus, Answer{}, ""},
	"long status":       {"HTTP/1.1 2000 x\r\n\r\n", badStatus, Answer{}, ""},
	"short status":      {"HTTP/1.1 20\r\n\r\n", badStatus, Answer{}, ""},
	"signed status":     {"HTTP/1.1 +20 x\r\n\r\n", badStatus, Answer{}, ""},
	"control in reason": {"HTTP/1.1 200 \x1b[2J\r\n\r\n", badStatus, Answer{}, ""},
	"no end":            {"HTTP/1.1 200 OK\r\nX: y\r\n", io.ErrUnexpectedEOF, Answer{}, ""},
	"nothing":           {"", io.ErrUnexpectedEOF, Answer{}, ""},
	"long":              {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 64<<10) + "\r\n\r\n", headTooLarge, Answer{}, ""},
	"many fields":       {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 257) + "\r\n", tooManyFields, Answer{}, ""},
}

func TestReadAnswer(t *testing.T) {
	var r Reader
	for name, c := range answers {
		in := bufio.NewReaderSize(dribble{strings.NewReader(c.wire)}, 64)
		a, err := r.ReadAnswer(in)
		if c.bad != nil || err != nil {
			if !errors.Is(err, c.bad) {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			continue
		}
		if a.Status != c.want.Status || a.Code != c.want.Code || a.Length != c.want.Length || a.Chunked != c.want.Chunked || a.Last != c.want.Last || a.Old != c.want.Old {
			t.Errorf("%s: %+v, want %+v", name, a, c.want)
		}
		if name == "sized" && !slices.Equal(a.Header["X-A"], []string{"b", "c"}) {
			t.Errorf("%q", a.Header)
		}
		if !a.Chunked {
			continue
		}
		if b, err := io.ReadAll(&Chunks{In: in}); err != nil || string(b) != c.body || in.Buffered() > 0 {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestChunks(t *testing.T) {
	for name, c := range breaking {
		if name == "large chunk" || name == "chunk over all" || name == "many chunks" || name == "trailer" || name == "no line" {
			continue // limits of requests
		}
		_, err := io.ReadAll(&Chunks{In: bufio.NewReader(strings.NewReader(c.body))})
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := "2\r\nab\r\n0\r\n\r\n"
	for end := range len(whole) {
		if _, err := io.ReadAll(&Chunks{In: bufio.NewReader(strings.NewReader(whole[:end]))}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", whole[:end], err)
		}
	}
	for _, long := range []string{"0\r\n" + strings.Repeat("X: y\r\n", 2000) + "\r\n", strings.Repeat("0", 5000) + "\r\n"} {
		if _, err := io.ReadAll(&Chunks{In: bufio.NewReader(strings.NewReader(long))}); !errors.Is(err, headTooLarge) {
			t.Errorf("%.20q: %v", long, err)
		}
	}
}
