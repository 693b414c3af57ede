package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"imcd/cmd/imcd/check"
)

// usualConfig is where the Debian package has the configuration.
const usualConfig = "/etc/imcd/imcd.yaml"

func (t *tool) checkCommand() *cobra.Command {
	var sipAddr, room string
	cmd := &cobra.Command{Use: "check", Short: "Find out what is wrong, and how to mend it", GroupID: groupHelp,
		Args: cobra.NoArgs,
		Long: `Walk the whole way of a chat message and say where it ends: the configuration, the
database and its tables, imcd, each Kamailio and its include, the hello with the
secret, a copy from imcd through Kamailio and out again, and a request through
Kamailio to imcd. One line for each, with what to do where something is wrong.

It changes nothing and no user gets anything. If imcd does not run, the check takes
its place at Kamailio for a moment, so it also works before the first start. Run it
with imcd's own environment and rights, so that it can read the secrets.

Exit code 1 if any line says FAIL.`,
		Example: "  imcctl check -c /etc/imcd/imcd.yaml\n  imcctl check --sip 192.0.2.1:5060 --room " +
			"sip:chat-lobby@example.org",
		RunE: func(cmd *cobra.Command, _ []string) error {
			t.asking = true
			return t.check(cmd, sipAddr, room)
		}}
	cmd.Flags().StringVar(&sipAddr, "sip", "",
		"`host:port` where Kamailio speaks SIP over UDP (default port 5060 of the host of its evapi)")
	cmd.Flags().StringVar(&room, "room", "", "SIP `URI` of a room to write to (default one that there is)")
	return cmd
}

func (t *tool) check(cmd *cobra.Command, sipAddr, room string) error {
	token, err := t.secret("--token-file", t.tokenFile, tokenEnv)
	if err != nil {
		return err
	}
	o := check.Options{File: t.configFile(), Environ: t.environ, Token: token, SIP: sipAddr, Room: room}
	if cmd.Flags().Changed("rpc") {
		o.RPC = t.rpc
	}
	return t.showLines(func(print func(check.Line)) bool { return check.Run(cmd.Context(), o, print) })
}

// showLines prints the lines as run makes them, or all as JSON. It fails if run does.
func (t *tool) showLines(run func(print func(check.Line)) (failed bool)) error {
	lines := []check.Line{}
	failed := run(func(l check.Line) {
		lines = append(lines, l)
		if !t.json {
			t.printLine(l)
		}
	})
	if t.json {
		raw, err := json.Marshal(lines)
		if err != nil {
			return fmt.Errorf("the result as JSON: %w", err)
		}
		if err := t.printRaw(raw); err != nil {
			return err
		}
	}
	if failed {
		return errFailed
	}
	return nil
}

// configFile is the file of -c, else the usual one if it exists; empty: none.
func (t *tool) configFile() string {
	if t.config != "" {
		return t.config
	}
	if _, err := os.Stat(t.usual); err != nil {
		return ""
	}
	return t.usual
}

func (t *tool) printLine(l check.Line) {
	text := safe(l.Text)
	if l.Remedy != "" {
		text += ". -> " + safe(l.Remedy)
	}
	// A terminal that is gone shows when imcctl ends.
	_, _ = fmt.Fprintf(t.out, "%-4s  %s: %s\n", l.Status, l.Check, text)
}
