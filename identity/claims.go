package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/tenant"
)

// Limits of what a token may say.
const (
	maxText   = 256 // bytes of iss, sub, aud and client_id
	maxID     = 128 // bytes of jti and txn
	maxActors = 4
)

// claims is a store token as it travels: RFC 9068 and what IsoCore adds. A
// claim that is not here refuses the token.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"` // of the issuer; beside sub_id the principal
	Audience  string   `json:"aud"` // one broker: RFC 7519 would allow a list
	ClientID  string   `json:"client_id"`
	Expires   jws.Date `json:"exp"`
	Issued    jws.Date `json:"iat"`
	ID        string   `json:"jti"`
	Txn       string   `json:"txn"`
	Scope     string   `json:"scope"`
	Tenant    string   `json:"tenant"`
	Partner   string   `json:"partner"`
	Principal string   `json:"principal"`
	Act       *actor   `json:"act,omitzero"`

	// Person is who it is if another issuer says so: the token came of an
	// exchange, and sub has to be unique in the trust domain.
	Person *person `json:"sub_id,omitzero"`
}

// person is a Subject Identifier (RFC 9493, 3.2.3): a subject of an issuer.
type person struct {
	Format  string `json:"format"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// personFormat is the one format of a [person].
const personFormat = "iss_sub"

func (p person) parse() error {
	if p.Format != personFormat || !visible(p.Issuer, maxText) || !printable(p.Subject, maxText) {
		return errors.New("sub_id is an issuer and its subject, printable and short")
	}
	return nil
}

// actor is the act claim of RFC 8693. Without an iss it is a subject of the
// token's own issuer.
type actor struct {
	Issuer  string `json:"iss,omitzero"`
	Subject string `json:"sub"`
	Act     *actor `json:"act,omitzero"`
}

// statement is what well-formed claims say.
type statement struct {
	principal Principal // but for the token and the key
	audience  string
	issued    time.Time
}

func parseClaims(payload []byte) (statement, error) {
	var c claims
	if err := jws.Decode(payload, &c); err != nil {
		return statement{}, fmt.Errorf("claims: %w", err)
	}
	return c.parse()
}

// parse checks that every claim is there and well-formed. Whether it is true,
// due or enough is not asked here.
func (c claims) parse() (statement, error) {
	if !visible(c.Issuer, maxText) || !printable(c.Subject, maxText) || !visible(c.Audience, maxText) ||
		!printable(c.ClientID, maxText) || !visible(c.ID, maxID) || !visible(c.Txn, maxID) {
		return statement{}, errors.New("claims: iss, sub, aud, client_id, jti and txn are required, printable and short")
	}
	if c.Expires == 0 || c.Issued == 0 {
		return statement{}, errors.New("claims: exp and iat are required")
	}
	who := person{personFormat, c.Issuer, c.Subject}
	if c.Person != nil {
		who = *c.Person
	}
	errW := who.parse()
	if c.Person != nil && c.Subject != c.Principal {
		errW = errors.New("sub is not the principal")
	}
	t, errT := tenant.Parse(c.Tenant)
	partner, errP := parseID(c.Partner)
	id, errI := parseID(c.Principal)
	reach, errR := ParseReach(c.Scope)
	actors, errA := c.Act.chain(who.Issuer, c.Issuer)
	if err := errors.Join(errW, errT, errP, errI, errR, errA); err != nil {
		return statement{}, fmt.Errorf("claims: %w", err)
	}
	return statement{
		principal: Principal{
			kind: storeToken, tenant: t, partner: partner, id: id, subject: who.Subject, issuer: who.Issuer, signer: c.Issuer,
			txn: c.Txn, client: c.ClientID, actors: actors, reach: reach, expires: time.Unix(int64(c.Expires), 0),
		},
		audience: c.Audience,
		issued:   time.Unix(int64(c.Issued), 0),
	}, nil
}

// chain returns a and those within, outermost first, spelled as
// [Principal.Actors] says: home is the principal's issuer, signer the token's,
// of which an actor is that names none.
func (a *actor) chain(home, signer string) ([]string, error) {
	var chain []string
	for ; a != nil; a = a.Act {
		if len(chain) == maxActors {
			return nil, fmt.Errorf("act is nested over %d deep", maxActors)
		}
		if !visible(a.Subject, maxText) || a.Issuer != "" && !visible(a.Issuer, maxText) {
			return nil, errors.New("act needs a sub, and may have an iss")
		}
		issuer, s := a.Issuer, a.Subject
		if issuer == "" {
			issuer = signer
		}
		if issuer != home {
			s = issuer + " " + s
		}
		chain = append(chain, s)
	}
	return chain, nil
}

// act is the inverse of [actor.chain].
func act(chain []string, home, signer string) *actor {
	var outer *actor
	for _, s := range slices.Backward(chain) {
		issuer, subject, foreign := strings.Cut(s, " ")
		if !foreign {
			issuer, subject = home, s
		}
		if issuer == signer {
			issuer = ""
		}
		outer = &actor{Issuer: issuer, Subject: subject, Act: outer}
	}
	return outer
}

// parseID reads the ids of partners and principals, which are spelled as
// those of tenants are: never zero, one spelling.
func parseID(s string) ([16]byte, error) {
	id, err := tenant.Parse(s)
	return id.UUID(), err
}

// visible reports whether s is 1 to limit bytes of ASCII that prints and is
// not a space.
func visible(s string, limit int) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= limit
}

// printable reports whether s is 1 to limit bytes of text that prints: no
// control or format characters, no separators but the space.
func printable(s string, limit int) bool {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return s != "" && len(s) <= limit
}
