package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"imcd/engine/store"
)

// model is what the semantics say, written down plainly: who is in which room
// as what. It knows no shards, commits or deliveries.
type model struct {
	rooms         map[string]*modelRoom
	gone          map[string]bool // users whose copies fail with 404
	leave         string          // owner_leave
	onJoin, check bool
}

type modelRoom struct {
	private bool
	flag    map[string]int
	inviter map[string]string
	order   []string
}

// outcome of one step: the final code and who hears something from the room.
type modelOutcome struct {
	code  int
	heard []string
}

func (r *modelRoom) inside(user string) bool {
	flag, ok := r.flag[user]
	return ok && flag&store.MemberInvited == 0
}

func (r *modelRoom) all() []string {
	var in []string
	for _, u := range r.order {
		if r.inside(u) {
			in = append(in, u)
		}
	}
	return in
}

func (r *modelRoom) owners() (n int) {
	for _, f := range r.flag {
		if f == store.MemberOwner {
			n++
		}
	}
	return n
}

func (r *modelRoom) put(user string, flag int) {
	if _, ok := r.flag[user]; !ok {
		r.order = append(r.order, user)
	}
	r.flag[user] = flag
}

func (r *modelRoom) drop(user string) {
	delete(r.flag, user)
	delete(r.inviter, user)
	r.order = slices.DeleteFunc(r.order, func(u string) bool { return u == user })
}

func (m *model) message(user, room string) modelOutcome {
	r := m.rooms[room]
	switch {
	case r == nil:
		return modelOutcome{404, []string{user}}
	case !r.inside(user):
		return modelOutcome{403, []string{user}}
	}
	others := slices.DeleteFunc(r.all(), func(u string) bool { return u == user })
	return modelOutcome{200, others}
}

func (m *model) create(user, room string, private bool) modelOutcome {
	m.rooms[room] = &modelRoom{private: private, flag: map[string]int{}, inviter: map[string]string{}}
	m.rooms[room].put(user, store.MemberOwner)
	return modelOutcome{200, []string{user}}
}

func (m *model) enter(user, room string) modelOutcome {
	m.rooms[room].put(user, 0)
	return modelOutcome{200, m.rooms[room].all()}
}

// command gives the outcome of a well-formed command on a room.
func (m *model) command(user, word, arg, role, room string) modelOutcome {
	r := m.rooms[room]
	self := []string{user}
	switch {
	case word == "create" && r == nil:
		return m.create(user, room, role == "private")
	case word == "create" && m.check:
		return modelOutcome{403, self}
	case word == "join" && r == nil && m.onJoin:
		return m.create(user, room, false)
	case r == nil:
		return modelOutcome{404, self}
	case (word == "create" || word == "join") && r.inside(user):
		return modelOutcome{200, self}
	case word == "create" && r.private:
		return modelOutcome{403, self}
	case word == "join" && r.private && r.flag[user]&store.MemberInvited == 0:
		heard := self
		for _, u := range r.all() {
			if r.flag[u]&(store.MemberOwner|store.MemberAdmin) != 0 {
				heard = append(heard, u)
			}
		}
		return modelOutcome{403, heard}
	case word == "create" || word == "join":
		return m.enter(user, room)
	case word == "accept" || word == "deny":
		return m.reply(user, word, room)
	case !r.inside(user):
		return modelOutcome{403, self}
	case word == "list":
		return modelOutcome{200, self}
	case word == "exit":
		return m.exit(user, room)
	case r.flag[user]&(store.MemberOwner|store.MemberAdmin) == 0:
		return modelOutcome{403, self}
	case word == "destroy" && r.flag[user] != store.MemberOwner:
		return modelOutcome{403, self}
	case word == "destroy":
		delete(m.rooms, room)
		return modelOutcome{200, r.all()}
	}
	return m.manage(user, word, arg, role, room)
}

func (m *model) reply(user, word, room string) modelOutcome {
	r := m.rooms[room]
	if r.flag[user]&store.MemberInvited == 0 {
		return modelOutcome{403, []string{user}}
	}
	if word == "accept" {
		return m.enter(user, room)
	}
	heard := []string{user, r.inviter[user]}
	r.drop(user)
	return modelOutcome{200, heard}
}

func (m *model) exit(user, room string) modelOutcome {
	r := m.rooms[room]
	everybody := r.all()
	if r.flag[user] != store.MemberOwner || r.owners() > 1 {
		r.drop(user)
		return modelOutcome{200, everybody}
	}
	heir := ""
	for _, u := range everybody {
		if u != user && (heir == "" || r.flag[heir] != store.MemberAdmin && r.flag[u] == store.MemberAdmin) {
			heir = u
		}
	}
	switch {
	case m.leave == OwnerLeaveRefuse:
		return modelOutcome{403, []string{user}}
	case m.leave == OwnerLeaveDestroy || heir == "":
		delete(m.rooms, room)
	default:
		r.drop(user)
		r.put(heir, store.MemberOwner)
	}
	return modelOutcome{200, everybody}
}

func (m *model) manage(user, word, arg, role, room string) modelOutcome {
	r := m.rooms[room]
	flag, known := r.flag[arg]
	self := []string{user}
	switch {
	case (word == "invite" || word == "add") && known:
		return modelOutcome{403, self}
	case word == "add":
		return m.enter(arg, room)
	case word == "invite" && m.gone[arg]:
		return modelOutcome{200, []string{arg, user, user}}
	case word == "invite":
		r.put(arg, store.MemberInvited)
		r.inviter[arg] = user
		return modelOutcome{200, []string{arg, user}}
	case !known || word == "modify" && flag&store.MemberInvited != 0:
		return modelOutcome{404, self}
	case word == "remove" && flag == store.MemberOwner:
		return modelOutcome{403, self}
	case word == "remove":
		r.drop(arg)
		return modelOutcome{200, append(r.all(), arg)}
	}
	want := map[string]int{"owner": store.MemberOwner, "admin": store.MemberAdmin, "member": 0}[role]
	switch {
	case (want == store.MemberOwner || flag == store.MemberOwner) && r.flag[user] != store.MemberOwner:
		return modelOutcome{403, self}
	case flag == store.MemberOwner && want != store.MemberOwner && r.owners() == 1:
		return modelOutcome{403, self}
	}
	r.flag[arg] = want
	return modelOutcome{200, r.all()}
}

// dump shows the rooms as memStore.dump does.
func (m *model) dump() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(m.rooms)) {
		r := m.rooms[key]
		private := 0
		if r.private {
			private = 1
		}
		fmt.Fprintf(&b, "%s@x.org %d:", key, private)
		for _, u := range r.order {
			fmt.Fprintf(&b, " %s/%d", u, r.flag[u])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// randomCase spells a name in one of several ways; all mean the same.
func randomCase(t *rapid.T, s string) string {
	return rapid.SampledFrom([]string{s, strings.ToUpper(s), strings.ToUpper(s[:1]) + s[1:]}).Draw(t, "case")
}

// Random conversations, restarts and failing commits against the model: same
// answers, same recipients, same rooms in the database.
func TestModel(t *testing.T) { rapid.Check(t, checkModel) }

func checkModel(rt *rapid.T) {
	users := []string{"ann", "bob", "cid", "dora", "emil", "fay"}
	rooms := []string{"red", "green", "blue"}
	m := &model{rooms: map[string]*modelRoom{}, gone: map[string]bool{"fay": true},
		leave:  rapid.SampledFrom([]string{OwnerLeaveDestroy, OwnerLeaveRefuse, OwnerLeaveTransfer}).Draw(rt, "owner_leave"),
		onJoin: rapid.Bool().Draw(rt, "create_on_join"), check: rapid.Bool().Draw(rt, "check_on_create")}
	change := func(c *Config) {
		c.OwnerLeave, c.CreateOnJoin, c.CheckOnCreate, c.NoticeRepeat = m.leave, m.onJoin, m.check, 0
	}
	store := newMemStore()
	store.codes["fay"] = result(603)
	h := openRapidHouse(rt, store, change)
	defer func() { h.close() }()
	words := []string{"create", "join", "join", "invite", "invite", "add", "accept", "accept", "deny", "remove", "exit",
		"list", "destroy", "modify", "modify", "message", "message", "restart", "broken"}
	for range rapid.IntRange(1, 60).Draw(rt, "steps") {
		word := rapid.SampledFrom(words).Draw(rt, "word")
		user := rapid.SampledFrom(users[:5]).Draw(rt, "user")
		room := rapid.SampledFrom(rooms).Draw(rt, "room")
		arg := rapid.SampledFrom(users).Draw(rt, "arg")
		if word == "add" && m.gone[arg] {
			continue // would miss what is said, and notices meanwhile
		}
		role := rapid.SampledFrom([]string{"owner", "admin", "member"}).Draw(rt, "role")
		switch word {
		case "restart":
			h.close()
			if owed := store.owed(); owed != "" {
				rt.Fatalf("everything was delivered, but after a clean end\n%s", owed)
			}
			h = openRapidHouse(rt, store, change)
			continue
		case "broken":
			h.brokenStep(rt, user, room)
			continue
		}
		h.modelStep(rt, m, user, word, arg, role, room)
	}
}

func openRapidHouse(rt *rapid.T, store *memStore, change func(*Config)) *house {
	h := startHouse(rt, store, change)
	h.quiet()
	h.relay.take()
	return h
}

// brokenStep lets a commit fail: 503, and nothing is different afterwards.
func (h *house) brokenStep(rt *rapid.T, user, room string) {
	before := h.store.dump()
	h.store.set(func([]store.Change) (error, bool) { return errRefused, false })
	a := h.say(user, room, "#create")
	h.store.set(nil)
	h.until("healthy", h.e.Healthy)
	h.relay.take()
	if after := h.store.dump(); after != before {
		rt.Fatalf("a failed commit (%d) changed\n%sto\n%s", a.Code, before, after)
	}
}

func (h *house) modelStep(rt *rapid.T, m *model, user, word, arg, role, room string) {
	body := "hello"
	var want modelOutcome
	if word == "message" {
		want = m.message(user, room)
	} else {
		body = "#" + randomCase(rt, word)
		target := ""
		switch word {
		case "create":
			role = rapid.SampledFrom([]string{"", "private"}).Draw(rt, "private")
			target = role
		case "invite", "add", "remove":
			target = randomCase(rt, arg)
		case "modify":
			target = arg + " " + role
		}
		body += " " + target
		want = m.command(user, word, arg, role, room)
	}
	a := h.say(randomCase(rt, user), randomCase(rt, room), body)
	var heard []string
	lines := h.heard()
	for _, line := range lines {
		who, _, _ := strings.Cut(line, "<")
		heard = append(heard, strings.ToLower(who))
	}
	slices.Sort(heard)
	slices.Sort(want.heard)
	if a.Code != want.code || !slices.Equal(heard, want.heard) {
		rt.Fatalf("%s to %s %q: %d %q heard by %v, want %d heard by %v\n%s\nrooms\n%s", user, room, body,
			a.Code, a.Reason, heard, want.code, want.heard, strings.Join(lines, "\n"), m.dump())
	}
	if got, want := strings.ToLower(h.store.dump()), m.dump(); got != want {
		rt.Fatalf("%s to %s %q: stored\n%swant\n%s", user, room, body, got, want)
	}
}
