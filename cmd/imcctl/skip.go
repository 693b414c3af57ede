package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (t *tool) skipCommand() *cobra.Command {
	return &cobra.Command{Use: "skip ROOM USER", Short: "Take the next message for a member out of the way",
		GroupID: groupAct,
		Long: `Take the next message that a member has not got out of its way, if its phone ends at
it, or refuses it again and again. A notice tells the member that 1 message could not be
shown, and gets what follows. imcd does so by itself for what a phone does not answer
(poison_tries). "imcctl room ROOM" shows what a member is owed, and has lost.`,
		Args: cobra.ExactArgs(2), ValidArgsFunction: t.completeMember,
		RunE: func(cmd *cobra.Command, args []string) error {
			room, err := t.roomURI(cmd, args[0])
			if err != nil {
				return err
			}
			return ask(t, cmd, "imc.skip", []string{room, args[1]}, func(w io.Writer, done skipped) {
				fmt.Fprintf(w, "%s: message %d was skipped for %s\n", done.Room, done.Seq, args[1])
			})
		}}
}

// skipped is the result of imc.skip.
type skipped struct {
	Room string `json:"room"`
	Seq  uint64 `json:"seq"`
}
