package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestNoticesAreNotRepeated: a notice about a refused message comes once in notice_repeat
// for a room, answers to commands each time.
func TestNoticesAreNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		h.say("alice", "r", "#create")
		h.heard()
		say := func(room, body string, code int, notices int) {
			t.Helper()
			if a := h.say("eve", room, body); a.Code != code {
				t.Errorf("%s: %d %s", body, a.Code, a.Reason)
			}
			if heard := h.heard(); len(heard) != notices {
				t.Errorf("%s to %s: heard %q", body, room, heard)
			}
		}
		say("r", "hello", 403, 1)
		say("r", "hello?", 403, 0)
		say("other", "hello", 404, 1)
		say("r", "", 400, 1) // another notice
		for range 5 {
			say("r", "#list", 403, 1)
		}
		for i := range 5 {
			say("r", "#nonsense", 400, map[bool]int{true: 1}[i < maxNoticeRepeats])
		}
		say("r", "#nonsense at all", 400, 1) // another text
		h.pass(h.e.cfg.NoticeRepeat)
		say("r", "hello", 403, 1)
		say("r", "#nonsense", 400, 1)
		if n := testutil.ToFloat64(h.e.metrics.withheld); n != 3 {
			t.Errorf("%v notices were counted as withheld", n)
		}
		h.say("alice", "r", "#destroy")
		h.say("alice", "r", "#create")
		h.heard()
		say("r", "hello", 403, 1) // another room
	})
}

// TestEachNotice: with notice_repeat 0.
func TestEachNotice(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.NoticeRepeat = 0 })
	for range 5 {
		h.want(h.say("eve", "r", "hello"), 404, -201)
		h.wantHeard("eve<r: *** There is no room r")
	}
}

// TestNoticedHasABound: what does not fit is not said; what is old makes space.
func TestNoticedHasABound(t *testing.T) {
	t.Parallel()
	n := newNoticed(time.Minute, noticedParts)
	now := time.Unix(1e9, 0)
	if !n.allow(0, 1, now) || n.allow(noticedParts, 1, now) || !n.allow(1, 1, now) {
		t.Error("one part has more, or less, than one")
	}
	now = now.Add(2 * time.Minute)
	if !n.allow(noticedParts, 1, now) || n.allow(0, 1, now) {
		t.Error("old ones are kept")
	}
	for i := range uint64(100000) {
		n.allow(i, maxNoticeRepeats, now)
	}
	for i := range n.parts {
		if len(n.parts[i].times) > 1 {
			t.Errorf("part %d has %d", i, len(n.parts[i].times))
		}
	}
}

// TestAutoResponders: a client that answers everything it gets has a few notices, whatever
// it answers, and that is all.
func TestAutoResponders(t *testing.T) {
	for name, c := range map[string]struct {
		reply string
		start []string // what alice says
	}{
		"invited":            {"I'm away", []string{"#invite dora"}},
		"removed":            {"I'm away", []string{"#add dora", "#remove dora"}},
		"destroyed":          {"I'm away", []string{"#add dora", "#destroy"}},
		"like a command":     {"#away", []string{"#invite dora"}},
		"bare characters":    {"# away", []string{"#invite dora"}},
		"a command's word":   {"#leave a message after the beep", []string{"#invite dora"}},
		"one argument short": {"#add", []string{"#add dora", "#remove dora"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, nil)
				h.say("alice", "r", "#create")
				for _, body := range c.start {
					h.say("alice", "r", body)
				}
				own := 0 // what dora was sent for what alice did
				for _, line := range h.heard() {
					if strings.HasPrefix(line, "dora<") {
						own++
					}
				}
				notices, replies := 0, own
				for ; replies > 0 && notices < 50; replies-- {
					h.say("dora", "r", c.reply)
					for _, line := range h.heard() {
						if strings.HasPrefix(line, "dora<") {
							notices, replies = notices+1, replies+1
						}
					}
				}
				if notices > 3 {
					t.Errorf("%d notices", notices)
				}
			})
		})
	}
}

// TestMachines: what programs send is no command, and nothing is said in answer; what a
// member's program says is heard.
func TestMachines(t *testing.T) {
	h := newCouple(t)
	for _, header := range []string{"Auto-Submitted: auto-generated\r\n", "Auto-Submitted: auto-replied; x=y\r\n",
		"X-IMC-Path: abc-1.zzz\r\n"} {
		h.want(h.say("eve", "r", "#join", header), 403, -202)
		h.want(h.say("eve", "none", "#create", header), 404, -201)
		h.want(h.say("eve", "r", "", header), 400, -1)
		h.wantHeard()
		h.want(h.say("bob", "r", "#leave", header, "Subject: x\r\n"), 200, 1)
		if c := h.relay.take(); len(c) != 1 || c[0].body != "[bob]: #leave" ||
			strings.HasPrefix(header, "Auto") && !strings.Contains(c[0].headers,
				strings.Split(strings.TrimSpace(header), ";")[0]+"\r\n") {
			t.Errorf("%q: %+v", header, c)
		}
	}
	h.want(h.say("eve", "r", "hello", "Priority: non-urgent\r\n"), 403, -202)
	h.wantHeard()
	h.want(h.say("eve", "r", "hello", "Auto-Submitted: no\r\n"), 403, -202)
	h.wantHeard("eve<r: *** You are not")
}

// TestRoomsSayWhoTheyAre: all that rooms say by themselves is marked, what members say is
// not.
func TestRoomsSayWhoTheyAre(t *testing.T) {
	h := newHouse(t, nil)
	for _, body := range []string{"#create", "#list", "#rooms", "#help", "#nonsense", "#invite bob", "#add carol",
		"#history"} {
		h.say("alice", "r", body)
	}
	h.say("eve", "r", "hello")
	copies := h.relay.take()
	if len(copies) < 9 {
		t.Errorf("only %d copies", len(copies))
	}
	for _, c := range copies {
		if !strings.Contains(c.headers, "Auto-Submitted: auto-generated\r\n") ||
			!strings.Contains(c.headers, "X-IMC-Path: ") {
			t.Errorf("%q has %q", c.body, c.headers)
		}
	}
	h.say("alice", "r", "hello")
	for _, c := range h.relay.take() {
		if strings.Contains(c.headers, "Auto-Submitted") {
			t.Errorf("%q has %q", c.body, c.headers)
		}
	}
}

// TestRoomsAreNoMembers: neither by command nor by their own doing.
func TestRoomsAreNoMembers(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.HashSize = 0 })
	h.e.Welcomed("k", stock())
	for _, room := range []string{"chat-a", "chat-b"} {
		h.want(h.byRule("alice", room+"@x.org", "#create"), 200, 1)
	}
	h.heard()
	for i, body := range []string{"#add chat-b", "#add CHAT-B@x.org", "#invite sip:chat-b@x.org", "#add chat-a",
		"#add chat-manager@y.org"} {
		a := h.byRule("alice", "chat-a@x.org", body)
		if a.Code != 400 {
			t.Errorf("%d: %s: %d %s", i, body, a.Code, a.Reason)
		}
		h.wantHeard("is a room")
	}
	for _, body := range []string{"#join", "hello", "#create", "#accept"} {
		if a := h.byRule("chat-b", "chat-a@x.org", body); a.Code != 403 {
			t.Errorf("a room says %s: %d %s", body, a.Code, a.Reason)
		}
		h.wantHeard()
	}
	if a := h.byRule("chat-b", "chat-c@x.org", "#create"); a.Code != 403 {
		t.Errorf("a room makes another: %d %s", a.Code, a.Reason)
	}
	h.wantHeard()
	if a := h.byRule("alice", "chat-a@x.org", "#add chat-friend@other.example"); a.Code != 200 {
		t.Errorf("somebody of another server: %d %s", a.Code, a.Reason)
	}
}

// TestSameCallIDAnotherMessage: a client that uses one Call-ID for everything loses
// nothing, and repetitions are known whatever they come by.
func TestSameCallIDAnotherMessage(t *testing.T) {
	h := newCouple(t)
	post := func(tag, body, proto string) []string {
		m := h.request("alice", "r@x.org", body)
		m.Proto = proto
		id := sip.CallIDHeader("static-callid")
		m.Request.From().Params = m.Request.From().Params.Add("tag", tag)
		m.Request.ReplaceHeader(&id)
		h.want(<-h.send(m), 200, 1)
		h.quiet()
		return h.heard()
	}
	for i, c := range []struct {
		tag, body, proto string
		heard            int
	}{{"a", "one", "udp", 1}, {"a", "one", "tcp", 0}, {"a", "two", "udp", 1}, {"b", "two", "udp", 1},
		{"b", "two", "ws", 0}, {"a", "one", "udp", 0}} {
		if heard := post(c.tag, c.body, c.proto); len(heard) != c.heard {
			t.Errorf("request %d: heard %q", i, heard)
		}
	}
}

// TestExpires: a message that has expired is passed over, one that has not comes late
// and says how long it still has.
func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := pair(t, nil)
		h.say("carol", "r", "#join")
		h.heard()
		h.answers("bob", result(404))
		start := time.Now()
		say := func(n int, expires string) {
			t.Helper()
			h.want(h.say("alice", "r", fmt.Sprint(n), expires), 200, 1)
			h.wantBodies(h.relay.take(), "carol", []string{fmt.Sprint(n)})
		}
		say(1, "Expires: 1\r\n")
		say(2, "Expires: 60\r\n")
		say(3, "Expires: 0\r\n")
		say(4, "Expires: nonsense\r\n")
		say(5, "Expires: 99999999999999999999\r\n")
		h.pass(3 * time.Second)
		h.answers("bob", result(200))
		h.e.Registered("sip:bob@x.org")
		var copies []got
		for range 10 {
			h.pass(100 * time.Millisecond)
			more(h, &copies)
		}
		h.wantBodies(copies, "bob", []string{"2", "4", "5"})
		for _, c := range copies {
			if !strings.Contains(c.headers, "Date: "+start.UTC().Format(sipDate)+"\r\n") {
				t.Errorf("not its time: %q", c.headers)
			}
		}
		if !strings.Contains(copies[0].headers, "Expires: 57\r\n") {
			t.Errorf("it has 57 s: %q", copies[0].headers)
		}
		if n := testutil.ToFloat64(h.e.metrics.expired); n != 2 {
			t.Errorf("%v were counted", n)
		}
	})
}

// TestPicturesComeLater: with what was sent with them, and with the line before them.
func TestPicturesComeLater(t *testing.T) {
	h := pair(t, nil)
	h.answers("bob", result(404))
	h.say("alice", "r", "PNG", "Content-Type: image/png\r\n", "Content-Disposition: attachment;filename=a\r\n",
		"Content-Encoding: identity\r\n", "Auto-Submitted: auto-generated\r\n")
	h.say("alice", "r", "text")
	h.relay.take()
	h.answers("bob", result(200))
	h.e.Registered("sip:bob@x.org")
	var copies []got
	h.until("bob has all", func() bool { return len(bodies(copies, "bob")) >= 3 || more(h, &copies) })
	if len(copies) != 3 || copies[0].body != "[alice] sent image/png" || copies[1].body != "PNG" ||
		copies[2].body != "[alice]: text" {
		t.Fatalf("bob gets %+v", copies)
	}
	for _, want := range []string{"Content-Type: image/png", "Content-Disposition: attachment;filename=a",
		"Content-Encoding: identity",
		"Auto-Submitted: auto-generated"} {
		if !strings.Contains(copies[1].headers, want+"\r\n") {
			t.Errorf("no %q in %q", want, copies[1].headers)
		}
	}
	if copies[1].from != `"alice" <sip:r@x.org>` {
		t.Errorf("From: %s", copies[1].from)
	}
	h.say("alice", "r", "#history")
	if heard := h.heard(); len(heard) != 1 || !strings.Contains(heard[0], "(image/png, 3 bytes)") ||
		!strings.Contains(heard[0], "text") {
		t.Logf("history: %q", heard)
	}
}

// TestNoAttachmentLine: with attachment_line empty, and for who has a display name.
func TestNoAttachmentLine(t *testing.T) {
	h := pair(t, func(c *Config) { c.AttachmentLine = "" })
	h.say("alice", "r", "GIF", "Content-Type: image/gif\r\n")
	h.wantHeard("bob<r: GIF")
	h = pair(t, func(c *Config) { c.AttachmentLine = "{user}: {type} in {room}" })
	h.say(`"Al" <sip:alice@x.org>`, "r", "GIF", "Content-Type: image/gif\r\n")
	h.wantHeard("bob<r: GIF")
	h.say("alice", "r", "GIF", "Content-Type: image/gif;x=y\r\n")
	h.wantHeard("bob<r: alice: image/gif in r", "bob<r: GIF")
}

// TestForeignCharsets: where what stands before a text has other characters than ASCII, a
// text in another charset becomes UTF-8.
func TestForeignCharsets(t *testing.T) {
	const latin1 = "Content-Type: text/plain;charset=iso-8859-1\r\n"
	h := pair(t, nil)
	h.say("alice", "r", "gr\xfc\xdfe", latin1)
	if c := h.relay.take(); len(c) != 1 || !strings.Contains(c[0].headers, latin1) ||
		c[0].body != asJSON("[alice]: gr\xfc\xdfe") {
		t.Errorf("%+v", c)
	}
	h = pair(t, func(c *Config) { c.MessageFormat = "»{user}« {body}" })
	h.say("alice", "r", "gr\xfc\xdfe", latin1)
	h.say("alice", "r", "grün", "Content-Type: text/plain\r\n")
	c := h.relay.take()
	if len(c) != 2 || !strings.Contains(c[0].headers, "Content-Type: "+plainUTF8+"\r\n") || c[0].body != "»alice« grüße" ||
		!strings.Contains(c[1].headers, "Content-Type: text/plain\r\n") || c[1].body != "»alice« grün" {
		t.Errorf("%+v", c)
	}
}
