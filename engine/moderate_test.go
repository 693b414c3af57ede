package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
)

func TestMute(t *testing.T) {
	h := newTrio(t, nil)
	runSteps(t, h, []step{
		{"carol", "r", "#mute bob", 403, -172, []string{"carol<r: *** Only an owner or admin"}},
		{"bob", "r", "#mute alice", 403, -175, []string{"bob<r: *** alice owns room r, and cannot be moderated."}},
		{"bob", "r", "#mute bob", 403, -172, []string{"bob<r: *** Only an owner of"}},
		{"bob", "r", "#mute dora", 404, -173, []string{"bob<r: *** dora is not in room r"}},
		{"bob", "r", "#mute", 400, -170, []string{"bob<r: *** Argument missing. Usage: #mute user [time] [why]"}},
		{"bob", "r", "#mute carol 10x", 400, -170, []string{"bob<r: *** '10x' is no time like 10m, 2h or 7d"}},
		{"bob", "r", "#mute carol 400d", 400, -170, []string{"bob<r: *** '400d' is no time"}},
		{"bob", "r", "#mute carol " + strings.Repeat("x", 201), 400, -170, []string{"bob<r: *** that has 201 characters"}},
		{"bob", "r", "#mute Carol too loud", 200, 1, []string{"alice<r: *** carol was muted by bob. Reason: too loud",
			"bob<r: *** carol was muted by bob. Reason: too loud",
			"carol<r: *** bob has muted you in room r: you read what is said and cannot write. Reason: too loud"}},
		{"carol", "r", "hello", 403, -202,
			[]string{"carol<r: *** You are muted in room r, and your message went to nobody."}},
		{"carol", "r", "#list", 200, 1, []string{"carol<r: 3 members: *alice (owner), ~bob (admin), carol (muted)"}},
		{"alice", "r", "hello", 200, 1, []string{"bob<r: [alice]: hello", "carol<r: [alice]: hello"}},
		{"carol", "r", "#leave", 200, 1, []string{"alice<", "bob<", "carol<"}},
		{"carol", "r", "#join", 200, 1, []string{"alice<", "bob<", "carol<"}},
		{"carol", "r", "I am back", 403, -202, nil},
		{"alice", "r", "#mute bob 1h", 200, 1, []string{"alice<r: *** bob was muted by alice until ",
			"bob<r: *** alice has muted you in room r until ", "carol<r: *** bob was muted by alice until "}},
		{"bob", "r", "hello", 403, -202, []string{"bob<r: *** You are muted in room r until "}},
		{"bob", "r", "#unmute bob", 403, -172, []string{"bob<r: *** Only an owner of"}},
		{"alice", "r", "#modify bob owner", 200, 1, all("*** bob is now owner.")},
		{"bob", "r", "owners speak", 200, 1, []string{"alice<", "carol<"}},
		{"bob", "r", "#unmute carol", 200, 1, []string{"alice<r: *** carol may write again.", "bob<r: *** carol may",
			"carol<r: *** You may write in room r again."}},
		{"bob", "r", "#unmute carol", 200, 1, []string{"bob<r: *** carol is not muted."}},
		{"carol", "r", "thanks", 200, 1, []string{"alice<", "bob<"}},
	})
}

func TestModerated(t *testing.T) {
	h := newTrio(t, nil)
	runSteps(t, h, []step{
		{"bob", "r", "#set moderated on", 200, 1, all("*** bob has set moderated to on.")},
		{"carol", "r", "hello", 403, -202,
			[]string{"carol<r: *** Room r is moderated: who has no voice there cannot write."}},
		{"bob", "r", "hello", 200, 1, []string{"alice<", "carol<"}},
		{"carol", "r", "#voice carol", 403, -192, []string{"carol<r: *** Only an owner or admin"}},
		{"bob", "r", "#voice dora", 404, -193, []string{"bob<r: *** dora is not"}},
		{"bob", "r", "#voice carol", 200, 1, all("*** carol has a voice now.")},
		{"carol", "r", "#list", 200, 1, []string{"carol<r: 3 members: *alice (owner), ~bob (admin), carol (voice)"}},
		{"carol", "r", "hello", 200, 1, []string{"alice<", "bob<"}},
		{"bob", "r", "#unvoice carol", 200, 1, all("*** carol has no voice any more.")},
		{"bob", "r", "#unvoice carol", 200, 1, []string{"bob<r: *** carol has no voice."}},
		{"carol", "r", "hello again", 403, -202, nil},
		{"bob", "r", "#set moderated off", 200, 1, all("*** bob has set moderated to off.")},
		{"carol", "r", "hello", 200, 1, []string{"alice<", "bob<"}},
	})
	h.heard()
	h.say("alice", "r", "#set moderated on")
	h.say("bob", "r", "all are online")
	h.heard()
	h.say("carol", "r", typingXML(t), "Content-Type: application/im-iscomposing+xml\r\n")
	h.wantHeard()
	o := operator{t, h}
	o.want(h.e.Say(o.ctx(), "sip:r@x.org", "The service speaks.", ""), nil, "alice<", "bob<", "carol<")
	o.want(h.e.Say(o.ctx(), "sip:r@x.org", "x", "carol"), 403)
}

func TestBan(t *testing.T) {
	h := newTrio(t, func(c *Config) { c.ForeignUsers = ForeignAllow })
	h.say("alice", "r", "#invite eve")
	h.heard()
	runSteps(t, h, []step{
		{"carol", "r", "#ban bob", 403, -182, []string{"carol<r: *** Only an owner or admin"}},
		{"bob", "r", "#ban alice", 403, -185, []string{"bob<r: *** alice owns room r"}},
		{"bob", "r", "#ban *@x.org", 403, -185, []string{"bob<r: *** alice owns room r"}},
		{"bob", "r", "#ban *@", 400, -180, []string{"bob<r: *** Bad domain"}},
		{"bob", "r", "#bans", 200, 1, []string{"bob<r: *** Nobody is banned"}},
		{"bob", "r", "#unban carol", 404, -183, []string{"bob<r: *** carol is not banned from room r."}},
		{"bob", "r", "#ban carol 2h spam, again", 200, 1,
			[]string{"alice<r: *** carol was banned from the room by bob until ",
				"bob<r: *** carol was banned", "carol<r: *** You were banned from room r by bob until "}},
		{"carol", "r", "hello", 403, -202, []string{"carol<r: *** You are not in room r"}},
		{"carol", "r", "#join", 403, -42, []string{"carol<r: *** You are banned from room r until "}},
		{"carol", "r", "#create", 403, -32, []string{"carol<r: *** You are banned from room r until "}},
		{"bob", "r", "#invite carol", 403, -52, []string{"bob<r: *** carol is banned from room r until "}},
		{"alice", "r", "#add carol", 403, -52, []string{"alice<r: *** carol is banned from room r until "}},
		{"bob", "r", "#ban Eve", 200, 1,
			[]string{"alice<r: *** eve was banned from the room by bob.", "bob<", "eve<r: *** You"}},
		{"eve", "r", "#accept", 403, -62, []string{"eve<r: *** You have no invitation"}},
		{"bob", "r", "#ban *@Spam.example spam", 200, 1, []string{"alice<r: *** *@spam.example was banned", "bob<"}},
		{"alice", "r", "#add mal@spam.EXAMPLE", 403, -52,
			[]string{"alice<r: *** mal@spam.EXAMPLE is banned from room r: #unban"}},
		{"<sip:mal@spam.example>", "r", "#join", 403, -42, []string{"mal<r: *** You are banned from room r."}},
		{"bob", "r", "#bans", 200, 1, []string{"bob<r: Banned: *@spam.example, carol until "}},
		{"bob", "r", "#unban *@spam.example", 200, 1,
			[]string{"alice<r: *** *@spam.example is not banned any more.", "bob<"}},
		{"<sip:mal@spam.example>", "r", "#join", 200, 1, []string{"alice<", "bob<", "mal<r: *** You are in r"}},
		{"alice", "r", "#set private on", 200, 1, []string{"alice<", "bob<", "mal<"}},
		{"carol", "r", "#join", 403, -42, []string{"carol<r: *** You are banned"}},
		{"bob", "r", "#unban carol", 200, 1, []string{"alice<", "bob<", "mal<"}},
		{"bob", "r", "#add carol", 200, 1, []string{"alice<", "bob<", "carol<", "mal<"}},
		{"bob", "r", "#warn carol", 400, -190, []string{"bob<r: *** Argument missing. Usage: #warn user text"}},
		{"carol", "r", "#warn bob you", 403, -192, []string{"carol<r: *** Only"}},
		{"bob", "r", "#warn carol No spam, please.", 200, 1, []string{"bob<r: *** carol was warned.",
			"carol<r: *** bob warns you in room r: No spam, please."}},
		{"alice", "r", "#ban bob", 200, 1, []string{"alice<r: *** bob was banned", "bob<", "carol<", "mal<"}},
	})
	o := operator{t, h}
	o.want(h.e.AddMember(o.ctx(), "sip:r@x.org", "bob", ""), 403)
	h.heard()
	h.close()
	h = openHouse(t, h.store, nil)
	h.quiet()
	h.heard()
	runSteps(t, h, []step{{"bob", "r", "#join", 403, -42, []string{"bob<r: *** You are banned from room r."}},
		{"alice", "r", "#bans", 200, 1, []string{"alice<r: Banned: bob, eve"}}})
}

// TestTerms: what was for a time ends with it, also if imcd was started again since, and its row goes.
func TestTerms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := newMemStore()
		h := startHouse(t, kept, nil)
		for _, user := range []string{"bob", "carol", "dora"} {
			h.say(user, "r", "#join")
		}
		h.say("bob", "r", "#mute carol 10m")
		h.say("bob", "r", "#ban dora 2h")
		h.pass(9 * time.Minute)
		h.want(h.say("carol", "r", "x"), 403, -202)
		h.close()
		h = startHouse(t, kept, nil)
		h.want(h.say("carol", "r", "x"), 403, -202)
		h.pass(time.Minute)
		h.want(h.say("carol", "r", "x"), 200, 1)
		h.want(h.say("dora", "r", "#join"), 403, -42)
		h.pass(2 * time.Hour)
		h.want(h.say("dora", "r", "#join"), 200, 1)
		if n := len(kept.copy().sets); n != 2 {
			t.Errorf("%d rows", n)
		}
		h.say("bob", "r", "#mute carol")
		if n := len(kept.copy().sets); n != 1 {
			t.Errorf("%d rows after another mute", n)
		}
		h.close()
	})
}

// TestManyRules: a room has a bounded number.
func TestManyRules(t *testing.T) {
	h := newTrio(t, nil)
	onShard(h.e.shardOf(store.Name{User: "r", Host: "x.org"}), func(s *shard) {
		r := s.rooms["r@x.org"]
		for i := range maxRules - 1 {
			r.rules = r.rules.with(rule{ruleBan, fmt.Sprint("u", i, "@x.org")}, time.Time{})
		}
	})
	runSteps(t, h, []step{
		{"alice", "r", "#ban mal", 200, 1, all("*** mal was banned")},
		{"alice", "r", "#ban mal 2h", 200, 1, all("*** mal was banned")},
		{"alice", "r", "#ban moe", 403, -186, []string{"alice<r: *** In room r there are 1000 bans"}},
		{"alice", "r", "#mute carol", 403, -176, []string{"alice<r: *** In room r there are"}},
		{"alice", "r", "#unban u1", 200, 1, all("*** u1 is not")},
		{"alice", "r", "#ban moe", 200, 1, all("*** moe was banned")},
	})
}

// TestActs: what was done is kept with who, when, whom and why, also after the end of the room.
func TestActs(t *testing.T) {
	h := newTrio(t, nil)
	o := operator{t, h}
	ctx, e := o.ctx(), h.e
	const room = "sip:r@x.org"
	for _, line := range []string{"mute carol 10m too loud", "mute carol", "unmute carol", "voice carol", "voice carol",
		"unvoice carol", "warn carol you", "ban *@Spam.example", "unban *@spam.example", "ban carol 2h spam", "topic Roses",
		"topic Roses", "ban alice"} {
		h.say("bob", "r", "#"+line)
	}
	h.say("alice", "r", "#remove bob")
	if err := e.SetRoom(ctx, room, "limit", "3"); err != nil {
		t.Error(err)
	}
	h.heard()
	h.say("alice", "r", "#exit")
	h.heard()
	acts, err := e.Acts(ctx, "sip:R@x.org", 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range acts {
		line := strings.Join([]string{a.By, a.Act, a.User, a.Why}, "|")
		if a.Until != nil {
			line += "|" + a.Until.Sub(a.Time).String()
		}
		got = append(got, strings.NewReplacer("sip:", "", "@x.org", "").Replace(line))
	}
	want := []string{"alice|role|bob|admin", "bob|mute|carol|too loud|10m0s", "bob|mute|carol|", "bob|unmute|carol|",
		"bob|voice|carol|", "bob|unvoice|carol|", "bob|warn|carol|you", "bob|ban|*@spam.example|",
		"bob|unban|*@spam.example|",
		"bob|ban|carol|spam|2h0m0s", "bob|set||topic: Roses", "alice|remove|bob|", "|set||limit: 3", "alice|destroy||"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("acts are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	on, err := e.UserActs(ctx, "sip:Carol@x.org", 2)
	if err != nil || len(on) != 2 || on[0].Act != "warn" || on[1].Act != "ban" || on[1].Room != room || on[1].By == "" {
		t.Errorf("the last acts on carol: %+v, %v", on, err)
	}
	on, err = e.UserActs(ctx, "sip:x@spam.example", 0)
	if err != nil || len(on) != 2 || on[0].Act != "ban" || on[1].Act != "unban" {
		t.Errorf("the acts on all of a domain: %+v, %v", on, err)
	}
	_, err = e.UserActs(ctx, room, -1)
	o.want(err, 400)
	_, err = e.UserActs(ctx, "", 1)
	o.want(err, ErrBadName)
	if acts, err := e.Acts(ctx, room, 1); err != nil || len(acts) != 1 || acts[0].Act != "destroy" {
		t.Errorf("the last act: %v, %v", acts, err)
	}
	_, err = e.Acts(ctx, room, 1001)
	o.want(err, 400)
	_, err = e.Acts(ctx, "", 1)
	o.want(err, ErrBadName)
	h.store.mu.Lock()
	h.store.away = true
	h.store.mu.Unlock()
	_, err = e.Acts(ctx, room, 1)
	o.want(err, 503)
}

// TestServiceAdmins: they may do what an owner may, and are no members.
func TestServiceAdmins(t *testing.T) {
	h := newTrio(t, func(c *Config) { c.ServiceAdmins = "sip:Root@X.org, eve@y.org," })
	runSteps(t, h, []step{
		{"root", "r", "#list", 200, 1, []string{"root<r: 3 members"}},
		{"root", "r", "#history", 403, -142, []string{"root<r: *** You are not in"}},
		{"root", "r", "hello", 403, -202, []string{"root<r: *** You are not in"}},
		{"root", "r", "#leave", 403, -92, []string{"root<r: *** You are not in"}},
		{"root", "r", "#set private on", 200, 1, append(all("*** root has set private to on."), "root<r: *** root has set")},
		{"root", "r", "#set limit 3", 200, 1, append(all("*** root has"), "root<")},
		{"root", "r", "#mute bob", 200, 1, []string{"alice<r: *** bob was muted by root.", "bob<", "carol<", "root<"}},
		{"root", "r", "#mute alice", 403, -175, []string{"root<r: *** alice owns"}},
		{"root", "r", "#modify carol owner", 200, 1, append(all("*** carol is now owner."), "root<")},
		{"root", "r", "#remove alice", 403, -85, []string{"root<r: *** alice owns"}},
		{"root", "r", "#modify alice member", 200, 1, append(all("*** alice is now member."), "root<")},
		{"root", "r", "#ban alice", 200, 1, []string{"alice<r: *** You were banned", "bob<", "carol<", "root<"}},
		{"root", "r", "#add root", 200, 1, []string{"bob<", "carol<", "root<r: *** root has added you"}},
		{"root", "r", "#ban bob", 200, 1, []string{"bob<", "carol<", "root<"}},
		{"root", "r", "#leave", 200, 1, []string{"carol<", "root<"}},
		{"eve", "r", "#destroy", 403, -112, []string{"eve<r: *** You are not"}},
		{"root", "r", "#destroy", 200, 1,
			[]string{"carol<r: *** Room r was destroyed by root", "root<r: *** Room r was destroyed"}},
	})
	h.say("alice", "r", "#create")
	h.heard()
	foreign := h.request("<sip:eve@y.org>", "r@x.org", "#destroy")
	foreign.Foreign = true
	h.want(<-h.send(foreign), 403, -112)
	if _, err := newServiceAdmins("a@x.org,@"); err == nil {
		t.Error("a bad URI is taken")
	}
}

func TestOperatorModerates(t *testing.T) {
	h := newTrio(t, nil)
	o := operator{t, h}
	ctx, e := o.ctx(), h.e
	const room = "sip:r@x.org"
	o.want(e.Moderate(ctx, room, "mute", "bob", "2h", "too loud"), nil, "alice<r: *** bob was muted by operator until ",
		"bob<r: *** operator has muted you in room r until ", "carol<")
	o.want(e.Moderate(ctx, room, "unmute", "bob", "", ""), nil, "alice<", "bob<", "carol<")
	o.want(e.Moderate(ctx, room, "warn", "carol", "", "Not so loud."), nil,
		"carol<r: *** operator warns you in room r: Not so loud.")
	o.want(e.Moderate(ctx, room, "voice", "carol", "", ""), nil, all("*** carol has a voice now.")...)
	o.want(e.Moderate(ctx, room, "unvoice", "carol", "", ""), nil, all("*** carol has no voice any more.")...)
	o.want(e.Moderate(ctx, room, "ban", "*@spam.example", "", ""), nil, all("*** *@spam.example was banned")...)
	o.want(e.Moderate(ctx, room, "unban", "dora", "", ""), ErrNoUser)
	o.want(e.Moderate(ctx, room, "mute", "dora", "", ""), ErrNoUser)
	o.want(e.Moderate(ctx, "sip:q@x.org", "mute", "dora", "", ""), ErrNoRoom)
	o.want(e.Moderate(ctx, room, "destroy", "bob", "", ""), 400)
	o.want(e.Moderate(ctx, room, "mute", "bob", "soon", ""), 400)
	// An owner is not protected: the oldest admin inherits.
	o.want(e.Moderate(ctx, room, "ban", "alice", "", ""), nil, "alice<r: *** You were banned",
		"bob<r: *** alice was banned", "bob<r: *** bob is now owner", "carol<", "carol<")
}
