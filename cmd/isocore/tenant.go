package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/tenant"
)

// tenantURL returns where the API has the tenant of that name.
func tenantURL(name string) (string, error) {
	p, err := tenant.ParsePath(name, admin.Home)
	if err != nil {
		return "", &misuse{err}
	}
	return "/v1/tenants/" + p.String(), nil
}

func newTenant(o *options) *cobra.Command {
	return group("tenant", "Make, show, suspend and delete tenants",
		tenantCreate(o), tenantList(o), tenantShow(o),
		tenantState(o, "suspend", "suspended", "Keep a tenant from acting, within a second, in open sessions too"),
		tenantState(o, "resume", "active", "Let a suspended tenant act again"),
		tenantDelete(o))
}

func tenantCreate(o *options) *cobra.Command {
	var region, partner string
	c := &cobra.Command{Use: "create NAME", Short: "Make a tenant: NAME, or PARTNER/NAME", Args: cobra.ExactArgs(1)}
	c.Flags().StringVar(&region, "region", "", "where its data are to be")
	c.Flags().StringVar(&partner, "partner", "", "whose tenant it is, if NAME does not say; home unless said")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		name := args[0]
		if partner != "" {
			if strings.Contains(name, "/") {
				return &misuse{fmt.Errorf("%s names a partner, and so does --partner", name)}
			}
			name = partner + "/" + name
		}
		if _, err := tenantURL(name); err != nil {
			return err
		}
		n, err := o.connect()
		if err != nil {
			return err
		}
		t, err := call[admin.Tenant](cmd.Context(), n, http.MethodPost, "/v1/tenants", admin.NewTenant{Path: name, Region: region})
		if err != nil {
			return err
		}
		return o.tenant(cmd, t)
	}
	return c
}

func tenantList(o *options) *cobra.Command {
	var partner, state string
	c := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the tenants", Args: cobra.NoArgs}
	c.Flags().StringVar(&partner, "partner", "", "only those of this partner")
	c.Flags().StringVar(&state, "state", "", "only those in this state: active, suspended, leaving, gone")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		q := url.Values{}
		if partner != "" {
			if _, err := tenant.ParseName(partner); err != nil {
				return &misuse{err}
			}
			q.Set("partner", partner)
		}
		if state != "" {
			if !slices.Contains(admin.States, state) {
				return &misuse{fmt.Errorf("a tenant is %s, not %.20q", strings.Join(admin.States, ", "), state)}
			}
			q.Set("state", state)
		}
		n, err := o.connect()
		if err != nil {
			return err
		}
		all, err := call[[]admin.Tenant](cmd.Context(), n, http.MethodGet, "/v1/tenants?"+q.Encode(), nil)
		if err != nil {
			return err
		}
		return o.tenants(cmd, all)
	}
	return c
}

// aboutTenant returns a command about the tenant that its argument names.
func aboutTenant(o *options, use, short string, run func(*cobra.Command, []string) error) *cobra.Command {
	c := &cobra.Command{Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1), RunE: run}
	o.completeTenants(c)
	return c
}

func tenantShow(o *options) *cobra.Command {
	return aboutTenant(o, "show", "Show one tenant", func(cmd *cobra.Command, args []string) error {
		return o.oneTenant(cmd, http.MethodGet, args[0], nil)
	})
}

func tenantState(o *options, verb, state, short string) *cobra.Command {
	return aboutTenant(o, verb, short, func(cmd *cobra.Command, args []string) error {
		return o.oneTenant(cmd, http.MethodPatch, args[0], admin.StateChange{State: state})
	})
}

func tenantDelete(o *options) *cobra.Command {
	c := aboutTenant(o, "delete", "End a suspended tenant; its name is free, its id never again", func(cmd *cobra.Command, args []string) error {
		if !o.yes {
			return &misuse{hint(fmt.Errorf("deleting %s cannot be undone", args[0]), "say --yes")}
		}
		return o.oneTenant(cmd, http.MethodDelete, args[0], nil)
	})
	c.Long = "End a suspended tenant. Nobody acts for it ever again: its id is refused for ever, and another tenant of its name is another tenant.\nIts rows and its audit log stay; isocore audit tail --tenant ID reads the log."
	return c
}

// oneTenant makes a call about one tenant and shows what is left.
func (o *options) oneTenant(cmd *cobra.Command, method, name string, body any) error {
	at, err := tenantURL(name)
	if err != nil {
		return err
	}
	n, err := o.connect()
	if err != nil {
		return err
	}
	t, err := call[admin.Tenant](cmd.Context(), n, method, at, body)
	if err != nil {
		return err
	}
	return o.tenant(cmd, t)
}

func (o *options) tenant(cmd *cobra.Command, t admin.Tenant) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), t)
	}
	return o.tenants(cmd, []admin.Tenant{t})
}

func (o *options) tenants(cmd *cobra.Command, all []admin.Tenant) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), all)
	}
	var rows [][]string
	for _, t := range all {
		rows = append(rows, []string{t.Path, t.State, t.ID, t.Created.Format("2006-01-02 15:04:05"), t.Region})
	}
	return table(cmd.OutOrStdout(), "TENANT\tSTATE\tID\tCREATED\tREGION", rows)
}
