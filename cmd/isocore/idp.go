package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/tenant"
)

// The stand-in identity provider of isocore up, with which things are tried
// out: its key is beside the node's, so whoever has the one has the others.
const (
	standInURL      = "https://idp.isocore.local"
	standInAudience = "https://app.isocore.local"
	standInTenant   = "org_id"
	standInType     = "at+jwt"
	standInLifetime = time.Hour
)

// A standIn signs as an identity provider would.
type standIn struct {
	key  *ecdsa.PrivateKey
	kid  string
	jwks []byte
}

// standInKey is where its key is, 32 bytes as those of the other keys.
func (o *options) standInKey() string { return filepath.Join(o.dir, "keys", "idp.key") }

// openStandIn reads the key that isocore up made.
func (o *options) openStandIn() (*standIn, error) {
	raw, err := os.ReadFile(o.standInKey())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(errors.New("there is no stand-in identity provider in "+o.dir), "isocore up"+o.in()+" makes one")
	}
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return nil, fmt.Errorf("%s holds no key: %w", o.standInKey(), err)
	}
	named, err := jws.NewKey("unnamed", &key.PublicKey)
	if err == nil {
		named, err = jws.NewKey(named.Thumbprint(), &key.PublicKey)
	}
	if err != nil {
		return nil, err
	}
	keys, err := jws.NewKeySet(named)
	if err != nil {
		return nil, err
	}
	jwks, err := keys.JWKS()
	return &standIn{key, named.ID(), jwks}, err
}

// makeStandIn draws the key, if there is none.
func (o *options) makeStandIn() error {
	if _, err := os.Lstat(o.standInKey()); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	raw, err := key.Bytes()
	if err != nil {
		return err
	}
	_, err = save(o.standInKey(), bytes.NewReader(raw))
	return err
}

// standInKnown is there once the stand-in was registered: what the operator
// takes away after that stays away.
func (o *options) standInKnown() string { return filepath.Join(o.dir, "keys", "idp.registered") }

// standInIdP has the node of isocore up believe the stand-in identity
// provider, and its organisations stand for the example tenants. It is done
// once; later starts see to the key, and to example tenants that are new.
func (o *options) standInIdP(ctx context.Context, n *client) error {
	if err := o.makeStandIn(); err != nil {
		return err
	}
	s, err := o.openStandIn()
	if err != nil {
		return err
	}
	_, err = os.Lstat(o.standInKnown())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known := err == nil
	if _, there, err := n.standIn(ctx); err != nil || known && !there {
		return err
	}
	is, err := n.register(ctx, s)
	if err != nil {
		return err
	}
	tenants, err := call[[]admin.Tenant](ctx, n, http.MethodGet, "/v1/tenants", nil)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		if !isExample(t.Path) || known && !spokenFor(is, organisation(t.Path)) {
			continue
		}
		if is, err = n.speakFor(ctx, is, t); err != nil {
			return err
		}
	}
	if known {
		return nil
	}
	_, err = save(o.standInKnown(), strings.NewReader("isocore up registered "+standInURL+", and does not do so again while this file is here\n"))
	return err
}

// spokenFor reports whether value stands for a tenant, or did for one that is gone.
func spokenFor(is admin.Issuer, value string) bool {
	return slices.ContainsFunc(is.Tenants, func(b admin.Binding) bool { return b.Value == value })
}

func isExample(path string) bool {
	for _, x := range examples {
		if x.path == path {
			return true
		}
	}
	return false
}

// standIn returns the registration of the stand-in, and false if there is none.
func (c *client) standIn(ctx context.Context) (admin.Issuer, bool, error) {
	all, err := c.issuers(ctx)
	i := slices.IndexFunc(all, func(is admin.Issuer) bool { return is.URL == standInURL })
	if err != nil || i < 0 {
		return admin.Issuer{}, false, err
	}
	return all[i], true, nil
}

// register adds the stand-in if it is not there, and sets its key if that is
// another one.
func (c *client) register(ctx context.Context, s *standIn) (admin.Issuer, error) {
	is, ok, err := c.standIn(ctx)
	if err != nil {
		return is, err
	}
	if !ok {
		return call[admin.Issuer](ctx, c, http.MethodPost, "/v1/issuers", admin.NewIssuer{
			URL: standInURL, Preset: "generic", Audiences: []string{standInAudience}, Types: []string{standInType}, Algorithms: []string{jws.ES256},
			TenantAt: "/" + standInTenant, Shape: string(identity.Scalar), SubjectAt: "/sub",
			Reach: []string{identity.HTTP, identity.PGRead, identity.PGWrite}, Lifetime: standInLifetime.String(), JWKS: s.jwks,
		})
	}
	if keys, err := jws.ParsePublished(is.JWKS); err == nil && keys.Holds(s.thumb()) {
		return is, nil
	}
	return c.setKeys(ctx, is, s.jwks)
}

func (c *client) setKeys(ctx context.Context, is admin.Issuer, doc []byte) (admin.Issuer, error) {
	return call[admin.Issuer](ctx, c, http.MethodPut, at(is, "/keys"), json.RawMessage(doc))
}

// thumb names the key of s.
func (s *standIn) thumb() (thumb [sha256.Size]byte) {
	b, err := base64.RawURLEncoding.DecodeString(s.kid)
	if err == nil {
		copy(thumb[:], b)
	}
	return thumb
}

// speakFor binds the organisation of a tenant to it. Of a tenant that is gone
// and had the same name it is taken.
func (c *client) speakFor(ctx context.Context, is admin.Issuer, t admin.Tenant) (admin.Issuer, error) {
	value := organisation(t.Path)
	for _, b := range is.Tenants {
		if b.Value != value {
			continue
		}
		if b.ID == t.ID {
			return is, nil
		}
		if _, err := c.unbind(ctx, is, value); err != nil {
			return is, err
		}
	}
	return c.bind(ctx, is, value, t.Path)
}

// organisation returns what the stand-in calls the tenant at path: no name has
// an underscore, so no two are called alike.
func organisation(path string) string {
	p, err := tenant.ParsePath(path, admin.Home)
	if err != nil {
		return ""
	}
	return "org_" + string(p.Partner) + "_" + string(p.Name)
}

// claims are what a token of the stand-in says.
type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Client   string `json:"client_id"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	ID       string `json:"jti"`
	Tenant   string `json:"org_id"`
}

// sign returns the token of c.
func (s *standIn) sign(c claims) (string, error) {
	head, err := json.Marshal(map[string]string{"alg": jws.ES256, "kid": s.kid, "typ": standInType})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64(head) + "." + b64(body)
	digest := sha256.Sum256([]byte(signed))
	r, t, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		return "", err
	}
	var signature [64]byte // RFC 7518, 3.4
	r.FillBytes(signature[:32])
	t.FillBytes(signature[32:])
	return signed + "." + b64(signature[:]), nil
}

func tokenIdP(o *options) *cobra.Command {
	var name, subject string
	var ttl time.Duration
	c := &cobra.Command{
		Use: "idp --tenant NAME", Short: "Print a token as an identity provider would issue it, for trying out", Args: cobra.NoArgs,
		Long: "Print a token of the stand-in identity provider of isocore up: what a browser or an API caller shows at the edge, as Authorization: Bearer.\nThere is none beside a node of isocore serve.",
	}
	c.Flags().StringVar(&name, "tenant", "", "whose token: NAME or PARTNER/NAME")
	c.Flags().StringVar(&subject, "subject", "ada", "who it is")
	c.Flags().DurationVar(&ttl, "ttl", 5*time.Minute, "how long it lives, at most 1h")
	c.MarkFlagRequired("tenant") //nolint:errcheck // the flag is there
	o.completeTenants(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.config != "" {
			return &misuse{errors.New("the stand-in identity provider is of a state directory, and not of a configuration")}
		}
		if ttl < time.Second || ttl > standInLifetime || ttl%time.Second != 0 {
			return &misuse{fmt.Errorf("--ttl %v: such a token lives whole seconds, up to %v", ttl, standInLifetime)}
		}
		if _, err := tenantURL(name); err != nil {
			return err
		}
		t, err := o.standInToken(cmd.Context(), name, subject, ttl)
		if err != nil {
			return err
		}
		o.step("signed by the stand-in identity provider %s, for trying out", standInURL)
		if o.json {
			return printJSON(cmd.OutOrStdout(), t)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), t.Token)
		return err
	}
	return c
}

// standInToken signs a token of a tenant that the stand-in speaks for.
func (o *options) standInToken(ctx context.Context, name, subject string, ttl time.Duration) (admin.Token, error) {
	n, err := o.connect()
	if err != nil {
		return admin.Token{}, err
	}
	s, err := o.openStandIn()
	if err != nil {
		return admin.Token{}, err
	}
	p, err := tenant.ParsePath(name, admin.Home)
	if err != nil {
		return admin.Token{}, err
	}
	value := organisation(p.String())
	is, there, err := n.standIn(ctx)
	if err != nil {
		return admin.Token{}, err
	}
	if !there {
		return admin.Token{}, hint(errors.New("the node does not believe the stand-in identity provider: it was removed"),
			"isocore up"+o.in()+" registers it again once "+o.standInKnown()+" is deleted")
	}
	speaks := func(b admin.Binding) bool { return b.Value == value && b.State != string(registry.Gone) }
	if !slices.ContainsFunc(is.Tenants, speaks) {
		return admin.Token{}, hint(fmt.Errorf("the stand-in identity provider does not speak for %s", p),
			"isocore issuer bind "+standInURL+" "+value+" --tenant "+p.String()+o.in())
	}
	now := time.Now()
	token, err := s.sign(claims{
		Issuer: standInURL, Subject: subject, Audience: standInAudience, Client: "isocore-cli", Issued: now.Unix(), Expires: now.Add(ttl).Unix(),
		ID: rand.Text(), Tenant: value,
	})
	return admin.Token{Token: token, Type: "Bearer", Expires: now.Add(ttl).UTC().Truncate(time.Second), Seconds: int(ttl.Seconds())}, err
}
