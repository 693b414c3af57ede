package main

import (
	"github.com/spf13/cobra"

	"imcd/cmd/imcd/check"
)

func (t *tool) handbackCommand() *cobra.Command {
	return &cobra.Command{Use: "handback", Short: "Make the tables fit for Kamailio's imc module again",
		GroupID: groupHelp,
		Args:    cobra.NoArgs,
		Long: `Put the tables of rooms and members in the order that Kamailio's imc module needs, in
the database of imcd's configuration. The module takes the first member of a room for
its owner. Rooms without members are named: the module stops loading at the first.

Stop imcd before, and do not start it again before the module has had the tables. Run
it with imcd's own environment and rights. It may be called more than once.

Exit code 1 if any line says FAIL, or if there is no database yet.`,
		Example: "  systemctl stop imcd\n  imcctl handback -c /etc/imcd/imcd.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t.asking = true
			o := check.Options{File: t.configFile(), Environ: t.environ}
			return t.showLines(func(print func(check.Line)) bool { return check.HandBack(cmd.Context(), o, print) })
		}}
}
