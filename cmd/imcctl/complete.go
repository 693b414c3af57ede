package main

import (
	"time"

	"github.com/spf13/cobra"
)

// completeTime bounds how long a shell waits for imcd when Tab is pressed.
const completeTime = time.Second

// completeRoom offers the rooms that there are for a first argument.
func (t *tool) completeRoom(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	t.timeout = min(t.timeout, completeTime)
	var rooms []room
	if t.call(cmd, "imc.list_rooms", nil, &rooms) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp // a shell has no place for an error
	}
	var names []string
	for _, r := range rooms {
		names = append(names, r.Room)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeMember offers rooms, then the members of the room, then roles.
func (t *tool) completeMember(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return t.completeRoom(cmd, args, word)
	case 1:
		t.timeout = min(t.timeout, completeTime)
		var m members
		if t.call(cmd, "imc.list_members", args, &m) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return m.Members, cobra.ShellCompDirectiveNoFileComp
	case 2:
		if cmd.Name() == "role" {
			return roles, cobra.ShellCompDirectiveNoFileComp
		}
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeRoomOf offers rooms behind a user.
func (t *tool) completeRoomOf(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return t.completeRoom(cmd, nil, word)
}
