package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A Grant is what a token will say. Every field but Actors and Txn is required.
type Grant struct {
	Tenant    tenant.ID
	Partner   [16]byte
	Principal [16]byte // what the registry assigned to (Tenant, issuer, Subject)
	Subject   string
	ClientID  string // the program that will present it
	Broker    string // the one it is for
	Reach     []string
	Actors    []string      // as [Principal.Actors] spells them, at most 4
	Txn       string        // "" draws one
	TTL       time.Duration // whole seconds, over 0 and up to [MaxLifetime]
}

// A Minter signs tokens. Whoever minted one verifies it like anyone.
type Minter struct {
	issuer string
	domain string // the issuer without https://
	signer jws.Signer
	keys   *KeySet
	now    func() time.Time
}

// NewMinter returns the minter of issuer, which signs with key. An issuer is
// https:// and its trust domain: [Verifier] and [ReadTxn] know it by that.
func NewMinter(issuer string, key ed25519.PrivateKey, now func() time.Time) (*Minter, error) {
	if !visible(issuer, maxText) || now == nil {
		return nil, errors.New("identity: a minter needs an issuer and a clock")
	}
	signer, public, err := jws.NewSigner(key)
	if err != nil {
		return nil, fmt.Errorf("identity: minter: %w", err)
	}
	keys, err := jws.NewKeySet(public)
	if err != nil {
		return nil, fmt.Errorf("identity: minter: %w", err)
	}
	return &Minter{issuer, strings.TrimPrefix(issuer, scheme), signer, keys, now}, nil
}

// Issuer returns the iss of what m mints.
func (m *Minter) Issuer() string { return m.issuer }

// Keys returns the keys by which others verify what m mints; [KeySet.JWKS]
// prints them.
func (m *Minter) Keys() *KeySet { return m.keys }

// Mint returns a token that says what g says, from now on and for g.TTL.
func (m *Minter) Mint(g Grant) (secret.Text, error) {
	if g.TTL < time.Second || g.TTL > MaxLifetime || g.TTL%time.Second != 0 {
		return secret.Text{}, fmt.Errorf("identity: mint: a lifetime of %v, not whole seconds up to %v", g.TTL, MaxLifetime)
	}
	if !isBroker(g.Broker) {
		return secret.Text{}, fmt.Errorf("identity: mint: %.40q is not a broker", g.Broker)
	}
	if g.Txn == "" {
		g.Txn = draw()
	}
	now := m.now().Unix()
	c := claims{
		Issuer: m.issuer, Subject: g.Subject, Audience: audience + g.Broker, ClientID: g.ClientID,
		Issued: jws.Date(now), Expires: jws.Date(now + int64(g.TTL/time.Second)), ID: draw(), Txn: g.Txn,
		Scope: strings.Join(g.Reach, " "), Tenant: g.Tenant.String(),
		Partner: hex.EncodeToString(g.Partner[:]), Principal: hex.EncodeToString(g.Principal[:]), Act: act(g.Actors, m.issuer, m.issuer),
	}
	said, err := c.parse()
	if err != nil {
		return secret.Text{}, fmt.Errorf("identity: mint: %w", err)
	}
	if len(said.principal.reach) != len(g.Reach) {
		return secret.Text{}, errors.New("identity: mint: a reach is one word")
	}
	token, err := jws.Sign(m.signer, storeType, c)
	if err != nil {
		return secret.Text{}, fmt.Errorf("identity: mint: %w", err)
	}
	return secret.New(token), nil
}

func isBroker(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxReachWord
}

// draw returns 32 hexadecimal digits that nobody can guess.
func draw() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	return hex.EncodeToString(b[:])
}
