package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/identity"
)

// A grant is what the commands that mint a token take.
type grant struct {
	tenant string
	broker string
	reach  []string
	ttl    string
	sub    string
}

func (g *grant) flags(c *cobra.Command, o *options) {
	f := c.Flags()
	f.StringVar(&g.tenant, "tenant", "", "whose token: NAME or PARTNER/NAME")
	f.StringVar(&g.broker, "for", "postgres", "the broker it is for")
	f.StringSliceVar(&g.reach, "reach", []string{identity.PGRead, identity.PGWrite}, "how far it reaches")
	f.StringVar(&g.ttl, "ttl", "15m", "how long it lives, at most 15m")
	f.StringVar(&g.sub, "subject", "", "who will use it")
	c.MarkFlagRequired("tenant") //nolint:errcheck // the flag is there
	o.completeTenants(c)
}

// request checks g as far as it can be here, so that a mistake is answered as
// one.
func (g *grant) request() (admin.TokenRequest, error) {
	q := admin.TokenRequest{Tenant: g.tenant, For: g.broker, Reach: g.reach, TTL: g.ttl, Sub: g.sub}
	if _, err := tenantURL(g.tenant); err != nil {
		return q, err
	}
	if d, err := time.ParseDuration(g.ttl); err != nil || d <= 0 || d > identity.MaxLifetime {
		return q, &misuse{fmt.Errorf("--ttl %.20q: a token lives up to %v", g.ttl, identity.MaxLifetime)}
	}
	if _, err := identity.ParseReach(strings.Join(g.reach, " ")); err != nil {
		return q, &misuse{err}
	}
	return q, nil
}

func (g *grant) mint(ctx context.Context, n *client) (admin.Token, error) {
	q, err := g.request()
	if err != nil {
		return admin.Token{}, err
	}
	return call[admin.Token](ctx, n, http.MethodPost, "/v1/token", q)
}

// token checks g, finds the node and has it mint.
func (o *options) token(ctx context.Context, g *grant) (admin.Token, *client, error) {
	if _, err := g.request(); err != nil {
		return admin.Token{}, nil, err
	}
	n, err := o.connect()
	if err != nil {
		return admin.Token{}, nil, err
	}
	t, err := g.mint(ctx, n)
	return t, n, err
}

func newToken(o *options) *cobra.Command {
	return group("token", "Issue and verify tokens", tokenIssue(o), tokenVerify(o), tokenDSN(o), tokenIdP(o))
}

func tokenIssue(o *options) *cobra.Command {
	g := &grant{}
	c := &cobra.Command{Use: "issue --tenant NAME", Short: "Print a token: what a client presents as its password", Args: cobra.NoArgs}
	g.flags(c, o)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		t, _, err := o.token(cmd.Context(), g)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(cmd.OutOrStdout(), t)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), t.Token)
		return err
	}
	return c
}

// maxToken bounds what is read as a token.
const maxToken = 64 << 10

func tokenVerify(o *options) *cobra.Command {
	var broker string
	c := &cobra.Command{Use: "verify", Short: "Read a token from standard input and say what it is worth at a broker", Args: cobra.NoArgs}
	c.Flags().StringVar(&broker, "for", "postgres", "the broker")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		n, err := o.connect()
		if err != nil {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxToken))
		if err != nil {
			return err
		}
		v, err := call[admin.Verified](cmd.Context(), n, http.MethodPost, "/v1/token/verify",
			admin.Presented{Token: strings.TrimRight(string(b), "\r\n"), For: broker})
		if err != nil {
			return fmt.Errorf("the broker would not take it: %w", err)
		}
		if o.json {
			return printJSON(cmd.OutOrStdout(), v)
		}
		return table(cmd.OutOrStdout(), "CLAIM\tVALUE", [][]string{
			{"tenant", v.Tenant},
			{"principal", v.Principal},
			{"subject", v.Subject},
			{"issuer", v.Issuer},
			{"scope", v.Scope},
			{"txn", v.Txn},
			{"expires", v.Expires.Format("2006-01-02 15:04:05Z07:00")},
		})
	}
	return c
}
