package edge

import (
	"net/http"
	"slices"
	"strings"
)

// internal are the headers that an application's answer does not carry out.
var internal = newNames([]Protected{
	{"txn-token", "opens stores in exchange"},
	{"x-isocore*", "words between parts of IsoCore"},
	{"x-request-id", "the edge's own"},
	{"traceparent", "of the application's own trace"},
	{"tracestate", "of the application's own trace"},
	{"traceresponse", "of the application's own trace"},
	{"baggage", "of the application's own trace"},
	{"x-forwarded*", "where requests come from, within"},
	{"forwarded*", "where requests come from, within"},
	{"x-envoy*", "words between parts of a mesh"},
	{"x-accel*", "words between a proxy and what is behind it"},
	{"x-sendfile*", "a file for a proxy to send"},
	{"x-lighttpd-send*", "a file for a proxy to send"},
	{"x-litespeed*", "a file for a proxy to send"},
	{"alt-svc", "would lead clients past the edge"},
})

// hops are the headers of one connection, not of what travels over it.
var hops = newNames([]Protected{
	{"connection", "RFC 9110 7.6.1"},
	{"keep-alive", "RFC 9110 7.6.1"},
	{"proxy*", "RFC 9110 7.6.1"},
	{"te", "RFC 9110 7.6.1"},
	{"trailer*", "no trailers are passed on"},
	{"transfer-encoding", "RFC 9110 7.6.1"},
	{"upgrade", "RFC 9110 7.6.1"},
	{"http2-settings", "RFC 9113 3.2.1"},
	{"expect", "answered here"},
})

// essential are headers that no Connection header may take from a request, as
// it may not take the protected ones: what was judged is what arrives.
var essential = newNames([]Protected{
	{"host", "which application"},
	{"cookie", "whose session within the application"},
	{"content*", "what the body is"},
	{"transfer-encoding", "where the body ends"},
	{"accept*", "what is asked for"},
	{"origin", "on whose page the request was made"},
	{"referer", "on whose page the request was made"},
	{"sec*", "on whose page the request was made"},
	{"if*", "under which condition"},
	{"range", "which part"},
	{"expect", "whether the body is sent"},
	{"cache-control", "how fresh the answer is"},
	{"x-csrf*", "that the page is the application's own"},
	{"x-xsrf*", "that the page is the application's own"},
	{"x-requested-with", "that the page is the application's own"},
	{"idempotency-key", "whether it is done twice"},
})

// protected are the Protections, for looking up.
var protected = newNames(Protections)

// names are headers by their folded names.
type names struct {
	exact  map[string]bool
	begins [256][]string // by their slot
	short  []string      // those too short for one
}

func newNames(list []Protected) *names {
	n := &names{exact: map[string]bool{}}
	for _, p := range list {
		begin, open := strings.CutSuffix(p.Name, "*")
		if word, apart := strings.CutSuffix(begin, "-"); apart {
			n.exact[word] = true
		}
		switch {
		case !open:
			n.exact[p.Name] = true
		case len(begin) < 3:
			n.short = append(n.short, begin)
		default:
			at := slot([]byte(begin))
			n.begins[at] = append(n.begins[at], begin)
		}
	}
	return n
}

// slot spreads names by their first and third byte: most begin with "x-".
func slot(folded []byte) byte { return folded[0]*31 ^ folded[2] }

// has reports whether a folded name is one of n.
func (n *names) has(folded []byte) bool {
	if n == nil || len(folded) == 0 {
		return false
	}
	if n.exact[string(folded)] || anyBegins(n.short, folded) {
		return true
	}
	return len(folded) >= 3 && anyBegins(n.begins[slot(folded)], folded)
}

// anyBegins reports whether a folded name begins as one of the list says.
func anyBegins(list []string, folded []byte) bool {
	for _, begin := range list {
		if len(folded) >= len(begin) && string(folded[:len(begin)]) == begin {
			return true
		}
	}
	return false
}

// Fold returns name as the most forgiving reader takes it: in lower case, all
// that is not a letter or digit as a hyphen, and never two of those together,
// nor one at an end.
func Fold(name string) string { return string(fold(nil, name)) }

// fold appends the fold of name to dst.
func fold(dst []byte, name string) []byte {
	start := len(dst)
	gap := false
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			gap = len(dst) > start
			continue
		}
		if gap {
			dst = append(dst, '-')
		}
		gap = false
		dst = append(dst, c)
	}
	return dst
}

// framing are the headers that the next message gets from what it is.
var framing = newNames([]Protected{
	{"host", "the one that was judged"},
	{"content-length", "of the body as it is sent on"},
})

// outgoing returns the headers of a request that go on, with room for those
// that are set: none that is protected, none of the connection's own, none
// that the route strips.
func outgoing(in http.Header, strip *names) http.Header {
	var room [32]field
	kept := kept(room[:0], in, protected, hops, framing, strip)
	out := make(http.Header, len(kept)+signed)
	for _, f := range kept {
		out[f.name] = f.values
	}
	return out
}

// answered adds the headers of an answer that go out to h.
func answered(h, in http.Header) {
	var room [32]field
	for _, f := range kept(room[:0], in, internal, hops) {
		h[f.name] = f.values
	}
}

// A field is one of a header.
type field struct {
	name   string
	values []string
}

// kept appends to dst what of h is in none of the lists and is not named by
// its Connection. They are counted before they are put into a map: one of few
// is cheap.
func kept(dst []field, h http.Header, lists ...*names) []field {
	var room [64]byte
	dropped := named(h)
	for name, values := range h {
		folded := fold(room[:0], name)
		if len(folded) > 0 && !anyHas(lists, folded) && !slices.Contains(dropped, string(folded)) {
			dst = append(dst, field{name, values})
		}
	}
	return dst
}

func anyHas(lists []*names, folded []byte) bool {
	for _, n := range lists {
		if n.has(folded) {
			return true
		}
	}
	return false
}

// named returns what the Connection of h names, folded.
func named(h http.Header) []string {
	values := h["Connection"]
	if len(values) == 0 {
		return nil
	}
	var all []string
	for _, v := range values {
		for word := range strings.SplitSeq(v, ",") {
			if word = Fold(word); word != "" && word != "close" && word != "keep-alive" {
				all = append(all, word)
			}
		}
	}
	return all
}
