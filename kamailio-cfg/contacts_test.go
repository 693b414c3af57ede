package kamailiocfg_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/evapi/jsonrpc"
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
	duplicate  bool // imcd takes another one for it
	cseq       int
}

// register registers a contact of the device, and removes others by the same request.
func (d *device) register(t *testing.T, n int, removed ...int) {
	t.Helper()
	values := []string{d.contact(n)}
	for _, i := range removed {
		values = append(values, d.contact(i)+";expires=0")
	}
	d.send(t, n, 3600, values...)
}

// remove removes a contact of the device by a request of another one.
func (d *device) remove(t *testing.T, n, by int) {
	t.Helper()
	d.send(t, by, 0, d.contact(n))
}

// send sends a registration from where a contact is.
func (d *device) send(t *testing.T, from, expires int, contacts ...string) {
	t.Helper()
	c := d.contacts[from]
	headers := []string{"Contact: " + strings.Join(contacts, ", "), fmt.Sprint("Expires: ", expires),
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

// contact is the value of a contact in a header.
func (d *device) contact(n int) string {
	c := d.contacts[n]
	return "<" + d.uri(n) + ">" + c.params
}

func (d *device) uri(n int) string { return cmp.Or(d.contacts[n].uri, d.contacts[n].ua.Contact()) }

// operator is a connection to imcd's RPC. It ends with the test.
func (c *chat) operator(t *testing.T) *jsonrpc.Client {
	t.Helper()
	client, err := evapi.Dial(kit.Context(t), c.imcd.RPCAddr(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// knows waits until imcd knows that a device is registered by a contact.
func (c *chat) knows(t *testing.T, d *device, n int) {
	t.Helper()
	client := c.operator(t)
	kit.Eventually(t, d.user+"'s "+d.name, func() bool {
		var list []struct {
			Contact    string
			Registered bool
		}
		if err := client.Call(kit.Context(t), "imc.devices", []string{"sip:" + d.user + "@chat.test"}, &list); err != nil {
			t.Fatal(err)
		}
		for _, known := range list {
			if known.Contact == d.uri(n) && known.Registered {
				return true
			}
		}
		return false
	})
}

// moves gives the device a contact of another network, with the same parameters. What is sent to its latest one is
// lost.
func (d *device) moves(t *testing.T, ua *evapitest.UA) {
	t.Helper()
	last := d.contacts[len(d.contacts)-1]
	if err := last.ua.Close(); err != nil {
		t.Fatal(err)
	}
	d.contacts = append(d.contacts, contact{ua: ua, params: last.params})
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
	// elsewhere is an agent of another address.
	elsewhere := func(user string, n int) *evapitest.UA {
		return kit.UA(t, evapitest.UAConfig{User: user, Domain: "chat.test", Transport: "tcp", Proxy: c.k.SIPAddr(),
			LocalIP: fmt.Sprint("127.0.0.", n)})
	}
	instance := func(n, more string) string { return `;+sip.instance="<urn:uuid:` + n + `>"` + more }
	robs := &device{user: "rob", name: "phone", contacts: []contact{{ua: ua("rob", "udp")}}}
	doras := &device{user: "dora", name: "phone", contacts: []contact{
		{ua: ua("dora", "udp"), params: instance("3", ";reg-id=1")},
		{ua: ua("dora", "tcp"), params: instance("3", ";reg-id=2")}}}
	terrys := &device{user: "terry", name: "phone", contacts: []contact{{ua: ua("terry", "tcp")}}}
	tess := &device{user: "tess", name: "tablet", contacts: []contact{{ua: elsewhere("tess", 2)}}}
	devices := []*device{
		robs, {user: "rob", name: "tablet", contacts: []contact{{ua: ua("rob", "tcp"), params: instance("7", "")}}},
		{user: "dora", name: "tablet", contacts: []contact{{ua: ua("dora", "udp"), params: instance("2", "")}}}, doras,
		{user: "pete", name: "phone", contacts: []contact{{ua: ua("pete", "udp"), uri: "sip:pete@192.0.2.9:5060", path: true,
			params: instance("4", ";reg-id=1")}}},
		{user: "polly", name: "tablet", contacts: []contact{{ua: ua("polly", "udp"), params: instance("5", "")}}},
		{user: "polly", name: "phone", contacts: []contact{{ua: ua("polly", "udp"), uri: "sip:polly@192.0.2.9:5060",
			path: true, params: instance("6", ";reg-id=1")}}},
		{user: "terry", name: "tablet", contacts: []contact{{ua: ua("terry", "udp")}}}, terrys,
		{user: "tess", name: "phone", contacts: []contact{{ua: ua("tess", "tcp")}}}, tess,
		{user: "tim", name: "phone", contacts: []contact{{ua: ua("tim", "tcp")}}, duplicate: true},
		{user: "tim", name: "tablet", contacts: []contact{{ua: ua("tim", "tcp")}}},
		{user: "tim", name: "desk phone", contacts: []contact{{ua: ua("tim", "udp")}}},
	}
	if fanout != "rpc" { // there the operator's own routing sends it to both flows, as every request
		devices = append(devices, &device{user: "carol", name: "phone", contacts: []contact{
			{ua: ua("carol", "udp"), params: instance("1", ";reg-id=1")},
			{ua: ua("carol", "tcp"), params: instance("1", ";reg-id=2")}}})
	}
	known := make(map[string]int)
	for i, d := range devices {
		if i == 0 || devices[i-1].user != d.user {
			kit.Say(t, c.alice, room, "#add sip:"+d.user+"@chat.test", 200)
		}
		for n := range d.contacts {
			d.register(t, n)
			if len(d.contacts) > 1 || d.duplicate {
				c.knows(t, d, n) // reports of two connections may come in any order
			}
		}
		if !d.duplicate {
			known[d.user]++
		}
	}
	for _, d := range devices {
		if !d.duplicate {
			c.knows(t, d, len(d.contacts)-1)
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
	// Some devices are in another network suddenly; what is sent to their earlier contacts is lost. Two have a connection
	// and no instance.
	moved := map[*device]*evapitest.UA{robs: ua("rob", "udp"), terrys: ua("terry", "tcp"), tess: elsewhere("tess", 3)}
	for d, to := range moved {
		d.moves(t, to)
	}
	say(3)
	for d := range moved {
		d.register(t, 1)
	}
	have(devices...)
	// Rob's phone removes its earlier contact now, and Dora's the flow that it has registered last.
	robs.remove(t, 0, 1)
	doras.remove(t, 1, 0)
	c.knows(t, doras, 0)
	c.knows(t, robs, 1)
	say(3)
	have(devices...)
	// Rob's removes the earlier contact with the registration of the next.
	robs.moves(t, ua("rob", "udp"))
	robs.register(t, 2, 1)
	say(1)
	have(devices...)
}
