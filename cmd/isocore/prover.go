package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/broker/edge"
	"github.com/isocore/isocore/broker/exchange"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/secret"
)

// What the identity providers of a run are called.
const (
	proverBegin = "https://prover-"
	proverEnd   = ".invalid"
	proverLife  = time.Hour // the longest that a token of theirs may live
)

// proverProviders are those of a run. The first speaks for both tenants; the
// second calls A what the first calls B; the people of the others reach less.
var proverProviders = []struct {
	name  string
	reach []string
	both  bool
}{
	{"one", []string{identity.HTTP, identity.PGRead, identity.PGWrite}, true},
	{"two", []string{identity.HTTP, identity.PGRead, identity.PGWrite}, false},
	{"reads", []string{identity.HTTP, identity.PGRead}, false},
	{"apart", []string{identity.PGRead, identity.PGWrite}, false},
}

// provide has the node believe the identity providers of a run.
func (g *ground) provide(ctx context.Context, a, b *prove.Tenant) ([]*prove.Provider, error) {
	run := strings.ToLower(rand.Text()[:8])
	nameA, nameB := "org-"+run+"-a", "org-"+run+"-o"
	for _, one := range proverProviders {
		p, err := prove.NewProvider(proverBegin+run+"-"+one.name+proverEnd, "https://prover"+proverEnd+"/app", one.reach...)
		if err != nil {
			return nil, err
		}
		p.Values[a.ID] = nameA
		if one.name == "two" {
			p.Values[a.ID] = nameB
		}
		if one.both {
			p.Values[b.ID] = nameB
		}
		is, err := call[admin.Issuer](ctx, g.client, http.MethodPost, "/v1/issuers", admin.NewIssuer{
			URL: p.Issuer, Audiences: []string{p.Audience}, Types: []string{prove.ProviderType}, Algorithms: []string{jws.ES256},
			TenantAt: "/" + prove.ProviderClaim, Shape: string(identity.Scalar), SubjectAt: "/sub", Reach: p.Reach, Lifetime: proverLife.String(), JWKS: p.JWKS(),
		})
		if err != nil {
			return nil, err
		}
		for _, t := range []*prove.Tenant{a, b} {
			if p.Values[t.ID] == "" {
				continue
			}
			if is, err = g.bind(ctx, is, p.Values[t.ID], t.Name); err != nil {
				return nil, err
			}
		}
		g.providers = append(g.providers, p)
	}
	return g.providers, nil
}

// silence removes the identity providers of this run, and of killed ones.
func (g *ground) silence(ctx context.Context) error {
	all, err := g.issuers(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, is := range all {
		if !strings.HasPrefix(is.URL, proverBegin) || !strings.HasSuffix(is.URL, proverEnd) {
			continue
		}
		if _, err := call[admin.Issuer](ctx, g.client, http.MethodDelete, at(is, ""), nil); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", is.URL, err))
		}
	}
	return errors.Join(errs...)
}

// A repeated token is shown more than once: each takes a place at the
// edge for a while.
type repeated struct {
	token secret.Text
	until time.Time
}

// How long a token of a provider lives, and is shown.
const (
	shownLife = 5 * time.Minute
	shownFor  = time.Minute
)

// good returns a good token of a tenant for a door, of the kind that is good
// there.
func (g *ground) good(ctx context.Context, t admin.Tenant, broker, ttl string, reach ...string) (secret.Text, error) {
	switch broker {
	case edge.Name:
		return g.provided(t, reach)
	case exchange.Name:
		return g.txn(ctx, t, ttl, reach)
	default:
		return g.token(ctx, t.Path, broker, ttl, reach...)
	}
}

// provided returns a token of a provider whose people reach applications, or
// do not if the reach that is asked for says so.
func (g *ground) provided(t admin.Tenant, reach []string) (secret.Text, error) {
	apart := len(reach) > 0 && !slices.Contains(reach, identity.HTTP)
	i := slices.IndexFunc(g.providers, func(p *prove.Provider) bool {
		return p.Values[t.ID] != "" && slices.Contains(p.Reach, identity.HTTP) != apart
	})
	if i < 0 {
		return secret.Text{}, prove.Skip("no identity provider of the run speaks for %s with the reach %v", t.Path, reach)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := fmt.Sprint(i, " ", t.ID)
	if one, ok := g.shown[key]; ok && time.Now().Before(one.until) {
		return one.token, nil
	}
	token, err := g.providers[i].Token(g.providers[i].Good(t.ID, shownLife))
	if err != nil {
		return token, err
	}
	if g.shown == nil {
		g.shown = map[string]repeated{}
	}
	g.shown[key] = repeated{token, time.Now().Add(shownFor)}
	return token, nil
}

// txn has the node mint a Txn-Token for the holder of a provider's token.
func (g *ground) txn(ctx context.Context, t admin.Tenant, ttl string, reach []string) (secret.Text, error) {
	from, err := g.provided(t, nil)
	if err != nil {
		return from, err
	}
	minted, err := call[admin.Token](ctx, g.client, http.MethodPost, "/v1/token", admin.TokenRequest{
		Tenant: t.Path, For: exchange.Name, Reach: reach, TTL: ttl, Sub: "prover", Token: from.Reveal(),
	})
	return secret.New(minted.Token), err
}

// spoiled returns a token of a provider's that must not be taken.
func (g *ground) spoiled(t admin.Tenant, f prove.Flaw) (secret.Text, error) {
	if len(g.providers) == 0 {
		return secret.Text{}, prove.Skip("no identity provider was made for the run")
	}
	p := g.providers[0]
	claims := p.Good(t.ID, shownLife)
	switch f {
	case prove.Forged, prove.Stranger:
		other, err := prove.NewProvider(p.Issuer, p.Audience)
		if err != nil {
			return secret.Text{}, err
		}
		if f == prove.Stranger {
			claims.Iss = `"https://stranger.invalid"`
		}
		return other.Token(claims)
	case prove.Expired:
		now := time.Now()
		claims.Iat, claims.Exp = fmt.Sprint(now.Add(-2*shownLife).Unix()), fmt.Sprint(now.Add(-shownLife).Unix())
	case prove.Elsewhere:
		claims.Aud = `"https://elsewhere.invalid"`
	default:
		return secret.Text{}, prove.Skip("no %v token can be made", f)
	}
	return p.Token(claims)
}

// foreign returns a Txn-Token as another trust domain would mint it.
func (g *ground) foreign(ctx context.Context, t admin.Tenant) (secret.Text, error) {
	good, err := g.txn(ctx, t, "5m", []string{identity.PGRead})
	if err != nil {
		return good, err
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(good.Reveal(), ".")[1])
	if err != nil {
		return secret.Text{}, err
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return secret.Text{}, err
	}
	claims["iss"], claims["aud"] = "https://stranger.invalid", "stranger.invalid"
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return secret.Text{}, err
	}
	signer, _, err := jws.NewSigner(key)
	if err != nil {
		return secret.Text{}, err
	}
	token, err := jws.Sign(signer, "txntoken+jwt", claims)
	return secret.New(token), err
}
