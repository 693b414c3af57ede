package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"imcd/engine/store"
)

// rooms of the conversations; manager is another one that commands for any room
// are sent to.
var rooms = []string{"chat-a@" + home, "chat-b@" + home, "chat-c@" + home, "chat-d@" + away}

const manager = "chat-manager@" + home

// badURIs are arguments that are no SIP URIs for either side. What neither can
// send to without breaking the SIP message, such as "<x>", is left out: the
// module takes it, and its own message is then dropped and repeated for half a
// minute by Kamailio.
var badURIs = []string{"tel:123", "sip:", "@", "a@b@c", "x:y", "http://foo", "sip:chat-r@",
	"sip:chat-r@one.example:99999"}

// strange are names that are unusual and good.
var strange = []string{"x;y", "%41lice", "a!!b", "+4930-12", "a&b=c,d$e", "sip:q:secret@" + home, "~*'()._", "x?y",
	"x/y",
	"sip:v@[2001:db8::1]:5060", "v@192.0.2.1", "sip:p@" + home + ":0", "sip:h@" + home + "?Subject=hi", "sip:l@" +
		home + ";lr"}

// unstorable are names that the module takes and imcd does not.
var unstorable = []string{strings.Repeat("x", 65), strings.Repeat("y", 60), "a%zz"}

// generator makes up the steps of a conversation.
type generator struct {
	*rand.Rand
	kinds []func(*generator, state) step
	next  []step // those that must come now
}

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0))}
	for _, k := range []struct {
		weight int
		make   func(*generator, state) step
	}{
		{14, (*generator).message}, {10, (*generator).create}, {14, (*generator).join}, {18, (*generator).invite},
		{8, (*generator).accept}, {6, (*generator).deny}, {6, (*generator).remove}, {7, (*generator).exit},
		{6, (*generator).list}, {3, (*generator).ofRooms}, {3, (*generator).destroy}, {3, (*generator).modify},
		{6, (*generator).odd}, {3, (*generator).surplus}, {4, (*generator).wrongArgument},
	} {
		for range k.weight {
			g.kinds = append(g.kinds, k.make)
		}
	}
	return g
}

// step makes the next step. A change of roles is followed by its opposite: the
// module has no such command, and both sides shall go on from the same state.
func (g *generator) step(st state) step {
	if len(g.next) > 0 {
		s := g.next[0]
		g.next = g.next[1:]
		return s
	}
	return pick(g, g.kinds)(g, st)
}

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

// chance is true in n of 100 cases.
func (g *generator) chance(n int) bool { return g.IntN(100) < n }

// someone is one of those who are meant if there is one, mostly; else anybody
// who sends.
func (g *generator) someone(st state, room string, meant func(place, bool) bool) string {
	senders := users[:6]
	if r := st[room]; g.chance(70) {
		var list []string
		for _, u := range senders {
			var p place
			var in bool
			if r != nil {
				p, in = r.members[u+"@"+home]
			}
			if meant(p, in) {
				list = append(list, u)
			}
		}
		if len(list) > 0 {
			return pick(g, list)
		}
	}
	return pick(g, senders)
}

// place is a room and one who sends to it, as someone picks them; mostly a room
// that has such a user.
func (g *generator) place(st state, meant func(place, bool) bool) (sender, room string) {
	list := slices.Clone(rooms)
	if g.chance(70) {
		list = slices.DeleteFunc(list, func(room string) bool { return !hasSome(st[room], meant) })
	}
	if len(list) == 0 {
		list = rooms
	}
	room = pick(g, list)
	return g.someone(st, room, meant), room
}

func hasSome(r *roomState, meant func(place, bool) bool) bool {
	return slices.ContainsFunc(users[:6], func(u string) bool {
		if r == nil {
			return meant(place{}, false)
		}
		p, in := r.members[u+"@"+home]
		return meant(p, in)
	})
}

// Who is meant by a command.
func isOwner(p place, in bool) bool    { return in && p.flag&store.MemberOwner != 0 }
func isAdmin(p place, in bool) bool    { return in && p.flag&store.MemberAdmin != 0 }
func hasRights(p place, in bool) bool  { return in && p.rights() }
func isMember(p place, in bool) bool   { return in && p.inside() }
func isInvited(p place, in bool) bool  { return in && !p.inside() }
func isStranger(_ place, in bool) bool { return !in }

func (g *generator) message(st state) step {
	sender, room := g.place(st, isMember)
	if g.chance(5) {
		room = manager
	}
	s := g.send(sender, room, fmt.Sprintf("hello %d \"grüße\" %%s", g.IntN(1000)))
	s.contentType = pick(g, []string{"", "", "text/plain; charset=utf-8", "application/xml", "image/jpeg"})
	return s.signed()
}

func (g *generator) create(st state) step {
	sender, room := g.place(st, pick(g, []func(place, bool) bool{isInvited, isStranger}))
	s := g.command(sender, room, "create")
	if g.chance(35) {
		s.body += " " + g.spellWord("private")
	}
	return s
}

func (g *generator) join(st state) step {
	sender, room := g.place(st, pick(g, []func(place, bool) bool{isStranger, isStranger, isInvited}))
	return g.command(sender, room, "join")
}

func (g *generator) invite(st state) step {
	sender, room := g.place(st, hasRights)
	guest := pick(g, append([]string{gone, declines}, users...))
	if g.chance(50) {
		guest = g.someone(st, room, isStranger)
	}
	return g.command(sender, room, pick(g, []string{"invite", "invite", "invite", "invite", "add"}), guest)
}

func (g *generator) accept(st state) step {
	sender, room := g.place(st, isInvited)
	return g.command(sender, room, "accept")
}

func (g *generator) deny(st state) step {
	sender, room := g.place(st, isInvited)
	return g.command(sender, room, pick(g, []string{"deny", "reject"}))
}

func (g *generator) remove(st state) step {
	sender, room := g.place(st, pick(g, []func(place, bool) bool{isOwner, isAdmin}))
	victim := pick(g, append([]string{gone}, users...))
	if g.chance(60) {
		victim = g.someone(st, room, pick(g, []func(place, bool) bool{isMember, isInvited}))
	}
	return g.command(sender, room, "remove", victim)
}

func (g *generator) exit(st state) step {
	sender, room := g.place(st, pick(g, []func(place, bool) bool{isMember, isMember, isInvited}))
	return g.command(sender, room, pick(g, []string{"exit", "leave"}))
}

func (g *generator) list(st state) step {
	sender, room := g.place(st, pick(g, []func(place, bool) bool{isMember, isMember, isInvited}))
	return g.command(sender, room, pick(g, []string{"list", "members"}))
}

func (g *generator) ofRooms(state) step {
	return g.send(pick(g, users[:6]), pick(g, append([]string{manager}, rooms...)), "#"+g.spellWord("rooms"))
}

func (g *generator) destroy(st state) step {
	sender, room := g.place(st, isOwner)
	if g.chance(50) { // one with somebody invited
		_, room = g.place(st, isInvited)
		sender = g.someone(st, room, isOwner)
	}
	return g.command(sender, room, "destroy")
}

func (g *generator) modify(st state) step {
	room := pick(g, append([]string{manager}, rooms...))
	sender := g.someone(st, room, hasRights)
	user := pick(g, append([]string{gone}, users...)) + "@" + home
	role := pick(g, []string{"owner", "admin", "member", "Admin", "king"})
	s := g.send(sender, room, "#modify "+user+" "+role)
	if sc := newScene(s, st); modifies(&sc) && sc.theirs.flag != roleFlags[strings.ToLower(role)] {
		back := step{sender: ownerOf(sc.rs), uri: "sip:" + room, body: "#modify " + user + " " + roleOf(sc.theirs.flag)}
		g.next = append(g.next, back)
	}
	return s
}

// ownerOf is the user who owns a room.
func ownerOf(r *roomState) string {
	for name, p := range r.members {
		if isOwner(p, true) {
			user, _, _ := strings.Cut(name, "@")
			return user
		}
	}
	return ""
}

// odd makes what is no command of the module, or none at all.
func (g *generator) odd(st state) step {
	room := pick(g, append([]string{manager}, rooms...))
	s := g.send(g.someone(st, room, isMember), room, pick(g, []string{"#help", "#help me please", "#frobnicate",
		"#\"; drop table imc_rooms", "#", "# list", "", "##", "#list\r\n#destroy", "#join \t ", "#modify bob"}))
	if s.body == "#help" && g.chance(60) {
		s.contentType = "image/png"
	}
	return s.signed()
}

// signed gives a display name to who sends no text: imcd has a line before it else, with the
// author.
func (s step) signed() step {
	if s.contentType == "" || strings.HasPrefix(s.contentType, "text/") || strings.HasPrefix(s.from, `"`) {
		return s
	}
	if s.from == "" {
		s.from = "<sip:" + s.sender + "@" + home + ">"
	}
	s.from = `"A" ` + s.from
	return s
}

// surplus makes a command with more arguments than it has.
func (g *generator) surplus(st state) step {
	room := pick(g, rooms)
	_, host, _ := strings.Cut(room, "@")
	words := pick(g, [][]string{{"create", room}, {"create", room, "private"}, {"join", room},
		{"invite", "bob@" + home, room},
		{"add", "carol@" + home, room}, {"accept", room}, {"deny", room}, {"remove", "dave@" + home, room},
		{"exit", room}, {"list", room}, {"destroy", "nowhere@" + host}, {"rooms"}})
	sender := g.someone(st, room, pick(g, []func(place, bool) bool{isOwner, isInvited, isStranger}))
	return g.send(sender, room, "#"+strings.Join(append(words, "more", "words"), " "))
}

// wrongArgument makes a command with a name that is none.
func (g *generator) wrongArgument(st state) step {
	sender, room := g.place(st, hasRights)
	switch g.IntN(9) {
	case 0:
		return g.send(sender, room, "#"+pick(g, []string{"invite", "add", "remove"}))
	case 1:
		return g.send(sender, room, "#"+pick(g, []string{"create", "join"})+" "+pick(g, unstorable))
	case 2:
		return g.send(sender, room, "#"+pick(g, []string{"invite", "add"})+" "+pick(g,
			[]string{unstorable[0], unstorable[2]}))
	case 3:
		return g.send(sender, room, "#"+pick(g, []string{"invite", "add", "remove"})+" "+pick(g, badURIs))
	case 4:
		return g.send(sender, room, "#create "+room+" secret")
	case 5, 6:
		name := pick(g, strange)
		s := g.send(sender, room, "#join "+name)
		g.next = append(g.next, s.again(room, "#destroy "+name))
		return s
	}
	return g.send(sender, room, "#"+pick(g, []string{"create", "join", "accept", "deny", "exit", "list", "destroy",
		"invite bob", "add bob", "remove bob"})+" "+pick(g, badURIs))
}
