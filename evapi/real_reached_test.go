package evapi_test

import (
	"syscall"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestRealBusyIsReached: a Kamailio that does nothing, and owes a pong, is in reach as long as its host is.
// TestFleetKamailioCutOff has a host that is not.
func TestRealBusyIsReached(t *testing.T) {
	t.Parallel()
	k := kit.Kamailio(t, evapitest.Options{})
	ev := newEvents(func(evapi.Result) {})
	c := startReal(t, evapi.Config{Addr: k.EvapiAddr(), Secret: k.Secret(), Heartbeat: 100 * time.Millisecond,
		DeadAfter: kit.Patience}, ev, ev.up)
	if err := k.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "a pong is owed", func() bool { s := c.Stats(); return s.Windows > s.Pongs })
	const long = 2 * time.Second // more than the longest time between two acknowledgements
	for began := time.Now(); time.Since(began) < long; time.Sleep(10 * time.Millisecond) {
		if !c.Reached() {
			t.Fatalf("out of reach after %v", time.Since(began))
		}
	}
	if err := k.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	before := c.Stats().Pongs
	kit.Eventually(t, "pongs", func() bool { return c.Stats().Pongs > before })
	if !c.Reached() {
		t.Error("out of reach afterwards")
	}
}
