package identity_test

import (
	"context"
	"crypto/ed25519"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/identitytest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

func TestVerify(t *testing.T) {
	w := newWorld(t)
	act := `{"sub":"bob","act":{"iss":"https://other.test","sub":"carol","act":{"iss":"` + issuer + `","sub":"dave"}}}`
	token := w.token(member{"act", act})
	for _, pass := range []string{"fresh", "cached"} {
		p, err := w.verify(t, token)
		if err != nil {
			t.Fatalf("%s: %v", pass, err)
		}
		id := p.ID()
		partner := p.Partner()
		if p.Tenant().String() != idT || tenant.FromUUID(id).String() != idU || tenant.FromUUID(partner).String() != idP ||
			p.Subject() != "alice" || p.Issuer() != issuer || p.Txn() != "x1" || !p.Expires().Equal(time.Unix(1_800_000_300, 0)) {
			t.Errorf("%s: %+v", pass, p)
		}
		if got := strings.Join(p.Reach(), ","); got != "pg:read,pg:write" || !p.Has("pg:read") || p.Has("pg") || p.Has("") {
			t.Errorf("%s: reach %s", pass, got)
		}
		if got := strings.Join(p.Actors(), ","); got != "bob,https://other.test carol,dave" {
			t.Errorf("%s: actors %s", pass, got)
		}
		if p.Token() == [32]byte{} {
			t.Errorf("%s: no token", pass)
		}
	}
	if w.Cached() != 1 {
		t.Errorf("%d cached", w.Cached())
	}
}

func TestNewSaysEverythingThatIsWrong(t *testing.T) {
	_, err := identity.New(identity.Config{Leeway: -1})
	if err == nil {
		t.Fatal("a verifier of nothing")
	}
	for _, field := range []string{"TrustDomain", "Issuers", "Standing", "MaxLifetime", "Leeway", "Now", "CacheSize"} {
		if !strings.Contains(err.Error(), "identity: "+field+" is ") {
			t.Errorf("not a word of %s: %v", field, err)
		}
	}
	_, err = identity.New(identity.Config{Providers: func(string) *identity.Provider { return nil }})
	for _, field := range []string{"Enrol", "Renew"} {
		if !strings.Contains(err.Error(), "identity: "+field+" is missing beside Providers") {
			t.Errorf("not a word of %s: %v", field, err)
		}
	}
	_, err = identity.New(identity.Config{
		TrustDomain: "x", Issuers: func(string) *identity.KeySet { return nil }, Standing: &standing{}, Now: time.Now,
		MaxLifetime: 16 * time.Minute, Leeway: 61 * time.Second, CacheSize: 1<<20 + 1,
	})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three limits passed: %v", err)
	}
}

func TestStandingDecides(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	p, err := w.verify(t, token)
	if err != nil {
		t.Fatal(err)
	}
	for answer, want := range map[error]refusal.Reason{
		refusal.New(refusal.Suspended, "x"):              refusal.Suspended,
		refusal.New(refusal.Unauthenticated, "x"):        refusal.Unauthenticated,
		refusal.New(refusal.Unavailable, "x"):            refusal.Unavailable,
		refusal.New(refusal.NotFound, "x"):               refusal.Unavailable,
		refusal.Hinted(refusal.Suspended, "a hint", "x"): refusal.Suspended,
		errStanding: refusal.Unavailable,
	} {
		w.standing.answer = answer
		_, err := w.verify(t, token)
		refused(t, "cached, "+answer.Error(), err, want)
		_, err = w.verify(t, w.token(member{"jti", `"j2"`}))
		refused(t, "fresh, "+answer.Error(), err, want)
		refused(t, "live, "+answer.Error(), w.Live(p), want)
	}
	w.standing.answer = nil
	if err := w.Live(p); err != nil {
		t.Errorf("in good standing again: %v", err)
	}
	refused(t, "nobody", w.Live(identity.Principal{}), refusal.Unauthenticated)
}

// A cache that forgets nothing and checks everything: what was good a moment
// ago is judged anew.
func TestTheCacheIsNotBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world)
		broker string
		want   refusal.Reason
	}{
		"expired":        {func(w *world) { w.now = w.now.Add(5 * time.Minute) }, "postgres", refusal.Expired},
		"the clock back": {func(w *world) { w.now = w.now.Add(-time.Minute) }, "postgres", refusal.Unauthenticated},
		"suspended": {
			func(w *world) { w.standing.answer = refusal.New(refusal.Suspended, "x") }, "postgres", refusal.Suspended,
		},
		"another broker":     {func(*world) {}, "qdrant", refusal.Unauthenticated},
		"a longer broker":    {func(*world) {}, "postgres2", refusal.Unauthenticated},
		"no broker":          {func(*world) {}, "", refusal.Unauthenticated},
		"the issuer removed": {func(w *world) { delete(w.sets, issuer) }, "postgres", refusal.Unauthenticated},
		"the key removed": {func(w *world) {
			w.sets[issuer] = keySet(t, map[string]any{"other": newKey(t).Public()})
		}, "postgres", refusal.Unauthenticated},
		"the key replaced under its kid": {func(w *world) {
			w.sets[issuer] = keySet(t, map[string]any{"k": newKey(t).Public()})
		}, "postgres", refusal.Unauthenticated},
	} {
		w := newWorld(t)
		token := w.token()
		if _, err := w.verify(t, token); err != nil || w.Cached() != 1 {
			t.Fatalf("%s: control: %v, %d cached", name, err, w.Cached())
		}
		c.change(w)
		_, err := w.Verify(t.Context(), c.broker, token)
		refused(t, name, err, c.want)
	}
}

// A key set that changed without touching the token's key costs one more
// signature check and nothing else.
func TestRotationKeepsWhatItCan(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	p, err := w.verify(t, token)
	if err != nil {
		t.Fatal(err)
	}
	w.sets[issuer] = keySet(t, map[string]any{"k": w.key.Public(), "next": newKey(t).Public()})
	if err := w.Live(p); err != nil {
		t.Errorf("a key more: %v", err)
	}
	if _, err := w.verify(t, token); err != nil {
		t.Errorf("a key more: %v", err)
	}
	w.sets[issuer] = keySet(t, map[string]any{"renamed": w.key.Public()})
	_, err = w.verify(t, token)
	refused(t, "its kid is nobody's", err, refusal.Unauthenticated)
	w.sets[issuer] = keySet(t, map[string]any{"next": newKey(t).Public()})
	refused(t, "its key withdrawn", w.Live(p), refusal.Unauthenticated)
}

func TestOnlyGoodTokensAreCached(t *testing.T) {
	w := newWorld(t)
	for _, token := range []secret.Text{
		w.token(member{"aud", `"isocore:qdrant"`}), w.token(member{"exp", "1700000300"}, member{"iat", "1700000000"}),
		compact(`{"alg":"EdDSA","kid":"k","typ":"JWT"}`, claims(), w.sign), compact(header, claims(), func([]byte) []byte { return make([]byte, 64) }),
		secret.New(""), secret.New("password"),
	} {
		if _, err := w.verify(t, token); err == nil {
			t.Error("accepted")
		}
	}
	_, err := w.Verify(t.Context(), "", w.token(member{"aud", `"isocore:"`}))
	refused(t, "for no broker, at none", err, refusal.Unauthenticated)
	if w.Cached() != 0 {
		t.Errorf("%d cached", w.Cached())
	}
}

func TestAFloodLeavesTheCacheBounded(t *testing.T) {
	w := newWorld(t)
	w.Verifier = w.verifier(t, 64)
	for i := range 500 {
		if _, err := w.verify(t, w.token(member{"jti", `"flood-` + time.Duration(i).String() + `"`})); err != nil {
			t.Fatal(err)
		}
		if w.Cached() > 64 {
			t.Fatalf("%d cached", w.Cached())
		}
	}
	if w.Cached() < 32 {
		t.Errorf("%d cached: it remembers too little", w.Cached())
	}
}

// To the client, a token for somebody else and a token by somebody else are
// the same nothing.
func TestNoTellingWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	forger := newKey(t)
	for name, token := range map[string]secret.Text{
		"audience":  w.token(member{"aud", `"isocore:qdrant"`}),
		"signature": compact(header, claims(), func(b []byte) []byte { return ed25519.Sign(forger, b) }),
		"issuer":    w.token(member{"iss", `"https://nobody.test"`}),
		"kid":       compact(`{"alg":"EdDSA","kid":"other","typ":"at+jwt"}`, claims(), w.sign),
		"typ":       compact(`{"alg":"EdDSA","kid":"k","typ":"JWT"}`, claims(), w.sign),
		"forged and expired": compact(header, claims(member{"exp", "1700000300"}, member{"iat", "1700000000"}),
			func(b []byte) []byte { return ed25519.Sign(forger, b) }),
		"expired, for another broker": w.token(member{"exp", "1700000300"}, member{"iat", "1700000000"}, member{"aud", `"isocore:qdrant"`}),
		"no token":                    secret.New(""),
		"a password":                  secret.New("hunter2"),
		"a megabyte":                  secret.New(strings.Repeat("a", 1<<20)),
	} {
		_, err := w.verify(t, token)
		refused(t, name, err, refusal.Unauthenticated)
		if s := token.Reveal(); s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error has the token in it", name)
		}
	}
	if w.standing.asked != 0 {
		t.Errorf("standing was asked %d times about tokens that are not ours", w.standing.asked)
	}
}

// Nobody waits for the answer: the signature is not worth checking.
func TestVerifyMindsItsContext(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Verify(ctx, "postgres", w.token())
	refused(t, "cancelled", err, refusal.TooLong)
}

func TestLiveAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	p, err := w.verify(t, w.token())
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := w.Live(p); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAccessorsReturnCopies(t *testing.T) {
	w := newWorld(t)
	token := w.token(member{"act", `{"sub":"bob"}`})
	p, err := w.verify(t, token)
	if err != nil {
		t.Fatal(err)
	}
	p.Reach()[0], p.Actors()[0] = "admin:all", "root"
	again, err := w.verify(t, token)
	if err != nil || p.Has("admin:all") || again.Has("admin:all") || again.Actors()[0] != "bob" {
		t.Errorf("%+v, %v", again, err)
	}
}

// Some go on past the end of their token with what they had begun: they must
// still hear of a suspension.
func TestASuspensionIsSeenPastExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := identitytest.New(t)
		id := tenant.New()
		p := d.Principal(t, id)
		time.Sleep(time.Until(p.Expires()))
		if err := d.Verifier.Live(p); refusal.Of(err) != refusal.Expired {
			t.Fatal(err)
		}
		d.Standing.Suspend(id.UUID())
		if err := d.Verifier.Live(p); refusal.Of(err) != refusal.Suspended {
			t.Fatal(err)
		}
	})
}
