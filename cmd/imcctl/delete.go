package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

func (t *tool) deleteCommand() *cobra.Command {
	return &cobra.Command{Use: "delete ROOM NUMBER", Short: "Delete a message", GroupID: groupAct,
		Long: `Delete a message: it is gone from the history and from what members have not got yet. Phones
cannot take a text back, so members that have it get a notice. "imcctl history ROOM" shows
the numbers.`,
		Args: cobra.ExactArgs(2), ValidArgsFunction: t.completeRoom,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.ParseUint(args[1], 10, 31)
			if err != nil {
				return fmt.Errorf("%q is not the number of a message", args[1])
			}
			return t.act(cmd, "imc.delete_message", map[string]any{"room": args[0], "seq": n}, "message %d was deleted", n)
		}}
}
