package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (t *tool) membersCommand() *cobra.Command {
	return &cobra.Command{Use: "members ROOM", Short: "List the members of a room", GroupID: groupLook,
		Args: cobra.ExactArgs(1), ValidArgsFunction: t.completeRoom,
		RunE: func(cmd *cobra.Command, args []string) error {
			return askRoom(t, cmd, "imc.list_members", args[0], printMembers)
		}}
}

type members struct {
	Room    string   `json:"room"`
	Members []string `json:"members"`
	Count   int      `json:"count"`
}

func printMembers(w io.Writer, m members) {
	fmt.Fprintf(w, "MEMBER OF %s (%d)\n", m.Room, m.Count)
	for _, user := range m.Members {
		fmt.Fprintln(w, user)
	}
}

func (t *tool) statsCommand() *cobra.Command {
	return &cobra.Command{Use: "stats", Short: "Show imcd's figures", GroupID: groupLook, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(t, cmd, "imc.stats", nil, printStats) }}
}

func printStats(w io.Writer, stats map[string]json.RawMessage) {
	fmt.Fprintln(w, "FIGURE\tVALUE")
	for _, name := range slices.Sorted(maps.Keys(stats)) {
		fmt.Fprintf(w, "%s\t%s\n", name, stats[name])
	}
}

func (t *tool) roomCommand() *cobra.Command {
	return &cobra.Command{Use: "room ROOM", Short: "Everything about a room: roles, what has not arrived, who is offline",
		GroupID: groupLook, Args: cobra.ExactArgs(1), ValidArgsFunction: t.completeRoom,
		RunE: func(cmd *cobra.Command, args []string) error {
			return askRoom(t, cmd, "imc.room_info", args[0], printDetail)
		}}
}

// detail is the result of imc.room_info.
type detail struct {
	Room      string `json:"room"`
	Title     string `json:"title"`
	Topic     string `json:"topic"`
	Private   bool   `json:"private"`
	Sequence  uint64 `json:"sequence"`
	Following int    `json:"following"`
	ReadBy    int    `json:"read_by"`
	ReadOf    int    `json:"read_of"`
	Members   []struct {
		User       string     `json:"user"`
		Role       string     `json:"role"`
		Lag        uint64     `json:"lag"`
		Cursor     uint64     `json:"cursor"`
		Delivered  *uint64    `json:"delivered"`
		Displayed  uint64     `json:"displayed"`
		State      string     `json:"state"`
		LastResult int        `json:"last_result"`
		LastReason string     `json:"last_reason"`
		LastAt     *time.Time `json:"last_at"`
		Behind     int        `json:"devices_owed"`
		Lost       *struct {
			Count  uint64    `json:"count"`
			Seq    uint64    `json:"seq"`
			Reason string    `json:"reason"`
			Code   int       `json:"code"`
			At     time.Time `json:"at"`
		} `json:"lost"`
	} `json:"members"`
}

// amount is a number of things, in words.
func amount[N int | uint64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func printDetail(w io.Writer, d detail) {
	kind := "public"
	if d.Private {
		kind = "private"
	}
	fmt.Fprintf(w, "%s: %s, %s so far, %d of %d keep up", d.Room, kind, amount(d.Sequence, "message"), d.Following,
		len(d.Members))
	if d.ReadOf > 0 {
		fmt.Fprintf(w, ", the last one read by %d of %d", d.ReadBy, d.ReadOf)
	}
	fmt.Fprintln(w)
	if d.Title != "" {
		fmt.Fprintf(w, "Title: %s\n", safe(d.Title))
	}
	if d.Topic != "" {
		fmt.Fprintf(w, "Topic: %s\n", safe(d.Topic))
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "MEMBER\tROLE\tSTATE\tOWED\tGOT\tREAD\tLAST RESPONSE")
	for _, m := range d.Members {
		last := "-"
		if m.LastResult != 0 {
			last = strings.TrimSpace(strconv.Itoa(m.LastResult) + " " + m.LastReason)
		}
		if m.LastAt != nil {
			last += ", " + m.LastAt.Local().Format(time.DateTime)
		}
		got := m.Cursor
		if m.Delivered != nil {
			got = *m.Delivered
		}
		if m.Behind > 0 {
			m.State += ", not on all devices"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", m.User, m.Role, m.State, m.Lag, got, m.Displayed, last)
	}
	for _, m := range d.Members {
		if l := m.Lost; l != nil {
			fmt.Fprintf(w, "\n%s has lost %d messages since imcd was started, the last one number %d at %s: %s",
				m.User, l.Count, l.Seq,
				l.At.Local().Format(time.DateTime), l.Reason)
			if l.Code != 0 {
				fmt.Fprintf(w, " (%d)", l.Code)
			}
			fmt.Fprintln(w)
		}
	}
}

func (t *tool) pendingCommand() *cobra.Command {
	return &cobra.Command{Use: "pending USER", Short: "Which rooms owe messages to a user", GroupID: groupLook,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !strings.Contains(args[0], "@") {
				return fmt.Errorf("which domain? A user needs one here, as in %s@example.org", safe(args[0]))
			}
			return ask(t, cmd, "imc.pending", args, printPending)
		}}
}

type owed struct {
	Room  string `json:"room"`
	Lag   uint64 `json:"lag"`
	State string `json:"state"`
}

func printPending(w io.Writer, rooms []owed) {
	if len(rooms) == 0 {
		fmt.Fprintln(w, "Nothing is owed.")
		return
	}
	fmt.Fprintln(w, "ROOM\tOWED\tSTATE")
	for _, r := range rooms {
		fmt.Fprintf(w, "%s\t%d\t%s\n", r.Room, r.Lag, r.State)
	}
}

func (t *tool) historyCommand() *cobra.Command {
	return lastItems(t, &cobra.Command{Use: "history ROOM", Short: "The last messages of a room"}, "imc.history",
		"default 20, history_max at most", printHistory)
}

// lastItems completes a command that shows the last items of a room.
func lastItems[T any](t *tool, cmd *cobra.Command, method, most string, show func(io.Writer, T)) *cobra.Command {
	var n int
	cmd.GroupID, cmd.Args, cmd.ValidArgsFunction = groupLook, cobra.ExactArgs(1), t.completeRoom
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		room, err := t.roomURI(cmd, args[0])
		if err != nil {
			return err
		}
		params := map[string]any{"room": room}
		if n != 0 {
			params["n"] = n
		}
		return ask(t, cmd, method, params, show)
	}
	cmd.Flags().IntVarP(&n, "number", "n", 0, "how many ("+most+")")
	return cmd
}

// message is an item of imc.history.
type message struct {
	Seq         uint64    `json:"seq"`
	Time        time.Time `json:"time"`
	From        string    `json:"from"`
	ContentType string    `json:"content_type"`
	Body        string    `json:"body"`
	Base64      bool      `json:"base64"`
}

func printHistory(w io.Writer, messages []message) {
	if len(messages) == 0 {
		fmt.Fprintln(w, "Nothing has been said yet.")
		return
	}
	for _, m := range messages {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", m.Time.Local().Format(time.DateTime), m.Seq, m.From, m.text())
	}
}

// text returns the part of a message that is shown in a line.
func (m message) text() string {
	kind, _, _ := strings.Cut(strings.ToLower(m.ContentType), ";")
	if kind = strings.TrimSpace(kind); kind == "" || kind == "text/plain" && !m.Base64 {
		return safe(m.Body)
	}
	size := len(m.Body)
	if m.Base64 {
		b, err := base64.StdEncoding.DecodeString(m.Body)
		if err == nil {
			size = len(b)
		}
	}
	return fmt.Sprintf("(%s, %d bytes)", safe(m.ContentType), size)
}
