package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (t *tool) devicesCommand() *cobra.Command {
	return &cobra.Command{Use: "devices USER [ROOM]", Short: "The devices of a user, and which messages they have",
		GroupID: groupLook, Args: cobra.RangeArgs(1, 2), ValidArgsFunction: t.completeRoomOf,
		Long: `The devices that a user has registered, and the rooms in which they lack messages; with ROOM how far each
is in that room. A device has each message up to the number under HAS, but for those from before it registered for
the first time; the user's other devices have those under OWED, and the rest of OF waits for all of them.
"imcctl history ROOM" shows the numbers of messages.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !strings.Contains(args[0], "@") {
				return fmt.Errorf("which domain? A user needs one here, as in %s@example.org", safe(args[0]))
			}
			params := map[string]string{"user": args[0]}
			if len(args) == 2 {
				room, err := t.roomURI(cmd, args[1])
				if err != nil {
					return err
				}
				params["room"] = room
			}
			return ask(t, cmd, "imc.devices", params, func(w io.Writer, list []device) {
				printDevices(w, list)
				printPlaces(w, list)
			})
		}}
}

type device struct {
	Device   string     `json:"device"`
	Contact  string     `json:"contact"`
	Agent    string     `json:"agent"`
	State    string     `json:"state"`
	LastSeen *time.Time `json:"last_seen"`
	Rooms    []struct {
		Room     string `json:"room"`
		Sequence uint64 `json:"sequence"`
		Has      uint64 `json:"has"`
		Owed     int    `json:"owed"`
	} `json:"rooms"`
}

func printDevices(w io.Writer, devices []device) {
	if len(devices) == 0 {
		fmt.Fprintln(w, "No device is known. imcd learns of devices when members of rooms register.")
		return
	}
	fmt.Fprintln(w, "DEVICE\tSTATE\tLAST HEARD OF\tCONTACT\tPROGRAM")
	for _, d := range devices {
		last := "-"
		if d.LastSeen != nil {
			last = d.LastSeen.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", safe(d.Device), d.State, last, safe(d.Contact), safe(d.Agent))
	}
}

// printPlaces shows how far devices are in the rooms where they lack messages, or in the one that was asked for.
func printPlaces(w io.Writer, devices []device) {
	first := true
	for _, d := range devices {
		for _, r := range d.Rooms {
			if first {
				fmt.Fprintln(w, "\nDEVICE\tROOM\tHAS\tOF\tOWED")
			}
			first = false
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", safe(d.Device), safe(r.Room), r.Has, r.Sequence, r.Owed)
		}
	}
	if first && len(devices) > 0 {
		fmt.Fprintln(w, "\nNone of them lacks a message.")
	}
}
