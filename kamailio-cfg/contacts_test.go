package kamailiocfg_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// withPath lets demo.cfg keep the Path of registrations.
func withPath() string {
	return "loadmodule \"path.so\"\nmodparam(\"registrar\", \"use_path\", 1)\n"
}

// contact is a contact of a device, and the agent that requests to it reach.
type contact struct {
	ua     *evapitest.UA
	uri    string // empty: that of the agent
	params string
	path   bool // requests go by way of the agent, which is a proxy in front of the device
}

// device is a device of a user, with its contacts. It uses the same Call-ID for all its registrations.
type device struct {
	user, name string
	contacts   []contact
	cseq       int
}

// register registers a contact of the device for some seconds.
func (d *device) register(t *testing.T, n, expires int) {
	t.Helper()
	c := d.contacts[n]
	if c.uri == "" {
		c.uri = c.ua.Contact()
	}
	headers := []string{fmt.Sprintf("Contact: <%s>%s", c.uri, c.params), fmt.Sprint("Expires: ", expires),
		"Supported: path, outbound, gruu", "User-Agent: Program/1"}
	if c.path {
		headers = append(headers, "Path: <"+c.ua.Contact()+";lr;ob>")
	}
	d.cseq++
	res, err := c.ua.Do(kit.Context(t), evapitest.Request{Method: "REGISTER", URI: "sip:chat.test", CSeq: d.cseq,
		From: "<sip:" + d.user + "@chat.test>", To: "sip:" + d.user + "@chat.test",
		CallID: d.user + "-" + d.name, Headers: headers})
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %v, %v", d.user, res, err)
	}
}

// said are the texts of alice's that the device has got by any of its contacts, sorted.
func (d *device) said() (texts []string) {
	for _, c := range d.contacts {
		for _, m := range c.ua.Received() {
			if text, ok := strings.CutPrefix(m.Text(), "[alice]: "); ok {
				texts = append(texts, text)
			}
		}
	}
	slices.Sort(texts)
	return texts
}

func TestContactsOfAllKinds(t *testing.T) {
	for _, fanout := range []string{"sip", "batch", "rpc"} {
		t.Run(fanout, func(t *testing.T) { contactsOfAllKinds(t, fanout) })
	}
}

func contactsOfAllKinds(t *testing.T, fanout string) {
	c := startChat(t, evapitest.Options{IMCLocal: withPath()}, [2]string{}, "-fanout", fanout)
	const room = "sip:chat-1@chat.test"
	kit.Say(t, c.alice, room, "#create", 200)
	ua := func(user, transport string) *evapitest.UA {
		return kit.UA(t, evapitest.UAConfig{User: user, Domain: "chat.test", Transport: transport, Proxy: c.k.SIPAddr()})
	}
	instance := func(n, more string) string { return `;+sip.instance="<urn:uuid:` + n + `>"` + more }
	robs := &device{user: "rob", name: "phone", contacts: []contact{{ua: ua("rob", "udp")}}}
	doras := &device{user: "dora", name: "phone", contacts: []contact{
		{ua: ua("dora", "udp"), params: instance("3", ";reg-id=1")},
		{ua: ua("dora", "tcp"), params: instance("3", ";reg-id=2")}}}
	terrys := &device{user: "terry", name: "phone", contacts: []contact{{ua: ua("terry", "tcp")}}}
	devices := []*device{
		robs, {user: "rob", name: "tablet", contacts: []contact{{ua: ua("rob", "tcp"), params: instance("7", "")}}},
		{user: "dora", name: "tablet", contacts: []contact{{ua: ua("dora", "udp"), params: instance("2", "")}}}, doras,
		{user: "pete", name: "phone", contacts: []contact{{ua: ua("pete", "udp"), uri: "sip:pete@192.0.2.9:5060", path: true,
			params: instance("4", ";reg-id=1")}}},
		{user: "polly", name: "tablet", contacts: []contact{{ua: ua("polly", "udp"), params: instance("5", "")}}},
		{user: "polly", name: "phone", contacts: []contact{{ua: ua("polly", "udp"), uri: "sip:polly@192.0.2.9:5060",
			path: true, params: instance("6", ";reg-id=1")}}},
		{user: "terry", name: "tablet", contacts: []contact{{ua: ua("terry", "udp")}}}, terrys,
	}
	if fanout != "rpc" { // there the operator's own routing sends it to both flows, as every request
		devices = append(devices, &device{user: "carol", name: "phone", contacts: []contact{
			{ua: ua("carol", "udp"), params: instance("1", ";reg-id=1")},
			{ua: ua("carol", "tcp"), params: instance("1", ";reg-id=2")}}})
	}
	known := make(map[string]int)
	for _, d := range devices {
		if known[d.user]++; known[d.user] == 1 {
			kit.Say(t, c.alice, room, "#add sip:"+d.user+"@chat.test", 200)
		}
		for n := range d.contacts {
			d.register(t, n, 3600)
		}
	}
	for user, n := range known {
		c.awaitDevices(t, user, func(registered int) bool { return registered == n })
	}
	var want []string
	say := func(n int) {
		t.Helper()
		for range n {
			want = append(want, fmt.Sprint("text ", 100+len(want)))
			kit.Say(t, c.alice, room, want[len(want)-1], 200)
		}
	}
	have := func(list ...*device) {
		t.Helper()
		for _, d := range list {
			kit.Eventually(t, d.user+"'s "+d.name+" has all", func() bool { return len(d.said()) >= len(want) })
			if texts := d.said(); !slices.Equal(texts, want) {
				t.Errorf("%s's %s got %d: %q", d.user, d.name, len(texts), texts)
			}
		}
	}
	say(10)
	have(devices...)
	// Rob's phone is in another network suddenly: what is sent to its earlier contact is lost.
	if err := robs.contacts[0].ua.Close(); err != nil {
		t.Fatal(err)
	}
	say(3)
	robs.contacts = append(robs.contacts, contact{ua: ua("rob", "udp")})
	robs.register(t, 1, 3600)
	have(devices...)
	say(1)
	have(devices...)
}
