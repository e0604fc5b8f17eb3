package workload

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// Bounds of tokens for stores.
const (
	maxTokens = 4096             // remembered at once
	maxAnswer = 64 << 10         // bytes of the endpoint's answer
	margin    = 10 * time.Second // before its end a token is not given out again
)

// Token returns a token for one store broker, "postgres" say, and when it is
// over: exchanged for the Txn-Token of the request of ctx, with the given
// reach, or all that the request has. It is remembered until shortly before
// its end.
func (w *Workload) Token(ctx context.Context, broker string, reach ...string) (secret.Text, time.Time, error) {
	id, err := need(ctx)
	if err != nil {
		return secret.Text{}, time.Time{}, err
	}
	for _, r := range reach {
		if !id.Has(r) {
			return secret.Text{}, time.Time{}, refusal.Hinted(refusal.Narrow, "the route at the edge has to list it, and the person to have it",
				"workload: %q is not within the reach of this request", r)
		}
	}
	words := slices.Clone(reach)
	slices.Sort(words)
	g, err := w.tokens.get(ctx, id, tokenKey{id.digest, broker, strings.Join(slices.Compact(words), " ")})
	if err != nil {
		return secret.Text{}, time.Time{}, err
	}
	return g.token, g.expires, nil
}

// A tokenKey is what a token was exchanged for. A struct: no two of them can
// run into one another.
type tokenKey struct {
	digest [32]byte // of the Txn-Token
	broker string
	reach  string
}

// tokens remembers what was exchanged, and asks for each once at a time.
type tokens struct {
	http *http.Client
	url  string

	mu   sync.Mutex // guards what follows
	held map[tokenKey]*granted
}

// granted is a token, or will be when done is closed.
type granted struct {
	done    chan struct{}
	token   secret.Text
	expires time.Time
	err     error
}

func newTokens(c *http.Client, url string) *tokens {
	return &tokens{http: c, url: url, held: make(map[tokenKey]*granted)}
}

func (t *tokens) get(ctx context.Context, id Identity, k tokenKey) (*granted, error) {
	if t.url == "" {
		return nil, refusal.Hinted(refusal.Unavailable, "set TokenURL in workload.Config", "workload: no token endpoint")
	}
	g, mine := t.find(k)
	if mine {
		// It goes on when ctx ends: others may wait for it.
		go func() {
			defer close(g.done)
			g.token, g.expires, g.err = t.exchange(context.WithoutCancel(ctx), id, k)
			if g.err != nil {
				t.forget(k, g)
			}
		}()
	}
	select {
	case <-g.done:
		return g, g.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// find returns what there is for k. mine says that it is yet to be asked for,
// by whoever is told so.
func (t *tokens) find(k tokenKey) (g *granted, mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.held[k]; g != nil && !g.over() {
		return g, false
	}
	if len(t.held) >= maxTokens {
		t.shrink()
	}
	g = &granted{done: make(chan struct{})}
	t.held[k] = g
	return g, true
}

// over reports whether g is not worth giving out any more.
func (g *granted) over() bool {
	select {
	case <-g.done:
		return time.Until(g.expires) < margin
	default:
		return false
	}
}

// shrink drops what is over, and half of the rest if that was not enough.
func (t *tokens) shrink() {
	for k, g := range t.held {
		if g.over() {
			delete(t.held, k)
		}
	}
	for k := range t.held {
		if len(t.held) <= maxTokens/2 {
			return
		}
		delete(t.held, k)
	}
}

func (t *tokens) forget(k tokenKey, g *granted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[k] == g {
		delete(t.held, k)
	}
}

// What RFC 8693 calls them.
const (
	grantType   = "urn:ietf:params:oauth:grant-type:token-exchange"
	txnToken    = "urn:ietf:params:oauth:token-type:txn_token" //nolint:gosec // the name of a kind of token
	accessToken = "urn:ietf:params:oauth:token-type:access_token"
)

// exchange asks the endpoint.
func (t *tokens) exchange(ctx context.Context, id Identity, k tokenKey) (secret.Text, time.Time, error) {
	fail := func(err error) (secret.Text, time.Time, error) { return secret.Text{}, time.Time{}, err }
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	form := url.Values{
		"grant_type": {grantType}, "subject_token": {id.token.Reveal()}, "subject_token_type": {txnToken},
		"requested_token_type": {accessToken}, "audience": {"isocore:" + k.broker},
	}
	if k.reach != "" {
		form.Set("scope", k.reach)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, strings.NewReader(form.Encode()))
	if err != nil {
		return fail(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	asked := time.Now()
	answer, err := t.http.Do(r)
	if err != nil {
		return fail(refusal.Hinted(refusal.Unavailable, "is TokenURL right, and the node up?", "workload: exchange: %w", err))
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fail(refusal.New(refusal.Unavailable, "workload: exchange: %w", err))
	}
	if answer.StatusCode != http.StatusOK {
		return fail(refused(answer.StatusCode, body))
	}
	token, life, err := parseAnswer(body, k.reach)
	if err != nil {
		return fail(refusal.New(refusal.Unavailable, "workload: exchange: %w", err))
	}
	expires := asked.Add(life)
	if id.Expires().Before(expires) {
		expires = id.Expires()
	}
	return token, expires, nil
}

// parseAnswer reads the token out of what the endpoint says.
func parseAnswer(body []byte, reach string) (secret.Text, time.Duration, error) {
	var a struct {
		AccessToken string `json:"access_token"`
		Issued      string `json:"issued_token_type"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
		Scope       string `json:"scope"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return secret.Text{}, 0, errors.New("the answer is not the JSON of RFC 8693")
	}
	life := time.Duration(a.ExpiresIn) * time.Second
	switch {
	case a.AccessToken == "" || a.Issued != accessToken || !strings.EqualFold(a.TokenType, "Bearer"):
		return secret.Text{}, 0, errors.New("the answer has no bearer token")
	case a.ExpiresIn < 1 || a.ExpiresIn > int64(identity.MaxLifetime/time.Second):
		return secret.Text{}, 0, errors.New("the answer has no lifetime of a token of ours")
	case reach != "" && a.Scope != reach:
		return secret.Text{}, 0, errors.New("the answer has another scope than was asked for")
	}
	return secret.New(a.AccessToken), life, nil
}

// refused returns what the endpoint says no for.
func refused(status int, body []byte) error {
	var a struct {
		Error  string `json:"error"`
		Reason string `json:"reason"`
		Hint   string `json:"hint"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return refusal.Hinted(refusal.Unavailable, "is TokenURL the token endpoint?", "workload: exchange: status %d", status)
	}
	for _, r := range refusal.Reasons {
		if r.String() == a.Reason {
			return refusal.Hinted(r, a.Hint, "workload: exchange: %.40s", a.Error)
		}
	}
	return refusal.New(refusal.Unavailable, "workload: exchange: status %d, %.40q", status, a.Error)
}
