package edge

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/isocore/isocore/refusal"
)

// statuses gives every Reason its HTTP status.
var statuses = map[refusal.Reason]int{
	refusal.Internal:        http.StatusInternalServerError,
	refusal.Unauthenticated: http.StatusUnauthorized,
	refusal.Expired:         http.StatusUnauthorized,
	refusal.Suspended:       http.StatusForbidden,
	refusal.Narrow:          http.StatusForbidden,
	refusal.Denied:          http.StatusForbidden,
	refusal.Unlisted:        http.StatusNotFound,
	refusal.NotFound:        http.StatusNotFound,
	refusal.Malformed:       http.StatusBadRequest,
	refusal.TooLarge:        http.StatusRequestEntityTooLarge,
	refusal.TooMany:         http.StatusTooManyRequests,
	refusal.TooFast:         http.StatusTooManyRequests,
	refusal.OverBudget:      http.StatusTooManyRequests,
	refusal.TooLong:         http.StatusGatewayTimeout,
	refusal.Unrecorded:      http.StatusServiceUnavailable,
	refusal.Unavailable:     http.StatusServiceUnavailable,
	refusal.Draining:        http.StatusServiceUnavailable,
}

// closing are the Reasons after which the connection does not go on: what the
// rest of it means is not certain, or nobody answers it here.
var closing = map[refusal.Reason]bool{
	refusal.Internal: true, refusal.Malformed: true, refusal.TooLarge: true, refusal.TooLong: true, refusal.Draining: true,
}

// errMisdirected is of a host that is not what the TLS handshake was for. A
// client of HTTP/2 takes one connection for all hosts of a certificate, and
// another one if it hears 421 (RFC 9110 15.5.20).
var errMisdirected = errors.New("behind a handshake")

// A problem is a refusal as the client reads it (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
}

// problemOf returns err in words a client may hear.
func problemOf(err error) problem {
	r := refusal.Of(err)
	status, ok := statuses[r]
	if !ok {
		r, status = refusal.Internal, statuses[refusal.Internal]
	}
	return problem{"about:blank", r.Text(), status, r.String(), refusal.HintOf(err)}
}

// The answers to who has shown no good token (RFC 6750 3).
const (
	challenge = `Bearer realm="isocore"`
	wrong     = `Bearer realm="isocore", error="invalid_token"`
)

// refuse answers with err, and nothing of what an operator reads of it.
func (x *exchange) refuse(err error) {
	p := problemOf(err)
	r := refusal.Of(err)
	if x.in.ProtoMajor > 1 && errors.Is(err, errMisdirected) {
		p.Status = http.StatusMisdirectedRequest
	}
	body, jerr := json.Marshal(p)
	if jerr != nil {
		panic(http.ErrAbortHandler) // there is no such problem
	}
	h := x.ours("application/problem+json", len(body))
	switch {
	case err == errNoToken: //nolint:errorlint // who shows nothing gets no word of error
		h.Set("WWW-Authenticate", challenge)
	case p.Status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", wrong)
	case r == refusal.TooFast || r == refusal.TooMany:
		h.Set("Retry-After", "1")
	}
	// A connection of HTTP/2 goes on for the others on it, unless the node goes.
	// One on which nobody has shown a good token goes no further.
	if x.in.ProtoMajor == 1 && (closing[r] || x.unread()) || r == refusal.Draining || !x.friend.Load() {
		h.Set("Connection", "close")
	}
	x.say(p.Status, body)
}

// ours begins an answer that comes from here and not from an application.
func (x *exchange) ours(kind string, length int) http.Header {
	h := x.w.Header()
	clear(h)
	h["Content-Type"] = []string{kind}
	h["Content-Length"] = []string{strconv.Itoa(length)}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["X-Request-Id"] = []string{x.id}
	return h
}

// say writes an answer of ours.
func (x *exchange) say(status int, body []byte) {
	x.control.SetWriteDeadline(time.Now().Add(writeTime)) //nolint:errcheck // a connection without deadlines is a test's
	x.w.WriteHeader(status)
	if _, err := x.w.Write(body); err != nil && x.in.Method != http.MethodHead {
		panic(http.ErrAbortHandler)
	}
}
