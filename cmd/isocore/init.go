package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/local"
)

func configInit(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "init", Short: "Make keys, passwords and a configuration in the state directory, for stores of your own", Args: cobra.NoArgs,
		Long: "Make a state directory with the node's keys, the passwords of the roles and a commented configuration, and say what is left to do.\nWhat is there already stays.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := local.Open(o.dir)
			if err != nil {
				return err
			}
			err = makeConfig(d)
			if err = errors.Join(err, d.Close()); err != nil {
				return err
			}
			return sayNext(cmd.OutOrStdout(), d)
		},
	}
}

// makeConfig writes the passwords and the file that the example names, where
// there are none.
func makeConfig(d *local.Dir) error {
	for _, role := range []string{"isocore_login", "isocore_keeper"} {
		if _, err := d.Password(role); err != nil {
			return err
		}
	}
	path := d.Path("isocore.yaml")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, config.Example(), 0o600)
}

// sayNext says what only the owner of the servers can do.
func sayNext(w io.Writer, d *local.Dir) error {
	_, err := fmt.Fprintf(w, `%[1]s has keys, passwords and a configuration. What is left:

1. A database for the registry, as superuser of a PostgreSQL:
     CREATE ROLE isocore_registry LOGIN PASSWORD '...';
     CREATE DATABASE isocore OWNER isocore_registry;
   and its connection string, mode 0600, in %[2]s
2. The application's database, with a file that holds a superuser's connection string:
     isocore protect --dsn-file FILE --schema app --canary \
       --login-file %[3]s --keeper-file %[4]s
3. Where that server is, and its databases, in %[5]s
4. isocore config check %[5]s
   isocore serve --config %[5]s
`, d.Path(), d.Path("keys", "registry.dsn"), d.PasswordFile("isocore_login"), d.PasswordFile("isocore_keeper"), d.Path("isocore.yaml"))
	return err
}
