package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/preset"
)

// How much is read of a file that the node has to take.
const (
	maxKeysFile = 256 << 10
	maxCAFile   = 64 << 10
)

func newIssuer(o *options) *cobra.Command {
	return group("issuer", "Say whose identity tokens are believed, and which of their organisations is which tenant",
		issuerAdd(o), issuerList(o), issuerShow(o), issuerBind(o), issuerUnbind(o), issuerKeys(o), issuerRemove(o), issuerTest(o))
}

// An addition is what issuer add takes.
type addition struct {
	admin.NewIssuer
	keysFile string
	caFile   string
}

func issuerAdd(o *options) *cobra.Command {
	a := &addition{}
	c := &cobra.Command{
		Use: "add URL --audience AUDIENCE", Short: "Believe an identity provider's tokens at the edge", Args: cobra.ExactArgs(1),
		Long: "Believe an identity provider's tokens at the edge. URL is exactly what they have as iss. Its tokens are nobody's until a value of their\ntenant claim is bound: isocore issuer bind.\nPresets: " +
			strings.Join(preset.Names(), ", ") + ".",
	}
	a.flags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		a.URL = args[0]
		p, err := a.check()
		if err != nil {
			return err
		}
		n, err := o.connect()
		if err != nil {
			return err
		}
		is, err := call[admin.Issuer](cmd.Context(), n, http.MethodPost, "/v1/issuers", a.NewIssuer)
		if err != nil {
			return err
		}
		o.step("the preset %s is made from %s", p.Name, p.Known)
		for _, note := range p.Notes {
			o.step("mind: %s", note)
		}
		o.step("bind its organisations to tenants with: isocore issuer bind %s VALUE --tenant NAME%s", shellQuote(is.URL), o.in())
		return o.issuer(cmd, is)
	}
	return c
}

func (a *addition) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&a.Audiences, "audience", nil, "whom its tokens are for: one of these has to be in aud")
	f.StringVar(&a.Preset, "preset", "generic", "what is known of its maker")
	f.StringVar(&a.keysFile, "jwks-file", "", "its keys; you bring new ones with isocore issuer keys")
	f.StringVar(&a.JWKSURI, "jwks-uri", "", "where it publishes its keys, if the preset does not know")
	f.StringVar(&a.caFile, "ca-file", "", "certificates, in PEM, that its keys' server is trusted by")
	f.BoolVar(&a.Private, "private", false, "its keys may be at a private or a loopback address")
	f.StringVar(&a.TenantAt, "tenant-at", "", "JSON Pointer to the tenant claim, such as /org_id")
	f.StringVar(&a.Shape, "shape", "", "of the tenant claim: scalar, single-array, single-key")
	f.StringVar(&a.SubjectAt, "subject-at", "", "JSON Pointer to who it is; /sub unless the preset says another")
	f.StringArrayVar(&a.Parties, "party", nil, "who may hold its tokens: azp and client_id have to be among these")
	f.StringArrayVar(&a.Types, "type", nil, "what typ may be, '' for none at all")
	f.StringSliceVar(&a.Algorithms, "alg", nil, "how it signs: EdDSA, Ed25519, ES256, RS256")
	f.StringSliceVar(&a.Reach, "reach", []string{identity.HTTP}, "the most that its people reach")
	f.StringVar(&a.Lifetime, "lifetime", "1h", "the longest life of its tokens, at most 24h")
	c.MarkFlagRequired("audience") //nolint:errcheck // the flag is there
	c.RegisterFlagCompletionFunc("preset", fixed(preset.Names()))
	c.RegisterFlagCompletionFunc("shape", fixed([]string{string(identity.Scalar), string(identity.SingleArray), string(identity.SingleKey)}))
}

// fixed completes a flag that takes one of a few words.
func fixed(words []string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// check finds mistakes of the command line, as far as they show here, and
// reads the files.
func (a *addition) check() (preset.Preset, error) {
	p, ok := preset.Lookup(a.Preset)
	if !ok {
		return p, &misuse{hint(fmt.Errorf("there is no preset %.40q", a.Preset), strings.Join(preset.Names(), ", "))}
	}
	keysAt, err := p.Resolve(a.URL)
	if err != nil {
		return p, &misuse{hint(err, "--preset generic takes any https URL")}
	}
	if d, err := time.ParseDuration(a.Lifetime); err != nil || d <= 0 || d > identity.MaxProviderLifetime {
		return p, &misuse{fmt.Errorf("--lifetime %.20q: a provider's token lives up to %v", a.Lifetime, identity.MaxProviderLifetime)}
	}
	if _, err := identity.ParseReach(strings.Join(a.Reach, " ")); err != nil {
		return p, &misuse{err}
	}
	if a.TenantAt == "" && p.TenantAt == "" {
		return p, &misuse{hint(fmt.Errorf("the preset %s does not know where the tenant claim is", p.Name), "--tenant-at /CLAIM")}
	}
	if a.keysFile != "" && a.JWKSURI != "" {
		return p, &misuse{errors.New("--jwks-file gives the keys, and --jwks-uri says where to fetch them: one of the two")}
	}
	fetched := a.JWKSURI != "" || a.keysFile == "" && keysAt != ""
	if !fetched && a.keysFile == "" {
		return p, &misuse{hint(fmt.Errorf("the preset %s does not know where the keys are published", p.Name), "--jwks-uri URL or --jwks-file FILE")}
	}
	if !fetched && (a.caFile != "" || a.Private) {
		return p, &misuse{errors.New("--ca-file and --private are for keys that are fetched")}
	}
	return p, a.read()
}

// read reads the files of a.
func (a *addition) read() error {
	if a.keysFile != "" {
		doc, err := readFile(a.keysFile, maxKeysFile)
		if err != nil {
			return err
		}
		a.JWKS = doc
	}
	if a.caFile != "" {
		pem, err := readFile(a.caFile, maxCAFile)
		if err != nil {
			return err
		}
		a.CA = string(pem)
	}
	return nil
}

// readFile reads a file of up to limit bytes, which is not empty.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was read
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has %d bytes or more, not 1 to %d", path, len(b), limit)
	}
	return b, nil
}

func issuerList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the identity providers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := o.connect()
			if err != nil {
				return err
			}
			all, err := n.issuers(cmd.Context())
			if err != nil {
				return err
			}
			return o.issuers(cmd, all)
		},
	}
}

// issuers returns all identity providers.
func (c *client) issuers(ctx context.Context) ([]admin.Issuer, error) {
	return call[[]admin.Issuer](ctx, c, http.MethodGet, "/v1/issuers", nil)
}

// aboutIssuer returns a command about the identity provider that its first
// argument names.
func aboutIssuer(o *options, use, short string, args int, run func(cmd *cobra.Command, n *client, is admin.Issuer, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(args), ValidArgsFunction: o.completeIssuers,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := o.connect()
			if err != nil {
				return err
			}
			all, err := n.issuers(cmd.Context())
			if err != nil {
				return err
			}
			i := slices.IndexFunc(all, func(is admin.Issuer) bool { return is.URL == args[0] })
			if i < 0 {
				return hint(fmt.Errorf("there is no identity provider %.100q", args[0]), "isocore issuer list"+o.in())
			}
			return run(cmd, n, all[i], args)
		},
	}
}

// completeIssuers has the shell complete the URL of an identity provider, and
// after it the values that are bound.
func (o *options) completeIssuers(c *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(c.Context(), completionTime)
	defer cancel()
	n, err := o.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := n.issuers(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []cobra.Completion
	for _, is := range all {
		if len(args) == 0 && strings.HasPrefix(is.URL, start) {
			words = append(words, is.URL)
		}
		for _, b := range is.Tenants {
			if len(args) == 1 && is.URL == args[0] && strings.HasPrefix(b.Value, start) {
				words = append(words, b.Value)
			}
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func issuerShow(o *options) *cobra.Command {
	return aboutIssuer(o, "show URL", "Show one identity provider and its tenants", 1, func(cmd *cobra.Command, _ *client, is admin.Issuer, _ []string) error {
		return o.issuer(cmd, is)
	})
}

func issuerBind(o *options) *cobra.Command {
	var name string
	c := aboutIssuer(o, "bind URL VALUE --tenant NAME", "Have a value of its tenant claim stand for a tenant", 2, func(cmd *cobra.Command, n *client, is admin.Issuer, args []string) error {
		if _, err := tenantURL(name); err != nil {
			return err
		}
		is, err := n.bind(cmd.Context(), is, args[1], name)
		if err != nil {
			return err
		}
		return o.issuer(cmd, is)
	})
	c.Flags().StringVar(&name, "tenant", "", "whose it is: NAME or PARTNER/NAME")
	c.MarkFlagRequired("tenant") //nolint:errcheck // the flag is there
	o.completeTenants(c)
	return c
}

// at returns where the API has what it has of an identity provider.
func at(is admin.Issuer, more string) string { return "/v1/issuers/" + is.ID + more }

// bound returns where the API has what a value of an identity provider stands for.
func bound(is admin.Issuer, value string) string {
	return at(is, "/tenants?"+url.Values{"value": {value}}.Encode())
}

func (c *client) bind(ctx context.Context, is admin.Issuer, value, name string) (admin.Issuer, error) {
	return call[admin.Issuer](ctx, c, http.MethodPut, bound(is, value), admin.Bound{Tenant: name})
}

func (c *client) unbind(ctx context.Context, is admin.Issuer, value string) (admin.Issuer, error) {
	return call[admin.Issuer](ctx, c, http.MethodDelete, bound(is, value), nil)
}

func issuerUnbind(o *options) *cobra.Command {
	return aboutIssuer(o, "unbind URL VALUE", "Have a value of its tenant claim stand for nobody, and end who came with it", 2, func(cmd *cobra.Command, n *client, is admin.Issuer, args []string) error {
		is, err := n.unbind(cmd.Context(), is, args[1])
		if err != nil {
			return err
		}
		return o.issuer(cmd, is)
	})
}

func issuerKeys(o *options) *cobra.Command {
	var file string
	c := aboutIssuer(o, "keys URL --jwks-file FILE", "Replace its keys, if they were given in a file", 1, func(cmd *cobra.Command, n *client, is admin.Issuer, _ []string) error {
		doc, err := readFile(file, maxKeysFile)
		if err != nil {
			return err
		}
		if is, err = n.setKeys(cmd.Context(), is, doc); err != nil {
			return err
		}
		return o.issuer(cmd, is)
	})
	c.Flags().StringVar(&file, "jwks-file", "", "its keys from now on, a JWK Set")
	c.MarkFlagRequired("jwks-file") //nolint:errcheck // the flag is there
	return c
}

func issuerRemove(o *options) *cobra.Command {
	c := aboutIssuer(o, "remove URL", "Believe none of its tokens any more, and end who came with one", 1, func(cmd *cobra.Command, n *client, is admin.Issuer, _ []string) error {
		is, err := call[admin.Issuer](cmd.Context(), n, http.MethodDelete, at(is, ""), nil)
		if err != nil {
			return err
		}
		o.step("%s is removed: added again it is another one, and its people are others", is.URL)
		return nil
	})
	return c
}

func issuerTest(o *options) *cobra.Command {
	return aboutIssuer(o, "test URL", "Read one of its tokens from standard input and say what the edge makes of it", 1, func(cmd *cobra.Command, n *client, is admin.Issuer, _ []string) error {
		b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxToken))
		if err != nil {
			return err
		}
		shown := admin.Shown{Token: strings.TrimRight(string(b), "\r\n")}
		v, err := call[admin.Tested](cmd.Context(), n, http.MethodPost, at(is, "/test"), shown)
		if err != nil {
			return fmt.Errorf("the edge would not take it: %w", err)
		}
		if o.json {
			return printJSON(cmd.OutOrStdout(), v)
		}
		return table(cmd.OutOrStdout(), "CLAIM\tVALUE", [][]string{
			{"tenant", v.Path + " " + v.Tenant},
			{"principal", v.Principal},
			{"subject", v.Subject},
			{"reach", v.Scope},
			{"expires", v.Expires.Format("2006-01-02 15:04:05Z07:00")},
		})
	})
}

// issuer shows one identity provider with its tenants.
func (o *options) issuer(cmd *cobra.Command, is admin.Issuer) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), is)
	}
	var rows [][]string
	for _, r := range [][]string{
		{"issuer", is.URL},
		{"preset", is.Preset},
		{"audience", strings.Join(is.Audiences, " ")},
		{"party", strings.Join(is.Parties, " ")},
		{"type", quoted(is.Types)},
		{"alg", strings.Join(is.Algorithms, " ")},
		{"tenant at", is.TenantAt + " " + is.Shape},
		{"subject at", is.SubjectAt},
		{"reach", strings.Join(is.Reach, " ")},
		{"lifetime", is.Lifetime},
		{"keys", keysOf(is)},
	} {
		if r[1] != "" {
			rows = append(rows, r)
		}
	}
	for _, b := range is.Tenants {
		rows = append(rows, []string{"tenant " + b.Value, b.Tenant + " " + b.State})
	}
	return table(cmd.OutOrStdout(), "ISSUER\tVALUE", rows)
}

// quoted shows that a type may be none at all.
func quoted(types []string) string {
	var words []string
	for _, t := range types {
		if t == "" {
			t = "''"
		}
		words = append(words, t)
	}
	return strings.Join(words, " ")
}

// keysOf says where the keys of an identity provider come from.
func keysOf(is admin.Issuer) string {
	if is.JWKSURI != "" {
		return is.JWKSURI
	}
	return "given"
}

func (o *options) issuers(cmd *cobra.Command, all []admin.Issuer) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), all)
	}
	var rows [][]string
	for _, is := range all {
		rows = append(rows, []string{is.URL, is.Preset, strings.Join(is.Reach, " "), strconv.Itoa(len(is.Tenants)), keysOf(is)})
	}
	return table(cmd.OutOrStdout(), "ISSUER\tPRESET\tREACH\tTENANTS\tKEYS", rows)
}
