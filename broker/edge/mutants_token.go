//go:build mutant

package edge

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/secret"
)

// shownMutants look for a token where none is.
func (l *Lab) shownMutants() []prove.Mutant {
	var last atomic.Pointer[secret.Text]
	// beside finds what tokenIn does not.
	beside := func(find func(*http.Request) string) func(*http.Request) (secret.Text, error) {
		return func(r *http.Request) (secret.Text, error) {
			token, err := tokenIn(r)
			if err == nil {
				return token, nil
			}
			if found := find(r); found != "" {
				return secret.New(found), nil
			}
			return token, err
		}
	}
	by := func(name, probe string, find func(*http.Request) string) prove.Mutant {
		return mutant(name, opToken, probe, replaced(l, &tokenShown, beside(find)))
	}
	return []prove.Mutant{
		mutant("who shows nothing is who came last", opToken, "no token", replaced(l, &tokenShown, func(r *http.Request) (secret.Text, error) {
			token, err := tokenIn(r)
			if err == nil && token.Len() > 100 { // one that may be good
				last.Store(&token)
			}
			if was := last.Load(); err != nil && was != nil {
				return *was, nil
			}
			return token, err
		})),
		by("a token is looked for in the query", "a token in the query", func(r *http.Request) string { return r.URL.Query().Get("access_token") }),
		mutant("a token in the query is left to logs", opToken, "a token in the query", replaced(l, &tokenShown, func(r *http.Request) (secret.Text, error) {
			r = r.Clone(r.Context())
			r.URL.RawQuery = ""
			return tokenIn(r)
		})),
		by("a token is looked for in cookies", "a token where none is looked for", func(r *http.Request) string {
			c, err := r.Cookie("session")
			if err != nil {
				return ""
			}
			return c.Value
		}),
		by("a token is looked for in other headers", "a token where none is looked for", func(r *http.Request) string { return r.Header.Get("X-Auth-Token") }),
		by("the first of two tokens counts", "two tokens", func(r *http.Request) string {
			if len(r.Header["Authorization"]) < 2 {
				return ""
			}
			return strings.TrimPrefix(r.Header["Authorization"][0], "Bearer ")
		}),
		by("any scheme will do", "other schemes", func(r *http.Request) string {
			_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			return token
		}),
	}
}

// verifies replaces the verifier. Sessions are made anew.
func (l *Lab) verifies(v func(broker.Verifier) broker.Verifier) change {
	return l.serving(func() func() {
		was := l.verifier.now.Load()
		is := v(*was)
		l.verifier.now.Store(&is)
		return func() { l.verifier.now.Store(was) }
	})
}

// A spoiled token is what a mutant makes of one that does not verify.
type spoiled struct {
	head, claims map[string]any
	payload      string
}

// mended is a verifier for which one thing that is wrong with a token is not.
type mended struct {
	broker.Verifier
	lab  *Lab
	mend func(*spoiled) bool // false: it is not the thing
}

// Verify implements [broker.Verifier].
func (m *mended) Verify(ctx context.Context, name string, token secret.Text) (identity.Principal, error) {
	p, err := m.Verifier.Verify(ctx, name, token)
	if err == nil || name != Name {
		return p, err
	}
	s, ok := read(token)
	if !ok || !m.mend(s) {
		return p, err
	}
	again, rerr := m.lab.sign(s)
	if rerr != nil {
		return p, err
	}
	return m.Verifier.Verify(ctx, name, again)
}

// read parses a token as somebody would who knows no danger.
func read(token secret.Text) (*spoiled, bool) {
	parts := strings.Split(strings.ReplaceAll(token.Reveal(), "=", ""), ".")
	if len(parts) < 2 {
		return nil, false
	}
	head, herr := base64.RawURLEncoding.DecodeString(parts[0])
	payload, perr := base64.RawURLEncoding.DecodeString(parts[1])
	s := &spoiled{payload: string(payload)}
	if herr != nil || perr != nil || json.Unmarshal(head, &s.head) != nil || json.Unmarshal(payload, &s.claims) != nil {
		return nil, false
	}
	return s, s.head != nil && s.claims != nil
}

// provider returns the one that a token names.
func (l *Lab) provider(issuer string) *prove.Provider {
	for _, p := range l.Target.Providers {
		if p.Issuer == issuer {
			return p
		}
	}
	return l.Target.Providers[0]
}

// sign has the provider that s names sign it.
func (l *Lab) sign(s *spoiled) (secret.Text, error) {
	head, herr := json.Marshal(map[string]any{"alg": "ES256", "kid": prove.ProviderKey, "typ": s.head["typ"]})
	claims, cerr := json.Marshal(s.claims)
	if herr != nil || cerr != nil {
		return secret.Text{}, herr
	}
	return l.provider(said(s.claims, "iss")).Sign(prove.Base64(string(head)) + "." + prove.Base64(string(claims)))
}

// tokenMutants are those of who may be believed.
func (l *Lab) tokenMutants() []prove.Mutant {
	with := func(name, probe string, mend func(*spoiled) bool) prove.Mutant {
		return mutant(name+": "+probe, opToken, probe, l.verifies(func(v broker.Verifier) broker.Verifier { return &mended{v, l, mend} }))
	}
	first := l.Target.Providers[0]
	audience := func(s *spoiled) bool { s.claims["aud"] = first.Audience; return true }
	fresh := func(s *spoiled) bool { s.claims["iat"], s.claims["exp"] = hence(0), hence(life); return true }
	always := func(*spoiled) bool { return true }
	all := []prove.Mutant{
		with("audience not checked", "audiences", audience),
		with("audience not checked", "a token for another broker", audience),
		with("type not checked", "types of tokens", func(s *spoiled) bool { s.head["typ"] = prove.ProviderType; return true }),
		with("end not checked", "dates", fresh),
		with("end not checked", "a token expired", fresh),
		with("signature not checked", "forgeries", always),
		with("signature not checked", "a token forged", always),
		with("any provider's key signs for any other", "issuers", always),
		with("headers nobody knows are passed over", "headers of a token", func(s *spoiled) bool { return s.head["crit"] != nil || s.head["zip"] != nil }),
		with("a name is looked for that is nearly it", "issuers", func(s *spoiled) bool { s.claims["iss"] = first.Issuer; return true }),
		with("an issuer nobody knows is the first", "a token of an issuer nobody knows", func(s *spoiled) bool { s.claims["iss"] = first.Issuer; return true }),
		with("the last of two claims counts", "claims twice", func(s *spoiled) bool { return strings.Count(s.payload, `"`+prove.ProviderClaim+`":`) > 1 }),
		with("claims are of any case", "claims twice", folded),
		with("an organisation is of any case", "names of a tenant", func(s *spoiled) bool {
			s.claims[prove.ProviderClaim] = strings.ToLower(strings.TrimSpace(said(s.claims, prove.ProviderClaim)))
			return true
		}),
		with("the first of many organisations counts", "names of a tenant", func(s *spoiled) bool {
			list, ok := s.claims[prove.ProviderClaim].([]any)
			if !ok || len(list) == 0 {
				return false
			}
			s.claims[prove.ProviderClaim] = list[0]
			return true
		}),
		with("no organisation is the first", "names of a tenant", func(s *spoiled) bool {
			if s.claims[prove.ProviderClaim] != nil {
				return false
			}
			s.claims[prove.ProviderClaim] = first.Values[l.Target.A.ID]
			return true
		}),
		with("what cannot be read of an organisation is left out", "names of a tenant", func(s *spoiled) bool {
			s.claims[prove.ProviderClaim] = strings.TrimRight(said(s.claims, prove.ProviderClaim), "\x00\ufffd")
			return true
		}),
		with("an organisation is what any provider calls it", "two providers, one subject", func(s *spoiled) bool { s.claims["iss"] = first.Issuer; return true }),
	}
	return append(all,
		mutant("a person is a subject, whoever says so", opToken, "two providers, one subject", l.verifies(func(v broker.Verifier) broker.Verifier { return &anonymous{v, l} })),
		mutant("claims are read in any case", opToken, "claims that must not count", l.verifies(func(v broker.Verifier) broker.Verifier { return &careless{v, l} })),
		mutant("a token of any door is good", opToken, "tokens of other doors", l.verifies(func(v broker.Verifier) broker.Verifier { return &anyDoor{v, l} })),
		mutant("standing not checked", opToken, "a tenant that is suspended", l.verifies(func(v broker.Verifier) broker.Verifier { return undying{v} })),
	)
}

// folded reads claims whatever their case.
func folded(s *spoiled) bool {
	changed := false
	for _, name := range slices.Collect(maps.Keys(s.claims)) {
		if lower := strings.ToLower(name); lower != name {
			s.claims[lower] = s.claims[name]
			changed = true
		}
	}
	return changed
}

// anonymous is a verifier to which a subject is the same person at whichever
// provider.
type anonymous struct {
	broker.Verifier
	lab *Lab
}

// Verify implements [broker.Verifier].
func (a *anonymous) Verify(ctx context.Context, name string, token secret.Text) (identity.Principal, error) {
	p, err := a.Verifier.Verify(ctx, name, token)
	if err != nil || name != Name || p.Issuer() != a.lab.Target.Providers[1].Issuer {
		return p, err
	}
	s, ok := read(token)
	if !ok {
		return p, err
	}
	first := a.lab.Target.Providers[0]
	s.claims["iss"], s.claims[prove.ProviderClaim] = first.Issuer, first.Values[p.Tenant().String()]
	again, err := a.lab.sign(s)
	if err != nil {
		return p, err
	}
	return a.Verifier.Verify(ctx, name, again)
}

// careless is a verifier that reads the claims of a good token once more.
type careless struct {
	broker.Verifier
	lab *Lab
}

// Verify implements [broker.Verifier].
func (c *careless) Verify(ctx context.Context, name string, token secret.Text) (identity.Principal, error) {
	p, err := c.Verifier.Verify(ctx, name, token)
	if err != nil || name != Name {
		return p, err
	}
	s, ok := read(token)
	if !ok || !folded(s) {
		return p, err
	}
	again, err := c.lab.sign(s)
	if err != nil {
		return p, err
	}
	return c.Verifier.Verify(ctx, name, again)
}

// anyDoor is a verifier that takes what is good elsewhere for the first
// provider's word.
type anyDoor struct {
	broker.Verifier
	lab *Lab
}

// Verify implements [broker.Verifier].
func (a *anyDoor) Verify(ctx context.Context, name string, token secret.Text) (identity.Principal, error) {
	p, err := a.Verifier.Verify(ctx, name, token)
	if err == nil || name != Name {
		return p, err
	}
	for door := range a.lab.Target.Addr {
		if door == Name {
			continue
		}
		if who, derr := a.Verifier.Verify(ctx, door, token); derr == nil {
			return a.lab.someone(who.Tenant().String())
		}
	}
	return p, err
}

// undying is a verifier that asks once, as long as a token was verified.
type undying struct{ broker.Verifier }

func (undying) Live(identity.Principal) error { return nil }
