package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// setting is an item of imc.room_settings.
type setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Set    bool   `json:"set"`
	Values string `json:"values"`
	Help   string `json:"help"`
}

func (t *tool) setCommand() *cobra.Command {
	return &cobra.Command{Use: "set ROOM [NAME VALUE]", Short: "Show the settings of a room, or change one",
		GroupID: groupAct,
		Long: `Show the settings of a room, or change one. The room gets a notice of the change. The value
"default" takes a setting back: what imcd.yaml says then holds again. Several words are one
text. Limits of imcd.yaml bind the owners of rooms (#set), not this command.`,
		Example: `  imcctl set chat-garden
  imcctl set chat-garden topic The roses are out.
  imcctl set chat-garden limit 50`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: t.completeSetting,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 1:
				return askRoom(t, cmd, "imc.room_settings", args[0], printSettings)
			case 2:
				return fmt.Errorf("which value for %s? \"default\" takes it back", safe(args[1]))
			}
			params := map[string]any{"room": args[0], "name": args[1], "value": strings.Join(args[2:], " ")}
			return t.act(cmd, "imc.room_set", params, "%s was set", strings.ToLower(safe(args[1])))
		}}
}

func printSettings(w io.Writer, list []setting) {
	fmt.Fprintln(w, "SETTING\tVALUE\tSET BY\tPOSSIBLE\tMEANING")
	for _, s := range list {
		by := "imcd.yaml"
		if s.Set {
			by = "the room"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Name, safe(s.Value), by, s.Values, s.Help)
	}
}

// completeSetting offers rooms, then the settings of the room, then the values of the setting.
func (t *tool) completeSetting(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return t.completeRoom(cmd, args, word)
	}
	t.timeout = min(t.timeout, completeTime)
	var list []setting
	if len(args) > 2 || t.call(cmd, "imc.room_settings", args[:1], &list) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	for _, s := range list {
		switch {
		case len(args) == 1:
			words = append(words, s.Name)
		case strings.EqualFold(s.Name, args[1]):
			words = append(strings.Split(s.Values, "|"), "default")
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
