// imcdbench compares imcd with Kamailio's imc module on this machine: make bench.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"imcd/cmd/imcdbench/internal/contest"
	"imcd/cmd/internal/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "imcdbench:", err)
		os.Exit(2)
	}
	passed, err := run(ctx, opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "imcdbench:", err)
		os.Exit(1)
	}
	if !passed && opts.strict {
		os.Exit(1)
	}
}

// run carries out the options; passed reports whether all bars are reached.
func run(ctx context.Context, o *options) (passed bool, err error) {
	if o.binary == "" {
		dir, err := os.MkdirTemp("", "imcd-bench-")
		if err != nil {
			return false, fmt.Errorf("folder for imcd: %w", err)
		}
		defer os.RemoveAll(dir) // a folder that stays does no harm
		if o.binary, err = stack.BuildPlain(ctx, dir); err != nil {
			return false, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return false, fmt.Errorf("folder of the raw results: %w", err)
	}
	raw, err := os.Create(o.out)
	if err != nil {
		return false, fmt.Errorf("raw results: %w", err)
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	machine := contest.ThisMachine(o.binary)
	fmt.Printf("%v\n%d SIP workers, %d MB of shared memory for each Kamailio; imcd with durability commit, "+
		"PostgreSQL with fsync\n", machine, o.workers, o.shm)
	if err := json.NewEncoder(raw).Encode(machine); err != nil {
		return false, fmt.Errorf("raw results: %w", err)
	}
	return parts()[o.only](ctx, o, raw)
}
