package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (t *tool) devicesCommand() *cobra.Command {
	return &cobra.Command{Use: "devices USER", Short: "The devices that a user has registered", GroupID: groupLook,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !strings.Contains(args[0], "@") {
				return fmt.Errorf("which domain? A user needs one here, as in %s@example.org", safe(args[0]))
			}
			return ask(t, cmd, "imc.devices", args, printDevices)
		}}
}

type device struct {
	Device   string     `json:"device"`
	Contact  string     `json:"contact"`
	Agent    string     `json:"agent"`
	State    string     `json:"state"`
	LastSeen *time.Time `json:"last_seen"`
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
