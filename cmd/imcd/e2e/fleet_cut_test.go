package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// inNetwork says that a test runs in a network of its own.
const inNetwork = "IMCD_TEST_NETWORK"

// alone runs a test once more in a network namespace, and reports whether this is that run. In there, packets can be
// swallowed as a network does that was cut. It needs root, or sudo that asks for nothing.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNetwork) != "" {
		return true
	}
	// Rules are looked at before it is known that an address is this host's.
	const script = `ip link set lo up && ip rule add pref 10 lookup local && ip rule del pref 0 && exec "$@"`
	args := []string{"unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
		"env", inNetwork + "=1", "sh", "-c", script, "sh",
		os.Args[0], "-test.v", "-test.run", "^" + t.Name() + "$", "-test.timeout", "3m"}
	if os.Geteuid() != 0 {
		if err := exec.Command("sudo", "-n", "true").Run(); err != nil {
			t.Fatalf("this needs a network namespace: run it as root, or with sudo that asks for no password: %v", err)
		}
		args = append([]string{"sudo", "-n", "--preserve-env"}, args...)
	}
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

// swallow lets the network swallow all packets to and from a port of TCP, until mend is called. Both ends keep their
// connections.
func swallow(t *testing.T, addr string) (mend func()) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	rules := func(verb string) {
		for _, end := range []string{"sport", "dport"} {
			args := fmt.Sprintf("rule %s pref 1 ipproto tcp %s %s blackhole", verb, end, port)
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v: %s", args, err, out)
			}
		}
	}
	rules("add")
	return func() { rules("del") }
}

// cutSilence is how long no message of a room may be answered 2xx when the owner and its Kamailio do not hear each
// other any more, though both live: 5 s until the owner takes the connection for dead, and what a dead Kamailio takes.
const cutSilence = 5*time.Second + hostSilence

// TestFleetKamailioCutOff: the network swallows what the owner and its Kamailio say to each other. The imcd at the
// other host takes over, and the owner comes back as a spare.
func TestFleetKamailioCutOff(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	f := startHosts(t)
	mend := swallow(t, f.imcd[0].Kamailio().EvapiAddr())
	f.takesOver(t, 1)
	mend()
	kit.Eventually(t, "it is a spare", func() bool { return alive(t, f.imcd[0]) && !owns(t, f.imcd[0]) })
	f.more(t, 3*fleetRate)
	if s := f.judge(t, f.primary); s.Took > cutSilence+f.crowd.Stall() {
		t.Errorf("%s was silent for %v from %v on", s.Room, s.Took, s.From)
	}
}
