package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func (t *tool) destroyCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{Use: "destroy ROOM", Short: "End a room, and tell its members", GroupID: groupAct,
		Long: `End a room: its members get a notice, and its messages are deleted, also those that
have not reached everybody. On a terminal the room's name has to be typed once more;
elsewhere, --yes must be given.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: t.completeRoom,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !t.terminal() {
				return errors.New("destroy asks for the room's name on a terminal; here, say --yes if you are sure")
			}
			room, err := t.roomURI(cmd, args[0])
			if err == nil && !yes {
				err = t.confirm(cmd, room)
			}
			if err != nil {
				return err
			}
			return t.act(cmd, "imc.destroy_room", map[string]any{"room": room}, "destroyed")
		}}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirm asks somebody at the terminal to type the name of the room that is to be
// destroyed.
func (t *tool) confirm(cmd *cobra.Command, room string) error {
	var m members
	if err := t.call(cmd, "imc.list_members", []string{room}, &m); err != nil {
		return err
	}
	name := strings.TrimPrefix(m.Room, "sip:")
	user, _, _ := strings.Cut(name, "@")
	fmt.Fprintf(t.errs, "%s (%d in it) and what was said there will be gone.\nType %s to go on: ", m.Room, m.Count, user)
	typed, err := bufio.NewReader(io.LimitReader(t.in, maxText)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the name: %w", err)
	}
	typed = strings.TrimPrefix(strings.TrimSpace(typed), "sip:")
	if !strings.EqualFold(typed, user) && !strings.EqualFold(typed, name) {
		return errors.New("that is another name: nothing was destroyed")
	}
	return nil
}
