package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/tenant"
)

func newPartner(o *options) *cobra.Command {
	state := func(state string) func(string) (string, any) {
		return func(name string) (string, any) { return "/v1/partners/" + name, admin.StateChange{State: state} }
	}
	return group("partner", "Make, list, suspend and resume partners, who have tenants",
		aboutPartner(o, "create", "Make a partner", http.MethodPost, func(name string) (string, any) {
			return "/v1/partners", admin.NewPartner{Name: name}
		}),
		aboutPartner(o, "suspend", "Keep all tenants of a partner from acting, within a second", http.MethodPatch, state("suspended")),
		aboutPartner(o, "resume", "Let a suspended partner's tenants act again", http.MethodPatch, state("active")),
		partnerList(o))
}

// aboutPartner returns a command that makes one call about a partner.
func aboutPartner(o *options, use, short, method string, about func(name string) (path string, body any)) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := tenant.ParseName(args[0]); err != nil {
				return &misuse{err}
			}
			n, err := o.connect()
			if err != nil {
				return err
			}
			path, body := about(args[0])
			p, err := call[admin.Partner](cmd.Context(), n, method, path, body)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), p)
			}
			return o.partners(cmd, []admin.Partner{p})
		},
	}
}

func partnerList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the partners", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := o.connect()
			if err != nil {
				return err
			}
			all, err := call[[]admin.Partner](cmd.Context(), n, http.MethodGet, "/v1/partners", nil)
			if err != nil {
				return err
			}
			return o.partners(cmd, all)
		},
	}
}

func (o *options) partners(cmd *cobra.Command, all []admin.Partner) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), all)
	}
	var rows [][]string
	for _, p := range all {
		rows = append(rows, []string{p.Name, p.State, p.Created.Format("2006-01-02 15:04:05")})
	}
	return table(cmd.OutOrStdout(), "PARTNER\tSTATE\tCREATED", rows)
}
