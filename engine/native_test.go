package engine

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

const (
	nativeLinphone = `ephemeral/1.1,groupchat/1.1`
	groupFactory   = "sip:conference-factory@x.org"
)

// newNativeHouse is a house at a Kamailio with IMC_NATIVE.
func newNativeHouse(t *testing.T, kept *memStore, change func(*Config)) *house {
	t.Helper()
	h := openHouse(t, kept, change)
	h.e.Welcomed("k", evapi.Welcome{Features: []string{"native"}, Domains: []string{"x.org"},
		Rooms: &evapi.RoomRule{Expression: "^chat-.+$", Prefix: "chat-"}})
	return h
}

// inBubble runs f as a subtest beside others, with a clock of its own.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, f)
	})
}

// newGrowers makes a house with alice's group "Growers". linphones are the users who have a client that knows groups.
func newGrowers(t *testing.T, kept *memStore, linphones []string, with ...string) (*house, *clientView, string) {
	t.Helper()
	h := newNativeHouse(t, kept, nil)
	v := newView(h)
	h.nativeFor(linphones...)
	return h, v, h.makes("alice", "Growers", with...)
}

func gruuOfUser(user string) string { return "sip:" + user + "@x.org;gr=urn:uuid:" + user }

// nativeFor lets users register Linphone.
func (h *house) nativeFor(users ...string) {
	for _, user := range users {
		h.e.Devices(evapi.Registration{AOR: "sip:" + user + "@x.org", Devices: []evapi.Device{{
			Contact: "sip:" + user + "@127.0.0.1:5", Instance: "urn:uuid:" + user, Specs: nativeLinphone, Left: time.Hour}}})
	}
}

// ask sends a request that is no MESSAGE, and returns the answer.
func (h *house) ask(method, user, uri, body string, headers ...string) evapi.Answer {
	h.t.Helper()
	return h.askIn("", method, user, uri, body, headers...)
}

// askIn is ask with a Call-ID; empty: a new one.
func (h *house) askIn(callID, method, user, uri, body string, headers ...string) evapi.Answer {
	h.t.Helper()
	return <-h.begin(h.asks(callID, method, user, uri, body, headers...))
}

// begin gives the engine a request that is no MESSAGE, and returns where its answer comes.
func (h *house) begin(m *evapi.Message) chan evapi.Answer {
	ch := make(chan evapi.Answer, 1)
	h.relay.set(func() { h.relay.answers[m] = ch })
	h.e.Request(m)
	return ch
}

// asks makes such a request.
func (h *house) asks(callID, method, user, uri, body string, headers ...string) *evapi.Message {
	h.t.Helper()
	return h.read(user, uri, h.asked(callID, method, user, uri, body, headers...))
}

// makes creates a group, and returns its address.
func (h *house) makes(user, title string, others ...string) string {
	h.t.Helper()
	a := h.ask("INVITE", user, groupFactory, listOf(others...), "Subject: "+title+"\r\n",
		"Content-Type: application/resource-lists+xml\r\n")
	_, room, _ := strings.Cut(a.Headers, "Contact: <")
	room, rest, _ := strings.Cut(room, ">")
	if a.Code != 200 || !strings.HasPrefix(rest, ";isfocus") || !strings.HasPrefix(room, "sip:chat-") {
		h.t.Fatalf("answer %+v", a)
	}
	h.subscribes(user, room)
	return room
}

func listOf(uris ...string) string {
	var b strings.Builder
	for _, u := range uris {
		if !strings.HasPrefix(u, "sip:") {
			u = "sip:" + u + "@x.org"
		}
		b.WriteString(`<entry uri="` + u + `"/>`)
	}
	return `<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list>` + b.String() + `</list></resource-lists>`
}

// clientView is what a client knows of its groups, from what it gets.
type clientView struct {
	h     *house
	rooms map[string]*viewedRoom // by user and room
	texts []string
}

type viewedRoom struct {
	version uint32
	title   string
	stored  string          // title that the client shows when it is started again
	users   map[string]bool // true: an admin
	in      bool
	session string // Call-ID of the INVITE; empty: there is none
	unknown bool   // the client does not know the room: it answers 200 to NOTIFY, and forgets it
}

type conferenceInfo struct {
	Entity  string `xml:"entity,attr"`
	State   string `xml:"state,attr"`
	Version uint32 `xml:"version,attr"`
	Subject string `xml:"conference-description>subject"`
	Users   []struct {
		Entity string   `xml:"entity,attr"`
		State  string   `xml:"state,attr"`
		Roles  []string `xml:"roles>entry"`
	} `xml:"users>user"`
}

// look takes what clients got since the last time. A client that is invited asks for the state; if it has a session of
// the room already, it ends that and does not ask, as Linphone does.
func (v *clientView) look() {
	v.h.t.Helper()
	for _, c := range v.h.relay.take() {
		user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
		room := strings.Trim(c.from, "<>")
		if c.method != "MESSAGE" && c.to != gruuOfUser(user) {
			v.h.t.Errorf("%s to %s", c.method, c.to)
		}
		r := v.rooms[user+" "+room]
		if r == nil {
			r = &viewedRoom{users: map[string]bool{}}
			v.rooms[user+" "+room] = r
		}
		switch c.method {
		case "INVITE":
			before := r.session
			if r.stored == "" {
				_, title, _ := strings.Cut(c.headers, "Subject: ")
				r.title, _, _ = strings.Cut(title, "\r\n")
			}
			if r.in, r.unknown, r.session = true, false, c.callID; before != "" {
				v.h.askIn(before, "BYE", user, room, "")
			} else {
				v.h.subscribes(user, room)
			}
		case "BYE":
			r.in, r.session = false, ""
		case "NOTIFY":
			if !r.unknown {
				r.take(v.h.t, c.body)
			}
		default:
			v.texts = append(v.texts, c.to+" "+c.body)
		}
	}
}

func (r *viewedRoom) take(t tester, body string) {
	var doc conferenceInfo
	if err := xml.Unmarshal([]byte(body), &doc); err != nil {
		t.Errorf("%v in %s", err, body)
		return
	}
	if doc.State == "full" {
		r.users, r.in = map[string]bool{}, true
		if r.stored == "" {
			r.stored = cmp.Or(doc.Subject, r.title)
		}
	} else if doc.Version <= r.version {
		return // as Linphone does
	}
	if r.version = doc.Version; doc.Subject != "" && doc.Subject != r.title {
		if r.title = doc.Subject; doc.State != "full" {
			r.stored = doc.Subject
		}
	}
	for _, u := range doc.Users {
		if delete(r.users, u.Entity); u.State != "deleted" {
			r.users[u.Entity] = slices.Contains(u.Roles, "admin")
		}
	}
}

// members are the user parts of the members, an admin with *.
func (r *viewedRoom) members() (names []string) {
	for u, admin := range r.users {
		name, _, _ := strings.Cut(strings.TrimPrefix(u, "sip:"), "@")
		if admin {
			name += "*"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// sees waits until a client has a room with a title and members, an admin with *.
func (v *clientView) sees(user, room, title string, members ...string) {
	v.h.t.Helper()
	var got []string
	v.h.until(fmt.Sprintf("%s sees %s %q", user, title, members), func() bool {
		v.look()
		r := v.rooms[user+" "+room]
		if r == nil {
			return false
		}
		got = r.members()
		return r.in && r.title == title && r.stored == title && slices.Equal(got, members)
	})
}

func (v *clientView) isOut(user, room string) {
	v.h.t.Helper()
	v.h.until(user+" is out", func() bool {
		v.look()
		r := v.rooms[user+" "+room]
		return r != nil && !r.in
	})
}

func newView(h *house) *clientView { return &clientView{h: h, rooms: map[string]*viewedRoom{}} }

// TestNativeGroup: a group as Linphone makes, changes and leaves it; commands of others show there.
func TestNativeGroup(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob", "dora"}, "bob", "carol")
	v.sees("alice", room, "Growers", "alice*", "bob", "carol")
	v.sees("bob", room, "Growers", "alice*", "bob", "carol")
	for _, step := range []struct {
		method, user string
		headers      []string
		code         int
		title        string
		members      []string
	}{
		{"INVITE", "alice", []string{"Subject: Tomatoes\r\n"}, 200, "Tomatoes", []string{"alice*", "bob", "carol"}},
		{"INVITE", "bob", []string{"Subject: Peppers\r\n"}, 403, "Tomatoes", []string{"alice*", "bob", "carol"}},
		{"INVITE", "bob", nil, 200, "Tomatoes", []string{"alice*", "bob", "carol"}},
		{"INVITE", "dora", nil, 403, "Tomatoes", []string{"alice*", "bob", "carol"}},
		{"REFER", "bob", []string{"Refer-To: <sip:dora@x.org>;text\r\n"}, 403, "Tomatoes", []string{"alice*", "bob",
			"carol"}},
		{"REFER", "alice", []string{"Refer-To: <sip:bob@x.org>;text;admin=1\r\n"}, 202, "Tomatoes", []string{"alice*",
			"bob*", "carol"}},
		{"REFER", "bob", []string{"Refer-To: <sip:alice@x.org>;text;admin=0\r\n"}, 202, "Tomatoes", []string{"alice*",
			"bob*", "carol"}},
		{"REFER", "bob", []string{"Refer-To: <sip:dora@x.org>;text\r\n"}, 202, "Tomatoes", []string{"alice*", "bob*",
			"carol", "dora"}},
		{"REFER", "dora", []string{"Refer-To: <sip:carol@x.org;method=BYE>;text\r\n"}, 403, "Tomatoes", []string{"alice*",
			"bob*", "carol", "dora"}},
		{"REFER", "bob", []string{"Refer-To: <sip:carol@x.org;method=BYE>;text\r\n"}, 202, "Tomatoes", []string{"alice*",
			"bob*", "dora"}},
		{"REFER", "alice", []string{"Refer-To: nobody\r\n"}, 400, "Tomatoes", []string{"alice*", "bob*", "dora"}},
		{"SUBSCRIBE", "carol", []string{"Event: conference\r\n"}, 403, "Tomatoes", []string{"alice*", "bob*", "dora"}},
		{"SUBSCRIBE", "bob", []string{"Event: presence\r\n"}, 489, "Tomatoes", []string{"alice*", "bob*", "dora"}},
		{"BYE", "carol", nil, 403, "Tomatoes", []string{"alice*", "bob*", "dora"}},
		{"BYE", "alice", nil, 200, "Tomatoes", []string{"bob*", "dora"}},
	} {
		if a := h.ask(step.method, step.user, room, "", step.headers...); a.Code != step.code {
			t.Fatalf("%s of %s %q: answer %+v", step.method, step.user, step.headers, a)
		}
		v.sees("bob", room, step.title, step.members...)
	}
	v.isOut("alice", room)
	h.want(<-h.post("dora", strings.TrimPrefix(room, "sip:"), "#exit"), 200, 1) // a command, of a plain phone
	v.sees("bob", room, "Tomatoes", "bob*")
	if err := h.e.DestroyRoom(context.Background(), room); err != nil {
		t.Fatal(err)
	}
	v.isOut("bob", room)
}

// TestNativeRefused: what is no group here, or must not be one.
func TestNativeRefused(t *testing.T) {
	t.Parallel()
	h := newNativeHouse(t, newMemStore(), func(c *Config) { c.CreateAllow = "^sip:alice@" })
	list := "Content-Type: application/resource-lists+xml\r\n"
	for name, c := range map[string]struct {
		user, uri, body string
		headers         []string
		code            int
	}{
		"encrypted":   {"alice", groupFactory, listOf("bob"), []string{list, "End-To-End-Encrypted: true\r\n"}, 488},
		"of two":      {"alice", groupFactory, listOf("bob"), []string{list, "One-To-One-Chat-Room: true\r\n"}, 488},
		"no list":     {"alice", groupFactory, "sip:bob@x.org", []string{list}, 400},
		"not allowed": {"bob", groupFactory, listOf("carol"), []string{list}, 403},
		"no room":     {"alice", "sip:chat-none@x.org", "", nil, 404},
		"a long title": {"alice", groupFactory, listOf("bob"), []string{list,
			"Subject: " + strings.Repeat("x", maxDisplay+1) + "\r\n"}, 400},
	} {
		if a := h.ask("INVITE", c.user, c.uri, c.body, c.headers...); a.Code != c.code {
			t.Errorf("%s: answer %+v", name, a)
		}
	}
	if rooms, err := h.e.Rooms(context.Background()); err != nil || len(rooms) != 0 {
		t.Errorf("%d rooms were made, %v", len(rooms), err)
	}
}

// TestNativeMessages: Linphone gets messages with their author, each once, and its plain neighbours get text; nobody
// gets a notice beside a NOTIFY.
func TestNativeMessages(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob", "carol")
	v.sees("bob", room, "Growers", "alice*", "bob", "carol")
	v.texts = nil
	h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "hello"), 200, 1)
	h.quiet()
	v.look()
	var toBob, toCarol string
	for _, text := range v.texts {
		switch {
		case strings.HasPrefix(text, gruuOfUser("bob")+" "):
			toBob += text
		case strings.HasPrefix(text, "sip:carol@x.org "):
			toCarol += text
		default:
			t.Errorf("got %q", text)
		}
	}
	for _, part := range []string{"From: <sip:alice@x.org>\r\n", "To: <" + room + ">\r\n", "\r\nimdn.Message-ID: ",
		"\r\n\r\nContent-Type: text/plain", "\r\n\r\nhello"} {
		if !strings.Contains(toBob, part) {
			t.Errorf("no %q in %q", part, toBob)
		}
	}
	if toCarol != "sip:carol@x.org [alice]: hello" {
		t.Errorf("carol got %q", toCarol)
	}
}

// TestNativeRestart: after a restart clients know again what they had missed, by their list or by a new INVITE.
func TestNativeRestart(t *testing.T) {
	t.Parallel()
	kept := newMemStore()
	h, v, room := newGrowers(t, kept, []string{"alice", "bob", "dora"}, "bob", "dora")
	v.sees("alice", room, "Growers", "alice*", "bob", "dora")
	v.sees("bob", room, "Growers", "alice*", "bob", "dora")
	v.sees("dora", room, "Growers", "alice*", "bob", "dora")
	h.close()
	again := newNativeHouse(t, kept, nil)
	v.h = again
	again.want(<-again.post("alice", strings.TrimPrefix(room, "sip:"), "#set title Tomatoes"), 200, 1)
	again.want(<-again.post("dora", strings.TrimPrefix(room, "sip:"), "#exit"), 200, 1)
	v.sees("bob", room, "Tomatoes", "alice*", "bob")
	v.isOut("dora", room)
	// Dora's Linphone was restored from an old copy, and names the room once more; so does bob's, with an old version.
	for _, user := range []string{"bob", "dora"} {
		a := again.ask("SUBSCRIBE", user, groupFactory, listOf(room+";Last-Notify=1"), "Event: conference\r\n",
			"Content-Type: application/resource-lists+xml\r\n")
		if a.Code != 200 {
			t.Errorf("answer %+v", a)
		}
		v.rooms[user+" "+room] = &viewedRoom{in: true, users: map[string]bool{}}
	}
	v.sees("bob", room, "Tomatoes", "alice*", "bob")
	v.isOut("dora", room)
}

// TestNativeReceipts: the author's Linphone hears of each member that has got and displayed a message, and of nobody
// twice; another one hears nothing.
func TestNativeReceipts(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice", "bob"}, "bob", "carol")
	v.sees("bob", room, "Growers", "alice*", "bob", "carol")
	v.texts = nil
	cpim := "From: <" + gruuOfUser("alice") + ">\r\nTo: <" + room + ">\r\nNS: imdn <urn:ietf:params:imdn>\r\n" +
		"imdn.Message-ID: hers\r\nimdn.Disposition-Notification: positive-delivery, display\r\n\r\n" +
		"Content-Type: text/plain\r\n\r\nhello"
	target := strings.TrimPrefix(room, "sip:")
	h.want(<-h.post("alice", target, cpim, "Content-Type: message/cpim\r\n"), 200, 1)
	h.quiet()
	v.look()
	id := ""
	for _, text := range v.texts {
		if _, rest, ok := strings.Cut(text, "imdn.Message-ID: "); ok && strings.HasPrefix(text, gruuOfUser("bob")) {
			id, _, _ = strings.Cut(rest, "\r\n")
		}
	}
	displayed := string(sipmsg.FormatIMDN(sipmsg.IMDN{MessageID: id, Status: sipmsg.IMDNDisplayed, DateTime: time.Now()}))
	for range 2 {
		h.want(<-h.post("bob", target, displayed, "Content-Type: message/imdn+xml\r\n"), 200, 1)
	}
	var got []string
	h.until("alice knows who has what", func() bool {
		v.look()
		got = got[:0]
		for _, text := range v.texts {
			if !strings.Contains(text, "<message-id>hers</message-id>") {
				continue
			}
			_, from, _ := strings.Cut(text, "From: <sip:")
			from, _, _ = strings.Cut(from, "@")
			to, _, _ := strings.Cut(strings.TrimPrefix(text, "sip:"), "@")
			for _, status := range []string{"delivered", "displayed"} {
				if strings.Contains(text, "<"+status+"/>") {
					got = append(got, to+" "+from+" "+status)
				}
			}
		}
		slices.Sort(got)
		return len(got) >= 3
	})
	h.quiet()
	if want := []string{"alice bob delivered", "alice bob displayed", "alice carol delivered"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestNativePlainDevices: the other devices of a user with Linphone get text, each alone, and a device that has gone
// gets nothing.
func TestNativePlainDevices(t *testing.T) {
	t.Parallel()
	h := newNativeHouse(t, newMemStore(), nil)
	v := newView(h)
	h.nativeFor("alice", "bob")
	desk := evapi.Device{Contact: "sip:bob@127.0.0.1:6", GRUU: "uloc-desk", Left: time.Hour}
	h.e.Devices(evapi.Registration{AOR: "sip:bob@x.org", Devices: []evapi.Device{desk}})
	room := h.makes("alice", "Growers", "bob")
	v.sees("bob", room, "Growers", "alice*", "bob")
	h.quiet()
	h.relay.take()
	h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "hello"), 200, 1)
	h.quiet()
	var devices []string
	for _, c := range h.relay.take() {
		devices = append(devices, c.to+" "+c.device)
	}
	slices.Sort(devices)
	if want := []string{"sip:bob@x.org uloc-desk", gruuOfUser("bob") + " "}; !slices.Equal(devices, want) {
		t.Errorf("copies went to %q", devices)
	}
	h.e.Devices(evapi.Registration{AOR: "sip:bob@x.org", Devices: []evapi.Device{{Contact: "sip:bob@127.0.0.1:5",
		Instance: "urn:uuid:bob", Specs: nativeLinphone}}})
	h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "hello again"), 200, 1)
	h.quiet()
	if got := h.relay.take(); len(got) != 1 || got[0].to != "sip:bob@x.org" || got[0].body != "[alice]: hello again" {
		t.Errorf("without Linphone bob got %+v", got)
	}
}

// TestNativeElsewhere: Linphone that registers at another engine is invited here, and hears the whole state again when
// it registers there once more.
func TestNativeElsewhere(t *testing.T) {
	t.Parallel()
	h, v, room := newGrowers(t, newMemStore(), []string{"alice"}, "bob")
	r := evapi.Registration{AOR: "sip:bob@x.org", Devices: []evapi.Device{{Contact: "sip:bob@127.0.0.1:5",
		Instance: "urn:uuid:bob", Specs: nativeLinphone, Left: time.Hour}}}
	h.e.Registered(r.Of())
	v.sees("bob", room, "Growers", "alice*", "bob")
	v.rooms["bob "+room] = &viewedRoom{users: map[string]bool{}, in: true}
	h.e.Registered(r.Of())
	v.sees("bob", room, "Growers", "alice*", "bob")
}

// TestNativeGone: a device that cannot be reached is invited once it registers, and one that was started again is
// invited so that it can be put out.
func TestNativeGone(t *testing.T) {
	t.Parallel()
	h := newNativeHouse(t, newMemStore(), nil)
	v := newView(h)
	h.relay.set(func() { h.relay.phones = map[string][]string{"bob": {}} })
	h.nativeFor("alice", "bob")
	room := h.makes("alice", "Growers", "bob")
	v.sees("alice", room, "Growers", "alice*", "bob")
	h.relay.set(func() { h.relay.phones = nil })
	h.nativeFor("bob")
	v.sees("bob", room, "Growers", "alice*", "bob")
	h.relay.set(func() { h.relay.once["bob"] = evapi.Result{Code: 481} })
	h.want(<-h.post("alice", strings.TrimPrefix(room, "sip:"), "#remove bob"), 200, 1)
	v.sees("alice", room, "Growers", "alice*")
	v.isOut("bob", room)
}
