package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"imcd/evapi"
)

// ask calls a method and prints its result: with show, or as it is.
func ask[T any](t *tool, cmd *cobra.Command, method string, args []string, show func(w io.Writer, result T)) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), t.timeout)
	defer cancel()
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var params any // a nil []string would be sent as null
	if args != nil {
		params = args
	}
	var raw json.RawMessage
	if err := c.Call(ctx, method, params, &raw); err != nil {
		return plain(err)
	}
	if t.json {
		_, err := fmt.Fprintf(t.out, "%s\n", raw)
		return err
	}
	var result T
	if err := json.Unmarshal(raw, &result); err != nil {
		return fmt.Errorf("result of %s: %w", method, err)
	}
	table := tabwriter.NewWriter(t.out, 0, 8, 2, ' ', 0)
	show(table, result)
	return table.Flush()
}

// plain leaves the error code out of what imcd said, and says what a timeout means.
func plain(err error) error {
	if refused := new(evapi.RPCError); errors.As(err, &refused) {
		return errors.New(refused.Message)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time; is imcd running and connected to Kamailio?")
	}
	return err
}

type room struct {
	Room    string `json:"room"`
	Members int    `json:"members"`
	Owner   string `json:"owner"`
}

func printRooms(w io.Writer, rooms []room) {
	fmt.Fprintln(w, "ROOM\tMEMBERS\tOWNER")
	for _, r := range rooms {
		fmt.Fprintf(w, "%s\t%d\t%s\n", r.Room, r.Members, r.Owner)
	}
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

func printStats(w io.Writer, stats map[string]json.RawMessage) {
	fmt.Fprintln(w, "FIGURE\tVALUE")
	for _, name := range slices.Sorted(maps.Keys(stats)) {
		fmt.Fprintf(w, "%s\t%s\n", name, stats[name])
	}
}
