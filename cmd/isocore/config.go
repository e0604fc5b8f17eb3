package main

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/isocore/isocore/config"
)

func newConfig(o *options) *cobra.Command {
	print := func(use, short string, text func() []byte) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(text())
			return err
		}}
	}
	return group("config", "Make, check, explain and show the configuration", configInit(o), configCheck(o), configShow(o),
		print("schema", "Print the JSON Schema of the file", config.Schema),
		print("example", "Print a commented file to start from", config.Example))
}

// loadConfig reads the file that the arguments name, or that of --config, or
// the state directory's.
func (o *options) loadConfig(args []string) (*config.Config, error) {
	path := o.config
	if len(args) > 0 {
		path = args[0]
	}
	if path == "" {
		path = filepath.Join(o.dir, "isocore.yaml")
	}
	return config.Load(path)
}

func configCheck(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "check [FILE]", Short: "Say everything that is wrong with a file", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := o.loadConfig(args)
			if o.json {
				return o.printProblems(cmd, err)
			}
			if err != nil {
				return err
			}
			o.step("nothing is wrong")
			return nil
		},
	}
}

// A problem is one as JSON has it.
type problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Path   string `json:"path,omitempty"`
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"`
}

func (o *options) printProblems(cmd *cobra.Command, err error) error {
	problems, ok := errors.AsType[config.Problems](err)
	if err != nil && !ok {
		return err
	}
	all := []problem{}
	for _, p := range problems {
		all = append(all, problem(p))
	}
	if err := printJSON(cmd.OutOrStdout(), all); err != nil {
		return err
	}
	if len(all) > 0 {
		return exit(exitFailed)
	}
	return nil
}

func configShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show [FILE]", Short: "Print what a file amounts to, defaults included", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := o.loadConfig(args)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(f.Show())
			return err
		},
	}
}
