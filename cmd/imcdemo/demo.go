package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"imcd/cmd/internal/convo"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
)

//go:embed demo.txt
var conversation []byte

// demoTimeout bounds the whole demonstration.
const demoTimeout = 3 * time.Minute

// demo plays the conversation and prints it as it happens.
func demo(ctx context.Context, set *settings, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	all, err := convo.Parse("demo.txt", conversation)
	if err != nil {
		return err
	}
	if err := set.checkPorts(); err != nil {
		return err
	}
	dir, err := set.newStateDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := stack.Start(ctx, stack.Options{
		Binary: set.imcd, Dir: dir, DBURL: set.dbURL, RPCPort: set.rpc, HTTPPort: set.http,
		Kamailio: evapitest.Options{SIPPort: set.sip, EvapiPort: set.evapi},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	p := &printer{out: out}
	p.intro(s, set)
	r := &convo.Runner{Stack: s, Watch: convo.Watcher{Step: p.step, Reply: p.reply, Received: p.received}}
	for _, c := range all {
		if err := r.Run(ctx, c); err != nil {
			return fmt.Errorf("the conversation went wrong:\n%w", err)
		}
	}
	fmt.Fprintf(out, "\nEverybody got exactly what they should: %d messages were sent, %d received.\n", p.sent, p.got)
	fmt.Fprint(out, "Try it with SIP clients of your own: make run\n")
	return nil
}
