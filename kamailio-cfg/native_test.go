package kamailiocfg_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// nativeEngine stands in for imcd where rooms are group chats of clients.
type nativeEngine struct {
	requests chan *evapi.Message
	results  chan evapi.Result
	up       chan evapi.Welcome
	found    chan evapi.Registration
}

func (e *nativeEngine) Found(_ *evapi.Conn, r evapi.Registration) { e.found <- r }
func (e *nativeEngine) Unheard(*evapi.Conn)                       {}

func (e *nativeEngine) Up(_ *evapi.Conn, w evapi.Welcome)              { e.up <- w }
func (e *nativeEngine) Down(*evapi.Conn, error)                        {}
func (e *nativeEngine) Message(*evapi.Message)                         {}
func (e *nativeEngine) Receipt(*evapi.Receipt)                         {}
func (e *nativeEngine) Result(_ *evapi.Conn, r evapi.Result)           { e.results <- r }
func (e *nativeEngine) Registered(_ *evapi.Conn, _ evapi.Registration) {}
func (e *nativeEngine) Call(*evapi.Call)                               {}

// Request answers as the room sip:chat-new@chat.test would.
func (e *nativeEngine) Request(m *evapi.Message) {
	a := evapi.Answer{Code: 200, Reason: "OK", RC: 1,
		Headers: evapi.HeaderLines(evapi.Header{Name: "Contact", Value: "<sip:chat-new@chat.test>;isfocus"})}
	if m.Request.Method == sip.REFER {
		a.Code = 202
	}
	_ = m.Conn.Reply(m.Tx, a)
	e.requests <- m
}

const (
	deviceID   = "urn:uuid:9782d0e8-99f6-00f1-9523-3e08015a8c97"
	deviceGRUU = "sip:alice@chat.test;gr=" + deviceID
)

// startNative is the stock Kamailio with passwords, the README's edits and IMC_NATIVE.
func startNative(t *testing.T, local string) (*evapitest.Kamailio, *nativeEngine, *evapi.Conn) {
	t.Helper()
	native, err := evapitest.NativeDiff()
	if err != nil {
		t.Fatal(err)
	}
	k := kit.Kamailio(t, evapitest.Options{Config: stockConfig(t, append(readmeDiffs(t), native)...),
		Local: authLocal(t) + "alias=\"chat.test\"\n#!define IMC_NATIVE\n" + local})
	e := &nativeEngine{requests: make(chan *evapi.Message, 100), results: make(chan evapi.Result, 100),
		up: make(chan evapi.Welcome, 1), found: make(chan evapi.Registration, 10)}
	return k, e, e.connects(t, k)
}

// connects lets the engine connect to Kamailio.
func (e *nativeEngine) connects(t *testing.T, k *evapitest.Kamailio) *evapi.Conn {
	t.Helper()
	c, err := evapi.NewConn(evapi.Config{Addr: k.EvapiAddr(), Secret: k.Secret(), Fanout: evapi.LaneSIP}, e)
	if err != nil {
		t.Fatal(err)
	}
	c.Start()
	t.Cleanup(c.Stop)
	if w := kit.Await(t, "the welcome", e.up); !strings.Contains(strings.Join(w.Features, " "), "native") {
		t.Errorf("features %q", w.Features)
	}
	return c
}

// wire keeps what a user agent sends and receives.
type wire struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *wire) count(part string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.text.String(), part)
}

// TestNativeRequests: requests of clients with group chats reach imcd with a password only, those within a dialog too,
// and are answered by Kamailio.
func TestNativeRequests(t *testing.T) {
	k, e, conn := startNative(t, "")
	log := &wire{}
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Domain: "chat.test", Proxy: k.SIPAddr(), Password: "a-secret",
		Log: log})
	stranger := kit.UA(t, evapitest.UAConfig{User: "alice", Domain: "chat.test", Proxy: k.SIPAddr()})
	thief := kit.UA(t, evapitest.UAConfig{User: "alice", AuthUser: "bob", Domain: "chat.test", Proxy: k.SIPAddr(),
		Password: "b-secret"})
	const room = "sip:chat-new@chat.test"
	route := "Route: <sip:" + k.SIPAddr() + ";lr>"
	refresh := evapitest.Request{Method: "SUBSCRIBE", URI: room, ToTag: "x", Headers: []string{route,
		"Event: conference", "Expires: 600"}}
	for _, c := range []struct {
		r    evapitest.Request
		code int
	}{
		{evapitest.Request{Method: "INVITE", URI: "sip:conference-factory@chat.test", Headers: []string{"Subject: Growers"}},
			200},
		{evapitest.Request{Method: "INVITE", URI: room, ToTag: "x", Headers: []string{route, "Subject: x"}}, 200},
		{evapitest.Request{Method: "SUBSCRIBE", URI: room, Headers: []string{"Event: conference", "Expires: 600"}}, 200},
		{refresh, 200},
		{evapitest.Request{Method: "SUBSCRIBE", URI: "sip:conference-factory@chat.test",
			Headers: []string{"Event: conference"}}, 200},
		{evapitest.Request{Method: "REFER", URI: room, Headers: []string{"Refer-To: <sip:bob@chat.test>;text"}}, 202},
		{evapitest.Request{Method: "BYE", URI: room, ToTag: "x", Headers: []string{route}}, 200},
		{evapitest.Request{Method: "BYE", URI: room}, 200},
	} {
		name := c.r.Method + " " + c.r.URI + " " + c.r.ToTag
		expect(t, do(t, stranger, c.r), 407)
		expect(t, do(t, thief, c.r), 407)
		res, err := alice.Do(kit.Context(t), c.r)
		if err != nil || res.StatusCode != c.code {
			t.Fatalf("%s: %v, %v", name, res, err)
		}
		if h := res.GetHeader("Contact"); h == nil || !strings.Contains(h.Value(), ";isfocus") {
			t.Errorf("%s: %s", name, res)
		}
		want := c.r.ToTag == "" && (c.r.Method == "INVITE" || c.r.Method == "SUBSCRIBE")
		if h := res.GetHeader("Record-Route"); (h != nil) != want || want && h.Value() != "<sip:"+k.SIPAddr()+";lr>" {
			t.Errorf("%s: %s", name, res)
		}
		m := kit.Await(t, name, e.requests)
		if m.Err != nil || string(m.Request.Method) != c.r.Method || m.RURI != c.r.URI || m.AuthUser != "alice" || m.Foreign {
			t.Errorf("%s: %+v", name, m)
		}
		if c.r.Method == "INVITE" {
			acknowledge(t, alice, res, k, room)
			log.notAgain(t, name, "SIP/2.0 200 OK")
		}
	}
	if len(e.requests) > 0 {
		t.Errorf("%d more requests reached imcd", len(e.requests))
	}
	// While there is no imcd, a client keeps its subscription, and nobody else gets one.
	conn.Stop()
	untilUnavailable(t, alice)
	res, err := alice.Do(kit.Context(t), refresh)
	if err != nil || res.StatusCode != 200 || res.GetHeader("Expires") == nil {
		t.Errorf("without imcd: %v, %v", res, err)
	}
	expect(t, do(t, stranger, refresh), 407)
	refresh.From = "<sip:alice@elsewhere.test>"
	expect(t, do(t, stranger, refresh), 403)
	// Whoever leaves a room says that once: it waits for imcd.
	leaves := do(t, alice, evapitest.Request{Method: "BYE", URI: room})
	kit.Eventually(t, "the BYE is parked", func() bool { return withoutAnswer(t, k) == 1 })
	e.connects(t, k)
	expect(t, leaves, 200)
}

// notAgain checks that an answer does not come again.
func (w *wire) notAgain(t *testing.T, what, answer string) {
	t.Helper()
	sent := w.count(answer)
	time.Sleep(1200 * time.Millisecond) // T1 and twice T1: tm would have sent it again
	if n := w.count(answer); n != sent {
		t.Errorf("%s: the answer came %d times more, in spite of the ACK", what, n-sent)
	}
}

// acknowledge sends a room the ACK for a 2xx.
func acknowledge(t *testing.T, u *evapitest.UA, res *sip.Response, k *evapitest.Kamailio, room string) {
	t.Helper()
	via, _ := strings.CutPrefix(u.Contact(), "sip:alice@")
	ack := fmt.Sprintf("ACK %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKack%d\r\n"+
		"Route: <sip:%s;lr>\r\nMax-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d ACK\r\n"+
		"Content-Length: 0\r\n\r\n", room, via,
		time.Now().UnixNano(), k.SIPAddr(), res.From().Value(), res.To().Value(), res.CallID().Value(), res.CSeq().SeqNo)
	if err := u.SendRaw([]byte(ack)); err != nil {
		t.Fatal(err)
	}
}

// TestNativeDevices: imcd's requests reach the device with that GRUU alone, and INVITE has its ACK and its BYE.
func TestNativeDevices(t *testing.T) {
	for name, local := range map[string]string{"routing": "", "direct": "#!define IMC_DIRECT \"location\"\n"} {
		t.Run(name, func(t *testing.T) { nativeDevices(t, local) })
	}
}

func nativeDevices(t *testing.T, local string) {
	k, e, c := startNative(t, local)
	log := &wire{}
	alice := evapitest.UAConfig{User: "alice", Domain: "chat.test", Password: "a-secret"}
	other := kit.Registered(t, k, alice)
	alice.ContactParams = `;+sip.instance="<` + deviceID + `>";+org.linphone.specs="ephemeral/1.1,groupchat/1.1"`
	alice.Log, alice.Transport = log, "tcp"
	device := kit.Registered(t, k, alice)
	send := func(method, body string, cp evapi.Copy) evapi.Result {
		t.Helper()
		out, err := evapi.NewOutgoing(evapi.Content{Method: method, From: "<sip:chat-new@chat.test>",
			ContentType: "application/conference-info+xml", Body: []byte(body), Headers: []evapi.Header{
				{Name: "Contact", Value: "<sip:chat-new@chat.test>;isfocus;text"}, {Name: "Event", Value: "conference"}}})
		if err != nil {
			t.Fatal(err)
		}
		cp.Out, cp.To = out, deviceGRUU
		if err := c.Send(cp); err != nil {
			t.Fatal(err)
		}
		r := kit.Await(t, method, e.results)
		if r.CallID != cp.CallID {
			t.Errorf("%s: %+v", method, r)
		}
		return r
	}
	if r := send("NOTIFY", "<x/>", evapi.Copy{CallID: "n-1"}); r.Code != 200 || r.Dialog != nil {
		t.Errorf("NOTIFY: %+v", r)
	}
	got, err := device.Next(kit.Context(t))
	if err != nil || got.Method != "NOTIFY" || got.Text() != "<x/>" ||
		!strings.Contains(got.Header("To"), "<"+deviceGRUU+">") ||
		got.Header("Event") != "conference" || !strings.Contains(got.Header("CSeq"), "NOTIFY") {
		t.Errorf("got %s, %v", got.Request, err)
	}
	invited := send("INVITE", "", evapi.Copy{CallID: "i-1"})
	if invited.Code != 200 || invited.Dialog == nil || invited.Dialog.Remote == "" {
		t.Fatalf("INVITE: %+v", invited)
	}
	kit.Eventually(t, "the ACK", func() bool { return log.count("ACK sip:alice@") == 1 })
	if got, err = device.Next(kit.Context(t)); err != nil || got.Header("Record-Route") == "" {
		t.Errorf("got %s, %v", got.Request, err)
	}
	if r := send("BYE", "", evapi.Copy{CallID: "i-1", Dialog: invited.Dialog.Next()}); r.Code != 200 {
		t.Errorf("BYE: %+v", r)
	}
	if got, err = device.Next(kit.Context(t)); err != nil || got.Method != "BYE" || got.Header("CSeq") != "2 BYE" ||
		!strings.HasSuffix(got.Header("To"), ";tag="+invited.Dialog.Remote) ||
		!strings.HasSuffix(got.Header("From"), ";tag="+invited.Dialog.Local) {
		t.Errorf("got %s, %v", got.Request, err)
	}
	device.AnswerWith(488)
	if r := send("INVITE", "", evapi.Copy{CallID: "i-2"}); r.Code != 488 || r.Dialog != nil {
		t.Errorf("refused INVITE: %+v", r)
	}
	if local != "" { // an imcd that is started now learns what the device can do
		if err := c.Contacts([]evapi.Wanted{{User: "sip:alice@chat.test"}}); err != nil {
			t.Fatal(err)
		}
		for _, d := range kit.Await(t, "alice's contacts", e.found).Devices {
			if d.Native() != (d.Instance == deviceID) {
				t.Errorf("found %+v", d)
			}
		}
	}
	if err := device.Unregister(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	if r := send("NOTIFY", "<x/>", evapi.Copy{CallID: "n-2"}); r.Code != 404 {
		t.Errorf("NOTIFY to a device that has gone: %+v", r)
	}
	if all := other.Received(); len(all) > 0 {
		t.Errorf("the other device got %s", all[0].Request)
	}
}
