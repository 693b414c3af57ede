package evapi_test

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// optionsFrom returns the status line with which Kamailio answers an OPTIONS from a
// local address, by UDP or TCP; empty: none came in time.
func optionsFrom(t *testing.T, k *evapitest.Kamailio, network, local string) (status string) {
	t.Helper()
	d := net.Dialer{Timeout: kit.Patience}
	var err error
	if network == "tcp" {
		d.LocalAddr, err = net.ResolveTCPAddr(network, local)
	} else {
		d.LocalAddr, err = net.ResolveUDPAddr(network, local)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.Dial(network, k.SIPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "OPTIONS sip:imc@localhost SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=z9hG4bK%d\r\nFrom: "+
		"<sip:x@h>;tag=1\r\n"+
		"To: <sip:imc@localhost>\r\nCall-ID: %d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
		strings.ToUpper(network), conn.LocalAddr(), time.Now().UnixNano(), time.Now().UnixNano())
	buf := make([]byte, 2000)
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(buf)
	if err != nil {
		return ""
	}
	status, _, _ = strings.Cut(string(buf[:n]), "\r\n")
	return status
}

// ownVia finds the port of the link in its Via.
func ownVia(head, own string) string {
	m := regexp.MustCompile(regexp.QuoteMeta(own) + `:(\d+);branch=z9hG4bKimcopy`).FindStringSubmatch(head)
	if m == nil {
		return ""
	}
	return m[1]
}

// TestSIPPort: copies are taken from imcd's socket alone, and from nobody once imcd is
// gone, whoever has the port then; whatever Kamailio's own address is.
func TestSIPPort(t *testing.T) {
	for own, other := range map[string]string{"127.0.0.1": "127.0.0.2", "127.0.0.2": "127.0.0.1"} {
		t.Run(own, func(t *testing.T) { sipPort(t, own, other) })
	}
}

func sipPort(t *testing.T, own, other string) {
	port, err := evapitest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	k := kit.Kamailio(t, evapitest.Options{SIPPort: port, Local: fmt.Sprintf("listen=udp:127.0.0.2:%d\n", port),
		IMCLocal: fmt.Sprintf("#!define IMC_NEXT_HOP \"sip:%s:%d\"\n", own, port)})
	dev := newDevice(t, k, "bob", "udp", 200)
	bind(t, dev.ua, "<"+dev.ua.Contact()+">")
	results := make(chan evapi.Result, 1)
	var c *evapi.Conn
	var link string // its port
	for n := 0; ; n++ {
		c = connect(t, k, evapi.LaneSIP, "", newEvents(func(r evapi.Result) { results <- r }))
		if err := c.Send(evapi.Copy{Out: mustOutgoing(t, "x"), To: "sip:bob@example.org", CallID: fmt.Sprint("copy",
			n)}); err != nil {
			t.Fatal(err)
		}
		if r := kit.Await(t, "result", results); r.Code != 200 {
			t.Errorf("%+v", r)
		}
		m, err := dev.ua.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if link = ownVia(m.Request.String(), own); link == "" {
			t.Fatalf("no Via of imcd's in\n%s", m.Request)
		}
		// Somebody else may have the same port of TCP; then imcd is to have another.
		l, err := net.Listen("tcp4", own+":"+link)
		if err == nil {
			l.Close()
			break
		}
		c.Stop()
	}
	for what, from := range map[string][2]string{"another port": {"udp", own + ":0"},
		"the same of TCP": {"tcp", own + ":" + link}, "another address": {"udp", other + ":" + link}} {
		if got := optionsFrom(t, k, from[0], from[1]); got == "" || strings.Contains(got, "imc") {
			t.Errorf("from %s while imcd is there: %q", what, got)
		}
	}
	c.Stop()
	kit.Eventually(t, "the port forgotten", func() bool {
		got := optionsFrom(t, k, "udp", own+":"+link)
		return got != "" && !strings.Contains(got, "imc")
	})
}

// TestSIPToItself: an outbound proxy that is this Kamailio, as the module's documentation
// has it, does not send copies in circles, nor lets them be strangers.
func TestSIPToItself(t *testing.T) {
	t.Parallel()
	k := kit.Kamailio(t, evapitest.Options{})
	dev := newDevice(t, k, "bob", "udp", 200)
	bind(t, dev.ua, "<"+dev.ua.Contact()+">")
	results := make(chan evapi.Result, 10)
	c := connect(t, k, evapi.LaneSIP, "sip:"+k.SIPAddr(), newEvents(func(r evapi.Result) { results <- r }))
	for user, want := range map[string]int{"bob": 200, "nobody": 404} {
		if err := c.Send(evapi.Copy{Out: mustOutgoing(t, "x"), To: "sip:" + user + "@example.org",
			CallID: user}); err != nil {
			t.Fatal(err)
		}
		if r := kit.Await(t, "result", results); r.CallID != user || r.Code != want {
			t.Errorf("%+v, want %d", r, want)
		}
	}
	if m, err := dev.ua.Next(t.Context()); err != nil || len(m.Request.GetHeaders("Via")) != 2 {
		t.Errorf("%v, %v", m.Request, err)
	}
	if st := c.Stats(); st.SIPSent != 2 {
		t.Errorf("%+v", st)
	}
}

// TestForeignMember: a user of another domain is not the local one of that name, on the
// lanes that look devices up ahead of the routing.
func TestForeignMember(t *testing.T) {
	t.Parallel()
	onDirectLanes(t, func(t *testing.T, lane evapi.Lane) {
		cfg := kamailioDemo(t)
		for old, new := range map[string]string{"#!trydef IMC_ANY_DOMAIN 1\n": "",
			"	route(IMC);\n": "	route(IMC);\n	if (is_method(\"MESSAGE\") && !is_myself(\"$rd\")) " +
				"{\n		sl_send_reply(\"478\", \"Foreign\");\n		exit;\n	}\n"} {
			if !strings.Contains(cfg, old) {
				t.Fatalf("demo.cfg has no %q", old)
			}
			cfg = strings.Replace(cfg, old, new, 1)
		}
		k := kit.Kamailio(t, evapitest.Options{Config: cfg, Local: "alias=\"example.org\"\n"})
		dev := newDevice(t, k, "bob", "udp", 200)
		bind(t, dev.ua, "<"+dev.ua.Contact()+">")
		results := make(chan evapi.Result, 10)
		c := connect(t, k, lane, "", newEvents(func(r evapi.Result) { results <- r }))
		for to, want := range map[string]int{"sip:bob@example.org": 200, "sip:bob@other.example": 478} {
			if err := c.Send(evapi.Copy{Out: mustOutgoing(t, "x"), To: to, CallID: to}); err != nil {
				t.Fatal(err)
			}
			if r := kit.Await(t, "result", results); r.CallID != to || r.Code != want {
				t.Errorf("%+v, want %d", r, want)
			}
		}
	})
}

// TestSIPSilence: a device that says nothing gets the copy again, as the same
// transaction, and its member is one that did not answer. One that answers late has it.
func TestSIPSilence(t *testing.T) {
	t.Parallel()
	k := kit.Kamailio(t, evapitest.Options{})
	results := make(chan evapi.Result, 10)
	c := connect(t, k, evapi.LaneSIP, "", newEvents(func(r evapi.Result) { results <- r }))
	for _, user := range []string{"silent", "late"} {
		dev := newDevice(t, k, user, "udp", 200)
		bind(t, dev.ua, "<"+dev.ua.Contact()+">")
		dev.ua.SetAnswer(func(*sip.Request) evapitest.Reply { return evapitest.Reply{} })
		if err := c.Send(evapi.Copy{Out: mustOutgoing(t, "x"), To: "sip:" + user + "@example.org",
			CallID: user}); err != nil {
			t.Fatal(err)
		}
		if user == "late" {
			m, err := dev.ua.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			res := sip.NewResponseFromRequest(m.Request, 200, "OK", nil)
			if err := dev.ua.SendRaw([]byte(res.String())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r := kit.Await(t, "result of late", results); r.CallID != "late" || r.Code != 200 {
		t.Errorf("%+v", r)
	}
	ctx := kit.Context(t)
	select {
	case r := <-results:
		if r.CallID != "silent" || r.Local || r.Code != 408 {
			t.Errorf("%+v", r)
		}
	case <-ctx.Done():
		t.Fatal("no result of silent")
	}
	if st := c.Stats(); st.SIPAgain < 3 || st.SIPSent != st.SIPAgain+2 {
		t.Errorf("%+v", st)
	}
}
