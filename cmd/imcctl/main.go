// Command imcctl asks imcd about its rooms, through imcd's own RPC port or
// through Kamailio.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"imcd/evapi"
)

// version is set by the linker (make build).
var version = "dev"

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // imcd could not be asked, or said no
	exitUsage = 2 // the command line makes no sense
)

// secretEnv is the variable that holds the operator's secret.
const secretEnv = "IMCD_OPERATOR_SECRET"

func main() { os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }

// tool is one call of imcctl.
type tool struct {
	json       bool
	evapi, rpc string // addresses; evapi goes before rpc
	secretFile string
	timeout    time.Duration

	getenv func(string) string
	out    io.Writer
	asking bool // the command line was right; what fails now is no usage error
}

func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	t := &tool{getenv: getenv, out: stdout}
	root := t.command()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	switch {
	case err == nil:
		return exitOK
	case t.asking:
		fmt.Fprintln(stderr, "imcctl:", oneLine(err.Error()))
		return exitError
	}
	fmt.Fprintf(stderr, "imcctl: %s (imcctl --help tells more)\n", oneLine(err.Error()))
	return exitUsage
}

func (t *tool) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "imcctl",
		Short:         "Ask imcd about its chat rooms",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("which command? rooms, members or stats")
		},
	}
	flags := root.PersistentFlags()
	flags.BoolVar(&t.json, "json", false, "print the result as JSON, as imcd gave it")
	flags.StringVar(&t.rpc, "rpc", "127.0.0.1:8449", "host:port of imcd's RPC port")
	flags.StringVar(&t.evapi, "evapi", "", "host:port of Kamailio's evapi socket, to ask through it")
	flags.StringVar(&t.secretFile, "secret-file", "", "file whose first line is the operator's secret, for --evapi (else $"+secretEnv+")")
	flags.DurationVar(&t.timeout, "timeout", 10*time.Second, "longest wait for an answer")
	root.MarkFlagsMutuallyExclusive("rpc", "evapi")
	root.AddCommand(
		&cobra.Command{Use: "rooms", Short: "List all rooms", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return ask(t, cmd, "imc.list_rooms", nil, printRooms) }},
		&cobra.Command{Use: "members ROOM", Short: "List the members of a room", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return ask(t, cmd, "imc.list_members", args, printMembers)
			}},
		&cobra.Command{Use: "stats", Short: "Show imcd's figures", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return ask(t, cmd, "imc.stats", nil, printStats) }},
	)
	return root
}

// dial connects to imcd through the door that was asked for.
func (t *tool) dial(ctx context.Context) (*evapi.Client, error) {
	if t.evapi == "" {
		t.asking = true
		c, err := evapi.Dial(ctx, t.rpc)
		return c, hint(err, "is imcd running at "+t.rpc+"?")
	}
	secret, err := t.secret()
	if err != nil {
		return nil, err
	}
	t.asking = true
	c, err := evapi.DialKamailio(ctx, t.evapi, secret)
	return c, hint(err, "is Kamailio's evapi socket at "+t.evapi+"?")
}

// hint adds a question to the error of a port that nobody listens on.
func hint(err error, question string) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w; %s", err, question)
	}
	return err
}

func (t *tool) secret() (string, error) {
	if t.secretFile == "" {
		if s := t.getenv(secretEnv); s != "" {
			return s, nil
		}
		return "", errors.New("--evapi needs the operator's secret: --secret-file FILE or $" + secretEnv)
	}
	b, err := os.ReadFile(t.secretFile)
	if err != nil {
		return "", fmt.Errorf("--secret-file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", fmt.Errorf("--secret-file: the first line of %s is empty", t.secretFile)
	}
	return line, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
