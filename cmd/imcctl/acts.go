package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func (t *tool) actsCommand() *cobra.Command {
	var n int
	cmd := &cobra.Command{Use: "acts ROOM", Short: "What owners, admins and operators did in a room", GroupID: groupLook,
		Long: `What owners, admins and operators did in a room in the last 90 days: who was banned, muted,
warned or removed, roles, settings, and the end of the room. A room that does not exist any
more needs its domain.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: t.completeRoom,
		RunE: func(cmd *cobra.Command, args []string) error {
			room, err := t.roomURI(cmd, args[0])
			if err != nil {
				return err
			}
			params := map[string]any{"room": room}
			if n != 0 {
				params["n"] = n
			}
			return ask(t, cmd, "imc.acts", params, printActs)
		}}
	cmd.Flags().IntVarP(&n, "number", "n", 0, "how many (default 50, 1000 at most)")
	return cmd
}

// deed is an item of imc.acts.
type deed struct {
	Time  time.Time  `json:"time"`
	By    string     `json:"by"`
	Act   string     `json:"act"`
	User  string     `json:"user"`
	Until *time.Time `json:"until"`
	Why   string     `json:"why"`
}

func printActs(w io.Writer, deeds []deed) {
	if len(deeds) == 0 {
		fmt.Fprintln(w, "Nothing is kept.")
		return
	}
	fmt.Fprintln(w, "TIME\tBY\tACT\tUSER\tUNTIL\tWHY")
	for _, d := range deeds {
		by, until := d.By, "-"
		if by == "" {
			by = "operator"
		}
		if d.Until != nil {
			until = d.Until.Local().Format(time.DateTime)
		}
		user := d.User
		if user == "" {
			user = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Time.Local().Format(time.DateTime), by, d.Act, user, until, safe(d.Why))
	}
}
