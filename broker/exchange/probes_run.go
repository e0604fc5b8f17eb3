package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// ours returns a finding unless r is a token of a tenant's, made of subject.
func (c *act) ours(how string, t *prove.Tenant, subject secret.Text, r *reply) *prove.Finding {
	was, is := claimsOf(subject.Reveal()), claimsOf(r.Token)
	switch {
	case r.status != http.StatusOK || is.Tenant != t.ID || was.Context.Tenant != t.ID:
		return c.finding(how, "a token of "+t.Name, r)
	case is.Txn != was.Txn || is.Principal != was.Subject || is.Audience != audience+"postgres":
		return c.finding(how, "a token of the same person and txn, for the store that was asked for", r)
	case is.Expires > was.Expires:
		return c.finding(how, fmt.Sprintf("a life to %d at most", was.Expires), r)
	}
	has := strings.Fields(was.Scope)
	for _, word := range strings.Fields(is.Scope) {
		if !slices.Contains(has, word) {
			return c.finding(how, "no more reach than "+was.Scope, r)
		}
	}
	return nil
}

func (c *act) same() (*prove.Finding, error) {
	for how, form := range map[string]url.Values{
		"all there is": good(c.a), "to read": with(c.a, "scope", identity.PGRead), "both words": with(c.a, "scope", identity.PGRead+" "+identity.PGWrite),
		"an access token": with(c.a, "requested_token_type", accessToken),
	} {
		r, err := c.ask(form)
		if err != nil {
			return nil, err
		}
		if f := c.ours(how, &c.t.A, c.a, r); f != nil {
			return f, nil
		}
		if asked := form.Get("scope"); asked != "" && claimsOf(r.Token).Scope != asked {
			return c.finding(how, "the reach "+asked, r), nil
		}
	}
	return nil, nil
}

func (c *act) together() (*prove.Finding, error) {
	const askers = 12
	var mu sync.Mutex // guards what follows
	var found *prove.Finding
	var failed error
	var all sync.WaitGroup
	for i := range askers {
		t, subject := &c.t.A, c.a
		if i%2 == 0 {
			t, subject = &c.t.B, c.b
		}
		all.Go(func() {
			r, err := c.ask(good(subject))
			mu.Lock()
			defer mu.Unlock()
			if failed = errors.Join(failed, err); err == nil && found == nil {
				found = c.ours("many at once, as "+t.Name, t, subject, r)
			}
		})
	}
	all.Wait()
	if found != nil {
		return found, nil
	}
	return nil, failed
}

func (c *act) widen() (*prove.Finding, error) {
	reads, err := c.t.A.Token(c, Name, identity.PGRead)
	if err != nil {
		return nil, err
	}
	forms := map[string]url.Values{}
	for _, scope := range []string{identity.PGWrite, identity.PGRead + " " + identity.PGWrite, identity.HTTP, "admin", "pg:admin", identity.PGRead + " llm"} {
		forms["scope "+scope] = with(reads, "scope", scope)
	}
	if f, err := c.each(forms, refusal.Narrow); f != nil || err != nil {
		return f, err
	}
	forms = map[string]url.Values{}
	for _, scope := range []string{"*", "PG:WRITE", identity.PGRead + "  " + identity.PGWrite, identity.PGRead + "," + identity.PGWrite, identity.PGRead + " " + identity.PGRead, " ", "pg:read\x00", "pg:*"} {
		forms[fmt.Sprintf("scope %q", scope)] = with(reads, "scope", scope)
	}
	if f, err := c.each(forms, refusal.Malformed); f != nil || err != nil {
		return f, err
	}
	r, err := c.ask(good(reads))
	if err != nil {
		return nil, err
	}
	if f := c.ours("no scope", &c.t.A, reads, r); f != nil {
		return f, nil
	}
	r, err = c.send(http.MethodPost, "/v1/token", good(reads).Encode()+"&scope=", "Content-Type: application/x-www-form-urlencoded")
	if err != nil {
		return nil, err
	}
	return c.refused("an empty scope", r, refusal.Malformed), nil
}

func (c *act) longer() (*prove.Finding, error) {
	r, err := c.ask(good(c.a))
	if err != nil {
		return nil, err
	}
	if f := c.ours("a good form", &c.t.A, c.a, r); f != nil {
		return f, nil
	}
	if end := time.Now().Unix() + r.Life; end > claimsOf(c.a.Reveal()).Expires+1 {
		return c.finding("a good form", "no longer life than is left", r), nil
	}
	forms := map[string]url.Values{}
	for _, name := range []string{"expires_in", "ttl", "exp", "lifetime", "requested_expiry", "valid_for"} {
		forms[name] = with(c.a, name, "86400")
	}
	return c.each(forms, refusal.Malformed)
}

func (c *act) needs() (*prove.Finding, error) {
	writes, err := c.t.A.Token(c, Name, identity.PGWrite)
	if err != nil {
		return nil, err
	}
	return c.each(map[string]url.Values{
		"no scope": good(writes), "its own scope": with(writes, "scope", identity.PGWrite), "one it has not": with(writes, "scope", identity.PGRead),
	}, refusal.Narrow)
}

func (c *act) audiences() (*prove.Finding, error) {
	forms := map[string]url.Values{}
	for _, name := range []string{
		"isocore:qdrant", "isocore:falkordb", "isocore:ai", "isocore:edge", "isocore:exchange", "isocore:elsewhere", "isocore:Postgres", "isocore:postgres2", "isocore:not-postgres",
		"isocore:", "isocore:*", "postgres", "ISOCORE:postgres", "isocore:postgres/", "isocore::postgres", "isocore:admin", "https://isocore.local", "https://elsewhere.invalid", "isocore:" + c.t.B.ID,
	} {
		forms["audience "+name] = with(c.a, "audience", name)
	}
	if f, err := c.each(forms, refusal.Denied); f != nil || err != nil {
		return f, err
	}
	forms = map[string]url.Values{}
	for _, name := range []string{"", "isocore:postgres isocore:qdrant", "isocore:postgres\x00", " isocore:postgres", "isocore:postgres\n", "isocore:" + strings.Repeat("x", 4000)} {
		forms[fmt.Sprintf("audience %.40q", name)] = with(c.a, "audience", name)
	}
	return c.each(forms, refusal.Malformed)
}

func (c *act) otherDoors() (*prove.Finding, error) {
	forms := map[string]url.Values{}
	for door := range c.t.Addr {
		if door == Name {
			continue
		}
		token, err := c.t.A.Token(c, door, identity.PGRead)
		if err != nil {
			return nil, err
		}
		forms["a token for "+door] = good(token)
	}
	r, err := c.ask(good(c.a))
	if err != nil {
		return nil, err
	}
	forms["what came out of an exchange"] = good(secret.New(r.Token))
	return c.each(forms, refusal.Unauthenticated)
}

func (c *act) noToken() (*prove.Finding, error) {
	token := c.a.Reveal()
	cut := token[:strings.LastIndexByte(token, '.')]
	forms := map[string]url.Values{}
	for how, text := range map[string]string{
		"A's id": c.t.A.ID, "B's id": c.t.B.ID, "dots": "..", "no signature": cut + ".", "two parts": cut, "a token and more": token + ".x", "cut short": token[:len(token)-1],
		"with a space": " " + token, "with a line": token + "\n", "twice": token + token, "none": "eyJhbGciOiJub25lIn0." + strings.Split(token, ".")[1] + ".",
		"B's claims, A's signature": strings.Split(c.b.Reveal(), ".")[0] + "." + strings.Split(c.b.Reveal(), ".")[1] + "." + strings.Split(token, ".")[2],
		"a scheme":                  "Bearer " + token,
	} {
		forms[how] = good(secret.New(text))
	}
	if f, err := c.each(forms, refusal.Unauthenticated); f != nil || err != nil {
		return f, err
	}
	return c.each(map[string]url.Values{"nothing": with(c.a, "subject_token", "")}, refusal.Malformed)
}

func (c *act) kinds() (*prove.Finding, error) {
	const kind = "urn:ietf:params:oauth:token-type:"
	forms := map[string]url.Values{}
	for _, name := range []string{"refresh_token", "access_token", "id_token", "jwt", "saml2", "TXN_TOKEN", ""} {
		forms["a subject of kind "+name] = with(c.a, "subject_token_type", kind+name)
	}
	for _, name := range []string{"refresh_token", "txn_token", "id_token", "jwt", ""} {
		forms["a wish for kind "+name] = with(c.a, "requested_token_type", kind+name)
	}
	if f, err := c.each(forms, refusal.Malformed); f != nil || err != nil {
		return f, err
	}
	forms = map[string]url.Values{}
	for _, name := range []string{"client_credentials", "password", "refresh_token", "authorization_code", "urn:ietf:params:oauth:grant-type:jwt-bearer", strings.ToUpper(grantType)} {
		forms["grant "+name] = with(c.a, "grant_type", name)
	}
	return c.each(forms, refusal.Unlisted)
}

func (c *act) actors() (*prove.Finding, error) {
	forms := map[string]url.Values{}
	for _, name := range []string{"actor_token", "act", "actor", "tenant", "sub", "subject", "on_behalf_of", "client_id", "client_secret", "client_assertion", "resource", "authorization_details", "purpose"} {
		forms[name] = with(c.a, name, c.t.B.ID)
	}
	both := with(c.a, "actor_token", c.b.Reveal())
	both.Set("actor_token_type", txnToken)
	forms["B's Txn-Token acts"] = both
	return c.each(forms, refusal.Malformed)
}

func (c *act) doubled() (*prove.Finding, error) {
	body := good(c.a).Encode()
	const kind = "Content-Type: application/x-www-form-urlencoded"
	for how, one := range map[string]struct{ method, target, body, line string }{
		"B's token after A's":    {http.MethodPost, "/v1/token", body + "&subject_token=" + c.b.Reveal(), kind},
		"B's token before A's":   {http.MethodPost, "/v1/token", "subject_token=" + c.b.Reveal() + "&" + body, kind},
		"spelled apart":          {http.MethodPost, "/v1/token", body + "&%73ubject_token=" + c.b.Reveal(), kind},
		"the audience twice":     {http.MethodPost, "/v1/token", body + "&audience=isocore%3Apostgres", kind},
		"the scope twice":        {http.MethodPost, "/v1/token", body + "&scope=pg%3Aread&scope=pg%3Awrite", kind},
		"with semicolons":        {http.MethodPost, "/v1/token", strings.ReplaceAll(body, "&", ";"), kind},
		"an empty pair":          {http.MethodPost, "/v1/token", body + "&", kind},
		"a list":                 {http.MethodPost, "/v1/token", body + "&audience[]=isocore%3Aqdrant", kind},
		"upper case":             {http.MethodPost, "/v1/token", body + "&AUDIENCE=isocore%3Aqdrant", kind},
		"a bad escape":           {http.MethodPost, "/v1/token", body + "&scope=%zz", kind},
		"in the query":           {http.MethodPost, "/v1/token?audience=isocore%3Apostgres", body, kind},
		"all in the query":       {http.MethodPost, "/v1/token?" + body, "", kind},
		"an empty query":         {http.MethodPost, "/v1/token?", body, kind},
		"JSON":                   {http.MethodPost, "/v1/token", `{"grant_type":"` + grantType + `"}`, "Content-Type: application/json"},
		"a form in parts":        {http.MethodPost, "/v1/token", body, "Content-Type: multipart/form-data; boundary=x"},
		"another charset":        {http.MethodPost, "/v1/token", body, kind + "; charset=utf-7"},
		"two types":              {http.MethodPost, "/v1/token", body, kind + "\r\nContent-Type: application/json"},
		"an encoded body":        {http.MethodPost, "/v1/token", body, kind + "\r\nContent-Encoding: gzip"},
		"a body without a type":  {http.MethodPost, "/v1/token", body, "X: y"},
		"nothing":                {http.MethodPost, "/v1/token", "", kind},
		"a body that is no form": {http.MethodPost, "/v1/token", "\x00\xff", kind},
	} {
		r, err := c.send(one.method, one.target, one.body, one.line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", how, err)
		}
		if f := c.refused(how, r, refusal.Malformed); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

func (c *act) elsewhere() (*prove.Finding, error) {
	const kind = "Content-Type: application/x-www-form-urlencoded"
	none := with(c.a, "subject_token", "")
	for how, line := range map[string]string{
		"a header Txn-Token": "Txn-Token: " + c.a.Reveal(), "a header Authorization": "Authorization: Bearer " + c.a.Reveal(), "a cookie": "Cookie: subject_token=" + c.a.Reveal(),
		"a user and a password": "Authorization: Basic eDp5",
	} {
		r, err := c.send(http.MethodPost, "/v1/token", none.Encode(), kind, line)
		if err != nil {
			return nil, err
		}
		if f := c.refused(how, r, refusal.Malformed); f != nil {
			return f, nil
		}
	}
	r, err := c.send(http.MethodPost, "/v1/token", good(c.a).Encode(), kind, "Authorization: Bearer "+c.b.Reveal())
	if err != nil {
		return nil, err
	}
	if f := c.refused("B's in a header beside A's", r, refusal.Malformed); f != nil {
		return f, nil
	}
	if r, err = c.send(http.MethodPost, "/v1/token", good(c.a).Encode(), kind, "Txn-Token: "+c.b.Reveal(), "X-Tenant-Id: "+c.t.B.ID); err != nil {
		return nil, err
	}
	return c.ours("B's Txn-Token in its header beside A's", &c.t.A, c.a, r), nil
}

func (c *act) flawed(f prove.Flaw, reason refusal.Reason) (*prove.Finding, error) {
	if c.t.A.Flawed == nil {
		return nil, prove.Skip("no token %v can be made here", f)
	}
	token, err := c.t.A.Flawed(c, Name, f)
	if err != nil {
		return nil, err
	}
	return c.each(map[string]url.Values{"a token " + f.String(): good(token)}, reason)
}

// suspended suspends B while it has a good Txn-Token.
func (c *act) suspended() (f *prove.Finding, err error) {
	if c.t.B.Suspend == nil || c.t.B.Resume == nil {
		return nil, prove.Skip("the tenants of this run cannot be suspended")
	}
	if err := c.t.B.Suspend(c); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.t.B.Resume(context.WithoutCancel(c))) }()
	r, err := c.ask(good(c.b))
	for began := time.Now(); err == nil && r.Token != "" && time.Since(began) < goneWithin; {
		r, err = c.ask(good(c.b))
	}
	if err != nil {
		return nil, err
	}
	return c.refused("a Txn-Token of a suspended tenant", r, refusal.Suspended), nil
}
