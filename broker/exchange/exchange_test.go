package exchange_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/broker/exchange"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/identitytest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

const (
	grantType   = "urn:ietf:params:oauth:grant-type:token-exchange"
	txnToken    = "urn:ietf:params:oauth:token-type:txn_token"
	accessToken = "urn:ietf:params:oauth:token-type:access_token"
)

// A world is a gate with a token endpoint before it.
type world struct {
	*brokertest.World
	handler http.Handler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: brokertest.New(t, "postgres", brokertest.Limits())}
	x, err := exchange.New(exchange.Config{
		Minter: w.Minter, Brokers: []string{"postgres"}, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = x.Handler(w.Gate)
	return w
}

// form returns a good request for a token for PostgreSQL.
func form(subject secret.Text) url.Values {
	return url.Values{
		"grant_type": {grantType}, "subject_token": {subject.Reveal()}, "subject_token_type": {txnToken},
		"audience": {"isocore:postgres"},
	}
}

// An answer is whatever the endpoint says.
type answer struct {
	status int
	header http.Header
	body   string

	AccessToken string `json:"access_token"`
	Issued      string `json:"issued_token_type"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Reason      string `json:"reason"`
	Hint        string `json:"hint"`
}

func (w *world) post(t *testing.T, body string, change ...func(*http.Request)) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range change {
		c(r)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	a := answer{status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
		t.Fatalf("%q: %v", a.body, err)
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
		t.Errorf("somebody may keep %q", a.body)
	}
	if strings.Contains(a.body, "refresh") || strings.Contains(a.body, "exchange:") {
		t.Errorf("the client reads %q", a.body)
	}
	return a
}

func (a answer) says(t *testing.T, what string, status int, code string, r refusal.Reason) {
	t.Helper()
	if a.status != status || a.Error != code || a.Reason != r.String() || a.Description != r.Text() || a.AccessToken != "" {
		t.Errorf("%s: %d %q, want %d %s %s", what, a.status, a.body, status, code, r)
	}
}

func TestExchange(t *testing.T) {
	w := newWorld(t)
	a := w.post(t, form(w.TxnToken(w.A, identity.PGRead, identity.PGWrite)).Encode())
	if a.status != http.StatusOK || a.Issued != accessToken || a.TokenType != "Bearer" || a.Scope != "pg:read pg:write" || a.ExpiresIn < 1 {
		t.Fatalf("%d %q", a.status, a.body)
	}
	p, err := w.Verifier.Verify(t.Context(), "postgres", secret.New(a.AccessToken))
	if err != nil || p.Tenant() != w.A {
		t.Fatalf("%v, %v", p.Tenant(), err)
	}
	for _, door := range []string{identity.Edge, identity.Exchange, "qdrant"} {
		if _, err := w.Verifier.Verify(t.Context(), door, secret.New(a.AccessToken)); refusal.Of(err) != refusal.Unauthenticated {
			t.Errorf("at %s: %v", door, err)
		}
	}
	f := form(secret.New(a.AccessToken))
	w.post(t, f.Encode()).says(t, "what came out", http.StatusUnauthorized, "invalid_grant", refusal.Unauthenticated)
}

// TestNeverWider asks for every subset of some reaches with every subset.
func TestNeverWider(t *testing.T) {
	w := newWorld(t)
	words := []string{identity.PGRead, identity.PGWrite, identity.HTTP}
	subset := func(mask int) (s []string) {
		for i, word := range words {
			if mask>>i&1 == 1 {
				s = append(s, word)
			}
		}
		slices.Sort(s)
		return s
	}
	for has := 1; has < 1<<len(words); has++ {
		token := w.TxnToken(w.A, subset(has)...)
		subject, err := w.Verifier.Verify(t.Context(), identity.Exchange, token)
		if err != nil {
			t.Fatal(err)
		}
		for asks := range 1 << len(words) {
			f, want := form(token), subset(asks)
			if asks != 0 {
				f.Set("scope", strings.Join(want, " "))
			} else {
				want = subset(has)
			}
			a := w.post(t, f.Encode())
			if asks&^has != 0 || has&1 == 0 {
				a.says(t, "wider", http.StatusForbidden, "invalid_scope", refusal.Narrow)
				continue
			}
			if a.status != http.StatusOK || a.Scope != strings.Join(want, " ") {
				t.Fatalf("%v of %v: %q", want, subset(has), a.body)
			}
			same(t, w, subject, a, want)
		}
	}
}

// same checks that what was exchanged is nobody else's, no wider and no longer.
func same(t *testing.T, w *world, subject identity.Principal, a answer, reach []string) {
	t.Helper()
	p, err := w.Verifier.Verify(t.Context(), "postgres", secret.New(a.AccessToken))
	if err != nil {
		t.Fatal(err)
	}
	if p.Tenant() != subject.Tenant() || p.Partner() != subject.Partner() || p.ID() != subject.ID() || p.Subject() != subject.Subject() ||
		p.Issuer() != subject.Issuer() || p.Txn() != subject.Txn() || p.Client() != subject.Client() || !slices.Equal(p.Actors(), subject.Actors()) {
		t.Errorf("%+v became %+v", subject, p)
	}
	if !slices.Equal(p.Reach(), reach) || p.Expires().After(subject.Expires()) {
		t.Errorf("%v until %v became %v until %v", subject.Reach(), subject.Expires(), p.Reach(), p.Expires())
	}
	if promised := time.Now().Add(time.Duration(a.ExpiresIn) * time.Second); promised.After(subject.Expires()) {
		t.Errorf("promised until %v of %v", promised, subject.Expires())
	}
}

func TestTokensThatAreNotGood(t *testing.T) {
	w := newWorld(t)
	other := identitytest.New(t)
	w.Broker = identity.Exchange
	expired, forged := w.Expired(w.A), w.Forged(w.A)
	w.Broker = "postgres"
	over := w.TxnToken(w.B)
	w.Expire(w.B)
	suspended := tenant.New()
	token := w.TxnToken(suspended)
	w.Standing.Suspend(suspended.UUID())
	for name, c := range map[string]struct {
		subject secret.Text
		status  int
		want    refusal.Reason
	}{
		"of another trust domain": {other.TxnToken(w.A), http.StatusUnauthorized, refusal.Unauthenticated},
		"a store token":           {w.Token(w.A), http.StatusUnauthorized, refusal.Unauthenticated},
		"a provider's token":      {w.ProviderToken(w.A), http.StatusUnauthorized, refusal.Unauthenticated},
		"no token":                {secret.New("x"), http.StatusUnauthorized, refusal.Unauthenticated},
		"too large":               {secret.New(strings.Repeat("x", 9<<10)), http.StatusUnauthorized, refusal.Unauthenticated},
		"expired":                 {expired, http.StatusUnauthorized, refusal.Expired},
		"forged":                  {forged, http.StatusUnauthorized, refusal.Unauthenticated},
		"over":                    {over, http.StatusUnauthorized, refusal.Expired},
		"of a suspended tenant":   {token, http.StatusForbidden, refusal.Suspended},
	} {
		a := w.post(t, form(c.subject).Encode())
		a.says(t, name, c.status, "invalid_grant", c.want)
		if got := a.header.Get("WWW-Authenticate"); (got != "") != (c.status == http.StatusUnauthorized) {
			t.Errorf("%s: WWW-Authenticate is %q", name, got)
		}
	}
	if rs := w.Records(t, w.A); len(rs) != 0 {
		t.Errorf("strangers are in a tenant's log: %+v", rs)
	}
}

// TestRequests: what is wrong before the form is looked at.
func TestRequests(t *testing.T) {
	w := newWorld(t)
	good := form(w.TxnToken(w.A)).Encode()
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	add := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Add(name, value) }
	}
	for name, change := range map[string]func(*http.Request){
		"GET":                 func(r *http.Request) { r.Method = http.MethodGet },
		"a query":             func(r *http.Request) { r.URL.RawQuery = "scope=x" },
		"an empty query":      func(r *http.Request) { r.URL.ForceQuery = true },
		"Authorization":       add("Authorization", "Bearer x"),
		"empty Authorization": add("Authorization", ""),
		"two types":           add("Content-Type", "application/json"),
		"JSON":                set("Content-Type", "application/json"),
		"another charset":     set("Content-Type", "application/x-www-form-urlencoded;charset=utf-7"),
		"another parameter":   set("Content-Type", "application/x-www-form-urlencoded;version=1"),
		"no type":             func(r *http.Request) { r.Header.Del("Content-Type") },
		"encoded":             add("Content-Encoding", "gzip"),
	} {
		w.post(t, good, change).says(t, name, http.StatusBadRequest, "invalid_request", refusal.Malformed)
	}
	if w.Counts.Of(refusal.Malformed) == 0 {
		t.Error("what was malformed is not counted")
	}
	for _, kind := range []string{"application/x-www-form-urlencoded; charset=UTF-8", "Application/X-WWW-Form-Urlencoded"} {
		if a := w.post(t, good, set("Content-Type", kind)); a.status != http.StatusOK {
			t.Errorf("%s: %q", kind, a.body)
		}
	}
}

func TestForms(t *testing.T) {
	w := newWorld(t)
	token := w.TxnToken(w.A)
	good := form(token).Encode()
	with := func(name, value string) string {
		f := form(token)
		f.Set(name, value)
		return f.Encode()
	}
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
		want   refusal.Reason
	}{
		"empty":                 {"", 400, "invalid_request", refusal.Malformed},
		"large":                 {good + "&scope=" + strings.Repeat("x", 16<<10), 413, "invalid_request", refusal.TooLarge},
		"twice":                 {good + "&audience=isocore%3Apostgres", 400, "invalid_request", refusal.Malformed},
		"twice, spelled apart":  {good + "&%61udience=isocore%3Apostgres", 400, "invalid_request", refusal.Malformed},
		"unknown":               {good + "&x=1", 400, "invalid_request", refusal.Malformed},
		"resource":              {good + "&resource=https%3A%2F%2Fa.test", 400, "invalid_request", refusal.Malformed},
		"actor_token":           {good + "&actor_token=x&actor_token_type=y", 400, "invalid_request", refusal.Malformed},
		"client_secret":         {good + "&client_secret=x", 400, "invalid_request", refusal.Malformed},
		"no value":              {good + "&scope=", 400, "invalid_request", refusal.Malformed},
		"no equals":             {good + "&scope", 400, "invalid_request", refusal.Malformed},
		"an empty pair":         {good + "&", 400, "invalid_request", refusal.Malformed},
		"semicolons":            {strings.ReplaceAll(good, "&", ";"), 400, "invalid_request", refusal.Malformed},
		"a bad escape":          {good + "&scope=%zz", 400, "invalid_request", refusal.Malformed},
		"upper case":            {strings.Replace(good, "audience", "Audience", 1), 400, "invalid_request", refusal.Malformed},
		"another grant":         {with("grant_type", "client_credentials"), 404, "unsupported_grant_type", refusal.Unlisted},
		"refresh_token":         {with("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), 400, "invalid_request", refusal.Malformed},
		"access_token":          {with("subject_token_type", accessToken), 400, "invalid_request", refusal.Malformed},
		"id_token":              {with("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"), 400, "invalid_request", refusal.Malformed},
		"jwt":                   {with("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"), 400, "invalid_request", refusal.Malformed},
		"a Txn-Token again":     {with("requested_token_type", txnToken), 400, "invalid_request", refusal.Malformed},
		"a scope twice":         {with("scope", "pg:read pg:read"), 400, "invalid_request", refusal.Malformed},
		"two spaces":            {with("scope", "pg:read  pg:write"), 400, "invalid_request", refusal.Malformed},
		"NUL in the scope":      {with("scope", "pg:read\x00"), 400, "invalid_request", refusal.Malformed},
		"NUL in the audience":   {with("audience", "isocore:postgres\x00"), 400, "invalid_request", refusal.Malformed},
		"a long audience":       {with("audience", "isocore:"+strings.Repeat("x", 200)), 400, "invalid_request", refusal.Malformed},
		"no such broker":        {with("audience", "isocore:qdrant"), 403, "invalid_target", refusal.Denied},
		"the exchange itself":   {with("audience", "isocore:exchange"), 403, "invalid_target", refusal.Denied},
		"the edge":              {with("audience", "isocore:edge"), 403, "invalid_target", refusal.Denied},
		"elsewhere":             {with("audience", "isocore:elsewhere"), 403, "invalid_target", refusal.Denied},
		"without our prefix":    {with("audience", "postgres"), 403, "invalid_target", refusal.Denied},
		"the broker's case":     {with("audience", "isocore:Postgres"), 403, "invalid_target", refusal.Denied},
		"a scope it has not":    {with("scope", "pg:read admin"), 403, "invalid_scope", refusal.Narrow},
		"a scope of other case": {with("scope", "PG:READ"), 400, "invalid_request", refusal.Malformed},
	} {
		w.post(t, c.body).says(t, name, c.status, c.code, c.want)
	}
	for _, missing := range []string{"grant_type", "subject_token", "subject_token_type", "audience"} {
		f := form(token)
		f.Del(missing)
		w.post(t, f.Encode()).says(t, "without "+missing, http.StatusBadRequest, "invalid_request", refusal.Malformed)
	}
	if w.Counts.Of(refusal.TooLarge) != 1 {
		t.Error("what was too large is not counted")
	}
	if a := w.post(t, with("requested_token_type", accessToken)); a.status != http.StatusOK {
		t.Errorf("a good one: %q", a.body)
	}
}

func TestRecords(t *testing.T) {
	w := newWorld(t)
	f := form(w.TxnToken(w.A, identity.PGRead, identity.PGWrite))
	f.Set("scope", "pg:read")
	if a := w.post(t, f.Encode()); a.status != http.StatusOK {
		t.Fatal(a.body)
	}
	f.Set("audience", "isocore:qdrant")
	w.post(t, f.Encode()).says(t, "no such broker", http.StatusForbidden, "invalid_target", refusal.Denied)
	rs := w.Records(t, w.A)
	if len(rs) != 3 {
		t.Fatalf("%d records: %+v", len(rs), rs)
	}
	decision, outcome, denied := rs[0], rs[1], rs[2]
	if decision.Kind != audit.Decision || decision.Class != audit.ClassExchange || decision.Verdict != "confine" ||
		decision.Operation != "exchange postgres" || !slices.Equal(decision.Resources, []string{"postgres"}) ||
		string(decision.Text) != "pg:read" || decision.Broker != "exchange" || decision.Txn == "" {
		t.Errorf("decision: %+v", decision)
	}
	if outcome.Kind != audit.Outcome || outcome.Of != (audit.Ref{Log: w.A}) || outcome.Result.Status != audit.StatusOK || outcome.Session != decision.Session {
		t.Errorf("outcome: %+v", outcome)
	}
	if denied.Kind != audit.Decision || denied.Verdict != "deny" || denied.Operation != "exchange elsewhere" || denied.Reason != "Denied" ||
		!slices.Equal(denied.Resources, []string{"isocore:qdrant"}) {
		t.Errorf("denied: %+v", denied)
	}
}

func TestNoRecordNoToken(t *testing.T) {
	w := newWorld(t)
	token := w.TxnToken(w.A)
	w.Commits.Fail(brokertest.ErrDisk)
	w.post(t, form(token).Encode()).says(t, "the log fails", http.StatusServiceUnavailable, "temporarily_unavailable", refusal.Unrecorded)
}

func TestLimits(t *testing.T) {
	l := brokertest.Limits()
	l.Sessions = 1
	w := newWorld(t)
	if err := w.Limiter.Set(l); err != nil {
		t.Fatal(err)
	}
	token := w.TxnToken(w.A)
	s, err := w.Gate.Once(t.Context(), identity.Exchange, netip.MustParseAddrPort("127.0.0.1:1"), token)
	if err != nil {
		t.Fatal(err)
	}
	a := w.post(t, form(token).Encode())
	a.says(t, "one too many", http.StatusTooManyRequests, "temporarily_unavailable", refusal.TooMany)
	if a.header.Get("Retry-After") == "" {
		t.Error("it does not say when")
	}
	if err := s.Leave(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if a := w.post(t, form(token).Encode()); a.status != http.StatusOK {
		t.Errorf("the place is not given back: %q", a.body)
	}
}

func TestConfig(t *testing.T) {
	d := identitytest.New(t)
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]exchange.Config{
		"nothing":        {},
		"no brokers":     {Minter: d.Minter, Now: time.Now, Log: log},
		"a rowless one":  {Minter: d.Minter, Brokers: []string{"qdrant"}, Now: time.Now, Log: log},
		"its own":        {Minter: d.Minter, Brokers: []string{"exchange"}, Now: time.Now, Log: log},
		"the other row":  {Minter: d.Minter, Brokers: []string{"elsewhere"}, Now: time.Now, Log: log},
		"without minter": {Brokers: []string{"postgres"}, Now: time.Now, Log: log},
	} {
		if _, err := exchange.New(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
