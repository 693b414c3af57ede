package evapi_test

import (
	"net"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// unresolved is a copy whose contact has a name.
type unresolved struct {
	cp   evapi.Copy
	host string
	port uint16
}

// namer is a Handler that looks names up, or leaves it to Kamailio.
type namer struct {
	*events
	names chan unresolved
	leave bool
}

func (n *namer) Unresolved(_ *evapi.Conn, cp evapi.Copy, host string, port uint16) bool {
	n.names <- unresolved{cp, host, port}
	return !n.leave
}

// A contact whose host is a name is not looked up by the worker that has the copy: imcd
// gets the name, and says where the copy goes.
// (Kamailio's cache of names does not know /etc/hosts.)
func TestContactsWithNames(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{Config: natConfig(t),
		Local: "use_dns_cache=off\n"})
	results := make(chan evapi.Result, 100)
	n := &namer{events: newEvents(func(r evapi.Result) { results <- r }), names: make(chan unresolved, 100)}
	c := startReal(t, evapi.Config{Addr: k.EvapiAddr(), Secret: k.Secret(), Fanout: evapi.LaneSIP}, n, n.up)
	out := mustOutgoing(t, "hello")
	for _, tt := range []struct {
		user, host, params string
		port               bool
		headers            []string
		named              bool
	}{
		{"name", "phone.example", "", true, nil, true},
		{"bare", "phone.example", "", false, nil, true},
		{"params", "Phone-1.example", ";ob;transport=udp", true, nil, true},
		{"digits", "1.2.3.4.example", "", true, nil, true},
		{"address", "127.0.0.1", "", true, nil, false},
		{"nat", "phone.example", "", true, []string{"X-NAT: 1"}, false},
		{"invalid", "x7.invalid", "", true, []string{"X-NAT: 1"}, false},
	} {
		t.Run(tt.user, func(t *testing.T) {
			d := newDevice(t, k, tt.user, "udp", 200)
			_, port, err := net.SplitHostPort(strings.TrimPrefix(d.ua.Contact(), "sip:"+tt.user+"@"))
			if err != nil {
				t.Fatal(err)
			}
			at := tt.host
			if tt.port {
				at += ":" + port
			}
			bind(t, d.ua, "<sip:"+tt.user+"@"+at+tt.params+">", tt.headers...)
			cp := evapi.Copy{Out: out, To: "sip:" + tt.user + "@example.org", CallID: "id-" + tt.user}
			if err := c.Send(cp); err != nil {
				t.Fatal(err)
			}
			if tt.named {
				u := kit.Await(t, "a name", n.names)
				if !strings.EqualFold(u.host, tt.host) || (u.port != 0) != tt.port || u.cp.CallID != cp.CallID ||
					u.cp.To != cp.To || u.cp.Out != out {
					t.Errorf("%+v", u)
				}
				u.cp.Dest = "sip:127.0.0.1:" + port
				if err := c.Send(u.cp); err != nil {
					t.Fatal(err)
				}
			}
			if r := kit.Await(t, "result", results); r.Code != 200 || r.CallID != cp.CallID {
				t.Errorf("%+v", r)
			}
			got := d.ua.Received()
			if len(got) != 1 || got[0].Header("X-IMC-Dest") != "" || got[0].Text() != "hello" {
				t.Errorf("received %v", got)
			}
		})
	}
	// A name that leads to Kamailio itself is one that cannot be sent to.
	t.Run("self", func(t *testing.T) {
		d := newDevice(t, k, "self", "udp", 200)
		bind(t, d.ua, "<"+strings.Replace(d.ua.Contact(), "127.0.0.1", "phone.example", 1)+">")
		if err := c.Send(evapi.Copy{Out: out, To: "sip:self@example.org", CallID: "id-self",
			Dest: "sip:" + k.SIPAddr()}); err != nil {
			t.Fatal(err)
		}
		if r := kit.Await(t, "result", results); r.Code != 478 || r.CallID != "id-self" {
			t.Errorf("%+v", r)
		}
		// That is all that comes of it.
		next := newDevice(t, k, "next", "udp", 200)
		bind(t, next.ua, "<"+next.ua.Contact()+">")
		if err := c.Send(evapi.Copy{Out: out, To: "sip:next@example.org", CallID: "id-next"}); err != nil {
			t.Fatal(err)
		}
		r, s := kit.Await(t, "result", results), c.Stats()
		if r.CallID != "id-next" || r.Code != 200 || s.SIPStray > s.SIPAgain { // each that was repeated is answered again
			t.Errorf("%+v, %d stray", r, s.SIPStray)
		}
	})
	// A device that answers in imc.cfg's words is believed nothing: that is its response.
	for user, reply := range map[string]evapitest.Reply{
		"liar1": {Code: 300, Reason: "imc name evil.example:53"},
		"liar2": {Code: 300, Reason: "imc other way"},
		"liar3": {Code: 503, Reason: "Not from here now"},
	} {
		t.Run(user, func(t *testing.T) {
			d := newDevice(t, k, user, "udp", 200)
			bind(t, d.ua, "<"+d.ua.Contact()+">")
			d.ua.SetAnswer(func(*sip.Request) evapitest.Reply { return reply })
			if err := c.Send(evapi.Copy{Out: out, To: "sip:" + user + "@example.org", CallID: "id-" + user}); err != nil {
				t.Fatal(err)
			}
			if r := kit.Await(t, "result", results); r.Code != reply.Code || len(n.names) > 0 || len(d.ua.Received()) != 1 {
				t.Errorf("%+v, %d names, %d copies", r, len(n.names), len(d.ua.Received()))
			}
		})
	}
	// Who does not look names up leaves it to the workers for batches.
	t.Run("left", func(t *testing.T) {
		n.leave = true
		d := newDevice(t, k, "left", "udp", 200)
		bind(t, d.ua, "<"+strings.Replace(d.ua.Contact(), "127.0.0.1", "localhost", 1)+">")
		if err := c.Send(evapi.Copy{Out: out, To: "sip:left@example.org", CallID: "id-left"}); err != nil {
			t.Fatal(err)
		}
		kit.Await(t, "a name", n.names)
		if r := kit.Await(t, "result", results); r.Code != 200 || len(d.ua.Received()) != 1 {
			t.Errorf("%+v, %d copies", r, len(d.ua.Received()))
		}
	})
}
