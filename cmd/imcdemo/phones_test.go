package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestIdentity: what is proposed works as it stands: an identity without a port, a
// proxy given apart, and rooms with and without the port, of any domain.
func TestIdentity(t *testing.T) {
	f := startForeground(t)
	defer f.end(t)
	for _, line := range []string{
		"  identity             sip:alice@127.0.0.1, ",
		fmt.Sprintf("  proxy                sip:127.0.0.1:%d (UDP), or sip:127.0.0.1:%[1]d;transport=tcp\n",
			f.ports[0]),
		fmt.Sprintf("  in a browser         ws://127.0.0.1:%d ", f.ports[0]),
		"  sip:chat-garden@127.0.0.1    #create",
	} {
		if !strings.Contains(f.said, line) {
			t.Errorf("no %q in\n%s", line, f.said)
		}
	}
	ctx := kit.Context(t)
	for domain, rooms := range map[string][]string{
		"127.0.0.1":    {"sip:chat-a@127.0.0.1", fmt.Sprintf("sip:chat-a@127.0.0.1:%d", f.ports[0])},
		"chat.example": {"sip:chat-a@chat.example", "sip:chat-a@chat.example:5060"},
	} {
		u := kit.UA(t, evapitest.UAConfig{User: "alice", Domain: domain, Proxy: loopback(f.ports[0])})
		if err := u.Register(ctx); err != nil {
			t.Fatal(err)
		}
		for i, text := range []string{"#create", "#list"} {
			if res, err := u.Say(ctx, rooms[i], text); err != nil || res.StatusCode != 200 {
				t.Errorf("%s to %s: %v %v", text, rooms[i], res, err)
			}
		}
		if got, err := u.WaitN(ctx, 2); err != nil || !strings.Contains(got[1].Text(), "*alice (owner)") {
			t.Errorf("%s received %v: %v", domain, got, err)
		}
		// For Kamailio both are alice: with two devices, one may have the second notice before the first.
		if err := u.Unregister(ctx); err != nil {
			t.Error(err)
		}
	}
	f.askAbout(t, "rooms", "sip:chat-a@chat.example")
	f.askAbout(t, "check --room chat-a@127.0.0.1", "a request to sip:chat-a@127.0.0.1 reached imcd")
	f.askAbout(t, "--evapi "+loopback(f.ports[1])+" rooms", "sip:chat-a@chat.example")
}

// askAbout runs imcctl as is proposed.
func (f *foreground) askAbout(t *testing.T, command, want string) {
	t.Helper()
	path := filepath.Join(f.state, "imcd.yaml")
	proposed := "bin/imcctl -c " + path + " rooms; also watch, room garden, check --sip " + loopback(f.ports[0]) + "\n"
	if !strings.Contains(f.said, proposed) {
		t.Errorf("no %q in\n%s", proposed, f.said)
	}
	args := append([]string{"-c", path}, strings.Fields(command)...)
	if strings.HasPrefix(command, "check") {
		args = append(args, "--sip", loopback(f.ports[0]))
	}
	out, err := exec.CommandContext(kit.Context(t), filepath.Join(bin, "imcctl"), args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("imcctl %v: %v\n%s", args, err, out)
	}
}

// TestContactsBehindNAT: a phone whose Contact names an address that it cannot be
// reached at gets what is said, over UDP and TCP; one whose Contact names another port of
// its host gets it there.
func TestContactsBehindNAT(t *testing.T) {
	f := startForeground(t)
	defer f.end(t)
	ctx := kit.Context(t)
	proxy := loopback(f.ports[0])
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: proxy, Domain: host})
	if err := alice.Register(ctx); err != nil {
		t.Fatal(err)
	}
	if res, err := alice.Say(ctx, "sip:chat-x@127.0.0.1", "#create"); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	other := kit.UA(t, evapitest.UAConfig{User: "elsewhere", Proxy: proxy, Domain: host})
	_, otherAddr, _ := strings.Cut(other.Contact(), "@")
	_, otherPort, err := net.SplitHostPort(otherAddr)
	if err != nil {
		t.Fatal(err)
	}
	for n, c := range []struct{ transport, contact string }{
		{"udp", "sip:%s@10.1.2.3:5060"},
		{"udp", "sip:%s@192.0.2.7:41234"}, // no private address
		{"udp", "sip:%s@phone.invalid"},
		{"tcp", "sip:%s@10.1.2.3:5060;transport=tcp"},
		{"udp", "sip:%s@127.0.0.1:" + otherPort},
	} {
		t.Run(c.transport+" "+c.contact, func(t *testing.T) {
			name := fmt.Sprintf("u%d", n)
			u := kit.UA(t, evapitest.UAConfig{User: name, Proxy: proxy, Domain: host, Transport: c.transport})
			contact := c.contact
			if strings.Contains(contact, "%s") {
				contact = fmt.Sprintf(contact, name)
			}
			res, err := u.Do(ctx, evapitest.Request{Method: "REGISTER", URI: "sip:127.0.0.1", To: u.AOR(), CSeq: 1,
				Headers: []string{"Contact: <" + contact + ">", "Expires: 600"}})
			if err != nil || res.StatusCode != 200 {
				t.Fatal(res, err)
			}
			if res, err := u.Say(ctx, "sip:chat-x@127.0.0.1", "#join"); err != nil || res.StatusCode != 200 {
				t.Fatal(res, err)
			}
			u.Clear()
			text := "hello " + name
			if res, err := alice.Say(ctx, "sip:chat-x@127.0.0.1", text); err != nil || res.StatusCode != 200 {
				t.Fatal(res, err)
			}
			at := u
			if strings.HasSuffix(contact, otherPort) {
				at = other
			}
			soon, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			if _, err := at.Wait(soon, func(all []evapitest.Received) bool {
				return slices.ContainsFunc(all, func(r evapitest.Received) bool { return strings.HasSuffix(r.Text(), text) })
			}); err != nil {
				t.Errorf("%q did not arrive: %v", text, err)
			}
		})
	}
}

// browser is a SIP client on a WebSocket, which names no address at all.
type browser struct {
	t    *testing.T
	ws   *websocket.Conn
	sent int
}

// send writes a request; headers end with the body.
func (b *browser) send(start string, headers ...string) {
	b.t.Helper()
	b.sent++
	text := fmt.Sprintf("%s SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK-%d\r\nMax-Forwards: 70\r\n"+
		"%s",
		start, b.sent, strings.Join(headers, "\r\n"))
	if err := b.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		b.t.Fatal(err)
	}
}

// await reads until something begins with start and ends with end.
func (b *browser) await(start, end string) string {
	b.t.Helper()
	for {
		_, data, err := b.ws.ReadMessage()
		if err != nil {
			b.t.Fatalf("waiting for %q %q: %v", start, end, err)
		}
		text := string(data)
		if strings.HasPrefix(text, "MESSAGE ") {
			b.answer(text)
		}
		if strings.HasPrefix(text, start) && strings.HasSuffix(text, end) {
			return text
		}
	}
}

// answer answers a request by 200.
func (b *browser) answer(request string) {
	b.t.Helper()
	head, _, _ := strings.Cut(request, "\r\n\r\n")
	response := "SIP/2.0 200 OK\r\n"
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Via", "From", "Call-ID", "CSeq":
			response += line + "\r\n"
		case "To":
			response += line + ";tag=b\r\n"
		}
	}
	if err := b.ws.WriteMessage(websocket.TextMessage, []byte(response+"Content-Length: 0\r\n\r\n")); err != nil {
		b.t.Fatal(err)
	}
}

// TestBrowser: a phone on a WebSocket, as JsSIP is, makes a room and gets what others
// say there.
func TestBrowser(t *testing.T) {
	f := startForeground(t)
	defer f.end(t)
	dialer := websocket.Dialer{Subprotocols: []string{"sip"}, HandshakeTimeout: 10 * time.Second}
	ws, res, err := dialer.DialContext(t.Context(), "ws://"+loopback(f.ports[0]), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	defer ws.Close()
	if err := ws.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, ws: ws}
	who := []string{"From: <sip:wanda@127.0.0.1>;tag=w"}
	b.send("REGISTER sip:127.0.0.1", append(who, "To: <sip:wanda@127.0.0.1>", "Call-ID: r", "CSeq: 1 REGISTER",
		"Contact: <sip:k3j4@df7jal23ls0d.invalid;transport=ws>;expires=600", "Content-Length: 0\r\n\r\n")...)
	b.await("SIP/2.0 200", "")
	b.send("MESSAGE sip:chat-w@127.0.0.1", append(who, "To: <sip:chat-w@127.0.0.1>", "Call-ID: m", "CSeq: 1 MESSAGE",
		"Content-Type: text/plain", "Content-Length: 7\r\n\r\n#create")...)
	b.await("SIP/2.0 200", "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: loopback(f.ports[0]), Domain: host})
	for _, text := range []string{"#join", "hello"} {
		if res, err := alice.Say(ctx, "sip:chat-w@127.0.0.1", text); err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
	}
	b.await("MESSAGE ", "[alice]: hello")
}
