package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
)

// maxSubject is how many bytes a provider has to call somebody (OpenID Connect
// Core, 2).
const maxSubject = 255

// provider returns the provider of an issuer, and nil for ours: what is signed
// by a provider is never a token of ours, and the other way round.
func (v *Verifier) provider(issuer string) *Provider {
	if v.c.Providers == nil || issuer == v.issuer {
		return nil
	}
	return v.c.Providers(issuer)
}

// readForeign is read for a provider's token. Nobody is enrolled before
// everything else was found good: to be known takes a place in the registry.
func (v *Verifier) readForeign(ctx context.Context, token string) (*verified, error) {
	t, err := jws.ParseForeign(token)
	if err != nil {
		return nil, err
	}
	issuer, err := t.ClaimedIssuer()
	if err != nil {
		return nil, err
	}
	q := v.provider(issuer)
	if q == nil {
		return nil, fmt.Errorf("no provider %.100q", issuer)
	}
	f, err := v.readOf(ctx, q, t)
	if err != nil {
		return nil, fmt.Errorf("provider %.100q: %w", issuer, err)
	}
	now := v.c.Now()
	if err := v.due(f, now); err != nil {
		return nil, fmt.Errorf("provider %.100q: %w", issuer, err)
	}
	if !now.Before(f.p.expires) {
		return nil, v.expired(&f.p)
	}
	if f.p.partner, f.p.id, err = v.c.Enrol(ctx, f.p.tenant, issuer, f.p.subject); err != nil {
		return nil, refusal.New(refusal.Of(err), "identity: %s: provider %.100q: enrolment: %w", v.c.TrustDomain, issuer, err)
	}
	return f, nil
}

func (v *Verifier) readOf(ctx context.Context, q *Provider, t jws.Token) (*verified, error) {
	if !slices.Contains(q.Types, t.Typ()) || !slices.Contains(q.Algorithms, t.Alg()) {
		return nil, fmt.Errorf("typ is %.40q, alg %.20q", t.Typ(), t.Alg())
	}
	keys, payload, key, err := v.open(ctx, q.Issuer, t)
	if err != nil {
		return nil, err
	}
	f, err := q.read(payload)
	if err != nil {
		return nil, err
	}
	f.keys, f.p.key = keys.Digest(), key.Thumb()
	return f, nil
}

// open verifies t with the keys of a provider, and once more with newer ones
// if its key is not among them. No other failure asks for newer ones: who can
// make up signatures could otherwise have them fetched as often as they like.
func (v *Verifier) open(ctx context.Context, issuer string, t jws.Token) (*KeySet, []byte, jws.Key, error) {
	keys := v.c.Issuers(issuer)
	err := jws.ErrNoKey
	if keys != nil {
		payload, key, bad := keys.Verify(t)
		if !errors.Is(bad, jws.ErrNoKey) {
			return keys, payload, key, bad
		}
		err = bad
	}
	if unknown := v.c.Renew(ctx, issuer); unknown != nil {
		return nil, nil, jws.Key{}, v.refuse(errors.Join(err, unknown))
	}
	keys = v.c.Issuers(issuer)
	payload, key, err := keys.Verify(t)
	return keys, payload, key, err
}

// members are the claims of a provider's token. The set is open: what is not
// asked for is not looked at, an e-mail address least of all. What is asked for
// is held to the rules of our own claims, [jws.Plain].
type members map[string]jsontext.Value

// read parses the claims of a token that q signed.
func (q *Provider) read(payload []byte) (*verified, error) {
	var m members
	if err := jws.DecodeOpen(payload, &m); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if _, event := m["events"]; event {
		return nil, errors.New("claims: events: the token reports what happened (RFC 8417), and lets nobody in")
	}
	if _, bound := m["cnf"]; bound {
		return nil, errors.New("claims: cnf: the token is bound to a key, and nobody here checks the proof")
	}
	f := &verified{kind: providerToken, most: q.MaxLifetime}
	p := &f.p
	client, err := q.party(m)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if err := m.dates(f); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if err := q.who(m, p); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	p.kind, p.issuer, p.signer, p.client, p.reach, p.policy = providerToken, q.Issuer, q.Issuer, client, q.Reach, q.policy
	return f, nil
}

// party returns which program the token was issued to. An audience may be
// missing only where the registration says who may hold a token, and the token
// says client_id: so are the access tokens of Cognito and those of WorkOS with
// a client_id in their template.
func (q *Provider) party(m members) (string, error) {
	audiences, errA := m.audiences()
	azp, errZ := m.optional("azp", maxText)
	id, errC := m.optional("client_id", maxText)
	if err := errors.Join(errA, errZ, errC); err != nil {
		return "", err
	}
	if len(q.Parties) > 0 {
		if azp == "" && id == "" {
			return "", errors.New("neither azp nor client_id")
		}
		for _, s := range []string{azp, id} {
			if s != "" && !slices.Contains(q.Parties, s) {
				return "", fmt.Errorf("issued to %.100q", s)
			}
		}
	}
	_, given := m["aud"]
	if given && !slices.ContainsFunc(audiences, func(s string) bool { return slices.Contains(q.Audiences, s) }) {
		return "", fmt.Errorf("aud is %.200q", audiences)
	}
	if !given && (len(q.Parties) == 0 || id == "") {
		return "", errors.New("no aud")
	}
	if azp != "" {
		return azp, nil
	}
	return id, nil
}

// who sets whose data it is and who asks. Nothing is normalised: two values
// that differ in one byte are two tenants.
func (q *Provider) who(m members, p *Principal) error {
	at, err := q.tenantAt.in(m)
	if err != nil {
		return fmt.Errorf("tenant: %w", err)
	}
	if err := jws.Plain(at); err != nil {
		return fmt.Errorf("tenant: %w", err)
	}
	value, err := q.Shape.one(at)
	if err != nil || !visible(value, maxValue) {
		return fmt.Errorf("tenant: not one text of 1 to %d bytes of visible ASCII", maxValue)
	}
	id, bound := q.Tenants[value]
	if !bound || id.IsZero() || !q.speaksFor(id) {
		return fmt.Errorf("tenant: %.150q is bound to none", value)
	}
	at, err = q.subjectAt.in(m)
	if err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	subject, err := text(at)
	if err != nil || !printable(subject, maxSubject) {
		return fmt.Errorf("subject: not a text of 1 to %d bytes that prints", maxSubject)
	}
	if v, given := m["act"]; given {
		var a actor
		if err := errors.Join(jws.Plain(v), json.Unmarshal(v, &a)); err != nil {
			return fmt.Errorf("act: %w", err)
		}
		if p.actors, err = a.chain(q.Issuer, q.Issuer); err != nil {
			return err
		}
	}
	p.tenant, p.value, p.subject = id, value, subject
	return nil
}

// dates sets when the token begins and ends.
func (m members) dates(f *verified) error {
	var errI, errE, errN error
	f.issued, errI = date(m["iat"])
	f.p.expires, errE = date(m["exp"])
	if v, given := m["nbf"]; given {
		f.begins, errN = date(v)
	}
	if err := errors.Join(errI, errE, errN); err != nil {
		return fmt.Errorf("exp and iat are required, and nbf is as they are: %w", err)
	}
	if f.begins.After(f.p.expires) {
		return errors.New("nbf is after exp")
	}
	return nil
}

// audiences returns the aud claim, which RFC 7519 lets be a text or a list.
func (m members) audiences() ([]string, error) {
	v := m["aud"]
	if v == nil {
		return nil, nil
	}
	all := []jsontext.Value{v}
	if v.Kind() == '[' {
		all = nil
		if err := json.Unmarshal(v, &all); err != nil || len(all) == 0 || len(all) > maxAudiences {
			return nil, fmt.Errorf("aud is a list of 1 to %d", maxAudiences)
		}
	}
	out := make([]string, 0, len(all))
	for _, one := range all {
		s, err := text(one)
		if err != nil || !printable(s, maxText) {
			return nil, errors.New("aud is made of texts that print and are short")
		}
		out = append(out, s)
	}
	return out, nil
}

const maxAudiences = 16

// optional returns a claim that is a text if it is there.
func (m members) optional(name string, limit int) (string, error) {
	v, given := m[name]
	if !given {
		return "", nil
	}
	s, err := text(v)
	if err != nil || !printable(s, limit) {
		return "", fmt.Errorf("%s is not a text that prints and is short", name)
	}
	return s, nil
}

// endOfDates is the first second of the year 10000.
const endOfDates = 253402300800

// date reads a NumericDate (RFC 7519, 2): digits, and a fraction if its issuer
// counts in less than seconds. What is beyond a nanosecond is cut off.
func date(v jsontext.Value) (time.Time, error) {
	whole, fraction, _ := strings.Cut(string(v), ".")
	seconds, err := strconv.ParseUint(whole, 10, 63)
	if err != nil || v.Kind() != '0' || seconds == 0 || seconds >= endOfDates {
		return time.Time{}, errDate
	}
	nanos, err := strconv.ParseUint((fraction + "000000000")[:9], 10, 31)
	if err != nil || strings.ContainsAny(fraction, "eE+-") {
		return time.Time{}, errDate
	}
	return time.Unix(int64(seconds), int64(nanos)), nil
}

var errDate = errors.New("a date is a number of seconds after 1970 and before the year 10000")
