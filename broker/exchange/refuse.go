package exchange

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// An answer is a token, as RFC 8693 spells it. There is never a refresh_token:
// who needs another one has another request's Txn-Token, or none.
type answer struct {
	AccessToken string `json:"access_token"`
	Issued      string `json:"issued_token_type"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
}

func newAnswer(token secret.Text, reach []string, life time.Duration) *answer {
	return &answer{token.Reveal(), accessToken, "Bearer", int64(life / time.Second), strings.Join(reach, " ")}
}

// A fault is a refusal, as RFC 6749 spells it, with our own Reason beside.
type fault struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Reason      string `json:"reason"`
	Hint        string `json:"hint,omitempty"`
}

// code is how a Reason is spelled over HTTP and in OAuth.
type code struct {
	status int
	error  string
}

// codes gives every Reason its spelling. A token that is not good is
// invalid_grant whatever is wrong with it.
var codes = map[refusal.Reason]code{
	refusal.Internal:        {http.StatusInternalServerError, "server_error"},
	refusal.Unauthenticated: {http.StatusUnauthorized, "invalid_grant"},
	refusal.Expired:         {http.StatusUnauthorized, "invalid_grant"},
	refusal.Suspended:       {http.StatusForbidden, "invalid_grant"},
	refusal.Narrow:          {http.StatusForbidden, "invalid_scope"},
	refusal.Denied:          {http.StatusForbidden, "invalid_target"},
	refusal.Unlisted:        {http.StatusNotFound, "unsupported_grant_type"},
	refusal.NotFound:        {http.StatusNotFound, "invalid_target"},
	refusal.Malformed:       {http.StatusBadRequest, "invalid_request"},
	refusal.TooLarge:        {http.StatusRequestEntityTooLarge, "invalid_request"},
	refusal.TooMany:         {http.StatusTooManyRequests, "temporarily_unavailable"},
	refusal.TooFast:         {http.StatusTooManyRequests, "temporarily_unavailable"},
	refusal.OverBudget:      {http.StatusTooManyRequests, "temporarily_unavailable"},
	refusal.TooLong:         {http.StatusGatewayTimeout, "temporarily_unavailable"},
	refusal.Unrecorded:      {http.StatusServiceUnavailable, "temporarily_unavailable"},
	refusal.Unavailable:     {http.StatusServiceUnavailable, "temporarily_unavailable"},
	refusal.Draining:        {http.StatusServiceUnavailable, "temporarily_unavailable"},
}

// refuse answers err: to the client its Reason, and no word of the chain.
func (x *Exchange) refuse(w http.ResponseWriter, r *http.Request, err error) {
	reason := refusal.Of(err)
	c := codes[reason]
	switch c.status {
	case http.StatusUnauthorized: // RFC 9110 wants the header beside the status
		w.Header().Set("WWW-Authenticate", `Bearer realm="isocore"`)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	}
	if reason == refusal.Internal {
		x.c.Log.WarnContext(r.Context(), "exchange failed", "err", err)
	}
	x.say(w, r, c.status, fault{c.error, reason.Text(), reason.String(), refusal.HintOf(err)})
}

// say writes what nobody may keep.
func (x *Exchange) say(w http.ResponseWriter, r *http.Request, status int, body any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		x.c.Log.DebugContext(r.Context(), "answer cut", "err", err)
	}
}
