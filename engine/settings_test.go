package engine

import (
	"maps"
	"strings"
	"testing"

	"imcd/engine/store"
)

// newTrio is a house with a room r of alice, who owns it, bob, an admin, and carol.
func newTrio(t *testing.T, change func(*Config)) *house {
	h := newHouse(t, change)
	h.say("alice", "r", "#create")
	h.say("bob", "r", "#join")
	h.say("carol", "r", "#join")
	h.say("alice", "r", "#modify bob admin")
	h.heard()
	return h
}

// all has a line for each of the trio.
func all(text string) []string {
	return []string{"alice<r: " + text, "bob<r: " + text, "carol<r: " + text}
}

func TestWhoMaySet(t *testing.T) {
	h := newTrio(t, nil)
	admin, owner := []string{"carol<r: *** Only an owner or admin of"}, []string{"carol<r: *** Only an owner of"}
	values := map[string]string{"title": "Roses", "topic": "Roses, and more.", "private": "on", "key": "Rosebud",
		"invite": "members", "moderated": "on", "limit": "7", "history": "3", "keep": "7d", "idle": "90d",
		"joins": "counted", "typing": "off", "receipts": "off"}
	for _, row := range settingsTable {
		value := values[row.name]
		shown := value
		if row.secret {
			shown = "on"
		}
		heard := "*** alice has set " + row.name + " to " + shown + "."
		if row.name == "topic" {
			heard = "*** alice has set the topic: " + value
		}
		if row.admins {
			runSteps(t, h, []step{{"carol", "r", "#set " + row.name + " " + value, 403, -162, admin},
				{"bob", "r", "#set " + row.name + " " + strings.Replace(value, "on", "off", 1), 200, 1, all("*** bob has set")}})
			h.say("bob", "r", "#set "+row.name+" default")
			h.heard()
		} else {
			runSteps(t, h, []step{{"carol", "r", "#set " + row.name + " " + value, 403, -162, owner},
				{"bob", "r", "#set " + row.name + " " + value, 403, -162, []string{"bob<r: *** Only an owner of"}}})
		}
		runSteps(t, h, []step{
			{"alice", "r", "#SET " + strings.ToUpper(row.name) + " " + value, 200, 1, all(heard)},
			{"alice", "r", "#set " + row.name + " " + value, 200, 1, []string{"alice<r: *** " + row.name + ": " + shown}},
			{"carol", "r", "#set " + row.name, 200, 1, []string{"carol<r: *** " + row.name + ": " + shown}},
			{"dora", "r", "#set " + row.name, 403, -162, []string{"dora<r: *** You are not in"}},
		})
	}
	listed := h.say("carol", "r", "#set")
	h.want(listed, 200, 1)
	h.wantHeard("carol<r: Settings of r (#help set explains them):\ntitle: Roses\ntopic: Roses, and more.\nprivate: on\n" +
		"key: on\ninvite: members\nmoderated: on\nlimit: 7\nhistory: 3\nkeep: 7d\nidle: 90d\njoins: counted\n" +
		"typing: off\nreceipts: off")
	rows := h.store.copy().sets
	maps.DeleteFunc(rows, func(row store.SettingRow, _ string) bool { return row.Name == settingIdleSince })
	if len(rows) != len(settingsTable)-1 {
		t.Errorf("stored are %v", rows)
	}
	for _, row := range settingsTable {
		h.say("alice", "r", "#set "+row.name+" default")
	}
	h.heard()
	h.say("carol", "r", "#set")
	h.wantHeard("title: off\ntopic: off\nprivate: off\nkey: off\ninvite: admins\nmoderated: off\nlimit: off\n" +
		"history: off\nkeep: 30d\nidle: off\njoins: all\ntyping: on\nreceipts: on")
	if rows := h.store.copy().sets; len(rows) != 0 {
		t.Errorf("stored are %v", rows)
	}
}

func TestBadSettings(t *testing.T) {
	h := newTrio(t, func(c *Config) { c.MaxMembers, c.HistoryMax = 100, 50 })
	long := strings.Repeat("ü", 65)
	runSteps(t, h, []step{
		{"alice", "r", "#set colour blue", 400, -160,
			[]string{"alice<r: *** There is no setting 'colour'. Usage: #set [name]"}},
		{"alice", "r", "#set limit", 200, 1, []string{"alice<r: *** limit: 100"}},
		{"alice", "r", "#set limit many", 400, -160,
			[]string{"alice<r: *** limit: 'many' is neither off nor a number from 1"}},
		{"alice", "r", "#set limit 0", 400, -160, []string{"alice<r: *** limit: '0' is neither"}},
		{"alice", "r", "#set limit 5 6", 400, -160, []string{"alice<r: *** limit takes one value: number|off. Usage"}},
		{"alice", "r", "#set limit 101", 400, -160, []string{"alice<r: *** limit: at most 100 are possible here"}},
		{"alice", "r", "#set limit off", 400, -160, []string{"alice<r: *** limit: at most 100"}},
		{"alice", "r", "#set limit 100", 200, 1, all("*** alice has set limit to 100.")},
		{"alice", "r", "#set history 51", 400, -160, []string{"alice<r: *** history: at most 50"}},
		{"alice", "r", "#set keep 31d", 400, -160, []string{"alice<r: *** keep: at most 30d are possible here"}},
		{"alice", "r", "#set keep off", 400, -160, []string{"alice<r: *** keep: at most 30d"}},
		{"alice", "r", "#set keep 30m", 400, -160, []string{"alice<r: *** keep: '30m' is neither off nor a time"}},
		{"alice", "r", "#set keep 36h", 200, 1, all("*** alice has set keep to 36h.")},
		{"alice", "r", "#set typing yes", 400, -160, []string{"alice<r: *** typing: 'yes' is neither on nor off"}},
		{"alice", "r", "#set private yes", 400, -160, []string{"alice<r: *** 'yes' is neither"}},
		{"alice", "r", "#set joins some", 400, -160, []string{"alice<r: *** joins: 'some' is none of all"}},
		{"alice", "r", "#set invite all", 400, -160, []string{"alice<r: *** invite: 'all' is neither"}},
		{"alice", "r", "#set title " + long, 400, -160,
			[]string{"alice<r: *** title: that has 65 characters, at most 64"}},
		{"alice", "r", "#set title " + long[2:], 200, 1, all("*** alice has set title to üüü")},
		{"alice", "r", "#topic " + strings.Repeat("x", 201), 400, -160, []string{"alice<r: *** topic: that has 201"}},
		{"alice", "none", "#set", 404, -161, []string{"alice<none: *** There is no room none"}},
		{"dora", "r", "#topic", 403, -162, []string{"dora<r: *** You are not"}},
	})
	if got := h.say("alice", "r", "#set title \u202e x\u0007 "); got.Code != 200 {
		t.Errorf("answered %+v", got)
	}
	h.wantHeard(all("*** alice has set title to x.")...)
}

// TestTitleAndTopic: who sees them, and where.
func TestTitleAndTopic(t *testing.T) {
	h := newTrio(t, nil)
	runSteps(t, h, []step{
		{"carol", "r", "#topic", 200, 1, []string{"carol<r: *** Room r has no topic."}},
		{"carol", "r", "#topic roses", 403, -162, []string{"carol<r: *** Only an owner or admin"}},
		{"bob", "r", "#topic: “Roses”, and   more...", 200, 1, all("*** bob has set the topic: “Roses”, and   more...")},
		{"carol", "r", "#topic", 200, 1, []string{"carol<r: *** Topic: “Roses”, and   more..."}},
		{"dora", "r", "#join", 200, 1, []string{"alice<r: *** dora", "bob<", "carol<",
			"dora<r: *** You are in r now (4 members). #help lists the commands.\n*** Topic: “Roses”, and   more..."}},
		{"alice", "r", "#remove dora", 200, 1, []string{"alice<", "bob<", "carol<", "dora<"}},
		{"alice", "r", "#topic off", 200, 1, all("*** alice has set topic to off.")},
		{"carol", "r", "#topic", 200, 1, []string{"carol<r: *** Room r has no topic."}},
	})
	const title = `"The \"Rose\" Garden" <sip:r@x.org>`
	froms := func(want ...string) {
		t.Helper()
		h.quiet()
		for _, c := range h.relay.take() {
			if len(want) == 0 || c.from != want[0] {
				t.Errorf("%s gets %q from %s, want %v", c.to, c.body, c.from, want)
				return
			}
			want = want[1:]
		}
		if len(want) > 0 {
			t.Errorf("missing: %v", want)
		}
	}
	h.say("alice", "r", `#set title The "Rose" Garden`)
	froms(title, title, title)
	h.say("alice", "r", "without a name")
	froms(title, title)
	h.say(`"Al" <sip:alice@x.org>`, "r", "with one")
	froms(`"Al" <sip:r@x.org>`, `"Al" <sip:r@x.org>`)
	h.say("carol", "r", "#list")
	froms(title)
	h.say("carol", "r", "#rooms")
	h.wantHeard(`carol<r: 1 room: r "The "Rose" Garden" (joined)`)
	d, err := h.e.RoomState(t.Context(), "sip:r@x.org")
	if err != nil || d.Title != `The "Rose" Garden` || d.Topic != "" {
		t.Errorf("%v, %+v", err, d)
	}
	h.answers("dora", result(480))
	h.say("alice", "r", "#add dora")
	h.close()
	h = openHouse(t, h.store, nil)
	h.quiet()
	h.relay.take()
	h.say("carol", "r", "#list")
	froms(title)
	h.answers("dora", result(200))
	h.e.Registered("sip:dora@x.org")
	h.until("greeted", func() bool { h.relay.mu.Lock(); defer h.relay.mu.Unlock(); return len(h.relay.copies) > 0 })
	froms(title) // a notice of the imcd before
}

// TestSettingsAct: each setting does what it says, before and after a restart.
func TestSettingsAct(t *testing.T) {
	for _, c := range []struct {
		name, value string
		change      func(*Config)
		without     []step
		with        []step
	}{
		{"private", "on", nil,
			[]step{{"dora", "r", "#join", 200, 1, []string{"alice<", "bob<", "carol<", "dora<r: *** You are"}}},
			[]step{{"dora", "r", "#join", 403, -42,
				[]string{"alice<r: *** dora wanted", "bob<", "dora<r: *** Room r is private"}}}},
		{"invite", "members", nil,
			[]step{{"carol", "r", "#invite dora", 403, -52, []string{"carol<r: *** Only an owner or admin"}},
				{"carol", "r", "#add dora", 403, -52, []string{"carol<r: *** Only an owner or admin"}}},
			[]step{{"carol", "r", "#invite dora", 200, 1, []string{"carol<r: *** dora has been", "dora<"}},
				{"dora", "r", "#add eve", 403, -52, []string{"dora<r: *** You are invited"}},
				{"carol", "r", "#add eve", 200, 1, []string{"alice<", "bob<", "carol<", "eve<r: *** carol has added"}}}},
		{"limit", "3", nil,
			[]step{{"dora", "r", "#join", 200, 1, []string{"alice<", "bob<", "carol<", "dora<"}}},
			[]step{{"dora", "r", "#join", 403, -46, []string{"dora<r: *** Room r is full"}},
				{"alice", "r", "#add dora", 403, -56, []string{"alice<r: *** Room r is full"}},
				{"alice", "r", "#invite dora", 403, -56, []string{"alice<r: *** Room r is full"}}}},
		{"history", "2", nil,
			[]step{{"dora", "r", "#join", 200, 1, []string{"alice<", "bob<", "carol<", "dora<"}}},
			[]step{{"dora", "r", "#join", 200, 1,
				[]string{"alice<", "bob<", "carol<", "dora<", "dora<r: Last messages"}}}},
		{"history", "off", func(c *Config) { c.HistoryOnJoin = 2 },
			[]step{{"dora", "r", "#join", 200, 1, []string{"alice<", "bob<", "carol<", "dora<", "dora<r: Last messages"}}},
			[]step{{"dora", "r", "#join", 200, 1, []string{"alice<", "bob<", "carol<", "dora<"}}}},
		{"joins", "off", nil,
			[]step{{"dora", "r", "#join", 200, 1, []string{"alice<", "bob<", "carol<", "dora<"}}},
			[]step{{"dora", "r", "#join", 200, 1, []string{"dora<"}}, {"dora", "r", "#leave", 200, 1, []string{"dora<"}},
				{"alice", "r", "#add dora", 200, 1, []string{"alice<r: *** dora has joined", "dora<"}}}},
		{"joins", "all", func(c *Config) { c.JoinNotices = JoinsOff },
			[]step{{"dora", "r", "#join", 200, 1, []string{"dora<"}}},
			[]step{{"dora", "r", "#join", 200, 1, []string{"alice<", "bob<", "carol<", "dora<"}}}},
	} {
		t.Run(c.name+" "+c.value, func(t *testing.T) {
			h := newTrio(t, c.change)
			h.say("alice", "r", "one")
			h.heard()
			runSteps(t, h, c.without)
			for _, user := range []string{"dora", "eve"} {
				h.say("alice", "r", "#remove "+user)
			}
			h.heard()
			runSteps(t, h, []step{{"alice", "r", "#set " + c.name + " " + c.value, 200, 1, all("*** alice has set")}})
			h.close()
			h = openHouse(t, h.store, c.change)
			h.quiet()
			h.heard()
			runSteps(t, h, c.with)
		})
	}
}

// TestSetTypingAndReceipts: rooms have their own, whatever imcd.yaml says.
func TestSetTypingAndReceipts(t *testing.T) {
	never := func(c *Config) { c.TypingMembers, c.Receipts = 0, ReceiptsOff }
	for _, c := range []struct {
		change func(*Config)
		value  string
		passes bool
	}{{nil, "", true}, {nil, "off", false}, {never, "", false}, {never, "on", true}} {
		h := newTrio(t, c.change)
		if c.value != "" {
			h.say("alice", "r", "#set typing "+c.value)
			h.say("alice", "r", "#set receipts "+c.value)
		}
		h.say("alice", "r", "hello") // all are known to be online
		h.say("bob", "r", "hello")
		h.heard()
		h.say("alice", "r", typingXML(t), "Content-Type: application/im-iscomposing+xml\r\n")
		if n := len(h.heard()); n != 0 != c.passes {
			t.Errorf("%+v: %d typing", c, n)
		}
		answer := make(chan int, 1)
		onShard(h.e.shardOf(store.Name{User: "r", Host: "x.org"}), func(s *shard) {
			answer <- s.rooms["r@x.org"].settings.receiptMembers(&s.engine.cfg)
		})
		if n := <-answer; n > 0 != c.passes {
			t.Errorf("%+v: receipts in rooms of %d", c, n)
		}
	}
}

// TestOperatorSets: operators are not bound by what imcd.yaml allows owners.
func TestOperatorSets(t *testing.T) {
	h := newTrio(t, func(c *Config) { c.MaxMembers = 10 })
	o := operator{t, h}
	ctx, e := o.ctx(), h.e
	const room = "sip:r@x.org"
	o.want(e.SetRoom(ctx, room, "limit", "1000"), nil, all("*** operator has set limit to 1000.")...)
	o.want(e.SetRoom(ctx, room, "limit", "1000"), nil)
	o.want(e.SetRoom(ctx, room, "Topic", "Roses, and more."), nil,
		all("*** operator has set the topic: Roses, and more.")...)
	o.want(e.SetRoom(ctx, room, "limit", "x"), 400)
	o.want(e.SetRoom(ctx, room, "colour", "x"), 400)
	o.want(e.SetRoom(ctx, "sip:q@x.org", "limit", "3"), ErrNoRoom)
	list, err := e.RoomSettings(ctx, room)
	if err != nil || len(list) != len(settingsTable) {
		t.Fatalf("%v, %v", err, list)
	}
	for _, s := range list {
		if want := map[string]string{"limit": "1000", "topic": "Roses, and more."}[s.Name]; s.Set != (want != "") ||
			s.Set && s.Value != want || s.Help == "" || s.Values == "" {
			t.Errorf("%+v", s)
		}
	}
	if _, err := e.RoomSettings(ctx, "sip:q@x.org"); err == nil {
		t.Error("a room that is not there has settings")
	}
}

// TestUnknownSettings: those of a later imcd stay stored, and one that cannot be read does not count.
func TestUnknownSettings(t *testing.T) {
	h := newTrio(t, nil)
	h.say("alice", "r", "#set limit 3")
	kept := h.store.crash()
	var id int64
	for k := range kept.sets {
		id = k.Room
	}
	kept.sets[store.SettingRow{Room: id, Name: "colour"}] = "blue"
	kept.sets[store.SettingRow{Room: id, Name: "typing"}] = "sometimes"
	h = openHouse(t, kept, nil)
	h.quiet()
	h.heard()
	runSteps(t, h, []step{
		{"dora", "r", "#join", 403, -46, []string{"dora<r: *** Room r is full"}},
		{"alice", "r", "#set typing", 200, 1, []string{"alice<r: *** typing: on"}},
		{"alice", "r", "#set limit 4", 200, 1, all("*** alice has set limit to 4.")},
	})
	if got := kept.copy().sets[store.SettingRow{Room: id, Name: "colour"}]; got != "blue" {
		t.Errorf("the unknown setting is %q", got)
	}
}

// TestSettingNotStored: a setting that the database did not take is not in force.
func TestSettingNotStored(t *testing.T) {
	h := newTrio(t, nil)
	h.store.set(func([]store.Change) (error, bool) { return store.ErrInvalid, false })
	h.want(h.say("alice", "r", "#set limit 1"), 500, -169)
	h.store.set(nil)
	h.quiet()
	h.heard()
	runSteps(t, h, []step{{"alice", "r", "#set limit", 200, 1, []string{"alice<r: *** limit: off"}}})
}
