package identitytest_test

import (
	"testing"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/identitytest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

var _ identity.Standing = (*identitytest.Standing)(nil)

func TestTokensAreWhatTheySay(t *testing.T) {
	d, id := identitytest.New(t), tenant.New()
	p := d.Principal(t, id, identity.PGRead)
	if p.Tenant() != id || !p.Has(identity.PGRead) || p.Has(identity.PGWrite) {
		t.Errorf("principal: %v", p)
	}
	for name, c := range map[string]struct {
		token secret.Text
		want  refusal.Reason
	}{
		"expired":            {d.Expired(id), refusal.Expired},
		"forged":             {d.Forged(id), refusal.Unauthenticated},
		"forged and expired": {d.ForgedExpired(id), refusal.Unauthenticated},
		"wrong audience":     {d.WrongAudience(id), refusal.Unauthenticated},
	} {
		if _, err := d.Verifier.Verify(t.Context(), d.Broker, c.token); err == nil || refusal.Of(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	changed := d.Verifier.Watch()
	d.Standing.Suspend(id.UUID())
	<-changed
	if err := d.Verifier.Live(p); refusal.Of(err) != refusal.Suspended {
		t.Errorf("suspended: %v", err)
	}
	d.Standing.Resume(id.UUID())
	d.Standing.Lose()
	if err := d.Verifier.Live(p); refusal.Of(err) != refusal.Unavailable {
		t.Errorf("registry lost: %v", err)
	}
	d.Standing.Find()
	if err := d.Verifier.Live(p); err != nil {
		t.Errorf("all well: %v", err)
	}
	d.Standing.SuspendIssuer(d.Issuer)
	if err := d.Verifier.Live(p); refusal.Of(err) != refusal.Suspended {
		t.Errorf("issuer suspended: %v", err)
	}
	d.Standing.Forget(id)
	if err := d.Verifier.Live(p); refusal.Of(err) != refusal.Unauthenticated {
		t.Errorf("forgotten: %v", err)
	}
}

// At each door the tokens are of its kind, and each of the kinds is refused at
// the doors of the others.
func TestTokensAreOfTheDoor(t *testing.T) {
	d, id := identitytest.New(t), tenant.New()
	doors := []string{"postgres", identity.Edge, identity.Exchange}
	for _, door := range doors {
		d.Broker = door
		good := d.Token(id)
		if p := d.Principal(t, id, identity.PGRead); p.Tenant() != id || !p.Has(identity.PGRead) || p.Has(identity.PGWrite) {
			t.Errorf("%s: principal: %v", door, p)
		}
		for _, other := range doors {
			_, err := d.Verifier.Verify(t.Context(), other, good)
			if other == door && err != nil || other != door && (err == nil || refusal.Of(err) != refusal.Unauthenticated) {
				t.Errorf("a token for %s at %s: %v", door, other, err)
			}
		}
		for name, c := range map[string]struct {
			token secret.Text
			want  refusal.Reason
		}{
			"expired":            {d.Expired(id), refusal.Expired},
			"forged":             {d.Forged(id), refusal.Unauthenticated},
			"forged and expired": {d.ForgedExpired(id), refusal.Unauthenticated},
			"wrong audience":     {d.WrongAudience(id), refusal.Unauthenticated},
		} {
			if _, err := d.Verifier.Verify(t.Context(), door, c.token); err == nil || refusal.Of(err) != c.want {
				t.Errorf("%s, %s: %v", door, name, err)
			}
		}
	}
}

func TestProviderTokensAreWhatTheEditsSay(t *testing.T) {
	d, id := identitytest.New(t), tenant.New()
	for name, c := range map[string]struct {
		token secret.Text
		good  bool
	}{
		"as it is":         {d.ProviderToken(id), true},
		"EdDSA":            {d.ProviderToken(id, identitytest.Signed("EdDSA")), true},
		"Ed25519":          {d.ProviderToken(id, identitytest.Signed("Ed25519")), true},
		"RS256":            {d.ProviderToken(id, identitytest.Signed("RS256")), true},
		"another typ":      {d.ProviderToken(id, identitytest.Header("typ", "at+jwt")), true},
		"a claim more":     {d.ProviderToken(id, identitytest.Claim("email", "a@b.test")), true},
		"a wrong typ":      {d.ProviderToken(id, identitytest.Header("typ", "logout+jwt")), false},
		"an unknown kid":   {d.ProviderToken(id, identitytest.Header("kid", "x")), false},
		"no sub":           {d.ProviderToken(id, identitytest.Claim("sub", nil)), false},
		"another's tenant": {d.ProviderToken(id, identitytest.Claim("org_id", identitytest.Value(tenant.New()))), false},
		"raw":              {d.Issue("EdDSA", `{"alg":"EdDSA","kid":"`+d.KeyID("EdDSA")+`","typ":"JWT"}`, `{"iss":"`+identitytest.IdPIssuer+`"}`), false},
	} {
		p, err := d.Verifier.Verify(t.Context(), identity.Edge, c.token)
		if (err == nil) != c.good || err == nil && (p.Tenant() != id || p.Issuer() != identitytest.IdPIssuer || p.Client() != "test") {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if d.Renewed() != 1 {
		t.Errorf("asked for newer keys %d times", d.Renewed())
	}
	token := d.ProviderToken(id)
	p, err := d.Verifier.Verify(t.Context(), identity.Edge, token)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(){
		"rotated": d.Rotate, "withdrawn": func() { d.Withdraw(identitytest.IdPIssuer) },
	} {
		changed := d.Verifier.Watch()
		change()
		<-changed
		if err := d.Verifier.Live(p); refusal.Of(err) != refusal.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := d.Verifier.Verify(t.Context(), identity.Edge, token); refusal.Of(err) != refusal.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}
