package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"imcd/engine"
	"imcd/evapi"
	"imcd/evapi/jsonrpc"
	"imcd/evapi/netstring"
)

// did notes an action.
func (f fakeRooms) did(format string, args ...any) error {
	if f.done != nil {
		*f.done = fmt.Sprintf(format, args...)
	}
	return f.err
}

func (f fakeRooms) CreateRoom(_ context.Context, room string, private bool, owner string) error {
	return f.did("create %s %t %s", room, private, owner)
}
func (f fakeRooms) DestroyRoom(_ context.Context, room string) error {
	return f.did("destroy %s", room)
}
func (f fakeRooms) AddMember(_ context.Context, room, user, role string) error {
	return f.did("add %s %s %s", room, user, role)
}
func (f fakeRooms) RemoveMember(_ context.Context, room, user string) error {
	return f.did("remove %s %s", room, user)
}
func (f fakeRooms) SetRole(_ context.Context, room, user, role string) error {
	return f.did("role %s %s %s", room, user, role)
}
func (f fakeRooms) Moderate(_ context.Context, room, act, user, term, why string) error {
	return f.did("%s in %s: %s %s %q", act, room, user, term, why)
}
func (f fakeRooms) SetRoom(_ context.Context, room, name, value string) error {
	return f.did("set %s %s %q", room, name, value)
}
func (f fakeRooms) Say(_ context.Context, room, text, from string) error {
	return f.did("say %s %q %s", room, text, from)
}
func (f fakeRooms) SayAll(_ context.Context, text string) (int, error) {
	return 3, f.did("say to all %q", text)
}
func (f fakeRooms) SkipMessage(_ context.Context, room, user string) (uint64, error) {
	return 7, f.did("skip %s %s", room, user)
}
func (f fakeRooms) DeleteMessage(_ context.Context, room string, seq int) error {
	return f.did("delete %s %d", room, seq)
}
func (f fakeRooms) History(_ context.Context, room string, n int) ([]engine.HistoryItem, error) {
	return []engine.HistoryItem{}, f.did("history %s %d", room, n)
}

// TestActions: each method does what its parameters say, in both forms.
func TestActions(t *testing.T) {
	var done string
	server := jsonrpc.NewServer(Methods(fakeRooms{done: &done}))
	for _, c := range []struct{ method, params, does, result string }{
		{"create_room", `["chat-1@x.org"]`, "create chat-1@x.org false ", `{"room":"sip:chat-1@x.org"}`},
		{"create_room", `{"room":"sip:c@x","owner":"bob","private":true}`, "create sip:c@x true bob", `{"room":"sip:c@x"}`},
		{"create_room", `["c@x",null,"bob"]`, "create c@x false bob", ``},
		{"destroy_room", `["c@x"]`, "destroy c@x", `{"room":"sip:c@x"}`},
		{"add_member", `["c@x","bob"]`, "add c@x bob ", ``},
		{"add_member", `["c@x","bob","admin"]`, "add c@x bob admin", ``},
		{"remove_member", `{"user":"bob","room":"c@x"}`, "remove c@x bob", ``},
		{"skip", `["c@x","bob"]`, "skip c@x bob", `{"room":"sip:c@x","seq":7}`},
		{"set_role", `["c@x","bob","owner"]`, "role c@x bob owner", ``},
		{"moderate", `["c@x","ban","bob","2h","too loud"]`, `ban in c@x: bob 2h "too loud"`, `{"room":"sip:c@x"}`},
		{"moderate", `{"room":"c@x","act":"warn","user":"bob","why":"you"}`, `warn in c@x: bob  "you"`, ``},
		{"room_set", `["c@x","topic","Roses, and more"]`, `set c@x topic "Roses, and more"`, `{"room":"sip:c@x"}`},
		{"say", `["c@x","hello \"you\""]`, `say c@x "hello \"you\"" `, `{"room":"sip:c@x"}`},
		{"say", `{"room":"c@x","text":"hi","from":"echo"}`, `say c@x "hi" echo`, ``},
		{"say", `{"all":true,"text":"hi"}`, `say to all "hi"`, `{"rooms":3}`},
		{"delete_message", `["c@x",7]`, "delete c@x 7", `{"room":"sip:c@x"}`},
		{"acts", `["c@x"]`, "acts c@x 0", `[]`},
		{"acts", `{"room":"c@x","n":7}`, "acts c@x 7", ``},
		{"user_acts", `["dora@x"]`, "acts on dora@x 0", `[]`},
		{"user_acts", `{"user":"dora@x","n":7}`, "acts on dora@x 7", ``},
		{"history", `["c@x"]`, "history c@x 0", `[]`},
		{"history", `["c@x",7]`, "history c@x 7", ``},
	} {
		done = ""
		answer := string(server.Handle(t.Context(),
			[]byte(`{"jsonrpc":"2.0","id":1,"method":"imc.`+c.method+`","params":`+c.params+`}`)))
		if done != c.does || !strings.Contains(answer, `"result":`+c.result) {
			t.Errorf("%s %s: did %q, answered %s", c.method, c.params, done, answer)
		}
	}
	for _, c := range []struct{ method, params, says string }{
		{"create_room", `[]`, "no room given; parameters are [room, private?, owner?]"},
		{"create_room", `["c@x","yes"]`, "private must be true or false"},
		{"create_room", `{"rom":"c@x"}`, `no parameter \"rom\"`},
		{"add_member", `["c@x"]`, "no user given"},
		{"add_member", `["c@x",""]`, "no user given"},
		{"add_member", `["c@x","b","c","d"]`, "too many parameters"},
		{"set_role", `["c@x","bob"]`, "no role given"},
		{"set_role", `["c@x",null,"owner"]`, "user must be a string"},
		{"room_set", `["c@x","topic",""]`, "no value given; parameters are [room, name, value]"},
		{"say", `["c@x"]`, "no text given"},
		{"say", `{"text":"x"}`, "either room or all"},
		{"say", `{"text":"x","all":true,"room":"c@x"}`, "all excludes room"},
		{"say", `{"text":"x","all":1}`, "all must be true or false"},
		{"history", `["c@x","7"]`, "n must be a whole number"},
		{"history", `["c@x",1.5]`, "n must be a whole number"},
		{"history", `["c@x",1e30]`, "n must be a whole number"},
	} {
		done = ""
		answer := string(server.Handle(t.Context(),
			[]byte(`{"jsonrpc":"2.0","id":1,"method":"imc.`+c.method+`","params":`+c.params+`}`)))
		if done != "" || !strings.Contains(answer, c.says) || !strings.Contains(answer,
			fmt.Sprint(jsonrpc.CodeInvalidParams)) {
			t.Errorf("%s %s: did %q, answered %s; want %q", c.method, c.params, done, answer, c.says)
		}
	}
}

// TestToken: with a token, nobody is served who does not say it first; without
// one a hello is welcome, too.
func TestToken(t *testing.T) {
	const token = "0123456789abcdef"
	guarded, open := listenToken(t, token, 8, fakeRooms{}), listen(t, 8, fakeRooms{})
	for _, l := range []*Listener{guarded, open} {
		c, err := evapi.Dial(t.Context(), l.Addr().String(), token)
		if err != nil {
			t.Fatal(err)
		}
		var stats engine.Stats
		if err := c.Call(t.Context(), "imc.stats", nil, &stats); err != nil {
			t.Error(err)
		}
		c.Close()
	}
	refused := new(jsonrpc.Error)
	if _, err := evapi.Dial(t.Context(), guarded.Addr().String(), token+"x"); !errors.As(err, &refused) ||
		refused.Code != codeRefused {
		t.Errorf("a wrong token: %v", err)
	}
	for _, first := range []string{statsCall, "hello ", "hello", token, "{}"} {
		nc := dial(t, guarded)
		two := netstring.Append(netstring.Append(nil, []byte(first)), []byte(statsCall))
		if _, err := nc.Write(two); err != nil {
			t.Fatal(err)
		}
		r := netstring.NewReader(nc, 1<<20)
		if b, err := r.Read(); err != nil || !strings.Contains(string(b), "rpc_token") {
			t.Errorf("%q: %s, %v", first, b, err)
		}
		if b, err := r.Read(); err == nil {
			t.Errorf("%q: then %s", first, b)
		}
	}
}

// FuzzParams: whatever the parameters are, a method gets values of the kinds it
// wants or the caller an error that says what is wrong.
func FuzzParams(f *testing.F) {
	for _, seed := range []string{``, `null`, `[]`, `["a","b"]`, `["a"]`, `{"room":"a","user":"b"}`, `{"room":1}`, `[[]]`,
		`"a"`, `{"":""}`,
		` [ "a" , "b" ] `, `["a","b",true,3]`, `["a","b",null,null]`, `["a","b",false,-1e99]`} {
		f.Add([]byte(seed))
	}
	params := []param{text("room"), text("user"), optional(flag("all")), optional(number("n"))}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := read(json.RawMessage(raw), params)
		if err == nil && (got.text("room") == "" || got.text("user") == "") {
			t.Errorf("%q: %v without an error", raw, got)
		}
		if n := got["n"]; err == nil && n != nil && n != float64(got.number("n")) {
			t.Errorf("%q: n is %v and %d", raw, n, got.number("n"))
		}
		if refused := new(jsonrpc.Error); err != nil && (!errors.As(err, &refused) ||
			refused.Code != jsonrpc.CodeInvalidParams) {
			t.Errorf("%q: %v", raw, err)
		}
	})
}
