package kamailiocfg_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// startNativeChat is a chat with passwords, the README's edits, IMC_NATIVE, and an alice with Linphone's device.
func startNativeChat(t *testing.T, local string) *chat {
	t.Helper()
	native, err := evapitest.NativeDiff()
	if err != nil {
		t.Fatal(err)
	}
	c := &chat{k: kit.Kamailio(t, evapitest.Options{Config: stockConfig(t, append(readmeDiffs(t), native)...),
		Local: authLocal(t) + "alias=\"chat.test\"\n#!define IMC_NATIVE\n" + local}), dir: programs.Folder(t)}
	c.imcd = imcdtest.Beside(t, c.k, imcdtest.Options{Dir: c.dir})
	c.alice = kit.Registered(t, c.k, evapitest.UAConfig{User: "alice", Domain: "chat.test", Password: "a-secret",
		ContactParams: `;+sip.instance="<` + deviceID + `>";+org.linphone.specs="groupchat/1.1"`})
	c.bob = kit.Registered(t, c.k, evapitest.UAConfig{User: "bob", Domain: "chat.test", Password: "b-secret"})
	return c
}

// stateOf is the title of a room, and its members with their roles.
func (c *chat) stateOf(t *testing.T, room string) string {
	t.Helper()
	client := c.operator(t)
	var info struct {
		Title   string
		Members []struct{ User, Role string }
	}
	if err := client.Call(kit.Context(t), "imc.room_info", []string{room}, &info); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(info.Members, func(a, b struct{ User, Role string }) int { return strings.Compare(a.User, b.User) })
	return fmt.Sprint(info.Title, info.Members)
}

// forgedRequests is what somebody may send who wants to change a group, or to learn of it.
func forgedRequests(kamailio, room string) map[string]evapitest.Request {
	route := "Route: <sip:" + kamailio + ";lr>"
	conference := "Event: conference"
	return map[string]evapitest.Request{
		"creation": {Method: "INVITE", URI: "sip:conference-factory@chat.test", Headers: []string{"Subject: Mine",
			"Contact: <" + deviceGRUU + ">;text"}, ContentType: "application/resource-lists+xml",
			Body: []byte(`<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"/>`)},
		"title":             {Method: "INVITE", URI: room, Headers: []string{"Subject: Mine"}},
		"title in a dialog": {Method: "INVITE", URI: room, ToTag: "x", Headers: []string{route, "Subject: Mine"}},
		"entering":          {Method: "INVITE", URI: room},
		"state":             {Method: "SUBSCRIBE", URI: room, Headers: []string{conference, "Expires: 600"}},
		"state in a dialog": {Method: "SUBSCRIBE", URI: room, ToTag: "x", Headers: []string{route, conference}},
		"end of subscription": {Method: "SUBSCRIBE", URI: room, ToTag: "x",
			Headers: []string{route, conference, "Expires: 0"}},
		"adding": {Method: "REFER", URI: room, Headers: []string{"Refer-To: <sip:dora@chat.test>;text"}},
		"adding in a dialog": {Method: "REFER", URI: room, ToTag: "x", Headers: []string{route,
			"Refer-To: <sip:dora@chat.test>;text"}},
		"removing": {Method: "REFER", URI: room,
			Headers: []string{"Refer-To: <sip:alice@chat.test;method=BYE>;text"}},
		"a role":             {Method: "REFER", URI: room, Headers: []string{"Refer-To: <sip:bob@chat.test>;text;admin=1"}},
		"leaving":            {Method: "BYE", URI: room},
		"leaving a dialog":   {Method: "BYE", URI: room, ToTag: "x", Headers: []string{route}},
		"leaving, by a port": {Method: "BYE", URI: strings.Replace(room, "chat.test", "chat.test:5060", 1), ToTag: "x"},
	}
}

// saysAsBefore reports whether a request is the state of TestNativeForged's room before anything is forged: on a slow
// machine it comes late.
func saysAsBefore(m evapitest.Received) bool {
	text := m.Text()
	title := strings.Contains(text, "<subject>Growers</subject>") && !strings.Contains(text, "<user")
	state := strings.Count(text, "<user ") == 2 && strings.Contains(text, `<conference-info `) &&
		strings.Contains(text, `"sip:alice@chat.test" state="full"><roles><entry>admin`) &&
		strings.Contains(text, `"sip:bob@chat.test" state="full"><roles><entry>participant`)
	return m.Method == "NOTIFY" && (title || state)
}

// TestNativeForged: requests of strangers, and of members in somebody else's name or beyond their rights, are refused.
// The room stays as it is, and nobody hears of anything.
func TestNativeForged(t *testing.T) {
	c := startNativeChat(t, "")
	const room = "sip:chat-1@chat.test"
	expect(t, say(t, c.alice, room, "#create"), 200)
	expect(t, say(t, c.alice, room, "#set title Growers"), 200)
	expect(t, say(t, c.alice, room, "#add sip:bob@chat.test"), 200)
	before := c.stateOf(t, room)
	if want := "Growers[{sip:alice@chat.test owner} {sip:bob@chat.test member}]"; before != want {
		t.Fatalf("the room is %s", before)
	}
	expect(t, do(t, c.alice, evapitest.Request{Method: "SUBSCRIBE", URI: room, Headers: []string{"Event: conference",
		"Contact: <" + deviceGRUU + ">"}}), 200)
	if _, err := c.alice.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		return slices.ContainsFunc(all, func(r evapitest.Received) bool {
			return strings.Contains(r.Text(), "sip:bob@chat.test")
		})
	}); err != nil {
		t.Fatalf("alice hears nothing of bob: %v", err)
	}
	c.settled(t, room)
	heard := len(c.alice.Received())
	agent := func(user, name, password string) *evapitest.UA {
		return kit.UA(t, evapitest.UAConfig{User: user, AuthUser: name, Domain: "chat.test", Proxy: c.k.SIPAddr(),
			Password: password})
	}
	stranger, carol, bob := agent("alice", "", ""), agent("carol", "carol", "c-secret"), agent("bob", "bob", "b-secret")
	requests := forgedRequests(c.k.SIPAddr(), room)
	without := func(names ...string) map[string]evapitest.Request {
		rest := make(map[string]evapitest.Request, len(requests))
		for name, r := range requests {
			if !slices.Contains(names, name) {
				rest[name] = r
			}
		}
		return rest
	}
	mayMake := without("creation")
	for who, by := range map[string]struct {
		agent    *evapitest.UA
		from     string // empty: the agent's
		code     int
		requests map[string]evapitest.Request
	}{
		"nobody":                            {stranger, "", 407, requests},
		"nobody, as the room":               {stranger, "<" + room + ">", 407, requests},
		"a member as another":               {bob, "<sip:alice@chat.test>", 407, requests},
		"a member as the room":              {bob, "<" + room + ">", 407, requests},
		"a member as another, by case":      {bob, "<sip:ALICE@CHAT.test>", 407, requests},
		"a member as another, by an escape": {bob, "<sip:%61lice@chat.test>", 407, requests},
		"a member as another, with a port":  {bob, "<sip:alice@chat.test:9999>", 407, requests},
		"another domain":                    {stranger, "<sip:alice@elsewhere.test>", 403, requests},
		"a telephone":                       {stranger, "<tel:+4930123456>", 400, requests},
		"no member":                         {carol, "", 403, mayMake},
		// What is left changes nothing but what is bob's.
		"a member beyond its rights": {bob, "", 403, without("creation", "entering", "state", "state in a dialog",
			"end of subscription", "leaving", "leaving a dialog", "leaving, by a port")},
	} {
		for what, r := range by.requests {
			r.From = by.from
			if s := <-do(t, by.agent, r); s.err != nil || s.code != by.code {
				t.Errorf("%s: %s: want %d, got %s", who, what, by.code, s)
			}
		}
		if is := c.stateOf(t, room); is != before {
			t.Fatalf("%s: the room is %s", who, is)
		}
	}
	// Strict routing (RFC 3261, 16.4), for which Kamailio finds no chat.test here, and the room's own requests.
	for what, f := range map[string]struct {
		agent *evapitest.UA
		r     evapitest.Request
		code  int
	}{
		"strict routing": {stranger, evapitest.Request{Method: "BYE", URI: "sip:" + c.k.SIPAddr() + ";lr", To: room,
			ToTag: "x", Headers: []string{"Route: <" + room + ">"}}, 478},
		"the room to a device": {bob, evapitest.Request{Method: "BYE", URI: deviceGRUU, ToTag: "x",
			From: "<" + room + ">", Headers: []string{"Route: <sip:" + c.k.SIPAddr() + ";lr>"}}, 407},
		"the room to its member": {bob, evapitest.Request{Method: "NOTIFY", URI: "sip:alice@chat.test",
			From: "<" + room + ">", Headers: []string{"Event: conference"}}, 407},
	} {
		if s := <-do(t, f.agent, f.r); s.err != nil || s.code != f.code {
			t.Errorf("%s: want %d, got %s", what, f.code, s)
		}
	}
	c.settled(t, room)
	for _, m := range c.alice.Received()[heard:] {
		if !saysAsBefore(m) {
			t.Errorf("alice got %s", m.Request)
		}
	}
	if is := c.stateOf(t, room); is != before {
		t.Errorf("the room is %s", is)
	}
	// The author is who has sent it, whatever is in it.
	expect(t, do(t, bob, evapitest.Request{Method: "MESSAGE", URI: room, ContentType: "message/cpim",
		Body: []byte("From: <sip:alice@chat.test>\r\nTo: <" + room + ">\r\n\r\nContent-Type: text/plain\r\n\r\nme")}), 200)
	news := func(m evapitest.Received) bool { return !saysAsBefore(m) }
	all, err := c.alice.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		return slices.ContainsFunc(all[heard:], news)
	})
	if err != nil {
		t.Fatal(err)
	}
	m := all[heard+slices.IndexFunc(all[heard:], news)]
	if text := string(m.Request.Body()); !strings.HasPrefix(text, "From: <sip:bob@chat.test>\r\n") {
		t.Errorf("alice got %s", m.Request)
	}
	const fine = "requests within dialogs come to route(IMC_DIALOG)"
	if says, err := c.runCheck(t); err != nil || !strings.Contains(says, fine) {
		t.Errorf("%v, imcctl check:\n%s", err, says)
	}
}

// TestNativeWithoutRoute: imcctl check says that the edit of kamailio.cfg is missing.
func TestNativeWithoutRoute(t *testing.T) {
	c := &chat{k: kit.Kamailio(t, evapitest.Options{Config: stockConfig(t, readmeDiffs(t)...),
		Local: "alias=\"chat.test\"\n#!define IMC_NATIVE\n"}), dir: programs.Folder(t)}
	c.imcd = imcdtest.Beside(t, c.k, imcdtest.Options{Dir: c.dir})
	const missing = "nobody can change or leave a group in Linphone"
	if says, err := c.runCheck(t); err == nil || !strings.Contains(says, missing) {
		t.Errorf("%v, imcctl check:\n%s", err, says)
	}
}
