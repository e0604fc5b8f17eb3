package edge

import (
	"slices"
	"strings"

	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
)

// ignored shows tokens that mean A, whatever else they say.
func (c *act) ignored() (*prove.Finding, error) {
	plain, r, err := c.mirror(c.a)
	if err != nil {
		return nil, err
	}
	if f := c.own("a good token", plain, r); f != nil {
		return f, nil
	}
	b := c.ofB()
	for how, more := range map[string]string{
		"ORG_ID": `,"ORG_ID":` + b, "Org_id": `,"Org_id":` + b, "tenant": `,"tenant":"` + c.t.B.ID + `"`, "tid": `,"tid":` + b,
		"org": `,"org":{"id":` + b + `}`, "organization": `,"organization":` + b, "tctx": `,"tctx":{"tenant":"` + c.t.B.ID + `"}`,
		"an address of B's": `,"email":"prover@` + c.main().Values[c.t.B.ID] + `","email_verified":true`, "a name": `,"preferred_username":` + b + `,"upn":` + b,
		"a scope": `,"scope":"admin http pg:read pg:write other"`, "roles": `,"roles":["admin"],"groups":[` + b + `]`,
		"hd": `,"hd":` + b, "a link": `,"_claim_names":{"org_id":"src"},"_claim_sources":{"src":{"JWT":"e30"}}`,
	} {
		claims := c.good()
		claims.More = more
		token, err := c.main().Token(claims)
		if err != nil {
			return nil, err
		}
		m, r, err := c.mirror(token)
		if err != nil {
			return nil, err
		}
		if f := c.own(how, m, r); f != nil {
			return f, nil
		}
		if m.Principal != plain.Principal || !slices.Equal(m.Reach, plain.Reach) {
			return c.finding(how, "the same person, of the same reach", r), nil
		}
	}
	return nil, nil
}

// twoProviders shows tokens of the second provider, which calls A by the name
// that the first calls B by.
func (c *act) twoProviders() (*prove.Finding, error) {
	first, r, err := c.mirror(c.a)
	if err != nil {
		return nil, err
	}
	if f := c.own("a token of the first provider", first, r); f != nil {
		return f, nil
	}
	if len(c.t.Providers) < 2 {
		return nil, prove.Skip("the run has one provider")
	}
	second := c.t.Providers[1]
	claims := second.Good(c.t.A.ID, life)
	claims.More = `,"email":"prover@a.invalid","email_verified":true`
	token, err := second.Token(claims)
	if err != nil {
		return nil, err
	}
	m, r, err := c.mirror(token)
	if err != nil {
		return nil, err
	}
	if f := c.own("a token of the second provider, which calls A what the first calls B", m, r); f != nil {
		return f, nil
	}
	if m.Principal == first.Principal {
		return c.finding("the same subject of the second provider", "another person", r), nil
	}
	var all []forgery
	for how, value := range map[string]string{"the first's name for A": c.main().Values[c.t.A.ID], "B's id": c.t.B.ID, "nobody": "nobody"} {
		claims := second.Good(c.t.A.ID, life)
		claims.Org = quoted(value)
		all = append(all, signedBy(second, "the second provider says "+how, claims))
	}
	return c.none(all)
}

// reach compares what a Txn-Token passes on with what the token reaches.
func (c *act) reach() (*prove.Finding, error) {
	for _, p := range c.t.Providers {
		if p.Values[c.t.A.ID] == "" {
			continue
		}
		token, err := p.Token(p.Good(c.t.A.ID, life))
		if err != nil {
			return nil, err
		}
		m, r, err := c.mirror(token)
		if err != nil {
			return nil, err
		}
		if m == nil {
			if f := c.refused("a token of reach "+strings.Join(p.Reach, " "), r, refusal.Narrow); f != nil {
				return f, nil
			}
			continue
		}
		for _, word := range m.passed() {
			if !slices.Contains(p.Reach, word) || !slices.Contains(c.route.Reach, word) {
				return c.finding("a token of reach "+strings.Join(p.Reach, " "), "a Txn-Token that reaches no further", r), nil
			}
		}
	}
	return nil, nil
}
