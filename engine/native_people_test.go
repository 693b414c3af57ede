package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
)

// TestNativeTitles: a title comes to all as it was written, to who is invited later and after a restart, too. What is
// too long is refused, and one that nobody can see is none.
func TestNativeTitles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		title, shown string // shown empty: title
		code         int    // 0: 200
	}{
		"emoji":             {title: "🍅👩‍🌾 Growers ❤️"},
		"signs of XML":      {title: `<b>"Tom" & 'Jerry'</b> ]]>`},
		"signs of SIP":      {title: `a;b=c?d&e,<sip:x@x.org>;text "q\"`},
		"right to left":     {title: "מגדלי עגבניות"},
		"marks of order":    {title: "\u202eabc\u202c", shown: "abc"},
		"as a command":      {title: "#exit"},
		"the longest":       {title: strings.Repeat("🍅", maxDisplay)},
		"longer":            {title: strings.Repeat("x", 300), shown: "Growers", code: 400},
		"a title as before": {title: "Growers"},
		"nothing to see":    {title: "\u200b", shown: "Growers"},
	} {
		inBubble(t, name, func(t *testing.T) {
			h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob", "carol"}, "bob")
			v.passes(time.Second)
			if c.code == 0 {
				c.code = 200
			}
			if c.shown == "" {
				c.shown = c.title
			}
			if a := h.ask("INVITE", "alice", room, "", "Subject: "+c.title+"\r\n"); a.Code != c.code {
				t.Errorf("answer %+v", a)
			}
			v.passes(time.Second)
			h.ask("REFER", "alice", room, "", "Refer-To: <sip:carol@x.org>;text\r\n")
			v.passes(time.Second)
			again := newNativeHouse(t, h.store.killed(), nil)
			h.cut()
			v.h = again
			again.nativeFor("carol")
			v.passes(time.Second)
			for _, user := range []string{"alice", "bob", "carol"} {
				if got := v.shows(user, room); got != c.shown+": alice* bob carol" {
					t.Errorf("%s sees %q", user, got)
				}
			}
		})
	}
}

// TestNativePeople: what people do with a group that is of no use, or the last thing that can be done. Each client
// sees what the room is.
func TestNativePeople(t *testing.T) {
	t.Parallel()
	const refer = "Refer-To: <sip:%s@x.org%s\r\n"
	type step struct {
		user, method, whom, how string
		code                    int
	}
	for name, c := range map[string]struct {
		with  []string
		steps []step
		sees  map[string]string // by user; empty: is out
	}{
		"somebody is added twice": {[]string{"bob"}, []step{{"alice", "REFER", "bob", ">;text", 0}},
			map[string]string{"alice": "alice* bob", "bob": "alice* bob"}},
		"somebody is named twice": {[]string{"bob", "sip:BOB@X.ORG", "sip:bob@x.org;gr=urn:uuid:bob", "alice"}, nil,
			map[string]string{"alice": "alice* bob", "bob": "alice* bob"}},
		"oneself is added": {[]string{"bob"}, []step{{"alice", "REFER", "alice", ">;text", 0}},
			map[string]string{"alice": "alice* bob", "bob": "alice* bob"}},
		"oneself is removed": {[]string{"bob"}, []step{{"alice", "REFER", "alice", ";method=BYE>;text", 0}},
			map[string]string{"alice": "alice* bob", "bob": "alice* bob"}},
		"the last admin is one no more": {[]string{"bob"}, []step{{"alice", "REFER", "alice", ">;text;admin=0", 202}},
			map[string]string{"alice": "alice* bob", "bob": "alice* bob"}},
		"the last admin leaves": {[]string{"bob", "carol"}, []step{{"alice", "BYE", "", "", 200}},
			map[string]string{"alice": "", "bob": "bob* carol", "carol": "bob* carol"}},
		"the maker is put out by an admin": {[]string{"bob"}, []step{{"alice", "REFER", "bob", ">;text;admin=1", 202},
			{"bob", "REFER", "alice", ";method=BYE>;text", 0}}, map[string]string{"alice": "alice* bob*", "bob": "alice* bob*"}},
		"somebody leaves and is added again": {[]string{"bob"}, []step{{"bob", "BYE", "", "", 200},
			{"alice", "REFER", "bob", ">;text", 202}}, map[string]string{"alice": "alice* bob", "bob": "alice* bob"}},
		"somebody leaves twice": {[]string{"bob"}, []step{{"bob", "BYE", "", "", 200}, {"bob", "BYE", "", "", 403}},
			map[string]string{"alice": "alice*", "bob": ""}},
		"put out, and added by another": {[]string{"bob", "carol"}, []step{{"alice", "REFER", "carol", ">;text;admin=1", 202},
			{"alice", "REFER", "bob", ";method=BYE>;text", 202}, {"carol", "REFER", "bob", ">;text", 202}},
			map[string]string{"alice": "alice* bob carol*", "bob": "alice* bob carol*"}},
		"a group of one": {nil, nil, map[string]string{"alice": "alice*"}},
		"the last one leaves": {[]string{"bob"}, []step{{"bob", "BYE", "", "", 200}, {"alice", "BYE", "", "", 200}},
			map[string]string{"alice": "", "bob": ""}},
		"nobody's address": {[]string{"bob", "sip:@", "sip:x.org", "sip:chat-other@x.org"}, nil,
			map[string]string{"alice": "alice* bob", "bob": "alice* bob"}},
		"another room is added": {[]string{"bob"}, []step{{"alice", "REFER", "chat-other", ">;text", 0}},
			map[string]string{"alice": "alice* bob", "bob": "alice* bob"}},
	} {
		inBubble(t, name, func(t *testing.T) {
			h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob", "carol"}, c.with...)
			v.passes(time.Second)
			for _, s := range c.steps {
				var headers []string
				if s.method == "REFER" {
					headers = []string{fmt.Sprintf(refer, s.whom, s.how)}
				}
				a := h.ask(s.method, s.user, room, "", headers...)
				if s.code != 0 && a.Code != s.code || s.code == 0 && (a.Code < 400 || a.Code >= 500) {
					t.Errorf("%s %s %s: answer %+v", s.user, s.method, headers, a)
				}
				v.passes(time.Second)
			}
			v.passes(time.Minute)
			for user, want := range c.sees {
				got := v.shows(user, room)
				if want != "" {
					want = "Growers: " + want
				}
				if got != want {
					t.Errorf("%s sees %q, want %q", user, got, want)
				}
			}
			if len(v.texts) > 0 {
				t.Errorf("clients got %q", v.texts)
			}
		})
	}
}

// TestNativeTwins: two groups of the same people with the same title are two.
func TestNativeTwins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, v, one := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
		two := h.makes("alice", "Growers", "bob")
		v.passes(time.Second)
		if one == two {
			t.Fatal("it is one room")
		}
		h.ask("BYE", "bob", two, "")
		v.passes(time.Second)
		if a, b := v.shows("bob", one), v.shows("bob", two); a != "Growers: alice* bob" || b != "" {
			t.Errorf("bob sees %q and %q", a, b)
		}
	})
}

// TestNativeNew: the data of a client is deleted, and it comes back: as another device, as Linphone does, which is
// invited. One that comes back as the same has its group, as far as is known.
func TestNativeNew(t *testing.T) {
	t.Parallel()
	for name, instance := range map[string]string{"another device": "urn:uuid:bob-2", "the same": "urn:uuid:bob"} {
		inBubble(t, name, func(t *testing.T) {
			h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob")
			v.passes(time.Minute)
			delete(v.rooms, "bob "+room)
			h.e.Devices(evapi.Registration{AOR: "sip:bob@x.org", Devices: []evapi.Device{{Contact: "sip:bob@127.0.0.1:7",
				Instance: instance, Specs: nativeLinphone, Left: time.Hour}}})
			h.relay.take()
			pass(listWithin + time.Minute)
			invited := false
			for _, c := range h.relay.take() {
				invited = invited || c.method == "INVITE" && c.to == "sip:bob@x.org;gr="+instance
			}
			if invited != (instance != "urn:uuid:bob") {
				t.Errorf("invited: %v", invited)
			}
		})
	}
}

// TestNativeNames: authors' display names come to Linphone as they are.
func TestNativeNames(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob", "carol")
	v.sees("bob", room, "Growers", "alice*", "bob", "carol")
	for from, want := range map[string]string{
		`"Carol \"CC\" C." <sip:carol@x.org>`:   `From: "Carol \"CC\" C." <sip:carol@x.org>`,
		`"C\\" <sip:carol@x.org>`:               `From: "C\\" <sip:carol@x.org>`,
		`"🍅 <sip:eve@x.org>" <sip:carol@x.org>`: `From: "🍅 <sip:eve@x.org>" <sip:carol@x.org>`,
		`<sip:carol@x.org>`:                     `From: <sip:carol@x.org>`,
	} {
		h.want(<-h.send(h.request(from, strings.TrimPrefix(room, "sip:"), "hi")), 200, 1)
		cpims, _ := v.cpims()
		if !strings.HasPrefix(cpims["bob"], want+"\r\n") {
			t.Errorf("bob got %q, want %s", cpims["bob"], want)
		}
	}
}

// TestNativeInvited: a user with Linphone is invited by a command. The invitation is a text from the room's address,
// and what is written there as an answer is one. Then the group is there, and its texts come once, there.
func TestNativeInvited(t *testing.T) {
	t.Parallel()
	for answer, in := range map[string]bool{"#accept": true, "#accept %s": true, "#join": true, "#deny": false,
		"hi": false} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "carol")
				v.passes(time.Second)
				target := strings.TrimPrefix(room, "sip:")
				h.want(<-h.post("alice", target, "#invite bob"), 200, 1)
				v.passes(time.Second)
				texts := strings.Join(v.texts, "\n")
				if !strings.Contains(texts, "sip:bob@x.org *** alice invites you") || v.shows("bob", room) != "" {
					t.Errorf("before: texts %q, bob sees %q", texts, v.shows("bob", room))
				}
				if strings.Contains(answer, "%s") {
					answer = fmt.Sprintf(answer, strings.Split(target, "@")[0])
				}
				<-h.post("bob", target, answer)
				v.passes(time.Second)
				if got := v.shows("bob", room); (got == "Growers: alice* bob carol") != in || !in && got != "" {
					t.Errorf("bob sees %q", got)
				}
				v.cpims()
				h.want(<-h.post("alice", target, "welcome"), 200, 1)
				if cpims, plain := v.cpims(); strings.HasSuffix(cpims["bob"], "welcome") != in || plain["bob"] != "" {
					t.Errorf("bob's Linphone got %q, and %q beside the group", cpims["bob"], plain["bob"])
				}
			})
		})
	}
}

// TestNativePutOutKilled: imcd is killed when it has put somebody out, or ended a room, and has said nothing of it yet.
// No Linphone gets a text from a room that it is not in, which would open a second chat.
func TestNativePutOutKilled(t *testing.T) {
	t.Parallel()
	for command, after := range map[string]time.Duration{"#remove bob": 0, "#destroy": 0, "#remove  bob": time.Minute} {
		for _, known := range []bool{true, false} { // to imcd, as having a Linphone, when the command is carried out
			t.Run(fmt.Sprint(command, after, known), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					linphones := []string{"alice", "bob"}
					h, v, room := newGrowers(t, newMemStore(), linphones[:1], "bob")
					if known {
						h.nativeFor("bob")
					}
					v.passes(time.Minute)
					h.relay.set(func() { h.relay.phones = map[string][]string{"bob": {}} })
					h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), command), 200, 1)
					pass(after)
					next := newNativeHouse(t, h.store.killed(), nil)
					h.cut()
					v.h = next
					next.nativeFor(linphones...)
					next.e.Registered("sip:bob@x.org")
					v.texts = nil
					v.passes(time.Minute)
					for _, text := range v.texts {
						if strings.HasPrefix(text, "sip:bob@x.org") {
							t.Errorf("bob got %q", text)
						}
					}
				})
			})
		}
	}
}
