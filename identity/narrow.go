package identity

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// A Narrowing is what is asked in exchange for a Txn-Token (RFC 8693).
type Narrowing struct {
	Broker string        // the one it is for
	Reach  []string      // of what the principal has
	TTL    time.Duration // a second at least; cut to what the principal has left, to [MaxLifetime] and to whole seconds
}

// Narrow returns a store token for p, the principal of a Txn-Token: never
// wider, never longer, the same txn, the same person. At the edge and at the
// exchange itself no store token is good, and none is made for them; nor is
// one made of a store token, which was for one broker and would become one for
// another.
func (m *Minter) Narrow(p Principal, n Narrowing) (secret.Text, error) {
	if n.TTL < time.Second {
		return secret.Text{}, fmt.Errorf("identity: narrow: a lifetime of %v", n.TTL)
	}
	if p.kind != txnToken {
		return secret.Text{}, refusal.New(refusal.Unauthenticated, "identity: narrow: not the principal of a Txn-Token")
	}
	if !isBroker(n.Broker) || kindAt(n.Broker) != storeToken {
		return secret.Text{}, refusal.New(refusal.Denied, "identity: narrow: %.40q takes no store token", n.Broker)
	}
	now := m.now()
	scope, ttl, err := narrow(p, n.Reach, min(n.TTL, MaxLifetime), now)
	if err != nil {
		return secret.Text{}, err
	}
	id := hex.EncodeToString(p.id[:])
	c := claims{
		Issuer: m.issuer, Subject: id, Audience: audience + n.Broker, ClientID: p.client,
		Issued: jws.Date(now.Unix()), Expires: jws.Date(now.Unix() + int64(ttl/time.Second)), ID: draw(), Txn: p.txn,
		Scope: scope, Tenant: p.tenant.String(), Partner: hex.EncodeToString(p.partner[:]), Principal: id,
		Act: act(p.actors, p.issuer, m.issuer), Person: &person{personFormat, p.issuer, p.subject},
	}
	if _, err := c.parse(); err != nil {
		return secret.Text{}, fmt.Errorf("identity: narrow: %w", err)
	}
	token, err := jws.Sign(m.signer, storeType, c)
	if err != nil {
		return secret.Text{}, fmt.Errorf("identity: narrow: %w", err)
	}
	return secret.New(token), nil
}
