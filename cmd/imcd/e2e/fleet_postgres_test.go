package e2e

import (
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/cmd/internal/judge"
	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// outage is for how long servers are away in these tests.
const outage = 3 * time.Second

// startOne starts a crowd at one imcd.
func startOne(t *testing.T, b *imcdtest.Binary) *fleet {
	t.Helper()
	f, rooms := startPair(t)
	f.startImcd(t, b, 1, stack.Options{})
	f.talk(t, rooms)
	return f
}

// TestFleetStandbyFrozen: nothing is answered 2xx while the standby confirms nothing, and nothing is
// lost or doubled.
func TestFleetStandbyFrozen(t *testing.T) {
	t.Parallel()
	f := startOne(t, &plain)
	if n := f.freezeStandby(t); n > 0 {
		t.Errorf("%d messages were answered 2xx without the standby", n)
	}
	f.more(t, 3*fleetRate)
	f.judge(t, f.primary)
}

// TestFleetWithoutStandby: an imcd that does not wait for the standby is found out.
func TestFleetWithoutStandby(t *testing.T) {
	t.Parallel()
	if startOne(t, &noStandby).freezeStandby(t) == 0 {
		t.Error("nothing was answered 2xx without the standby")
	}
}

// TestFleetWithoutSeen: an imcd that does not recognise repetitions is found out: what it could not answer in time
// is stored once more.
func TestFleetWithoutSeen(t *testing.T) {
	t.Parallel()
	f := startOne(t, &noSeen)
	f.freezeStandby(t)
	kit.Eventually(t, "count 2 fails", func() bool { return judge.Judge(f.evidence(t, f.primary))[1].Wrong > 0 })
}

// freezeStandby freezes the standby for a while, and returns how many messages were answered 2xx meanwhile.
func (f *fleet) freezeStandby(t *testing.T) int {
	t.Helper()
	if err := f.standby.Pause(); err != nil {
		t.Fatal(err)
	}
	// Until now it may have confirmed something whose answer is on its way.
	pause(t, outage/10)
	frozen := time.Now()
	pause(t, outage+time.Second) // longer than a commit waits
	n := f.acceptedBetween(frozen, time.Now())
	if err := f.standby.Resume(); err != nil {
		t.Fatal(err)
	}
	return n
}

// promote makes the standby the primary, which failed at a time, and wants imcd to go on soon after that. Requests
// wait meanwhile, as long as Kamailio does.
func (f *fleet) promote(t *testing.T, failed time.Time) {
	t.Helper()
	if err := f.standby.Promote(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	promoted := time.Now()
	f.more(t, 1)
	if silent := time.Since(promoted); silent > takeoverSilence+f.crowd.Stall() {
		t.Errorf("the first answer comes %v after the promotion", silent)
	}
	f.more(t, 3*fleetRate)
	if codes := f.crowd.Log().Codes(); promoted.Sub(failed)+takeoverSilence < answered && len(codes) != 1 {
		t.Errorf("answers are %v", codes)
	}
	t.Logf("there was no primary for %v", promoted.Sub(failed).Round(time.Millisecond))
}

// answered is the age at which imcd answers a request 503.
const answered = 4 * time.Second

// TestFleetPrimaryKilled: the primary is killed, the standby promoted at once.
func TestFleetPrimaryKilled(t *testing.T) { testPrimaryKilled(t, 0) }

// TestFleetPrimaryAway: the standby is promoted some time after the primary was killed.
func TestFleetPrimaryAway(t *testing.T) { testPrimaryKilled(t, outage/2) }

func testPrimaryKilled(t *testing.T, away time.Duration) {
	t.Parallel()
	f := startOne(t, &plain)
	failed := time.Now()
	if err := f.primary.Kill(); err != nil {
		t.Fatal(err)
	}
	pause(t, away)
	f.promote(t, failed)
	f.judge(t, f.standby)
}

// TestFleetPrimaryFrozen: the primary is frozen, the standby promoted, and the primary let loose again,
// which believes to be one for a while.
func TestFleetPrimaryFrozen(t *testing.T) {
	t.Parallel()
	f := startOne(t, &plain)
	failed := time.Now()
	if err := f.primary.Pause(); err != nil {
		t.Fatal(err)
	}
	f.promote(t, failed)
	if err := f.primary.Resume(); err != nil {
		t.Fatal(err)
	}
	pause(t, outage)
	if err := f.primary.Kill(); err != nil { // whoever watches over the servers does so
		t.Fatal(err)
	}
	f.more(t, 3*fleetRate)
	f.judge(t, f.standby)
}

// TestFleetNetwork: the network between imcd and PostgreSQL swallows everything, resets connections, or
// is slow.
func TestFleetNetwork(t *testing.T) {
	for name, fault := range map[string]func(p *schematest.Proxy){
		"hold":  func(p *schematest.Proxy) { p.Hold() },
		"reset": func(p *schematest.Proxy) { p.Reset() },
		"slow":  func(p *schematest.Proxy) { p.Pass(outage / 10) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startOne(t, &plain)
			f.networks[0].each(fault)
			pause(t, outage)
			f.networks[0].each(func(p *schematest.Proxy) { p.Pass(0) })
			f.more(t, 3*fleetRate)
			f.judge(t, f.primary)
		})
	}
}
