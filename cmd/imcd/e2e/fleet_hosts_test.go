package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/cmd/internal/stack/stacktest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
)

// hostSilence is how long no message of a room may be answered 2xx when the Kamailio of the owner ends: a second until
// the owner gives the rooms up, the takeover, and a try of the other Kamailio that was given to the dead one.
const hostSilence = 4 * time.Second

// startHosts starts a crowd at two Kamailios that share locations, each with an imcd of its own. The first one has the
// rooms.
func startHosts(t *testing.T) *fleet {
	t.Helper()
	f, rooms := startPair(t)
	f.imcd = twoHosts(t, func(int) string { return f.between(t) })
	f.talk(t, rooms)
	return f
}

// twoHosts starts two Kamailios that share locations, each with an imcd of its own, at a database with one URL for each
// of them. The first one has the rooms.
func twoHosts(t *testing.T, url func(host int) string) (hosts []*stack.Stack) {
	t.Helper()
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		hosts = append(hosts, stacktest.Start(t, stack.Options{
			Binary: plain.Path(t), DBURL: url(i), Spare: i > 0, Kamailio: hostKamailio(t, ports, i)}))
	}
	return hosts
}

// hostKamailio is one of two Kamailios at these ports.
func hostKamailio(t *testing.T, ports []int, i int) evapitest.Options {
	t.Helper()
	const begin = "request_route {\n"
	config := kamailiocfg.File(kamailiocfg.Demo)
	if !strings.Contains(config, begin) {
		t.Fatal("demo.cfg has no request_route")
	}
	uri := func(port int) string { return fmt.Sprint("sip:127.0.0.1:", port) }
	return evapitest.Options{
		SIPPort: ports[i],
		Config: strings.Replace(config, begin, begin+
			"\tif (is_method(\"KDMQ\")) {\n\t\tdmq_handle_message();\n\t\texit;\n\t}\n", 1),
		IMCLocal: fmt.Sprintf("#!define IMC_PEERS \"^127[.]0[.]0[.]1$\"\n#!define IMC_PEER_URIS \"%s %s\"\n"+
			"#!define IMC_PEER_SECRET \"between-us\"\nloadmodule \"dmq.so\"\nloadmodule \"dmq_usrloc.so\"\n"+
			"modparam(\"dmq\", \"server_address\", %q)\nmodparam(\"dmq\", \"notification_address\", %q)\n"+
			"modparam(\"dmq_usrloc\", \"enable\", 1)\nmodparam(\"dmq_usrloc\", \"sync\", 1)\n"+
			"modparam(\"usrloc\", \"preload\", \"location\")\n",
			uri(ports[0]), uri(ports[1]), uri(ports[i]), uri(ports[1-i])),
	}
}

// TestFleetHosts: the owner at one host is killed again and again, and the imcd at the other host takes over. A request
// gets its answer at whichever Kamailio it comes.
func TestFleetHosts(t *testing.T) {
	f := startHosts(t)
	for round := range 2 {
		f.killOwner(t, round%2)
		f.more(t, 2*fleetRate)
	}
	f.judgeTakeovers(t)
}

// TestFleetKamailioKilled: the owner has no Kamailio any more, and leaves the rooms to the other host.
func TestFleetKamailioKilled(t *testing.T) {
	f := startHosts(t)
	if err := f.imcd[0].Kamailio().Kill(); err != nil {
		t.Fatal(err)
	}
	f.takesOver(t, 1)
	if err := f.imcd[0].Kamailio().Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	f.more(t, 3*fleetRate)
	if s := f.judge(t, f.primary); s.Took > hostSilence+f.crowd.Stall() {
		t.Errorf("%s was silent for %v from %v on", s.Room, s.Took, s.From)
	}
}
