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
	Subject   string   `json:"sub"`
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
	t, errT := tenant.Parse(c.Tenant)
	partner, errP := parseID(c.Partner)
	id, errI := parseID(c.Principal)
	reach, errR := ParseReach(c.Scope)
	actors, errA := c.actors()
	if err := errors.Join(errT, errP, errI, errR, errA); err != nil {
		return statement{}, fmt.Errorf("claims: %w", err)
	}
	return statement{
		principal: Principal{
			tenant: t, partner: partner, id: id, subject: c.Subject, issuer: c.Issuer, txn: c.Txn,
			actors: actors, reach: reach, expires: time.Unix(int64(c.Expires), 0),
		},
		audience: c.Audience,
		issued:   time.Unix(int64(c.Issued), 0),
	}, nil
}

// actors returns the chain of act, outermost first, spelled as
// [Principal.Actors] says.
func (c claims) actors() ([]string, error) {
	var chain []string
	for a := c.Act; a != nil; a = a.Act {
		if len(chain) == maxActors {
			return nil, fmt.Errorf("act is nested over %d deep", maxActors)
		}
		s := a.Subject
		if a.Issuer != "" && a.Issuer != c.Issuer {
			s = a.Issuer + " " + s
		}
		if !visible(a.Subject, maxText) || a.Issuer != "" && !visible(a.Issuer, maxText) {
			return nil, errors.New("act needs a sub, and may have an iss")
		}
		chain = append(chain, s)
	}
	return chain, nil
}

// act is the inverse of actors.
func act(chain []string) *actor {
	var outer *actor
	for _, s := range slices.Backward(chain) {
		issuer, subject, foreign := strings.Cut(s, " ")
		if !foreign {
			issuer, subject = "", s
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
