//go:build patroni

package e2e

import (
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// These tests need Patroni and etcd (make test-patroni), and take minutes: Patroni waits for 20 s before it takes
// a host for dead. Requests are answered 503 after 4 s of that. The crowd says less than in other tests of a
// fleet, as all that it has said meanwhile is said again and again.
const patroniRate = 20

// startPatroni starts a crowd at one imcd whose PostgreSQL is a cluster.
func startPatroni(t *testing.T) (*fleet, *schematest.Cluster) {
	t.Helper()
	c := schematest.NewCluster(t, 3)
	primary := c.Primary(nil)
	if err := primary.Exec(kit.Context(t), "postgres", "CREATE DATABASE imcd"); err != nil {
		t.Fatal(err)
	}
	f := &fleet{rate: patroniRate}
	rooms := fillFleet(t, primary)
	f.imcd = []*stack.Stack{start(t, "", stack.Options{Binary: plain.Path(t), DBURL: c.URL("imcd"),
		Kamailio: controlled(evapitest.Options{})})}
	f.talk(t, rooms)
	return f, c
}

// goesOn waits until imcd works with another primary than old.
func (f *fleet) goesOn(t *testing.T, c *schematest.Cluster, old *schematest.Node, failed time.Time) {
	t.Helper()
	primary, promoted := c.AwaitPrimary(old)
	ready := time.Now()
	f.more(t, 1)
	silent := time.Since(ready)
	t.Logf("%s is the primary after %v, a standby confirms its commits after %v, and the first answer comes %v after that",
		primary.Name(), promoted.Sub(failed).Round(time.Millisecond), ready.Sub(failed).Round(time.Millisecond),
		silent.Round(time.Millisecond))
	if silent > takeoverSilence+f.crowd.Stall() {
		t.Errorf("the first answer comes %v after the first commit could be confirmed", silent)
	}
	f.more(t, 3*patroniRate)
	if codes := f.crowd.Log().Codes(); ready.Sub(failed)+takeoverSilence < answered && len(codes) != 1 {
		t.Errorf("answers are %v", codes)
	}
}

// finish waits until all servers are there again, and judges.
func (f *fleet) finish(t *testing.T, c *schematest.Cluster) {
	t.Helper()
	c.AwaitStandbys(2)
	f.more(t, 3*patroniRate)
	f.judge(t, c.Primary(nil))
}

// TestPatroniServerKilled: the primary's server is killed, Patroni is not.
func TestPatroniServerKilled(t *testing.T) {
	f, c := startPatroni(t)
	old, failed := c.Primary(nil), time.Now()
	old.KillServer()
	f.goesOn(t, c, old, failed)
	f.finish(t, c)
}

// TestPatroniHostKilled: the primary's host is lost, and comes back.
func TestPatroniHostKilled(t *testing.T) {
	f, c := startPatroni(t)
	old, failed := c.Primary(nil), time.Now()
	old.Kill()
	f.goesOn(t, c, old, failed)
	old.Start()
	f.finish(t, c)
}

// TestPatroniHostFrozen: the primary's host is frozen until there is another primary, and goes on.
func TestPatroniHostFrozen(t *testing.T) {
	f, c := startPatroni(t)
	old, failed := c.Primary(nil), time.Now()
	old.Freeze()
	f.goesOn(t, c, old, failed)
	old.Thaw()
	f.finish(t, c)
}

// TestPatroniSwitchover: the primary changes by an order, and again when the old one is a standby.
func TestPatroniSwitchover(t *testing.T) {
	f, c := startPatroni(t)
	for range 2 {
		old, began := c.Primary(nil), time.Now()
		c.Switchover()
		f.goesOn(t, c, old, began)
		c.AwaitStandbys(2)
	}
	f.finish(t, c)
}
