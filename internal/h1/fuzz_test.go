package h1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// plain reads what a guard passed on in the simplest way there is: lines, and
// a body of the one length or the chunks that the lines name. It reports false
// where a request does not end.
func plain(s string) (all []seen, whole bool) {
	for s != "" {
		top, rest, ok := strings.Cut(s, "\r\n\r\n")
		if !ok {
			return all, false
		}
		lines := strings.Split(top, "\r\n")
		words := strings.Split(lines[0], " ")
		one := seen{method: words[0], target: words[1]}
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ":")
			switch value = strings.TrimLeft(value, " "); strings.ToLower(name) {
			case "content-length":
				n, err := strconv.Atoi(value)
				if err != nil || n > len(rest) {
					return all, false
				}
				one.body, rest = rest[:n], rest[n:]
			case "transfer-encoding":
				if one.body, rest, ok = plainChunks(rest); !ok {
					return all, false
				}
			}
		}
		all, s = append(all, one), rest
	}
	return all, true
}

func plainChunks(s string) (body, rest string, whole bool) {
	for {
		line, after, ok := strings.Cut(s, "\r\n")
		n, err := strconv.ParseUint(line, 16, 32)
		if !ok || err != nil || len(after) < int(n)+2 || after[n:n+2] != "\r\n" {
			return "", "", false
		}
		if n == 0 {
			return body, after[2:], true
		}
		body, s = body+after[:n], after[n+2:]
	}
}

// passed returns what a guard passes on of in, without the request that stands
// for a refused one.
func passed(in io.Reader) (out []byte, refused bool) {
	g := Guard(stream{Reader: in}, limits)
	out, _ = io.ReadAll(g)
	if at := bytes.LastIndex(out, []byte("refused /")); at >= 0 && bytes.HasSuffix(out, []byte("\r\nHost: refused\r\nConnection: close\r\n\r\n")) {
		return out[:at], true
	}
	return out, g.(*guard).refused.Load()
}

// FuzzGuard has three oracles. What a guard passes on is a beginning of what it
// was given, and the same however that arrives. net/http reads in it the same
// requests with the same bodies as the plainest reader does. A second guard
// passes on all of it.
func FuzzGuard(f *testing.F) {
	for _, c := range passing {
		f.Add([]byte(c.wire))
	}
	for _, c := range refusing {
		f.Add([]byte(get + c.wire))
	}
	for _, c := range breaking {
		f.Add([]byte(head("Transfer-Encoding: chunked") + c.body + get))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		out, refused := passed(bytes.NewReader(wire))
		if !bytes.HasPrefix(wire, out) {
			t.Fatalf("%q became %q", wire, out)
		}
		if slow, again := passed(dribble{bytes.NewReader(wire)}); again != refused || refused && !bytes.HasPrefix(slow, out) && !bytes.HasPrefix(out, slow) || !refused && !bytes.Equal(slow, out) {
			t.Fatalf("%q, byte by byte, is %q, not %q", wire, slow, out)
		}
		if again, refused := passed(bytes.NewReader(out)); refused || !bytes.Equal(again, out) {
			t.Fatalf("%q, read again, is %q", out, again)
		}
		want, whole := plain(string(out))
		got, _, err := serve(bytes.NewReader(out))
		if !slices.Equal(got, want) || whole && err != io.EOF {
			t.Fatalf("%q: net/http reads %q and %v, the plain reader %q", out, got, err, want)
		}
	})
}

// FuzzCleanPath has the oracle that a path that is clean means the same
// wherever it is cleaned, decoded, or both in either order.
func FuzzCleanPath(f *testing.F) {
	for _, p := range cleanPaths {
		f.Add(p)
	}
	for _, p := range uncleanPaths {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if CleanPath(raw) != nil {
			return
		}
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		written, _, _ := strings.Cut(raw, "?")
		if cleaned := path.Clean(u.Path); cleaned != u.Path && cleaned+"/" != u.Path {
			t.Errorf("%q decodes to %q, which cleans to %q", raw, u.Path, cleaned)
		}
		if strings.Count(u.Path, "/") != strings.Count(written, "/") || strings.ContainsAny(u.Path, "\x00\\") {
			t.Errorf("%q decodes to %q", raw, u.Path)
		}
	})
}

// FuzzAnswer has the oracle that what the reader of answers takes, net/http
// reads as the same answer, with the same body and the same rest.
func FuzzAnswer(f *testing.F) {
	for _, a := range answers {
		f.Add([]byte(a.wire))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		in := bufio.NewReader(bytes.NewReader(wire))
		a, err := new(Reader).ReadAnswer(in)
		if err != nil || a.Code < 200 || a.Code == 204 || a.Code == 304 || a.Old {
			return
		}
		theirs := bufio.NewReader(bytes.NewReader(wire))
		resp, err := http.ReadResponse(theirs, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("%q is read as %+v, and by net/http not at all: %v", wire, a, err)
		}
		resp.Header.Del("Transfer-Encoding")
		a.Header.Del("Transfer-Encoding")
		if resp.StatusCode != a.Code || !sameHeader(a.Header, resp.Header) {
			t.Fatalf("%q: %+v, net/http %+v", wire, a, resp)
		}
		if a.Length >= 0 && resp.ContentLength != a.Length || a.Chunked && resp.ContentLength != -1 {
			t.Fatalf("%q: %d, %v, net/http %d", wire, a.Length, a.Chunked, resp.ContentLength)
		}
		if !a.Chunked {
			return
		}
		ours, err := io.ReadAll(&Chunks{In: in})
		if err != nil {
			return
		}
		want, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(ours, want) {
			t.Fatalf("%q: body %q, net/http %q, %v", wire, ours, want, err)
		}
		left, _ := io.ReadAll(in)
		theirLeft, _ := io.ReadAll(theirs)
		if !bytes.Equal(left, theirLeft) {
			t.Fatalf("%q: %q is left, net/http leaves %q", wire, left, theirLeft)
		}
	})
}

// sameHeader compares but for the fields that net/http takes out.
func sameHeader(a, b http.Header) bool {
	for name := range b {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	for name := range a {
		if _, ok := b[name]; !ok && name != "Trailer" && name != "Connection" {
			return false
		}
	}
	return true
}
