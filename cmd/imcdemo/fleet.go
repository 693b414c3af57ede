package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"imcd/cmd/internal/chatter"
	"imcd/cmd/internal/judge"
	"imcd/cmd/internal/stack"
	"imcd/schema/schematest"
)

const (
	fleetTimeout = 4 * time.Minute
	fleetDomain  = "chat.example"
	fleetSize    = 3  // imcd
	fleetRate    = 20 // messages a second
	// fleetGoOn is how many messages must be accepted after a fault until the next one.
	fleetGoOn = 2 * fleetRate
)

// fleetRooms are rooms and their members.
var fleetRooms = []chatter.Room{
	{URI: "sip:chat-garden@" + fleetDomain, Members: []string{"alice", "bob", "carol"}},
	{URI: "sip:chat-kitchen@" + fleetDomain, Members: []string{"bob", "dave", "erin"}},
	{URI: "sip:chat-workshop@" + fleetDomain, Members: []string{"carol", "erin", "frank", "alice"}},
}

// fleet is the demonstration of several imcd that share a database, while one after the other fails.
type fleet struct {
	out  io.Writer
	undo []func() error // ends the parts that were started, the last first

	primary, standby *schematest.Postgres
	imcd             []*stack.Stack
	crowd            *chatter.Crowd
}

// showFleet plays it. The error is nil only if nothing was lost.
func showFleet(ctx context.Context, set *settings, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	f := &fleet{out: out}
	defer func() {
		for i := len(f.undo) - 1; i >= 0; i-- {
			err = errors.Join(err, f.undo[i]())
		}
	}()
	if err := f.start(ctx, set); err != nil {
		return err
	}
	f.crowd.Talk()
	err = f.faults(ctx)
	f.crowd.Hush()
	if err != nil {
		return err
	}
	return f.judge(ctx)
}

// start starts everything.
func (f *fleet) start(ctx context.Context, set *settings) error {
	f.say("Two PostgreSQL servers: one works, and no commit counts before the other one has it.")
	if err := f.startPostgres(ctx); err != nil {
		return err
	}
	f.say("Two Kamailios, as on two hosts, which pass requests on to each other. imcd 1 and 2 are beside Kamailio 1,\n"+
		"imcd 3 beside Kamailio 2. All %d work on this database: imcd 1 has the rooms, the others are spares.", fleetSize)
	if err := f.startHosts(ctx, set); err != nil {
		return err
	}
	var err error
	f.crowd, err = chatter.New(ctx, chatter.Options{Domain: fleetDomain, Rooms: fleetRooms, Rate: fleetRate,
		Proxies: []string{f.imcd[0].Kamailio().SIPAddr(), f.imcd[fleetSize-1].Kamailio().SIPAddr()}})
	if err != nil {
		return err
	}
	f.undo = append(f.undo, f.crowd.Close)
	if err := f.crowd.Enter(ctx); err != nil {
		return err
	}
	f.say("Six SIP phones, three at each Kamailio, make three rooms and talk in them, %d messages a second. Each\n"+
		"message has an answer: 200 means that it is stored and will be delivered. A phone that is not answered so\n"+
		"says it again.", fleetRate)
	return nil
}

// startHosts starts two Kamailios, and the last imcd beside the second one.
func (f *fleet) startHosts(ctx context.Context, set *settings) error {
	kamailios, err := stack.Hosts(2)
	if err != nil {
		return err
	}
	for i := range fleetSize {
		opts := stack.Options{Binary: set.imcd, DBURL: schematest.Hosts("imcd", f.primary, f.standby), Spare: i > 0,
			Settings: map[string]string{"spare": "1"}}
		switch i {
		case 0:
			opts.Kamailio = kamailios[0]
		case fleetSize - 1:
			opts.Kamailio = kamailios[1]
		default:
			opts.Beside = f.imcd[0]
		}
		s, err := stack.Start(ctx, opts)
		if err != nil {
			return err
		}
		f.undo = append(f.undo, s.Stop)
		f.imcd = append(f.imcd, s)
	}
	return nil
}

func (f *fleet) startPostgres(ctx context.Context) error {
	err := f.server(func(dir string) (err error) {
		f.primary, err = schematest.StartPostgres(ctx, dir, schematest.Options{})
		return err
	}, func() error { return f.primary.Stop() })
	if err != nil {
		return err
	}
	err = f.server(func(dir string) (err error) {
		f.standby, err = f.primary.StartStandby(ctx, dir)
		return err
	}, func() error { return f.standby.Stop() })
	if err != nil {
		return err
	}
	return f.primary.CreateDatabase("imcd")
}

// server starts a server in a folder of its own. PostgreSQL does not run as root, and could not reach every
// STATE_DIR.
func (f *fleet) server(start func(dir string) error, stop func() error) error {
	dir, err := os.MkdirTemp("", "imcd-postgres-")
	if err != nil {
		return fmt.Errorf("folder of PostgreSQL: %w", err)
	}
	f.undo = append(f.undo, func() error { return os.RemoveAll(dir) })
	if err := start(dir); err != nil {
		return err
	}
	f.undo = append(f.undo, stop)
	return nil
}

// faults lets one thing fail after the other.
func (f *fleet) faults(ctx context.Context) error {
	if err := f.goOn(ctx); err != nil {
		return err
	}
	for range fleetSize {
		if err := f.killOwner(ctx); err != nil {
			return err
		}
	}
	owner, err := f.owner(ctx)
	if err != nil {
		return err
	}
	f.say("\nimcd %d, which has the rooms, is frozen (SIGSTOP).", owner+1)
	if err := f.fail(ctx, func() error { return f.imcd[owner].SignalImcd(syscall.SIGSTOP) }); err != nil {
		return err
	}
	f.say("It goes on (SIGCONT), notices that it was replaced, and is a spare.")
	if err := f.imcd[owner].SignalImcd(syscall.SIGCONT); err != nil {
		return err
	}
	if err := f.killKamailio(ctx); err != nil {
		return err
	}
	f.say("\nThe first PostgreSQL server is killed, the second one takes its place.")
	return f.fail(ctx, func() error {
		return errors.Join(f.primary.Kill(), f.standby.Promote(ctx))
	})
}

func (f *fleet) killOwner(ctx context.Context) error {
	owner, err := f.owner(ctx)
	if err != nil {
		return err
	}
	f.say("\nkill -9 imcd %d, which has the rooms.", owner+1)
	if err := f.fail(ctx, f.imcd[owner].Kill9); err != nil {
		return err
	}
	f.say("imcd %d is started again, as a spare.", owner+1)
	return f.imcd[owner].LaunchImcd()
}

// killKamailio kills the Kamailio of the imcd that has the rooms, and starts it again once an imcd at the other one
// has them.
func (f *fleet) killKamailio(ctx context.Context) error {
	owner, err := f.owner(ctx)
	if err != nil {
		return err
	}
	killed, n := f.imcd[owner].Kamailio(), 1+owner/(fleetSize-1)
	f.say("\nkill -9 Kamailio %d, beside which imcd %d has the rooms. Its phones cannot send until it is back.",
		n, owner+1)
	err = f.fail(ctx, func() error {
		err := killed.Kill()
		for err == nil && f.imcd[owner].Kamailio() == killed {
			owner, err = f.owner(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	f.say("Kamailio %d is started again, and its phones register there again.", n)
	if err := killed.Start(ctx); err != nil {
		return err
	}
	return f.crowd.Register(ctx)
}

// fail does something bad, and tells how the talk goes on.
func (f *fleet) fail(ctx context.Context, what func() error) error {
	began := time.Now()
	if err := what(); err != nil {
		return err
	}
	if err := f.goOn(ctx); err != nil {
		return err
	}
	owner, err := f.owner(ctx)
	if err != nil {
		return err
	}
	silence := f.crowd.Log().Silences(began, time.Now())[0]
	f.say("imcd %d has the rooms. No room was without a 200 for longer than %v.", owner+1,
		silence.Took.Round(10*time.Millisecond))
	return nil
}

// goOn waits until messages are accepted as before.
func (f *fleet) goOn(ctx context.Context) error {
	log := f.crowd.Log()
	for goal := log.Accepted() + fleetGoOn; log.Accepted() < goal; {
		if err := stack.Pause(ctx, poll); err != nil {
			return fmt.Errorf("waiting for messages to be answered: %w", err)
		}
	}
	return nil
}

// owner waits until an imcd has the rooms, and returns which one.
func (f *fleet) owner(ctx context.Context) (int, error) {
	for {
		for i, s := range f.imcd {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			err := s.Probe(ctx, "/readyz")
			cancel()
			if err == nil {
				return i, nil
			}
		}
		if err := stack.Pause(ctx, poll); err != nil {
			return 0, fmt.Errorf("waiting until an imcd has the rooms: %w", err)
		}
	}
}

// judge compares what phones got with what the database has.
func (f *fleet) judge(ctx context.Context) error {
	if err := f.crowd.Settle(ctx); err != nil {
		return err
	}
	db, err := judge.Open(f.standby.URL("imcd"))
	if err != nil {
		return err
	}
	defer db.Close() // it was only read
	log := f.crowd.Log()
	e := log.Evidence(f.crowd.Members())
	if err := db.Read(ctx, e); err != nil {
		return err
	}
	if err := judge.Judge(e).Err(); err != nil {
		return fmt.Errorf("this is not as it should be:\n%w", err)
	}
	copies, firsts := log.Copies()
	f.say("\nThe phones have written down what they sent and got. All %d messages were answered 200 in the end, each is\n"+
		"stored once, and all %d copies arrived in the order of their rooms (%d came again, with the same Call-ID).\n"+
		"Nothing was lost.", log.Accepted(), firsts, copies-firsts)
	return nil
}

func (f *fleet) say(format string, args ...any) { fmt.Fprintf(f.out, format+"\n", args...) }
