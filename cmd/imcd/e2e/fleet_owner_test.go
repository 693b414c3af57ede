package e2e

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/cmd/internal/judge"
	"imcd/cmd/internal/stack"
	"imcd/engine"
	"imcd/evapi/evapitest/kit"
	"imcd/evapi/netstring"
	"imcd/schema/schematest"
)

// takeoverSilence is how long no message of a room may be answered 2xx when the imcd that owns the rooms
// fails and another one is there.
const takeoverSilence = 2 * time.Second

// settleTime is how long copies may arrive after the last message was answered. A copy whose outcome is lost would be
// waited for until result_timeout, 15 s, and all later ones of its member with it.
const settleTime = 8 * time.Second

// startTwo starts a crowd at one Kamailio with two imcd, each with a network of its own to the database. opts are
// further options of both.
func startTwo(t *testing.T, b *imcdtest.Binary, opts stack.Options) *fleet {
	return startFleet(t, b, 2, opts)
}

// oneOwner are settings of imcd that leave all rooms to one of them: the others are spares.
var oneOwner = map[string]string{"spare": "1"}

// startFleet is startTwo with n imcd.
func startFleet(t *testing.T, b *imcdtest.Binary, n int, opts stack.Options) *fleet {
	t.Helper()
	f, rooms := startPair(t)
	f.startImcd(t, b, n, opts)
	f.talk(t, rooms)
	return f
}

// startImcd starts n imcd at one Kamailio. The first one has the rooms.
func (f *fleet) startImcd(t *testing.T, b *imcdtest.Binary, n int, opts stack.Options) {
	t.Helper()
	opts.Kamailio = controlled(opts.Kamailio)
	if opts.Settings == nil {
		opts.Settings = oneOwner
	}
	for i := range n {
		opts.Binary, opts.DBURL = b.Path(t), f.between(t)
		if i > 0 {
			opts.Beside, opts.Spare = f.imcd[0], true
		}
		f.imcd = append(f.imcd, start(t, "", opts))
	}
}

// takesOver waits until an imcd owns the rooms and more messages were answered.
func (f *fleet) takesOver(t *testing.T, imcd int) {
	t.Helper()
	kit.Eventually(t, "the other imcd takes over", func() bool { return owns(t, f.imcd[imcd]) })
	f.more(t, 2*fleetRate)
}

// judgeTakeovers judges, and wants to have heard from each room in time. Kamailio keeps requests until somebody
// owns their room: nobody hears anything else than 200.
func (f *fleet) judgeTakeovers(t *testing.T) {
	t.Helper()
	defer func() {
		if codes := f.crowd.Log().Codes(); len(codes) != 1 || codes[200] == 0 {
			t.Errorf("answers are %v", codes)
		}
	}()
	if s := f.judge(t, f.primary); s.Took > takeoverSilence+f.crowd.Stall() {
		t.Errorf("%s was silent for %v from %v on", s.Room, s.Took, s.From)
	}
	if f.settled > settleTime+f.crowd.Stall() {
		t.Errorf("copies came for %v after the last message was answered", f.settled)
	}
}

// TestFleetOwnerKilled: the owner is killed again and again, and starts again as the spare.
func TestFleetOwnerKilled(t *testing.T) {
	f := startTwo(t, &plain, stack.Options{})
	for round := range 3 {
		f.killOwner(t, round%2)
	}
	f.judgeTakeovers(t)
}

// killOwner kills an owner, and starts it again once the other one has taken over.
func (f *fleet) killOwner(t *testing.T, owner int) {
	t.Helper()
	if err := f.imcd[owner].Kill9(); err != nil {
		t.Fatal(err)
	}
	f.takesOver(t, 1-owner)
	if err := f.imcd[owner].LaunchImcd(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the killed one is a spare", func() bool { return alive(t, f.imcd[owner]) })
}

// TestFleetOwnerUnseen: the spare cannot see that the owner's process has ended, as on another host. It hears of that
// by Kamailio, and takes over sooner than from a frozen one.
func TestFleetOwnerUnseen(t *testing.T) {
	switch c, err := stack.StartChild(stack.Command{Path: "/bin/true", OwnPIDs: true}); {
	case errors.Is(err, syscall.EPERM): // a PID namespace takes a privilege, which root has in CI
		t.Skip("processes cannot be hidden from each other here: ", err)
	case err == nil:
		<-c.Done()
	}
	f := startTwo(t, &plain, stack.Options{OwnPIDs: true})
	if err := f.imcd[0].Kill9(); err != nil {
		t.Fatal(err)
	}
	f.takesOver(t, 1)
	const line = "an engine is taken for dead"
	log := f.imcd[1].LogTail()
	i := strings.Index(log, line)
	if i < 0 || !strings.Contains(log[strings.LastIndexByte(log[:i], '\n')+1:i], `"suspected":true`) {
		t.Errorf("the spare has not heard that the owner is gone:\n%s", log)
	}
	f.judgeTakeovers(t)
}

// TestFleetOwnerStopped: each of three imcd is stopped and started again, as in an upgrade, twice. Nobody
// hears anything else than 200.
func TestFleetOwnerStopped(t *testing.T) {
	f := startFleet(t, &plain, 3, stack.Options{})
	for round := range 2 * len(f.imcd) {
		s := f.imcd[round%len(f.imcd)]
		if err := s.StopImcd(); err != nil {
			t.Fatal(err)
		}
		kit.Eventually(t, "another imcd takes over", func() bool { return slices.ContainsFunc(f.imcd, running(t)) })
		f.more(t, 2*fleetRate)
		if err := s.LaunchImcd(); err != nil {
			t.Fatal(err)
		}
		kit.Eventually(t, "it is a spare", func() bool { return alive(t, s) })
	}
	f.judgeTakeovers(t)
}

// drainedLatency is how long a sender may wait, for 99 of 100 messages, while rooms go from one imcd to another. The
// goal is 600 ms; this machine may have others to run.
const drainedLatency = time.Second

// judgeDrained compares the time that senders waited with drainedLatency.
func (f *fleet) judgeDrained(t *testing.T) {
	t.Helper()
	took := f.crowd.Log().Latencies()
	if late := took[len(took)*99/100]; late > drainedLatency+f.crowd.Stall() {
		t.Errorf("one of 100 messages waited for more than %v", late)
	}
}

// TestFleetDrained: an operator sends the rooms from one imcd to another, as often as the spare is ready. Nobody
// hears anything else than 200.
func TestFleetDrained(t *testing.T) {
	f := startTwo(t, &plain, stack.Options{})
	for round := range 8 {
		owner, spare := f.imcd[round%2], 1-round%2
		kit.Eventually(t, "the spare is connected, and the rooms go to it", func() bool {
			return owner.Call(kit.Context(t), "imc.drain", nil, nil) == nil
		})
		f.takesOver(t, spare)
		kit.Eventually(t, "the owner is a spare", func() bool { return alive(t, owner) && !owns(t, owner) })
	}
	f.judgeTakeovers(t)
	f.judgeDrained(t)
}

// TestFleetAllKilled: all imcd are killed at once, and started again.
func TestFleetAllKilled(t *testing.T) {
	f := startTwo(t, &plain, stack.Options{})
	for _, s := range f.imcd {
		if err := s.Kill9(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range f.imcd {
		if err := s.LaunchImcd(); err != nil {
			t.Fatal(err)
		}
	}
	f.more(t, 3*fleetRate)
	f.judgeTakeovers(t)
}

// TestFleetOwnerFrozen: the owner is frozen, the spare takes over, and the frozen one does no harm when it
// goes on: it is the spare then.
func TestFleetOwnerFrozen(t *testing.T) {
	for _, frozen := range []time.Duration{1500 * time.Millisecond, 6 * time.Second} {
		t.Run(frozen.String(), func(t *testing.T) {
			f := startTwo(t, &plain, stack.Options{})
			if err := f.imcd[0].SignalImcd(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			thaw := time.After(frozen)
			f.takesOver(t, 1)
			<-thaw
			if err := f.imcd[0].SignalImcd(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if owns(t, f.imcd[0]) {
				t.Error("/readyz of the frozen one says that it has the rooms")
			}
			f.more(t, 2*fleetRate)
			f.swap(t)
			f.judgeTakeovers(t)
		})
	}
}

// TestFleetWithoutFence: an imcd that commits without a fence, and does not notice that it was replaced, is
// found out when it was frozen.
func TestFleetWithoutFence(t *testing.T) {
	t.Parallel()
	f := startTwo(t, &noFence, stack.Options{})
	operator, err := net.Dial("tcp", f.imcd[0].RPCAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	// With a commit under way it would ask what became of it, and find out by that.
	f.crowd.Hush()
	if err := f.crowd.Settle(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the owner has written everything", func() bool {
		var stats engine.Stats
		err := f.imcd[0].Call(kit.Context(t), "imc.stats", nil, &stats)
		return err == nil && stats.Committing == 0 && stats.Unwritten == 0
	})
	if err := f.imcd[0].SignalImcd(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f.crowd.Talk()
	f.takesOver(t, 1)
	// In other rooms it may find that the numbers of its messages are taken. It reads this before it looks at the fleet.
	say := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"imc.say","params":[%q,"as if nothing had happened"]}`,
		roomURI(quietRoom))
	if _, err := operator.Write(netstring.Append(nil, []byte(say))); err != nil {
		t.Fatal(err)
	}
	if err := f.imcd[0].SignalImcd(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "count 6 fails", func() bool { return judge.Judge(f.evidence(t, f.primary))[5].Wrong > 0 })
	for _, s := range f.imcd { // they are not to end well
		if err := s.Kill9(); err != nil {
			t.Error(err)
		}
	}
}

// swap kills the second imcd, so that the first one takes over.
func (f *fleet) swap(t *testing.T) {
	t.Helper()
	kit.Eventually(t, "the first imcd is a spare", func() bool { return alive(t, f.imcd[0]) && !owns(t, f.imcd[0]) })
	if err := f.imcd[1].Kill9(); err != nil {
		t.Fatal(err)
	}
	f.takesOver(t, 0)
}

// TestFleetOwnerCutOff: the owner loses the database, the spare does not, and takes over.
func TestFleetOwnerCutOff(t *testing.T) {
	for name, fault := range map[string]func(p *schematest.Proxy){
		"hold":  func(p *schematest.Proxy) { p.Hold() },
		"reset": func(p *schematest.Proxy) { p.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			f := startTwo(t, &plain, stack.Options{})
			f.networks[0].each(fault)
			f.takesOver(t, 1)
			f.networks[0].each(func(p *schematest.Proxy) { p.Pass(0) })
			f.swap(t)
			f.judgeTakeovers(t)
		})
	}
}

// TestFleetOwnerFarAway: the owner has a slow way to the database. It may be deposed for that or not.
func TestFleetOwnerFarAway(t *testing.T) {
	t.Parallel()
	f := startTwo(t, &plain, stack.Options{})
	f.networks[0].each(func(p *schematest.Proxy) { p.Pass(300 * time.Millisecond) })
	pause(t, outage)
	f.networks[0].each(func(p *schematest.Proxy) { p.Pass(0) })
	f.more(t, 2*fleetRate)
	f.judge(t, f.primary)
}

// alive reports whether an imcd runs, as the owner or as a spare.
func alive(t *testing.T, s *stack.Stack) bool { return s.Probe(kit.Context(t), "/healthz") == nil }

// running reports whether an imcd runs and has the rooms.
func running(t *testing.T) func(s *stack.Stack) bool {
	return func(s *stack.Stack) bool { return s.ImcdPid() != 0 && owns(t, s) }
}

// owns reports whether an imcd has the rooms.
func owns(t *testing.T, s *stack.Stack) bool { return s.Probe(kit.Context(t), "/readyz") == nil }
