// Command imcdemo shows imcd at work. Without flags it starts a real Kamailio
// and imcd, lets three SIP users hold a conversation, prints it, and exits 0 only
// if each of them got exactly what they should. With -fleet it shows several imcd on one
// database, which fail one after the other. With -run it starts both for SIP
// clients of your own and stays in the foreground.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

const usage = `Usage: imcdemo [-fleet | -run [-parent PID]] [-imcd FILE]

  -fleet      several imcd on PostgreSQL with a standby, and phones that talk while one
              after the other is killed; exits 0 only if nothing was lost
  -run        no conversation: Kamailio and imcd for SIP clients of your own,
              in the foreground until Ctrl-C
  -parent PID end when this process does, which must be the one that starts it
  -imcd FILE  the program imcd (default: beside this one)

Variables: SIP_PORT, EVAPI_PORT, RPC_PORT, HTTP_PORT (ports of 127.0.0.1), DB_URL
(of imcd), STATE_DIR (for files); -fleet takes none. With -run they default to 5060, 8448, 8449,
8450, a SQLite file in STATE_DIR, and ./run; else to free ports and files that
are removed at the end.
`

func main() { os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }

func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("imcdemo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	several := flags.Bool("fleet", false, "")
	foreground := flags.Bool("run", false, "")
	parent := flags.Int("parent", 0, "")
	imcd := flags.String("imcd", "", "")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if flags.NArg() > 0 || *several && *foreground {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	set, err := readSettings(getenv, *imcd)
	if err == nil {
		err = findPrograms(set)
	}
	if err == nil && *parent != 0 {
		err = endWith(*parent)
	}
	if err == nil {
		switch {
		case *several:
			err = showFleet(ctx, set, stdout)
		case *foreground:
			err = serve(ctx, set, stdout)
		default:
			err = demo(ctx, set, stdout)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "imcdemo:", err)
		return exitError
	}
	return exitOK
}

// findPrograms says what is missing before anything is started.
func findPrograms(set *settings) error {
	if _, err := exec.LookPath("kamailio"); err != nil {
		return fmt.Errorf("no Kamailio is installed (apt-get install kamailio kamailio-extra-modules): %w", err)
	}
	if set.imcd == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("looking for imcd: %w", err)
		}
		set.imcd = filepath.Join(filepath.Dir(self), "imcd")
	}
	if _, err := os.Stat(set.imcd); err != nil {
		return fmt.Errorf("imcd is not built (make build): %w", err)
	}
	return nil
}

// endWith asks the kernel for a SIGTERM when the process ends that started this one,
// as make may be killed alone.
func endWith(parent int) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0); err != nil {
		return fmt.Errorf("-parent: %w", err)
	}
	if now := os.Getppid(); now != parent {
		return fmt.Errorf("-parent: this was started by process %d, not %d", now, parent)
	}
	return nil
}
