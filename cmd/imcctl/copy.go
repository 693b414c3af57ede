package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imcd/cmd/imcctl/internal/dbcopy"
	"imcd/cmd/imcd/check"
	"imcd/schema"
)

const copyHelp = `Copy rooms and members, the two tables of Kamailio's imc module, from one database to
another: MySQL or MariaDB, PostgreSQL and SQLite, in any direction. So the module's
rooms move from MySQL to imcd, and back.

  mysql://USER:PASSWORD@HOST[:PORT]/DATABASE[?charset=…&socket=…&tls=…]
  postgres://USER:PASSWORD@HOST[:PORT]/DATABASE
  sqlite:///PATH/OF/FILE

One of --from and --to may be left out: it is the database of imcd's configuration
then (-c). A password that is on the command line can be seen by others: leave it out
of the URL, and set $MYSQL_PWD, or $PGPASSWORD or ~/.pgpass.

Stop imcd and every Kamailio with imc.so before: nobody may change the tables at either
end meanwhile. All rows are read and checked first, and written in one transaction:
if anything fails, nothing has changed. Tables that are not there are made. If there
are rows already, nothing is written without --replace, which deletes them. Each line
of the report says how many rows are left out or changed, and why; --dry-run prints it
and writes nothing, while imcd may go on.

What imcd keeps in tables of its own (imcd_…) is not copied: messages, what members
have not got yet, and settings of rooms (#set). It stays where it is.

Exit code 1 if any line says FAIL.`

func (t *tool) copyCommand() *cobra.Command {
	var o dbcopy.Options
	cmd := &cobra.Command{Use: "copy --from URL --to URL", Short: "Copy rooms and members to another database",
		GroupID: groupHelp, Args: cobra.NoArgs, Long: copyHelp,
		Example: "  MYSQL_PWD=kamailiorw imcctl copy --from mysql://kamailio@localhost/kamailio --dry-run\n" +
			"  imcctl copy --from mysql://kamailio@db.example.org/kamailio --to postgres://kamailio@localhost/kamailio\n" +
			"  imcctl copy --to mysql://kamailio@localhost/kamailio --replace -c /etc/imcd/imcd.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.From == "" && o.To == "" {
				return errors.New("copy from where to where? --from URL, --to URL, or both")
			}
			t.asking = true
			return t.showLines(func(print func(check.Line)) bool { return t.copy(cmd.Context(), o, print) })
		}}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.From, "from", "", "`URL` of the database to read (default that of imcd's configuration)")
	flags.StringVar(&o.To, "to", "", "`URL` of the database to write to (default that of imcd's configuration)")
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and write nothing")
	flags.BoolVar(&o.Replace, "replace", false, "delete the rooms and members that are in --to")
	flags.StringVar(&o.RoomsTable, "rooms-table", "",
		"`name` of the table of rooms at both ends (default imc_rooms, or that of imcd's configuration if it is an end)")
	flags.StringVar(&o.MembersTable, "members-table", "", "`name` of the table of members, likewise (imc_members)")
	return cmd
}

// copy copies the tables and reports whether that failed.
func (t *tool) copy(ctx context.Context, o dbcopy.Options, print func(check.Line)) (failed bool) {
	say := func(what string, status check.Status, text, remedy string) {
		print(check.Line{Check: what, Status: status, Text: oneLine(text), Remedy: remedy})
	}
	if o.From == "" || o.To == "" {
		url, rooms, members, err := check.Database(check.Options{File: t.configFile(), Environ: t.environ})
		if err != nil {
			say("configuration", check.Fail, err.Error(), "Mend that setting, or give both --from and --to.")
			return true
		}
		o.From, o.To = cmp.Or(o.From, url), cmp.Or(o.To, url)
		o.RoomsTable, o.MembersTable = cmp.Or(o.RoomsTable, rooms), cmp.Or(o.MembersTable, members)
	}
	o.MySQLPassword = t.getenv("MYSQL_PWD")
	bar := &progressBar{out: t.errs, on: isTerminal(t.errs)}
	o.Progress = bar.show
	r, err := dbcopy.Run(ctx, o)
	bar.end()
	if r.Read != (dbcopy.Counts{}) || err == nil {
		say("from", check.OK, r.From+": "+counted(r.Read), "")
	}
	for _, f := range r.Findings {
		status := check.Warn
		if f.Outcome == dbcopy.Changed {
			status = check.OK
		}
		say(string(f.Outcome), status, fmt.Sprintf("%s: %d%s", f.What, f.Rows, someOf(f)), "")
	}
	for _, l := range r.Left {
		say("not copied", check.Warn, fmt.Sprintf("%s: %d", l.What, l.Rows), "")
	}
	if err != nil {
		say("copy", check.Fail, err.Error(), remedyOfCopy(err))
		return true
	}
	switch there := r.There; {
	case !o.DryRun:
		say("to", check.OK, fmt.Sprintf("%s: %s, in %s", r.To, counted(r.Written), r.Took.Round(10*time.Millisecond)), "")
	case there == (dbcopy.Counts{}):
		say("to", check.OK, fmt.Sprintf("%s would get %s; nothing was written", r.To, counted(r.Written)), "")
	case o.Replace:
		say("to", check.Warn, fmt.Sprintf("%s would get %s, and lose what is there: %s; nothing was written", r.To,
			counted(r.Written), counted(there)), "")
	default:
		say("to", check.Fail, fmt.Sprintf("%s has rows already: %s", r.To, counted(there)), remedyOfCopy(schema.ErrNotEmpty))
		return true
	}
	return false
}

// someOf are the names that a finding has.
func someOf(f dbcopy.Finding) string {
	switch more := f.Rows - len(f.Names); {
	case len(f.Names) == 0:
		return ""
	case more > 0:
		return fmt.Sprintf(" (%s and %d more)", strings.Join(f.Names, ", "), more)
	}
	return " (" + strings.Join(f.Names, ", ") + ")"
}

func counted(c dbcopy.Counts) string {
	return amount(c.Rooms, "room") + ", " + amount(c.Members, "member")
}

func remedyOfCopy(err error) string {
	switch {
	case errors.Is(err, schema.ErrHeld):
		return "Stop imcd, so that nobody changes the rooms, and call this again; --dry-run works all the same."
	case errors.Is(err, schema.ErrNotEmpty):
		return "Give --replace if the rooms and members that are there may be deleted; save them before."
	case errors.Is(err, dbcopy.ErrSame):
		return "Give another URL."
	case errors.Is(err, schema.ErrUncertain):
		return "Either all or nothing was written: look into the tables."
	}
	return "Nothing has changed; mend that and call this again."
}

// progressBar shows on a terminal how far a copy has come.
type progressBar struct {
	out  io.Writer
	on   bool
	last time.Time // when it was drawn
	long bool      // it is on the screen
}

// barWidth is in characters, barEvery the time between two drawings.
const (
	barWidth = 30
	barEvery = 100 * time.Millisecond
)

func (b *progressBar) show(step dbcopy.Step, done, total int) {
	if !b.on || total <= 0 || done < total && time.Since(b.last) < barEvery {
		return
	}
	b.last, b.long = time.Now(), true
	filled := barWidth * done / total
	// A terminal that is gone shows when imcctl ends.
	_, _ = fmt.Fprintf(b.out, "\r%s  [%s%s] %3d %%  %d of %s\x1b[K", step, strings.Repeat("#", filled),
		strings.Repeat(".", barWidth-filled), 100*done/total, done, amount(total, "row"))
}

// end takes the bar away.
func (b *progressBar) end() {
	if b.long {
		_, _ = fmt.Fprint(b.out, "\r\x1b[K")
	}
}
