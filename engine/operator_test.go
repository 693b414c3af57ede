package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
)

// operator is the engine's operator side with a deadline, for tests in which
// everything must go well or be refused.
type operator struct {
	t *testing.T
	h *house
}

func (o operator) ctx() context.Context {
	ctx, cancel := context.WithTimeout(o.t.Context(), 20*time.Second)
	o.t.Cleanup(cancel)
	return ctx
}

// want checks an action's error (nil, a sentinel, or a SIP code of Refused) and
// what was heard of it.
func (o operator) want(err error, want any, heard ...string) {
	o.t.Helper()
	o.h.quiet()
	switch want := want.(type) {
	case nil:
		if err != nil {
			o.t.Errorf("refused: %v", err)
		}
	case error:
		if !errors.Is(err, want) {
			o.t.Errorf("error is %v, want %v", err, want)
		}
	case int:
		if refused := new(Refused); !errors.As(err, &refused) || refused.Code != want || refused.Reason == "" {
			o.t.Errorf("error is %v, want a refusal with %d", err, want)
		}
	}
	o.h.wantHeard(heard...)
}

func TestOperatorActs(t *testing.T) {
	h := newHouse(t, nil)
	o := operator{t, h}
	ctx, e := o.ctx(), h.e
	const room = "sip:chat-1@x.org"
	o.want(e.CreateRoom(ctx, room, true, "alice"), nil, "alice<chat-1: *** Private room chat-1 created")
	o.want(e.CreateRoom(ctx, room, false, "bob"), 403)
	o.want(e.AddMember(ctx, room, "bob", ""), nil, "alice<chat-1: *** bob has joined",
		"bob<chat-1: *** operator has added you to chat-1 (2 members)")
	o.want(e.AddMember(ctx, room, "bob", ""), 403)
	o.want(e.AddMember(ctx, room, "sip:carol@y.org", "admin"), nil,
		"alice<chat-1: *** carol@y.org has joined", "alice<chat-1: *** carol@y.org is now admin",
		"bob<chat-1: *** carol@y.org has", "bob<chat-1: *** carol@y.org is",
		"carol<chat-1: *** operator has added", "carol<chat-1: *** carol@y.org is")
	h.say("alice", "chat-1", "#invite dave")
	h.heard()
	o.want(e.AddMember(ctx, room, "dave", ""), nil, "alice<chat-1: *** dave has", "bob<chat-1: *** dave",
		"carol<", "dave<")
	o.want(e.SetRole(ctx, room, "bob", "owner"), nil, "alice<chat-1: *** bob is now owner", "bob<", "carol<", "dave<")
	o.want(e.SetRole(ctx, room, "alice", "member"), nil, "alice<chat-1: *** alice is now member", "bob<",
		"carol<", "dave<")
	o.want(e.SetRole(ctx, room, "bob", "member"), 403) // the last owner
	o.want(e.SetRole(ctx, room, "bob", "king"), 400)
	o.want(e.RemoveMember(ctx, room, "dave"), nil, "alice<chat-1: *** dave was removed from the room by operator", "bob<",
		"carol<", "dave<chat-1: *** You were removed from room chat-1 by operator")
	// An owner is not protected; the oldest admin inherits.
	o.want(e.RemoveMember(ctx, room, "bob"), nil, "alice<chat-1: *** bob was removed",
		"alice<chat-1: *** carol@y.org is now owner",
		"bob<chat-1: *** You were removed", "carol<chat-1: *** bob", "carol<chat-1: *** carol@y.org is now owner")
	o.want(e.RemoveMember(ctx, room, "alice"), nil, "alice<", "carol<")
	o.want(e.RemoveMember(ctx, room, "alice"), ErrNoUser)
	if d, err := e.RoomState(ctx, room); err != nil || !d.Private || len(d.Members) != 1 || d.Members[0].Role != "owner" {
		t.Errorf("the room is %+v, %v", d, err)
	}
	o.want(e.DestroyRoom(ctx, room), nil, "carol<chat-1: *** Room chat-1 was destroyed by operator")
	o.want(e.DestroyRoom(ctx, room), ErrNoRoom)
	if d := h.store.dump(); d != "" {
		t.Errorf("still stored:\n%s", d)
	}
}

// TestOperatorEmptyRoom: a room without members lives, also over a restart, until
// its last member leaves.
func TestOperatorEmptyRoom(t *testing.T) {
	h := newHouse(t, nil)
	o := operator{t, h}
	const room = "sip:chat-1@x.org"
	o.want(h.e.CreateRoom(o.ctx(), room, false, ""), nil)
	h.close()
	h = openHouse(t, h.store, nil)
	o.h = h
	o.want(h.e.Say(o.ctx(), room, "nobody hears it", ""), nil)
	runSteps(t, h, []step{
		{"bob", "chat-1", "#join", 200, 1, []string{"bob<chat-1: *** You are in chat-1 now (1 member)."}},
		{"bob", "chat-1", "#create", 200, 1, []string{"bob<chat-1: *** You are in room"}},
	})
	o.want(h.e.SetRole(o.ctx(), room, "bob", "owner"), nil, "bob<chat-1: *** bob is now owner")
	o.want(h.e.RemoveMember(o.ctx(), room, "bob"), nil, "bob<chat-1: *** You were removed")
	o.want(h.e.DestroyRoom(o.ctx(), room), ErrNoRoom)
}

func TestOperatorSays(t *testing.T) {
	h := newHouse(t, nil)
	o := operator{t, h}
	ctx, e := o.ctx(), h.e
	h.say("alice", "chat-1", "#create")
	h.say("bob", "chat-1", "#join")
	h.say("carol", "chat-2", "#create private")
	h.heard()
	const room = "sip:chat-1@x.org"
	o.want(e.Say(ctx, room, "#back at ten", ""), nil,
		"alice<chat-1: [operator]: #back at ten", "bob<chat-1: [operator]: #back at ten")
	o.want(e.Say(ctx, room, "hello", "bob"), nil, "alice<chat-1: [bob]: hello")
	o.want(e.Say(ctx, room, "hello", "carol"), 403)
	o.want(e.Say(ctx, room, "", ""), 400)
	o.want(e.Say(ctx, room, "\xff", ""), 400)
	o.want(e.Say(ctx, room, strings.Repeat("x", 40000), ""), 413)
	o.want(e.Say(ctx, "sip:nix@x.org", "hello", ""), ErrNoRoom)
	o.want(e.Say(ctx, "nix", "hello", ""), ErrBadName)
	o.want(e.Say(ctx, room, "hello", "a b"), ErrBadName)
	n, err := e.SayAll(ctx, "good night")
	o.want(err, nil, "alice<chat-1: [operator]: good night", "bob<", "carol<chat-2: [operator]: good night")
	if n != 2 {
		t.Errorf("said in %d rooms, not 2", n)
	}
	if _, err := e.SayAll(ctx, ""); err == nil {
		t.Error("nothing was said to all")
	}
	// Nobody else can write as the room.
	h.say("chat-1", "chat-1", "#join")
	h.heard()
	if a := h.say("chat-1", "chat-1", "I am the operator"); a.Code != 403 {
		t.Errorf("the room wrote to itself: %+v", a)
	}
	h.heard()
	a := h.say("alice", "chat-1", "#history 2")
	h.want(a, 200, 1)
	if got := strings.Join(h.heard(), "\n"); !strings.Contains(got, "[operator]: good night") ||
		!strings.Contains(got, "[bob]: hello") {
		t.Errorf("the history is %s", got)
	}
}

func TestOperatorHistory(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.HistoryMax = 3 })
	o := operator{t, h}
	ctx, e := o.ctx(), h.e
	h.say("alice", "chat-1", "#create")
	const room = "sip:chat-1@x.org"
	if got, err := e.History(ctx, room, 1); err != nil || len(got) != 0 {
		t.Errorf("a new room has %v, %v", got, err)
	}
	for i := range 4 {
		h.say(`"Alice" <sip:alice@x.org>`, "chat-1", fmt.Sprint("message ", i))
	}
	h.say("alice", "chat-1", "\x80\xff", "Content-Type: image/png\r\n")
	h.heard()
	got, err := e.History(ctx, room, 2)
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if m := got[0]; m.Seq != 4 || m.Body != "message 3" || m.Base64 || m.From != "sip:alice@x.org" ||
		m.Display != "Alice" || m.Time.IsZero() {
		t.Errorf("%+v", m)
	}
	if m := got[1]; m.Seq != 5 || m.Body != "gP8=" || !m.Base64 || m.ContentType != "image/png" {
		t.Errorf("%+v", m)
	}
	for _, n := range []int{-1, 4} {
		_, err := e.History(ctx, room, n)
		o.want(err, 400)
	}
	_, err = e.History(ctx, "sip:nix@x.org", 1)
	o.want(err, ErrNoRoom)
}

// TestOperatorFailures: what cannot be done now is refused with 503, and a caller
// whose time is over does not wait.
func TestOperatorFailures(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.MaxMembers = 1 })
	o := operator{t, h}
	h.say("alice", "chat-1", "#create")
	h.heard()
	const room = "sip:chat-1@x.org"
	o.want(h.e.AddMember(o.ctx(), room, "bob", ""), 403) // the room is full
	o.want(h.e.AddMember(o.ctx(), room, "bob", "king"), 400)
	o.want(h.e.CreateRoom(o.ctx(), "sip:"+strings.Repeat("r", 60)+"@x.org", false, ""), 400)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.e.Say(over, room, "x", ""); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	h.quiet()
	h.heard()
	h.store.set(func([]store.Change) (error, bool) { return store.ErrUnavailable, false })
	if refused := new(Refused); !errors.As(h.e.Say(o.ctx(), room, "x", ""), &refused) || refused.Code != 503 {
		t.Errorf("without the database: %v", refused)
	}
	h.close()
	if err := h.e.Say(o.ctx(), room, "x", ""); err == nil {
		t.Error("a stopped engine took a message")
	}
}
