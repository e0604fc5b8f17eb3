package workload_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/identitytest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
	"github.com/isocore/isocore/workload"
)

func TestToken(t *testing.T) {
	w := newWorld(t)
	a := as(t, w.Workload, w.TxnToken(w.A))
	token, expires, err := w.Workload.Token(a, "postgres", identity.PGRead)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Verifier.Verify(t.Context(), "postgres", token)
	id, _ := workload.From(a)
	if err != nil || p.Tenant() != w.A || p.ID() != id.Principal() || p.Txn() != id.Txn() || !p.Has(identity.PGRead) || p.Has(identity.PGWrite) {
		t.Errorf("%+v, %v", p, err)
	}
	if expires.After(p.Expires().Add(time.Second)) || expires.After(id.Expires()) {
		t.Errorf("until %v, and not %v", p.Expires(), expires)
	}
	together(t, 20, func() {
		if again, _, err := w.Workload.Token(a, "postgres", identity.PGRead); err != nil || !again.Equal(token) {
			t.Errorf("another token: %v", err)
		}
	})
	wide := as(t, w.Workload, w.TxnToken(w.A))
	together(t, 20, func() {
		if _, _, err := w.Workload.Token(wide, "postgres", identity.PGWrite, identity.PGRead, identity.PGRead); err != nil {
			t.Error(err)
		}
	})
	if got := w.exchanges.Load(); got != 2 {
		t.Errorf("%d exchanges of two tokens", got)
	}
	b, _, err := w.Workload.Token(as(t, w.Workload, w.TxnToken(w.B)), "postgres", identity.PGRead)
	if err != nil || b.Equal(token) {
		t.Errorf("another tenant's: %v", err)
	}
}

func TestTokenIsRefused(t *testing.T) {
	w := newWorld(t)
	a := as(t, w.Workload, w.TxnToken(w.A, identity.PGRead))
	suspended := tenant.New()
	s := as(t, w.Workload, w.TxnToken(suspended))
	w.Standing.Suspend(suspended.UUID())
	keys := func(context.Context) ([]byte, error) { return jwks(t, w.Domain), nil }
	nowhere := newWorkload(t, workload.Config{Issuer: w.Issuer, Keys: keys})
	down := newWorkload(t, workload.Config{Issuer: w.Issuer, Keys: keys, TokenURL: "http://127.0.0.1:1/v1/token"})
	for name, c := range map[string]struct {
		w      *workload.Workload
		ctx    context.Context
		broker string
		reach  []string
		want   refusal.Reason
		hinted bool
	}{
		"nobody":       {w.Workload, t.Context(), "postgres", nil, refusal.Unauthenticated, true},
		"wider":        {w.Workload, a, "postgres", []string{identity.PGWrite}, refusal.Narrow, true},
		"elsewhere":    {w.Workload, a, "qdrant", nil, refusal.Denied, true},
		"suspended":    {w.Workload, s, "postgres", nil, refusal.Suspended, false},
		"no endpoint":  {nowhere, a, "postgres", nil, refusal.Unavailable, true},
		"nobody there": {down, a, "postgres", nil, refusal.Unavailable, true},
	} {
		token, _, err := c.w.Token(c.ctx, c.broker, c.reach...)
		if !token.IsZero() || refusal.Of(err) != c.want || err == nil || (refusal.HintOf(err) != "") != c.hinted {
			t.Errorf("%s: %v, hint %q", name, err, refusal.HintOf(err))
		}
	}
	w.Commits.Fail(brokertest.ErrDisk)
	if _, _, err := w.Workload.Token(a, "postgres"); refusal.Of(err) != refusal.Unrecorded {
		t.Errorf("no record: %v", err)
	}
}

// An endpoint answers as it is told.
type endpoint struct {
	answer func() (int, string)
	asked  int
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	e.asked++
	rec := httptest.NewRecorder()
	select {
	case <-time.After(time.Second):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	status, body := e.answer()
	rec.Header().Set("Location", "https://elsewhere.test/")
	rec.WriteHeader(status)
	rec.WriteString(body)
	return rec.Result(), nil
}

const granted = `{"access_token":"a.b.c","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":60,"scope":"pg:read"}`

func TestTokenIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := identitytest.New(t)
		e := &endpoint{answer: func() (int, string) { return http.StatusOK, granted }}
		w := newWorkload(t, workload.Config{
			Issuer: d.Issuer, TokenURL: "https://node.test/v1/token", HTTP: &http.Client{Transport: e},
			Keys: func(context.Context) ([]byte, error) { return jwks(t, d), nil },
		})
		ctx := as(t, w, d.TxnToken(tenant.New()))
		get := func() error {
			_, _, err := w.Token(ctx, "postgres", identity.PGRead)
			return err
		}
		hasty, cancel := context.WithCancel(ctx)
		cancel()
		if _, _, err := w.Token(hasty, "postgres", identity.PGRead); !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up: %v", err)
		}
		for range 9 { // who gave up has asked for the others
			if err := get(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		if e.asked != 1 {
			t.Errorf("asked %d times in 46 seconds", e.asked)
		}
		time.Sleep(6 * time.Second) // less than ten seconds are left
		if err := get(); err != nil || e.asked != 2 {
			t.Errorf("asked %d times: %v", e.asked, err)
		}
		time.Sleep(time.Minute)
		e.answer = func() (int, string) {
			return http.StatusServiceUnavailable, `{"error":"temporarily_unavailable","reason":"Draining"}`
		}
		for range 2 {
			if err := get(); refusal.Of(err) != refusal.Draining {
				t.Error(err)
			}
		}
		if e.asked != 4 {
			t.Errorf("a refusal is remembered: asked %d times", e.asked)
		}
	})
}

func TestAnswersThatAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := identitytest.New(t)
		e := &endpoint{}
		w := newWorkload(t, workload.Config{
			Issuer: d.Issuer, TokenURL: "https://node.test/v1/token", HTTP: &http.Client{Transport: e},
			Keys: func(context.Context) ([]byte, error) { return jwks(t, d), nil },
		})
		ctx := as(t, w, d.TxnToken(tenant.New()))
		for name, c := range map[string]struct {
			status int
			body   string
		}{
			"a redirect":       {http.StatusTemporaryRedirect, granted},
			"nothing":          {http.StatusOK, ``},
			"HTML":             {http.StatusOK, `<html>`},
			"no token":         {http.StatusOK, `{"issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":60,"scope":"pg:read"}`},
			"N_A":              {http.StatusOK, `{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"N_A","expires_in":60,"scope":"pg:read"}`},
			"another kind":     {http.StatusOK, `{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:jwt","token_type":"Bearer","expires_in":60,"scope":"pg:read"}`},
			"no end":           {http.StatusOK, `{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","scope":"pg:read"}`},
			"an end far away":  {http.StatusOK, `{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":9223372036854775807,"scope":"pg:read"}`},
			"a wider scope":    {http.StatusOK, `{"access_token":"a","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":60,"scope":"pg:read pg:write"}`},
			"two tokens":       {http.StatusOK, `{"access_token":"a","access_token":"b","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":60,"scope":"pg:read"}`},
			"another's error":  {http.StatusBadGateway, `<html>bad gateway</html>`},
			"an unknown word":  {http.StatusTeapot, `{"error":"x","reason":"Tea"}`},
			"an error without": {http.StatusBadRequest, `{}`},
		} {
			e.answer = func() (int, string) { return c.status, c.body }
			if token, _, err := w.Token(ctx, "postgres", identity.PGRead); !token.IsZero() || refusal.Of(err) != refusal.Unavailable {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
