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
