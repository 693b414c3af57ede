package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// room is a room in imcd's lists. Of imc.list_rooms only the first
// three are set.
type room struct {
	Room     string `json:"room"`
	Members  int    `json:"members"`
	Owner    string `json:"owner"`
	Private  bool   `json:"private"`
	Invited  int    `json:"invited"`
	Sequence uint64 `json:"sequence"`
	Backlog  uint64 `json:"backlog"`
	Away     int    `json:"away"`

	raw json.RawMessage
}

// roomFilter says which rooms of the list are shown, and how.
type roomFilter struct {
	pattern       string
	sort          string
	private, long bool
}

// roomOrders are the values of --sort.
func roomOrders() map[string]func(a, b room) int {
	name := func(a, b room) int { return strings.Compare(a.Room, b.Room) }
	return map[string]func(a, b room) int{
		"name":     name,
		"owner":    func(a, b room) int { return cmp.Or(strings.Compare(a.Owner, b.Owner), name(a, b)) },
		"members":  func(a, b room) int { return cmp.Or(cmp.Compare(b.Members, a.Members), name(a, b)) },
		"messages": func(a, b room) int { return cmp.Or(cmp.Compare(b.Sequence, a.Sequence), name(a, b)) },
		"backlog":  func(a, b room) int { return cmp.Or(cmp.Compare(b.Backlog, a.Backlog), name(a, b)) },
	}
}

var orderNames = []string{"name", "members", "owner", "messages", "backlog"}

func (t *tool) roomsCommand() *cobra.Command {
	var f roomFilter
	cmd := &cobra.Command{Use: "rooms [PATTERN]", Short: "List the rooms", GroupID: groupLook, Args: cobra.MaximumNArgs(1),
		Long: `List the rooms: how many members (with -l without the invited ones) and the owner.
PATTERN is a name with * and ?, with or without @domain: 'chat-dev*', '*@example.org'.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.pattern = strings.Join(args, "")
			return t.listRooms(cmd, f)
		}}
	cmd.Flags().StringVar(&f.sort, "sort", "name", strings.Join(orderNames, ", ")+"; the largest first")
	cmd.Flags().BoolVar(&f.private, "private", false, "private rooms only")
	cmd.Flags().BoolVarP(&f.long, "long", "l", false, "more columns")
	must(cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(orderNames, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// must is for errors that only a mistake in this program can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (t *tool) listRooms(cmd *cobra.Command, f roomFilter) error {
	order, ok := roomOrders()[f.sort]
	if !ok {
		return fmt.Errorf("--sort: %q is none of %s", f.sort, strings.Join(orderNames, ", "))
	}
	if _, err := path.Match(f.pattern, ""); err != nil {
		return fmt.Errorf("PATTERN %q: %w", f.pattern, err)
	}
	method := "imc.list_rooms"
	if f.private || f.long || f.sort == "messages" || f.sort == "backlog" {
		method = "imc.room_summaries"
	}
	var raws []json.RawMessage
	if err := t.call(cmd, method, nil, &raws); err != nil {
		return err
	}
	var rooms []room
	for _, raw := range raws {
		r := room{raw: raw}
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("result of %s: %w", method, err)
		}
		if f.keeps(r) {
			rooms = append(rooms, r)
		}
	}
	slices.SortFunc(rooms, order)
	if t.json {
		kept := make([]json.RawMessage, 0, len(rooms))
		for _, r := range rooms {
			kept = append(kept, r.raw)
		}
		all, err := json.Marshal(kept)
		if err != nil {
			return fmt.Errorf("result of %s: %w", method, err)
		}
		return t.printRaw(all)
	}
	return t.table(func(w io.Writer) { printRooms(w, rooms, f.long) })
}

// keeps reports whether the room is to be shown.
func (f roomFilter) keeps(r room) bool {
	if f.private && !r.Private {
		return false
	}
	if f.pattern == "" {
		return true
	}
	full := strings.TrimPrefix(strings.ToLower(r.Room), "sip:")
	pattern := strings.TrimPrefix(strings.ToLower(f.pattern), "sip:")
	if !strings.Contains(pattern, "@") {
		full, _, _ = strings.Cut(full, "@")
	}
	hit, _ := path.Match(pattern, full) // the pattern has been checked
	return hit
}

func printRooms(w io.Writer, rooms []room, long bool) {
	if !long {
		fmt.Fprintln(w, "ROOM\tMEMBERS\tOWNER")
		for _, r := range rooms {
			fmt.Fprintf(w, "%s\t%d\t%s\n", r.Room, r.Members, r.Owner)
		}
		return
	}
	fmt.Fprintln(w, "ROOM\tPRIVATE\tMEMBERS\tINVITED\tAWAY\tMESSAGES\tBACKLOG\tOWNER")
	for _, r := range rooms {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", r.Room, yesNo(r.Private), r.Members, r.Invited, r.Away,
			r.Sequence, r.Backlog, r.Owner)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
