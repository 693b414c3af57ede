package evapi_test

import (
	"fmt"
	"strings"
	"testing"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
)

// natConfig is demo.cfg with what a stock configuration has for edge proxies, and for
// NAT only where a test asks for it.
func natConfig(t *testing.T) string {
	t.Helper()
	cfg := kamailioDemo(t)
	for old, new := range map[string]string{
		"\troute(NAT);\n}": "}",
		`modparam("registrar", "max_expires", 3600)`: `modparam("registrar", "received_avp", "$avp(RECEIVED)")
modparam("registrar", "use_path", 1)
modparam("registrar", "path_mode", 0)`,
		`	if (!save("location"))`: `	if (is_present_hf("X-NAT")) $avp(RECEIVED) = "sip:" + $si + ":" + $sp;
	if (!save("location"))`,
	} {
		if !strings.Contains(cfg, old) {
			t.Fatalf("demo.cfg has no %q", old)
		}
		cfg = strings.Replace(cfg, old, new, 1)
	}
	return cfg
}

// device is a user agent with its registration.
type device struct {
	ua     *evapitest.UA
	answer int
}

// bind registers u with a contact and more headers.
func bind(t *testing.T, u *evapitest.UA, contact string, headers ...string) {
	t.Helper()
	res, err := u.Do(t.Context(), evapitest.Request{Method: "REGISTER", URI: "sip:example.org", To: u.AOR(), CSeq: 1,
		Headers: append([]string{"Contact: " + contact, "Expires: 3600"}, headers...)})
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("register: %v, %v", res, err)
	}
}

func newDevice(t *testing.T, k *evapitest.Kamailio, user, transport string, answer int) device {
	t.Helper()
	u := kit.UA(t, evapitest.UAConfig{User: user, Domain: "example.org", Proxy: k.SIPAddr(), Transport: transport})
	u.AnswerWith(answer)
	return device{u, answer}
}

// direct is what tests of the lanes that send straight to devices stand on.
type direct struct {
	k       *evapitest.Kamailio
	c       *evapi.Conn
	out     *evapi.Outgoing
	results chan evapi.Result
}

// onDirectLanes runs a test on each of those lanes.
func onDirectLanes(t *testing.T, test func(t *testing.T, lane evapi.Lane)) {
	for _, lane := range []evapi.Lane{evapi.LaneBatch, evapi.LaneSIP} {
		t.Run(lane.String(), func(t *testing.T) { test(t, lane) })
	}
}

func newDirect(t *testing.T, lane evapi.Lane) *direct {
	t.Helper()
	d := &direct{k: kit.Kamailio(t, evapitest.Options{Config: natConfig(t)}), results: make(chan evapi.Result, 100)}
	d.c = connect(t, d.k, lane, "", newEvents(func(r evapi.Result) { d.results <- r }))
	d.out = mustOutgoing(t, "\x00hi!\xff")
	return d
}

func mustOutgoing(t *testing.T, body string) *evapi.Outgoing {
	t.Helper()
	out, err := evapi.NewOutgoing(evapi.Content{From: `"R" <sip:chat-r@example.org>`, Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// send sends a copy to a user and returns its result.
func (d *direct) send(t *testing.T, user string) evapi.Result {
	t.Helper()
	if err := d.c.Send(evapi.Copy{Out: d.out, To: "sip:" + user + "@example.org", CallID: "id-" + user}); err != nil {
		t.Fatal(err)
	}
	return kit.Await(t, "result of "+user, d.results)
}

// TestDirectDevices sends to members with none, one and several devices.
func TestDirectDevices(t *testing.T) { onDirectLanes(t, directDevices) }

func directDevices(t *testing.T, lane evapi.Lane) {
	d := newDirect(t, lane)
	tests := []struct {
		user      string
		transport string
		answers   []int
		want      int
	}{
		{"none", "udp", nil, 404},
		{"one", "udp", []int{200}, 200},
		{"tcp", "tcp", []int{202}, 202},
		{"refused", "udp", []int{486}, 486},
		{"two", "udp", []int{200, 200}, 200},
		{"either", "udp", []int{415, 200, 480}, 200},
		{"neither", "udp", []int{415, 480}, 480},
		{"later", "udp", []int{404, 503, 415}, 503},
	}
	for _, tt := range tests {
		t.Run(tt.user, func(t *testing.T) {
			var all []device
			for _, code := range tt.answers {
				dev := newDevice(t, d.k, tt.user, tt.transport, code)
				bind(t, dev.ua, "<"+dev.ua.Contact()+">")
				all = append(all, dev)
			}
			if r := d.send(t, tt.user); r.Local || r.Code != tt.want || r.CallID != "id-"+tt.user {
				t.Errorf("%+v, want %d", r, tt.want)
			}
			for i, dev := range all {
				got, err := dev.ua.WaitN(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				m := got[0]
				uri := m.Request.Recipient.String()
				if len(got) != 1 || m.Text() != "\x00hi!\xff" || m.CallID != "id-"+tt.user ||
					m.To != "sip:"+tt.user+"@example.org" ||
					uri != dev.ua.Contact() || m.Header("X-IMC-Secret") != "" || m.Header("Route") != "" {
					t.Errorf("device %d got %d, the first %s", i, len(got), m.Request)
				}
			}
		})
	}
	if st := d.c.Stats(); st.Errors != 0 || st.Reconnects != 0 {
		t.Errorf("%+v", st)
	}
}

// TestDirectPaths sends to contacts that are not where they say.
func TestDirectPaths(t *testing.T) { onDirectLanes(t, directPaths) }

func directPaths(t *testing.T, lane evapi.Lane) {
	d := newDirect(t, lane)
	t.Run("received", func(t *testing.T) {
		dev := newDevice(t, d.k, "nat", "udp", 200)
		bind(t, dev.ua, "<sip:nat@192.0.2.1:5060>", "X-NAT: yes")
		if r := d.send(t, "nat"); r.Code != 200 {
			t.Errorf("%+v", r)
		}
		if m, err := dev.ua.Next(t.Context()); err != nil || m.Request.Recipient.String() != "sip:nat@192.0.2.1:5060" {
			t.Errorf("%v, %v", m.Request, err)
		}
	})
	t.Run("path", func(t *testing.T) {
		edge := newDevice(t, d.k, "edge", "udp", 200)
		dev := newDevice(t, d.k, "behind", "udp", 200)
		hop := strings.Replace(edge.ua.Contact(), "edge@", "", 1)
		path := fmt.Sprintf("<%s;lr>, <sip:192.0.2.2;lr>", hop)
		bind(t, dev.ua, "<sip:behind@192.0.2.1>", "Supported: path", "Path: "+path)
		if r := d.send(t, "behind"); r.Code != 200 {
			t.Errorf("%+v", r)
		}
		m, err := edge.ua.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var route []string
		for _, h := range m.Request.GetHeaders("Route") {
			route = append(route, h.Value())
		}
		if m.Request.Recipient.String() != "sip:behind@192.0.2.1" || len(route) == 0 || !strings.HasPrefix(route[0],
			"<"+hop+";lr>") {
			t.Errorf("route %q, %s", route, m.Request)
		}
	})
	t.Run("unreachable from here", func(t *testing.T) {
		dev := newDevice(t, d.k, "web", "udp", 200)
		bind(t, dev.ua, "<sip:web@abc.invalid;transport=ws>")
		// The routing of demo.cfg cannot reach it either, but it is what answers.
		if r := d.send(t, "web"); r.Local || r.Code == 200 || r.Code < 400 {
			t.Errorf("%+v", r)
		}
	})
}

func kamailioDemo(t *testing.T) string {
	t.Helper()
	return kamailiocfg.File(kamailiocfg.Demo)
}
