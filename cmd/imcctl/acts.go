package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (t *tool) actsCommand() *cobra.Command {
	return lastItems(t, &cobra.Command{Use: "acts ROOM", Short: "What owners, admins and operators did in a room",
		Long: `What owners, admins and operators did in a room in the last 90 days: who was banned, muted,
warned or removed, roles, settings, and the end of the room. A room that does not exist any
more needs its domain.`}, "imc.acts", "default 50, 1000 at most", printActs)
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

var moderating = []string{"mute", "unmute", "ban", "unban", "voice", "unvoice", "warn"}

func (t *tool) moderateCommand() *cobra.Command {
	var term string
	cmd := &cobra.Command{Use: "moderate ROOM ACT USER [WHY]", GroupID: groupAct,
		Short: "Mute, ban or warn a user, give a voice, or take that back",
		Long: `Mute, ban or warn a user of a room, give a voice in a moderated one, or take that back. ACT is
mute, unmute, ban, unban, voice, unvoice or warn. A ban puts the user out, and takes all users of
a domain as *@domain. The room, and the user, get a notice, with the reason if there is one.`,
		Example: `  imcctl moderate garden ban mal@spam.example --for 7d spam
  imcctl moderate garden warn bob Not so loud, please.`,
		Args: cobra.MinimumNArgs(3), ValidArgsFunction: t.completeModerate,
		RunE: func(cmd *cobra.Command, args []string) error {
			params := map[string]any{"room": args[0], "act": strings.ToLower(args[1]), "user": args[2]}
			if term != "" {
				params["for"] = term
			}
			if len(args) > 3 {
				params["why"] = strings.Join(args[3:], " ")
			}
			return t.act(cmd, "imc.moderate", params, "%s %s: done", strings.ToLower(safe(args[1])), safe(args[2]))
		}}
	cmd.Flags().StringVar(&term, "for", "", "how long a mute or ban lasts: 10m, 2h, 7d (default for good)")
	return cmd
}

// completeModerate offers rooms, acts, then the members of the room.
func (t *tool) completeModerate(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 1:
		return moderating, cobra.ShellCompDirectiveNoFileComp
	case 2:
		return t.completeMember(cmd, args[:1], word)
	}
	return t.completeRoom(cmd, args, word)
}
