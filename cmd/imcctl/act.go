package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

var roles = []string{"owner", "admin", "member"}

const createRoom = "imc.create_room"

// action is the result of a method that changes one room.
type action struct {
	Room string `json:"room"`
}

// act finds the room that the parameters name, calls a method and prints what it
// did, in words. A room that is to be made is taken as it is.
func (t *tool) act(cmd *cobra.Command, method string, params map[string]any, format string, args ...any) error {
	if name, ok := params["room"].(string); ok && method != createRoom {
		room, err := t.roomURI(cmd, name)
		if err != nil {
			return err
		}
		params["room"] = room
	}
	return ask(t, cmd, method, params, func(w io.Writer, done action) {
		fmt.Fprintf(w, "%s: "+format+"\n", append([]any{done.Room}, args...)...)
	})
}

func (t *tool) createCommand() *cobra.Command {
	var private bool
	var owner string
	cmd := &cobra.Command{Use: "create ROOM", Short: "Make a room", GroupID: groupAct,
		Long: `Make a room. The owner becomes its first member and gets a notice. Without one the room
is empty: add members, or let people join, and give a role with "imcctl role".
The room's domain may be left out if the owner has one.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			room, err := newRoom(args[0], owner)
			if err != nil {
				return err
			}
			params := map[string]any{"room": room, "private": private}
			if owner != "" {
				params["owner"] = owner
			}
			return t.act(cmd, createRoom, params, "created")
		}}
	cmd.Flags().BoolVar(&private, "private", false, "people enter by invitation only")
	cmd.Flags().StringVar(&owner, "owner", "", "`user` that owns it")
	return cmd
}

// newRoom is the name of a room that is to be made: in the owner's domain if it has
// none.
func newRoom(name, owner string) (string, error) {
	if strings.Contains(name, "@") {
		return name, nil
	}
	_, domain, ok := strings.Cut(owner, "@")
	if !ok {
		return "", fmt.Errorf("which domain? A new room needs one, as in %s@example.org", safe(name))
	}
	return name + "@" + domain, nil
}

func (t *tool) addCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{Use: "add ROOM USER", Short: "Make a user a member", GroupID: groupAct,
		Args: cobra.ExactArgs(2), ValidArgsFunction: t.completeRoom,
		RunE: func(cmd *cobra.Command, args []string) error {
			params := map[string]any{"room": args[0], "user": args[1]}
			if role != "" {
				params["role"] = role
			}
			return t.act(cmd, "imc.add_member", params, "%s is a member", args[1])
		}}
	cmd.Flags().StringVar(&role, "role", "", "owner, admin or member")
	must(cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func (t *tool) removeCommand() *cobra.Command {
	return &cobra.Command{Use: "remove ROOM USER", Short: "Put a user out of a room, or take an invitation back",
		GroupID: groupAct,
		Long: `Put a user out of a room, or take an invitation back. An owner can be removed, too:
if nobody else owns the room, the oldest admin or member does from then on. With
the last member the room ends.`,
		Args: cobra.ExactArgs(2), ValidArgsFunction: t.completeMember,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.act(cmd, "imc.remove_member", map[string]any{"room": args[0], "user": args[1]}, "%s was removed", args[1])
		}}
}

func (t *tool) roleCommand() *cobra.Command {
	return &cobra.Command{Use: "role ROOM USER owner|admin|member", Short: "Give a member a role", GroupID: groupAct,
		Args: cobra.ExactArgs(3), ValidArgsFunction: t.completeMember,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.act(cmd, "imc.set_role", map[string]any{"room": args[0], "user": args[1], "role": args[2]},
				"%s is now %s", args[1], strings.ToLower(args[2]))
		}}
}

// maxText bounds the text that say reads; a message to a room can have about 30 KB.
const maxText = 64 << 10

func (t *tool) sayCommand() *cobra.Command {
	var all bool
	var from string
	cmd := &cobra.Command{Use: "say ROOM TEXT | say --all TEXT", Short: "Post a message to a room, or to all rooms",
		GroupID: groupAct,
		Long: `Post a message to a room, or an announcement to all. It is a message like any
other: durable, and delivered to who is offline later. The service is its sender,
or with --from a member. Several words are one text; "-" takes it from standard input.`,
		Example: `  imcctl say chat-garden@example.org The gate is open.
  imcctl say --all - < announcement.txt`,
		ValidArgsFunction: t.completeRoom,
		Args: func(cmd *cobra.Command, args []string) error {
			if want := 1; !all && len(args) < want+1 {
				return errors.New("say needs a room and a text")
			} else if len(args) < want {
				return errors.New("say needs a text")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return t.say(cmd, args, all, from) }}
	cmd.Flags().BoolVar(&all, "all", false, "to all rooms")
	cmd.Flags().StringVar(&from, "from", "", "`user` whose message it is; must be a member")
	cmd.MarkFlagsMutuallyExclusive("all", "from")
	return cmd
}

func (t *tool) say(cmd *cobra.Command, args []string, all bool, from string) error {
	params := map[string]any{}
	if !all {
		params["room"], args = args[0], args[1:]
	}
	text := strings.Join(args, " ")
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(t.in, maxText))
		if err != nil {
			return fmt.Errorf("reading the text: %w", err)
		}
		text = strings.TrimRight(string(b), "\r\n")
	}
	params["text"] = text
	if from != "" {
		params["from"] = from
	}
	if !all {
		return t.act(cmd, "imc.say", params, "said")
	}
	params["all"] = true
	return ask(t, cmd, "imc.say", params, func(w io.Writer, done struct{ Rooms int }) {
		fmt.Fprintf(w, "said in %s\n", amount(done.Rooms, "room"))
	})
}
