// Command imcctl is the operator's tool of imcd: it looks at rooms and changes
// them, through imcd's own RPC port or through Kamailio, finds out what is wrong
// with an installation, and helps to move from Kamailio's imc module.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// version is set by the linker (make build).
var version = "dev"

// Exit codes.
const (
	exitOK       = 0
	exitError    = 1 // imcd could not be asked, or said no; a check failed
	exitUsage    = 2 // the command line makes no sense
	exitNotFound = 3 // there is no such room, or the user is not in it
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)) }

// tool is one call of imcctl.
type tool struct {
	json       bool
	evapi, rpc string // addresses; evapi goes before rpc
	secretFile string
	tokenFile  string
	config     string // imcd.yaml; empty: usual
	timeout    time.Duration

	environ []string // as os.Environ gives it
	usual   string   // where imcd.yaml is looked for if no file is named
	hidden  bool     // it is there, and this user may not read it
	in      io.Reader
	out     io.Writer
	errs    io.Writer
	// terminal reports whether somebody can be asked: in and errs are a terminal.
	terminal func() bool
	asking   bool // the command line was right; what fails now is no usage error
}

func run(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &tool{environ: environ, usual: usualConfig, in: stdin, out: stdout, errs: stderr}
	t.terminal = func() bool { return isTerminal(stdin) && isTerminal(stderr) }
	return t.run(args)
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

func (t *tool) run(args []string) int {
	root := t.command()
	root.SetArgs(args)
	root.SetOut(t.out)
	root.SetErr(t.errs)
	err := root.Execute()
	var missing *notFound
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFailed):
		return exitError // it has been printed
	case errors.As(err, &missing):
		fmt.Fprintln(t.errs, "imcctl:", oneLine(err.Error()))
		return exitNotFound
	case t.asking && !errors.As(err, new(*usageError)):
		fmt.Fprintln(t.errs, "imcctl:", oneLine(err.Error()))
		return exitError
	}
	fmt.Fprintf(t.errs, "imcctl: %s (imcctl --help tells more)\n", oneLine(err.Error()))
	return exitUsage
}

const longHelp = `imcctl looks at imcd's chat rooms and changes them, tells what is wrong with an
installation, and helps to move from Kamailio's imc module and back to it.

It asks imcd's own RPC port (--rpc), or goes through Kamailio (--evapi, with the
operator's secret). Addresses and secrets that are not given come from imcd's
configuration (-c, else /etc/imcd/imcd.yaml if it can be read).

Rooms and users are SIP URIs, sip:name@domain or name@domain. For a room the name
is enough, or its part behind "chat-", if only one room fits; for a user, if the
domain is that of the room.

Secrets come from a file or the environment, never from the command line:
  --secret-file FILE or $IMCD_OPERATOR_SECRET   the operator's secret, for --evapi
  --token-file FILE or $IMCD_RPC_TOKEN          imcd's rpc_token, if it has one

Exit code: 0 done; 1 it failed; 2 the command line is wrong, or several rooms fit;
3 there is no such room, or the user is not in it.`

const examples = `  imcctl rooms 'chat-dev*' --sort members
  imcctl room chat-garden
  imcctl create chat-garden@example.org --owner alice
  imcctl say --all "The service restarts at 22:00."
  imcctl check -c /etc/imcd/imcd.yaml
  imcctl import-cfg /etc/kamailio/kamailio.cfg -o imcd.yaml`

// Groups of the commands in the help.
const (
	groupLook = "look"
	groupAct  = "act"
	groupHelp = "help"
)

func (t *tool) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "imcctl",
		Short:         "Look at imcd's chat rooms and change them",
		Long:          longHelp,
		Example:       examples,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("which command? rooms, members, room, stats, say, check …")
		},
	}
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.BoolVar(&t.json, "json", false, "print the result as JSON, as imcd gave it")
	flags.StringVarP(&t.config, "config", "c", "",
		"`file` that imcd is started with (default "+usualConfig+" if it can be read)")
	flags.StringVar(&t.rpc, "rpc", "",
		"`host:port` of imcd's RPC port (default that of the configuration, else "+defaultRPC+")")
	flags.StringVar(&t.evapi, "evapi", "", "`host:port` of Kamailio's evapi socket, to ask through it")
	flags.StringVar(&t.secretFile, "secret-file", "", "`file` whose first line is the operator's secret, for --evapi")
	flags.StringVar(&t.tokenFile, "token-file", "", "`file` whose first line is imcd's rpc_token, for --rpc")
	flags.DurationVar(&t.timeout, "timeout", 10*time.Second, "longest wait for an answer")
	root.MarkFlagsMutuallyExclusive("rpc", "evapi")
	root.AddGroup(&cobra.Group{ID: groupLook, Title: "Look:"}, &cobra.Group{ID: groupAct, Title: "Change:"},
		&cobra.Group{ID: groupHelp, Title: "Install and move:"})
	for _, make := range []func() *cobra.Command{
		t.roomsCommand, t.roomCommand, t.membersCommand, t.historyCommand, t.actsCommand, t.pendingCommand,
		t.devicesCommand, t.statsCommand,
		t.fleetCommand, t.watchCommand,
		t.createCommand, t.destroyCommand, t.addCommand, t.removeCommand, t.skipCommand, t.deleteCommand,
		t.roleCommand, t.setCommand,
		t.moderateCommand, t.sayCommand,
		t.checkCommand, t.importCommand, t.copyCommand, t.handbackCommand,
	} {
		root.AddCommand(make())
	}
	root.AddCommand(t.manCommand(root))
	return root
}

// errFailed says that something failed which has been printed already.
var errFailed = errors.New("failed")

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
