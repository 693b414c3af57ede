package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"imcd/evapi/evapitest/kit"
)

// inNetwork says that a test runs in a network of its own.
const inNetwork = "IMCD_TEST_NETWORK"

// alone runs a test once more in a network namespace, and reports whether this is that run. In there, packets can be
// swallowed, as by a network that was cut. It needs root, or sudo that asks for nothing.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNetwork) != "" {
		return true
	}
	const script = `ip link set lo up && nft add table inet cut &&
		nft add chain inet cut in '{ type filter hook input priority 0; }' && exec "$@"`
	kit.InNamespace(t, inNetwork+"=1", script)
	return false
}

// swallow lets the network swallow all packets between a port and any, or another one, until mend is called. Who sends
// them does not notice.
func swallow(t *testing.T, proto, addr, other string) (mend func()) {
	t.Helper()
	nft := func(args string) {
		ctx, cancel := context.WithTimeout(context.Background(), kit.Patience) // it mends when the test is over, too
		defer cancel()
		if out, err := exec.CommandContext(ctx, "nft", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("nft %s: %v: %s", args, err, out)
		}
	}
	port := func(addr string) string {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	for _, end := range [][2]string{{"sport", "dport"}, {"dport", "sport"}} {
		rule := fmt.Sprintf("add rule inet cut in %s %s %s", proto, end[0], port(addr))
		if other != "" {
			rule += fmt.Sprintf(" %s %s %s", proto, end[1], port(other))
		}
		nft(rule + " drop")
	}
	return func() { nft("flush chain inet cut in") }
}

// TestFleetKamailioCutOff: the network swallows what the owner and its Kamailio say to each other. The imcd at the
// other host takes over, and the owner comes back as a spare.
func TestFleetKamailioCutOff(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	f := startHosts(t)
	mend := swallow(t, "tcp", f.imcd[0].Kamailio().EvapiAddr(), "")
	f.takesOver(t, 1)
	mend()
	kit.Eventually(t, "it is a spare", func() bool { return alive(t, f.imcd[0]) && !owns(t, f.imcd[0]) })
	f.more(t, 3*fleetRate)
	if s := f.judge(t, f.primary); s.Took > hostSilence+f.crowd.Stall() {
		t.Errorf("%s was silent for %v from %v on", s.Room, s.Took, s.From)
	}
}

// TestFleetHostsCutOff: the network between two hosts swallows what their Kamailios say to each other. Phones at the
// host without the rooms wait, and nothing is lost or doubled.
func TestFleetHostsCutOff(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	f := startHosts(t)
	mend := swallow(t, "udp", f.imcd[0].Kamailio().SIPAddr(), f.imcd[1].Kamailio().SIPAddr())
	pause(t, 2*outage) // longer than Kamailio waits for an answer
	mend()
	f.more(t, 3*fleetRate)
	f.judge(t, f.primary)
}
