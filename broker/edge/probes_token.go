package edge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// life is that of a token which a probe makes.
const life = 5 * time.Minute

// tokenAttacks are tokens that somebody else made, and tokens that an
// identity provider signed and should not have.
func tokenAttacks() []attack {
	at := func(name, what string, refs []string, run func(*act) (*prove.Finding, error)) attack {
		return attack{name: name, what: what, rows: []string{opToken}, refs: refs, class: prove.Passive, run: run}
	}
	said := func(name, what string, refs []string, list func(*act) []forgery) attack {
		return at(name, what, refs, func(c *act) (*prove.Finding, error) { return c.none(list(c)) })
	}
	all := []attack{
		said("forgeries", "Change a good token without the key: no algorithm, another one, a signature of nothing, a second spelling.", []string{"edge-ai 2.3 01-06", "edge-ai 2.3 15-17"}, (*act).forgeries),
		said("headers of a token", "Have the provider sign headers that say more than which key: crit, b64, zip, cty, jwk, jku, names twice.", []string{"edge-ai 2.3 07-09", "edge-ai 2.3 14", "edge-ai 2.3 22-24"}, (*act).headers),
		said("types of tokens", "Have the provider sign what is meant for other ends: a logout, a DPoP proof, an event, a Txn-Token.", []string{"edge-ai 2.3 13"}, (*act).types),
		said("dates", "Have the provider sign dates that are none, that are over, to come, or too far apart.", []string{"edge-ai 2.3 11", "edge-ai 2.3 12"}, (*act).dates),
		said("audiences", "Have the provider sign a token for others, for nobody and for something like us.", []string{"edge-ai 2.3 18", "museum 54"}, (*act).audiences),
		said("names of a tenant", "Have the provider name B and A by another case, a suffix, a list, an object, nothing, bytes that are no text.", []string{"edge-ai 2.3 10", "edge-ai 2.3 19", "edge-ai 2.3 20", "museum 06", "museum 09"}, (*act).tenants),
		said("claims twice", "Have the provider sign claims twice, A first and B first, and claims in another case.", []string{"edge-ai 2.3 09", "edge-ai 2.3 10"}, (*act).doubled),
		said("issuers", "Show tokens whose issuer is almost one that is known, and one provider's that name another.", []string{"museum 01", "museum 04", "edge-ai 2.4"}, (*act).issuers),
		at("claims that must not count", "Have the provider add claims that others read a tenant from: each token means A, exactly as without them.", []string{"museum 02", "edge-ai 2.3 10"}, (*act).ignored),
		at("two providers, one subject", "The same subject and the same organisation at another provider are another person, and another tenant's never.", []string{"museum 01", "museum 02", "holes 42", "museum 04"}, (*act).twoProviders),
	}
	return append(all, attack{
		name: "reach of a token", what: "Ask a route that passes on more than the token reaches: the Txn-Token does not.", rows: []string{opMirror},
		refs: []string{"museum 18", "edge-ai 2.4"}, class: prove.Passive, run: (*act).reach,
	})
}

// quoted returns s as JSON writes it.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// A forgery is a token that must not be taken.
type forgery struct {
	how   string
	token string
}

// none shows each of the tokens, none of which may be taken. What is not a
// header's value at all is malformed, and what is too long is too large.
func (c *act) none(all []forgery) (*prove.Finding, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("edge: no token to show")
	}
	for _, one := range all {
		_, r, err := c.mirror(secret.New(one.token))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.how, err)
		}
		if f := c.refused(one.how, r, refusal.Unauthenticated, refusal.Expired, refusal.Malformed, refusal.TooLarge); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// main is the provider that speaks for both tenants.
func (c *act) main() *prove.Provider { return c.t.Providers[0] }

// good is what a good token of A's says.
func (c *act) good() prove.Claims { return c.main().Good(c.t.A.ID, life) }

// ofB is how JSON writes what the provider calls B.
func (c *act) ofB() string { return quoted(c.main().Values[c.t.B.ID]) }

// signedBy is the forgery that a provider signs.
func signedBy(p *prove.Provider, how string, claims prove.Claims) forgery {
	token, err := p.Token(claims)
	if err != nil {
		return forgery{how: how, token: "."}
	}
	return forgery{how, token.Reveal()}
}

// changed is signedBy for the main provider's good token, after a change.
func (c *act) changed(how string, change func(*prove.Claims)) forgery {
	claims := c.good()
	change(&claims)
	return signedBy(c.main(), how, claims)
}

func (c *act) forgeries() []forgery {
	token := c.a.Reveal()
	parts := strings.Split(token, ".")
	head, body, mac := parts[0], parts[1], parts[2]
	raw, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || len(raw) != 64 {
		return nil
	}
	b64 := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	other := c.good()
	other.Org = c.ofB()
	_, bodyB := other.Texts()
	all := []forgery{
		{"no signature", head + "." + body + "."},
		{"no third part", head + "." + body},
		{"zeros as a signature", head + "." + body + "." + b64(make([]byte, 64))},
		{"a signature of half the length", head + "." + body + "." + b64(raw[:32])},
		{"a signature and a byte", head + "." + body + "." + b64(append(slices.Clone(raw), 0))},
		{"a DER signature", head + "." + body + "." + b64(der(raw))},
		{"a signature padded", token + "=="},
		{"a fourth part", token + "."},
		{"five parts", token + ".." + mac},
		{"dots", strings.Repeat(".", 10000)},
		{"B's claims under A's signature", head + "." + prove.Base64(bodyB) + "." + mac},
		{"A's claims in JSON serialization", `{"payload":"` + body + `","protected":"` + head + `","signature":"` + mac + `"}`},
		{"an ideographic full stop", head + "\u3002" + body + "\u3002" + mac},
		{"base64 of the other alphabet", head + "." + body + "." + base64.RawStdEncoding.EncodeToString(append(slices.Clone(raw[:63]), 0xff))},
	}
	for i := range 3 {
		all = append(all, forgery{fmt.Sprintf("a signature with bit %d behind its last byte", i), head + "." + body + "." + trail(mac, i+1)})
	}
	for _, alg := range []string{"none", "nOnE", "None", "", "HS256", "HS512", "ES384", "RS256", "PS256", "EdDSA"} {
		claims := c.good()
		claims.Alg = quoted(alg)
		for what, text := range map[string]string{"A": body, "B": prove.Base64(bodyB)} {
			header, _ := claims.Texts()
			signing := prove.Base64(header) + "." + text
			all = append(all,
				forgery{"alg " + alg + " and no signature, " + what, signing + "."},
				forgery{"alg " + alg + " and A's signature, " + what, signing + "." + mac})
			h := hmac.New(sha256.New, c.main().JWKS())
			h.Write([]byte(signing)) //nolint:errcheck // a hash returns no error
			all = append(all, forgery{"alg " + alg + " with the public key as the secret, " + what, signing + "." + b64(h.Sum(nil))})
		}
	}
	return all
}

// der returns a signature as ASN.1 has it.
func der(raw []byte) []byte {
	integer := func(b []byte) []byte {
		n := new(big.Int).SetBytes(b).Bytes()
		if len(n) > 0 && n[0] >= 0x80 {
			n = append([]byte{0}, n...)
		}
		return append([]byte{2, byte(len(n))}, n...)
	}
	both := append(integer(raw[:32]), integer(raw[32:])...)
	return append([]byte{0x30, byte(len(both))}, both...)
}

// trail changes bits of the last character that stand for no byte.
func trail(s string, bits int) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(digits, s[len(s)-1])
	return s[:len(s)-1] + string(digits[i^bits])
}

func (c *act) headers() []forgery {
	head := func(how, more string) forgery {
		return c.changed(how, func(w *prove.Claims) { w.Head = more })
	}
	all := []forgery{
		head("crit unknown", `,"crit":["x"],"x":1`), head("crit empty", `,"crit":[]`), head("crit of a standard name", `,"crit":["alg"]`),
		head("b64 false", `,"b64":false`), head("b64 false and crit", `,"b64":false,"crit":["b64"]`),
		head("zip", `,"zip":"DEF"`), head("cty", `,"cty":"JWT"`),
		head("jwk", `,"jwk":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`), head("jku", `,"jku":"https://prover.invalid/jwks"`),
		head("x5u", `,"x5u":"https://prover.invalid/x5u"`), head("x5c", `,"x5c":["AA"]`),
		head("enc", `,"enc":"A128GCM"`), head("p2c", `,"p2c":1000000000`), head("apu", `,"apu":"AA"`),
		head("alg twice", `,"alg":"none"`), head("alg twice, the same", `,"alg":"ES256"`), head("kid twice", `,"kid":"other"`), head("typ twice", `,"typ":"JWT"`),
		head("ALG", `,"ALG":"none"`), head("Kid", `,"Kid":"other"`), head("trailing JSON", `}{`),
		c.changed("kid of nobody", func(w *prove.Claims) { w.Kid = `"nobody"` }),
		c.changed("kid a path", func(w *prove.Claims) { w.Kid = `"../../../../dev/null"` }),
		c.changed("kid of SQL", func(w *prove.Claims) { w.Kid = `"x' OR '1'='1"` }),
		c.changed("kid NUL", func(w *prove.Claims) { w.Kid = `"prover\u0000"` }),
		c.changed("kid a number", func(w *prove.Claims) { w.Kid = `1` }),
		c.changed("kid a list", func(w *prove.Claims) { w.Kid = `["prover"]` }),
		c.changed("kid large", func(w *prove.Claims) { w.Kid = `"` + strings.Repeat("x", 10000) + `"` }),
		c.changed("alg null", func(w *prove.Claims) { w.Alg = `null` }),
		c.changed("alg in lower case", func(w *prove.Claims) { w.Alg = `"es256"` }),
		c.changed("no alg", func(w *prove.Claims) { w.Alg = "" }),
	}
	header, payload := c.good().Texts()
	for how, text := range map[string]string{
		"a raw payload":          prove.Base64(header) + "." + payload,
		"a BOM before the head":  prove.Base64("\ufeff"+header) + "." + prove.Base64(payload),
		"a BOM before claims":    prove.Base64(header) + "." + prove.Base64("\ufeff"+payload),
		"JSON behind the claims": prove.Base64(header) + "." + prove.Base64(payload+`{}`),
		"a head that is a list":  prove.Base64("["+header+"]") + "." + prove.Base64(payload),
		"claims that are a list": prove.Base64(header) + "." + prove.Base64("["+payload+"]"),
		"claims that are null":   prove.Base64(header) + "." + prove.Base64("null"),
		"no claims":              prove.Base64(header) + ".",
		"deep claims":            prove.Base64(header) + "." + prove.Base64(strings.TrimSuffix(payload, "}")+`,"x":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+"}"),
		"padded parts":           base64.URLEncoding.EncodeToString([]byte(header)) + "=." + prove.Base64(payload),
	} {
		token, err := c.main().Sign(text)
		if err != nil {
			return nil
		}
		all = append(all, forgery{how, token.Reveal()})
	}
	return all
}

func (c *act) types() []forgery {
	var all []forgery
	for _, typ := range []string{
		"logout+jwt", "dpop+jwt", "secevent+jwt", "entity-statement+jwt", "token-introspection+jwt", "txntoken+jwt", "application/txntoken+jwt",
		"AT+JWT", "at+jwt ", "at+jwt\u0000", "JWT", "jwt", "", "JOSE", "id_token+jwt", "kb+jwt",
	} {
		all = append(all, c.changed("typ "+typ, func(w *prove.Claims) { w.Typ = quoted(typ) }))
	}
	return append(all,
		c.changed("no typ", func(w *prove.Claims) { w.Typ = "" }), c.changed("typ null", func(w *prove.Claims) { w.Typ = "null" }),
		c.changed("typ a list", func(w *prove.Claims) { w.Typ = `["at+jwt"]` }),
		c.changed("bound to a key", func(w *prove.Claims) { w.More = `,"cnf":{"jkt":"AA"}` }))
}

func (c *act) dates() []forgery {
	now := time.Now()
	at := func(d time.Duration) string { return fmt.Sprint(now.Add(d).Unix()) }
	var all []forgery
	for _, exp := range []string{
		"", "null", "true", `"` + at(life) + `"`, "-1", "0", "1e300", "1e19", "9223372036854775808", "18446744073709551615", "253402300800", `"never"`, "[" + at(life) + "]",
		at(-time.Second), at(-time.Hour), at(30 * 24 * time.Hour), at(50 * 365 * 24 * time.Hour), at(2 * time.Hour),
	} {
		all = append(all, c.changed("exp "+exp, func(w *prove.Claims) { w.Exp = exp }))
	}
	for _, iat := range []string{"", "null", `"` + at(0) + `"`, "-1", "0", at(time.Hour), at(365 * 24 * time.Hour), at(-50 * 365 * 24 * time.Hour), at(life + time.Minute)} {
		all = append(all, c.changed("iat "+iat, func(w *prove.Claims) { w.Iat = iat }))
	}
	for _, more := range []string{`,"nbf":` + at(time.Hour), `,"nbf":"x"`, `,"nbf":null`, `,"nbf":-1`, `,"nbf":` + at(life+time.Minute), `,"exp":` + at(time.Minute)} {
		all = append(all, c.changed(more, func(w *prove.Claims) { w.More = more }))
	}
	return append(all, c.changed("EXP revives what is over", func(w *prove.Claims) {
		w.Iat, w.Exp, w.More = at(-2*life), at(-life), `,"EXP":`+at(life)
	}))
}

func (c *act) audiences() []forgery {
	own := c.main().Audience
	var all []forgery
	for _, aud := range []string{
		"", "null", "[]", "{}", "1", "true", `""`, `"https://other.invalid"`, `["https://other.invalid"]`, `[[` + quoted(own) + `]]`, `[` + quoted(own) + `,1]`,
		quoted(own + "/"), quoted(strings.ToUpper(own)), quoted(own + " "), quoted(own + ",x"), quoted("x " + own),
		`"*"`, quoted(own[:len(own)-1]), `{"aud":` + quoted(own) + `}`, `"` + own + `\u0000"`,
	} {
		all = append(all, c.changed("aud "+aud, func(w *prove.Claims) { w.Aud = aud }))
	}
	return all
}

func (c *act) tenants() []forgery {
	var all []forgery
	add := func(org string) {
		all = append(all, c.changed("organisation "+org, func(w *prove.Claims) { w.Org = org }))
	}
	for _, own := range []string{c.main().Values[c.t.A.ID], c.main().Values[c.t.B.ID]} {
		for _, text := range []string{
			strings.ToUpper(own), strings.ToUpper(own[:1]) + own[1:], own + " ", " " + own, own + "/", own + ".", own + ":a", own + "\u200d", own + "\u202e", own[:len(own)-1], own + own,
			strings.Replace(own, "o", "\u043e", 1), own + "\u0301", own + "%00", own + "/../" + own, "*", own + "*", own + "," + own,
		} {
			add(quoted(text))
		}
		word := quoted(own)
		for _, value := range []string{
			"[" + word + "]", `[` + word + `,` + c.ofB() + `]`, `{"` + own + `":{}}`, `{"id":` + word + `}`, "[[" + word + "]]",
			word[:len(word)-1] + `\u0000"`, word[:len(word)-1] + `\ud800"`, word[:len(word)-1] + "\xff\"", word[:len(word)-1] + "\ufffd\"",
		} {
			add(value)
		}
	}
	for _, value := range []string{
		"", "null", `""`, "0", "1", "true", "{}", "[]", "9007199254740993", "1e3", `"0"`, `"null"`, `"*"`, `".."`, `"/"`, `"%"`, `"' OR '1'='1"`,
		`"` + c.t.A.ID + `"`, `"` + c.t.B.ID + `"`, quoted(c.t.B.Name), `"` + strings.Repeat("x", 4000) + `"`,
	} {
		add(value)
	}
	return all
}

func (c *act) doubled() []forgery {
	own := c.good().Org
	more := func(how, text string) forgery { return c.changed(how, func(w *prove.Claims) { w.More = text }) }
	return []forgery{
		more("the organisation twice, A first", `,"org_id":`+c.ofB()),
		more("the organisation twice, the same", `,"org_id":`+own),
		c.changed("the organisation twice, B first", func(w *prove.Claims) { w.Org, w.More = c.ofB(), `,"org_id":`+own }),
		more("the organisation twice, once escaped", `,"org\u005fid":`+c.ofB()),
		more("the issuer twice", `,"iss":"https://stranger.invalid"`),
		c.changed("the issuer twice, a stranger first", func(w *prove.Claims) { w.Iss, w.More = `"https://stranger.invalid"`, `,"iss":`+c.good().Iss }),
		more("the audience twice", `,"aud":"https://other.invalid"`),
		more("the subject twice", `,"sub":"other"`),
		more("a claim of no meaning twice", `,"x":1,"x":2`),
		more("a claim twice within one", `,"x":{"y":1,"y":2}`),
		c.changed("ORG_ID alone", func(w *prove.Claims) { w.Org, w.More = "", `,"ORG_ID":`+c.ofB() }),
		c.changed("Org_Id alone", func(w *prove.Claims) { w.Org, w.More = "", `,"Org_Id":`+own }),
		c.changed("ISS alone", func(w *prove.Claims) { w.Iss, w.More = "", `,"ISS":`+c.good().Iss }),
		c.changed("SUB alone", func(w *prove.Claims) { w.Sub, w.More = "", `,"SUB":"prover"` }),
		c.changed("a long s for sub", func(w *prove.Claims) { w.Sub, w.More = "", `,"ſub":"prover"` }),
		c.changed("no subject", func(w *prove.Claims) { w.Sub = "" }),
		c.changed("an empty subject", func(w *prove.Claims) { w.Sub = `""` }),
		c.changed("a subject that is a number", func(w *prove.Claims) { w.Sub = `1` }),
		c.changed("a subject that does not print", func(w *prove.Claims) { w.Sub = `"a\u0000b"` }),
	}
}

func (c *act) issuers() []forgery {
	own := c.main().Issuer
	var all []forgery
	for _, iss := range []string{
		own + "/", strings.ToUpper(own), strings.Replace(own, "https", "http", 1), strings.Replace(own, "https", "HTTPS", 1), own + ":443", own + "?", own + "#", own + " ",
		strings.Replace(own, "://", "://a@", 1), strings.Replace(own, "prover", "%70rover", 1), own + ".", own + "\u0000", "", "https://isocore.local", own[:len(own)-1],
	} {
		all = append(all, c.changed("iss "+iss, func(w *prove.Claims) { w.Iss = quoted(iss) }))
	}
	for _, iss := range []string{"null", "[" + c.good().Iss + "]", "1", "{}", ""} {
		all = append(all, c.changed("iss "+iss, func(w *prove.Claims) { w.Iss = iss }))
	}
	// Each provider signs in the name of the others: all call their key alike.
	for i, p := range c.t.Providers {
		for j, q := range c.t.Providers {
			if i == j {
				continue
			}
			for _, id := range []string{c.t.A.ID, c.t.B.ID} {
				if q.Values[id] != "" {
					all = append(all, signedBy(p, fmt.Sprintf("iss of provider %d under the signature of %d", j, i), q.Good(id, life)))
				}
			}
		}
	}
	return all
}
