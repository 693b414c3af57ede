package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imcd/cmd/imcd/check"
)

func (t *tool) fleetCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "fleet", Short: "Show the imcd that share the database, and what each owns",
		GroupID: groupLook, Args: cobra.NoArgs,
		Long: `Show all imcd that share a PostgreSQL, as the one that is asked sees them; a spare knows
it, too. The rooms are divided into shards, and each shard belongs to one engine, which is
one start of an imcd. The engines share them evenly by themselves: again 2 s after one has
come, and at once when one has gone. Spares ("spare: 1", or drained) get some only if nobody
else is there. An epoch says how often a shard has changed its owner. SILENT is for
how long no sign of life of an engine was seen: after 0.9 s another one takes over.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(t, cmd, "imc.fleet", nil, printFleet) }}
	cmd.AddCommand(t.drainCommand(), t.undrainCommand(), t.moveCommand(), t.resizeCommand())
	return cmd
}

func (t *tool) moveCommand() *cobra.Command {
	return &cobra.Command{Use: "move SHARD ENGINE", Short: "Give a shard of the imcd that is asked to another one",
		Args: cobra.ExactArgs(2),
		Long: `Give the rooms of one shard, which the imcd that is asked must own, to another engine. Requests
for them wait in Kamailio for a moment; nobody is answered 503. If the engine has two shards
more than another one then, that takes one of them, but not this one if it has others.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			shard, err := strconv.ParseInt(args[0], 10, 32)
			if err != nil {
				return fmt.Errorf("SHARD must be a number: %w", err)
			}
			engine, err := strconv.ParseInt(args[1], 10, 32)
			if err != nil {
				return fmt.Errorf("ENGINE must be a number: %w", err)
			}
			return ask(t, cmd, "imc.move", []any{shard, engine}, func(w io.Writer, _ struct{}) {
				fmt.Fprintf(w, "shard %d belongs to engine %d now\n", shard, engine)
			})
		}}
}

func (t *tool) resizeCommand() *cobra.Command {
	return &cobra.Command{Use: "resize SHARDS", Short: "Divide the rooms into another number of shards",
		Args: cobra.ExactArgs(1),
		Long: `Divide the rooms of the fleet into another number of shards, in the database of imcd's
configuration: a power of two, 64 if nobody has changed it, 1024 at most. More of them make the
parts of many imcd more even, and cost each imcd a little time, always. Rooms and messages
stay as they are.

Stop all imcd before. Run it with imcd's own environment and rights.`,
		Example: "  systemctl stop imcd imcd@2\n  imcctl fleet resize 128 -c /etc/imcd/imcd.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			shards, err := strconv.ParseInt(args[0], 10, 32)
			if err != nil {
				return fmt.Errorf("SHARDS must be a number: %w", err)
			}
			t.asking = true
			o := check.Options{File: t.configFile(), Environ: t.environ}
			return t.showLines(func(print func(check.Line)) bool {
				return check.Resize(cmd.Context(), o, int(shards), print)
			})
		}}
}

func (t *tool) drainCommand() *cobra.Command {
	return &cobra.Command{Use: "drain", Short: "Give the rooms of the imcd that is asked to others",
		Args: cobra.NoArgs,
		Long: `Give the rooms of the imcd that is asked, which must own some, to the others. Requests wait in
Kamailio meanwhile, which takes a moment: nobody is answered 503. If the imcd is connected to
a Kamailio, another one must be so, too. The imcd goes on as a spare until it is started
again, or "imcctl fleet undrain"; "imcctl fleet" shows when that is so.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(t, cmd, "imc.drain", nil, func(w io.Writer, _ struct{}) {
				fmt.Fprintln(w, "another imcd takes the rooms over")
			})
		}}
}

func (t *tool) undrainCommand() *cobra.Command {
	return &cobra.Command{Use: "undrain", Short: "Let the imcd that is asked have its part of the rooms again",
		Args: cobra.NoArgs,
		Long: `Let the imcd that is asked have its part of the rooms again, after "imcctl fleet drain". The
others give it shards, a few at a time, from 2 s on.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(t, cmd, "imc.undrain", nil, func(w io.Writer, _ struct{}) {
				fmt.Fprintln(w, "it gets its part of the rooms")
			})
		}}
}

// fleet is the result of imc.fleet.
type fleet struct {
	Engine  int64    `json:"engine"`
	Shards  int      `json:"shards"`
	Unowned int      `json:"unowned"`
	Engines []engine `json:"engines"`
}

type engine struct {
	Engine int64        `json:"engine"`
	Host   string       `json:"host"`
	PID    int          `json:"pid"`
	Since  time.Time    `json:"since"`
	HTTP   string       `json:"http"`
	Silent float64      `json:"silent"` // seconds
	Ready  bool         `json:"ready"`
	Ending bool         `json:"ending"`
	Owns   []ownedShard `json:"owns"`
}

// ownedShard is a shard of an engine.
type ownedShard struct {
	Shard int64 `json:"shard"`
	Epoch int64 `json:"epoch"`
}

// newest is the highest epoch, for people; "-": there is none.
func newest(shards []ownedShard) string {
	if len(shards) == 0 {
		return "-"
	}
	byEpoch := func(a, b ownedShard) int { return cmp.Compare(a.Epoch, b.Epoch) }
	return strconv.FormatInt(slices.MaxFunc(shards, byEpoch).Epoch, 10)
}

func printFleet(w io.Writer, f fleet) {
	if f.Engine == 0 {
		fmt.Fprintln(w, "no fleet: the database is SQLite, which one imcd uses alone")
		return
	}
	fmt.Fprintln(w, "ENGINE\tHOST\tPID\tSINCE\tHTTP\tSILENT\tSHARDS\tEPOCH\tSTATE")
	for _, e := range f.Engines {
		state := "owner"
		switch {
		case e.Ending:
			state = "ending"
		case len(e.Owns) == 0:
			state = "spare"
		}
		if !e.Ready {
			state += ", no Kamailio"
		}
		if e.Engine == f.Engine {
			state += ", asked"
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\t%.1f s\t%d\t%s\t%s\n", e.Engine, word(e.Host), e.PID,
			e.Since.Local().Format(time.DateTime), word(e.HTTP), e.Silent, len(e.Owns), newest(e.Owns), state)
	}
	if f.Unowned > 0 {
		fmt.Fprintf(w, "%d of %d shards belong to nobody: their rooms do not answer until an imcd takes them\n",
			f.Unowned, f.Shards)
	}
}

// word is a text of another process that is shown in a column.
func word(s string) string {
	if s = strings.TrimSpace(safe(s)); s == "" {
		return "-"
	}
	return s
}
