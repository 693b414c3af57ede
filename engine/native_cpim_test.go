package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// linphoneSpace is what Linphone declares for the headers of its own.
const linphoneSpace = "NS: linphone <http://www.linphone.org/xsds/imdn.xsd>\r\n"

// cpimOf is a text as a user's Linphone sends it to a room.
func cpimOf(user, room, id, extensions, text string) string {
	return "From: <" + gruuOfUser(user) + ">\r\nTo: <" + room + ">\r\nDateTime: 2026-11-30T12:00:00Z\r\n" +
		"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: " + id + "\r\n" +
		"imdn.Disposition-Notification: positive-delivery, negative-delivery, display\r\n" + extensions +
		"\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: " + fmt.Sprint(len(text)) + "\r\n\r\n" + text
}

// cpims are what users' Linphones got since the last time, by user; each one. Others got plain, by user too.
func (v *clientView) cpims() (cpims, plain map[string]string) {
	v.h.t.Helper()
	v.texts = nil
	v.h.quiet()
	v.look()
	cpims, plain = map[string]string{}, map[string]string{}
	for _, text := range v.texts {
		to, body, _ := strings.Cut(text, " ")
		if strings.Contains(body, sipmsg.IMDNType) {
			continue
		}
		user, _, _ := strings.Cut(strings.TrimPrefix(to, "sip:"), "@")
		of := plain
		if strings.Contains(to, ";gr=") {
			of = cpims
		}
		if of[user] != "" {
			v.h.t.Errorf("%s got %q and %q", user, of[user], body)
		}
		of[user] = body
	}
	return cpims, plain
}

// cpimHeader is the value of a header of a CPIM body; empty: there is none.
func cpimHeader(body, name string) string {
	head, _, _ := strings.Cut(body, "\r\n\r\n")
	_, value, _ := strings.Cut(head, "\r\n"+name+": ")
	value, _, _ = strings.Cut(value, "\r\n")
	return value
}

// TestNativeReplies: what Linphone says of a message beside its text comes to the other Linphones as it was; where it
// names a message, each gets the name that it knows, after a restart of imcd too. Plain phones get the text alone.
func TestNativeReplies(t *testing.T) {
	t.Parallel()
	kept := newMemStore()
	linphones := []string{"alice", "bob", "carol"}
	h, v, room := newGrowers(t, kept, linphones, "bob", "carol", "dora")
	for _, user := range linphones {
		v.sees(user, room, "Growers", "alice*", "bob", "carol", "dora")
	}
	target := strings.TrimPrefix(room, "sip:")
	const replying, sender = "linphone.Replying-To-Message-ID", "linphone.Replying-To-Sender"
	ids := map[string]map[string]string{} // by text, then by user
	says := func(user, extensions, text string) map[string]string {
		t.Helper()
		body, contentType := cpimOf(user, room, "of-"+user+"-"+text, extensions, text), "Content-Type: message/cpim\r\n"
		if user == "dora" {
			body, contentType = text, ""
		}
		h.want(<-h.post(user, target, body, contentType), 200, 1)
		cpims, plain := v.cpims()
		ids[text] = map[string]string{user: "of-" + user + "-" + text}
		for _, other := range linphones {
			if id := cpimHeader(cpims[other], "imdn.Message-ID"); other != user {
				ids[text][other] = id
			}
		}
		if user != "dora" && plain["dora"] != "["+user+"]: "+text {
			t.Errorf("dora got %q", plain["dora"])
		}
		return cpims
	}
	says("alice", "", "one")
	says("dora", "", "two")
	for _, c := range []struct{ user, to, text string }{
		{"bob", "one", "three"},   // to another's
		{"alice", "one", "four"},  // to one's own
		{"carol", "two", "five"},  // to that of a plain phone
		{"alice", "three", "six"}, // to a reply
	} {
		extensions := linphoneSpace + replying + ": " + ids[c.to][c.user] + "\r\n" + sender + ": <sip:x@x.org>\r\n"
		for user, body := range says(c.user, extensions, c.text) {
			if got, want := cpimHeader(body, replying), ids[c.to][user]; got != want || want == "" {
				t.Errorf("%s: %s gets %q, and knows it as %q", c.text, user, got, want)
			}
			if cpimHeader(body, sender) != "<sip:x@x.org>" || strings.Count(body, linphoneSpace) != 1 {
				t.Errorf("%s: %s got %q", c.text, user, body)
			}
		}
	}
	for what, c := range map[string]struct {
		extensions string
		passes     bool
	}{
		"no name of a message": {linphoneSpace + replying + ": 001-1-1-x\r\nlinphone.Ephemeral-Time: 60\r\n", true},
		"somebody else's name": {linphoneSpace + replying + ": " + ids["two"]["bob"] + "\r\n", true},
		"escapes":              {linphoneSpace + `linphone.Forward-Info: \u0041\\` + "\r\n", true},
		"too long":             {linphoneSpace + "linphone.x: " + strings.Repeat("x", maxExtensions) + "\r\n", false},
		"a second author":      {"FROM: <sip:eve@x.org>\r\nIMDN.Message-ID: x\r\nDateTime: x\r\n", false},
	} {
		for user, body := range says("alice", c.extensions, what) {
			if strings.Contains(body, c.extensions) != c.passes || strings.Contains(body, "eve") {
				t.Errorf("%s: %s got %q", what, user, body)
			}
		}
	}

	// Carol is not there: she gets the reply after a restart of imcd.
	h.answers("carol", result(404))
	says("bob", linphoneSpace+replying+": "+ids["one"]["bob"]+"\r\n", "seven")
	h.close()
	h = newNativeHouse(t, kept, nil)
	v.h = h
	v.texts = nil
	h.nativeFor(linphones...)
	h.until("carol has the reply", func() bool {
		v.look()
		return slices.ContainsFunc(v.texts, func(text string) bool {
			return strings.HasPrefix(text, gruuOfUser("carol")) && cpimHeader(text, replying) == ids["one"]["carol"]
		})
	})
	for _, text := range v.texts {
		if strings.Contains(text, headerCPIM) {
			t.Errorf("got %q", text)
		}
	}
}

// TestNativeTyping: Linphone sees who is typing, and others see it as before; what Linphone cannot read goes to the
// others alone.
func TestNativeTyping(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob", "carol")
	v.sees("bob", room, "Growers", "alice*", "bob", "carol")
	target := strings.TrimPrefix(room, "sip:")
	for _, user := range []string{"alice", "carol"} { // each is known to be there
		h.want(<-h.post(user, target, "hello"), 200, 1)
		v.cpims()
	}
	const composing = `<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state>` +
		`<refresh>60</refresh></isComposing>`
	for what, c := range map[string]struct {
		user, body, contentType string
		natives                 []string
		plain                   bool
	}{
		"from Linphone": {"alice", "From: <" + gruuOfUser("alice") + ">\r\nTo: <" + room + ">\r\n\r\n" +
			"Content-Type: application/im-iscomposing+xml\r\n\r\n" + composing, "message/cpim", []string{"bob"}, true},
		"from a plain phone": {"carol", composing, "application/im-iscomposing+xml", []string{"alice", "bob"}, false},
		"in other words":     {"alice", "TypingUser: alice\r\n", "text/x-msmsgscontrol", nil, true},
	} {
		h.want(<-h.post(c.user, target, c.body, "Content-Type: "+c.contentType+"\r\n"), 200, 1)
		cpims, plain := v.cpims()
		var got []string
		for user, body := range cpims {
			got = append(got, user)
			if !strings.HasPrefix(body, "From: <sip:"+c.user+"@x.org>\r\nTo: <"+room+">\r\n") ||
				!strings.Contains(body, "\r\n\r\nContent-Type: "+sipmsg.ComposingType+"\r\n") ||
				!strings.Contains(body, "<state>active</state><refresh>60</refresh>") {
				t.Errorf("%s: %s got %q", what, user, body)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.natives) || (plain["carol"] != "") != c.plain || len(plain) > 1 {
			t.Errorf("%s: Linphones of %q, others %q", what, got, plain)
		}
	}
}

// TestNativeDeleted: of a message that is deleted all devices hear that have it, each once, and those that were not
// there never get it.
func TestNativeDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := newMemStore()
		kept.strict = true
		n := &nativeOwn{house: newNativeHouse(t, kept, nil)}
		defer n.close()
		n.registers()
		n.nativeFor("bob", "carol")
		n.rests()
		room := n.makes("alice", "Growers", "bob", "carol")
		n.room = strings.TrimPrefix(room, "sip:")
		n.rests()
		n.answers("carol", result(404))
		n.writes(0, "wrong", "text/plain")
		n.want(<-n.post("alice", n.room, "#delete 1"), 200, 1)
		n.rests()
		got := map[string]int{}
		for _, c := range n.relay.take() {
			if c.method == "MESSAGE" && !strings.HasPrefix(c.to, "sip:carol@") {
				got[c.to+" "+c.device]++
				if !strings.Contains(c.body, "1") || strings.Contains(c.body, "wrong") {
					t.Errorf("%s got %q", c.to, c.body)
				}
			}
		}
		want := []string{gruuOfUser("alice") + " ", "sip:alice@x.org;gr=urn:uuid:tablet ", "sip:alice@x.org uloc-desk",
			gruuOfUser("bob") + " "}
		for _, to := range want {
			if got[to] != 1 {
				t.Errorf("%s heard of it %d times", to, got[to])
			}
		}
		if len(got) != len(want) {
			t.Errorf("got %v", got)
		}
		n.relay.set(func() { delete(n.relay.codes, "carol") })
		n.nativeFor("carol")
		n.rests()
		for _, c := range n.relay.take() {
			if strings.Contains(c.body, "wrong") {
				t.Errorf("%s got %q", c.to, c.body)
			}
		}
	})
}

// TestNativeEnds: a room ends while a client, or imcd, is away. The client has left it once it registers, or once it is
// started again and sends the list of its rooms.
func TestNativeEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ away, killed, started bool }{
		"all are there":                       {},
		"the client is away":                  {away: true},
		"the client is away and started":      {away: true, started: true},
		"imcd is killed":                      {away: true, killed: true, started: true},
		"imcd is killed, the client is there": {killed: true, started: true},
	} {
		inBubble(t, name, func(t *testing.T) {
			kept := newMemStore()
			h, v, room := newGrowers(t, kept, []string{"alice", "bob"}, "bob")
			v.passes(2 * time.Second)
			if got := v.shows("bob", room); got != "Growers: alice* bob" {
				t.Fatalf("bob sees %q", got)
			}
			if c.away {
				h.e.Devices(evapi.Registration{AOR: "sip:bob@x.org", Devices: []evapi.Device{{
					Contact: "sip:bob@127.0.0.1:5", Instance: "urn:uuid:bob", Specs: nativeLinphone}}})
			}
			if c.away || c.killed {
				h.relay.set(func() { h.relay.phones = map[string][]string{"bob": {}} })
			}
			h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "#destroy"), 200, 1)
			v.passes(time.Minute)
			if c.killed {
				next := newNativeHouse(t, kept.killed(), nil)
				h.close()
				h, v.h = next, next
			}
			h.relay.set(func() { h.relay.phones = nil })
			if v.shows("alice", room) != "" {
				t.Errorf("alice's client has %q", v.shows("alice", room))
			}
			h.nativeFor("bob")
			if c.started {
				v.rooms["bob "+room].session = ""
				h.ask("SUBSCRIBE", "bob", groupFactory, listOf(room), "Event: conference\r\n",
					"Content-Type: application/resource-lists+xml\r\n")
			}
			v.passes(time.Minute)
			if got := v.shows("bob", room); got != "" {
				t.Errorf("bob sees %q", got)
			}
			// What became of requests to clients is counted.
			if n := testutil.ToFloat64(h.e.metrics.grouped.WithLabelValues("BYE", resultOK)); n == 0 {
				t.Error("no BYE is counted")
			}
		})
	}
}
