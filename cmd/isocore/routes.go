package main

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
)

func newRoutes(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "routes", Short: "Print the applications behind the edge", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := o.connect()
			if err != nil {
				return err
			}
			routes, err := call[[]admin.Route](cmd.Context(), n, http.MethodGet, "/v1/routes", nil)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), routes)
			}
			var rows [][]string
			for _, r := range routes {
				rows = append(rows, []string{r.Name, r.Host, r.Path, cmp.Or(r.Partner, "all"), r.Upstream, strings.Join(r.Reach, " ")})
			}
			return table(cmd.OutOrStdout(), "ROUTE\tHOST\tPATH\tPARTNER\tUPSTREAM\tREACH", rows)
		},
	}
}
