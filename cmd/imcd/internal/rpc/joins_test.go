package rpc

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// userRoom is an item of imc.user_rooms.
func userRoom(name string) string {
	return `{"room":"sip:` + name + `@x","user":"sip:u@x","role":"member","lag":0,"cursor":4,"displayed":0,` +
		`"state":"online","state_code":"online","sequence":4}`
}

// TestJoinsOfAll: in a fleet, each question is about one room, or is asked of all imcd that have rooms, or the database
// that they share knows the answer.
func TestJoinsOfAll(t *testing.T) {
	shared := []string{"imc.user_acts"}
	for name, m := range queryMethods(nil) {
		ofRoom := len(m.params) > 0 && m.params[0].name == "room"
		if _, joined := Joins()[name]; !joined && !ofRoom && !slices.Contains(shared, name) {
			t.Errorf("%s answers for the rooms of one imcd only", name)
		}
	}
}

// TestJoins: the answers of several imcd to a question about all rooms are one.
func TestJoins(t *testing.T) {
	for name, c := range map[string]struct {
		params, want string
		parts        []string
	}{
		"imc.list_rooms": {"", `[{"room":"sip:a@x","members":1,"owner":""},{"room":"sip:b@x","members":2,"owner":""}]`,
			[]string{`[{"room":"sip:b@x","members":2}]`, `[]`,
				`[{"room":"sip:a@x","members":1},{"room":"sip:b@x","members":2}]`}},
		"imc.pending": {`["sip:u@x"]`, `[]`, []string{`[]`, `[]`}},
		"imc.user_rooms": {`["sip:u@x"]`, "[" + userRoom("a") + "," + userRoom("b") + "]",
			[]string{`[` + userRoom("b") + `]`, `[]`, `[` + userRoom("a") + `]`}},
		"imc.devices": {`["sip:u@x"]`, `[` +
			`{"device":"a","contact":"","agent":"","source":"","kamailio":"","registered":true,` +
			`"state":"there, owed 3 messages","owed":3,"expires":null,"last_seen":null,"rooms":[` +
			`{"room":"sip:a@x","sequence":4,"has":2,"owed":2},{"room":"sip:b@x","sequence":9,"has":8,"owed":1}]},` +
			`{"device":"b","contact":"","agent":"","source":"","kamailio":"","registered":false,` +
			`"state":"away","owed":0,"expires":null,"last_seen":null,"rooms":null}]`,
			[]string{`[{"device":"a","registered":true,"state":"there, owed a message","owed":1,"rooms":[` +
				`{"room":"sip:b@x","sequence":9,"has":8,"owed":1}]},{"device":"b","state":"away"}]`, `[]`,
				`[{"device":"a","state":"there, owed 2 messages","owed":2,"rooms":[` +
					`{"room":"sip:a@x","sequence":4,"has":2,"owed":2}]}]`}},
		"imc.find_rooms": {`["garden"]`, `["sip:garden@x","sip:garden@y"]`,
			[]string{`["sip:chat-garden@x"]`, `["sip:garden@y"]`, `["sip:garden@x"]`}},
		"imc.say": {`[null,"hello",null,true]`, `{"rooms":5}`, []string{`{"rooms":2}`, `{"rooms":3}`}},
		"imc.stats": {"", `{"active_rooms":3,"members":7,"invitations":0,"outstanding":5,"backlog_bytes":0,"waiting":0,` +
			`"committing":0,"unwritten":0,"reading":0,"database_ok":false}`,
			[]string{`{"active_rooms":1,"members":7,"database_ok":true}`, `{"active_rooms":2,"outstanding":5}`}},
	} {
		var parts []json.RawMessage
		for _, p := range c.parts {
			parts = append(parts, json.RawMessage(p))
		}
		got, err := Joins()[name](json.RawMessage(c.params), parts)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if text, err := json.Marshal(got); err != nil || string(text) != c.want {
			t.Errorf("%s: %s, %v", name, text, err)
		}
	}
	for name, join := range Joins() {
		_, err := join(json.RawMessage(`["x"]`), []json.RawMessage{json.RawMessage(`7`)})
		if err == nil || !strings.Contains(err.Error(), "the answer of another imcd") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRoomOf: a call about one room goes to the imcd that has it.
func TestRoomOf(t *testing.T) {
	for _, c := range []struct{ name, params, want string }{
		{"imc.list_members", `["sip:a@x"]`, "sip:a@x"},
		{"imc.add_member", `{"room": "sip:a@x", "user": "sip:u@x"}`, "sip:a@x"},
		{"imc.say", `["sip:a@x", "hello"]`, "sip:a@x"},
		{"imc.say", `[null, "hello", null, true]`, ""},
		{"imc.list_rooms", ``, ""},
		{"imc.pending", `["sip:u@x"]`, ""},
		{"imc.devices", `["sip:u@x"]`, ""},
		{"imc.devices", `["sip:u@x", "sip:a@x"]`, "sip:a@x"},
		{"imc.list_members", `[7]`, ""},
		{"imc.overview", `["sip:a@x"]`, ""},
	} {
		if got := RoomOf(c.name, json.RawMessage(c.params)); got != c.want {
			t.Errorf("%s %s is about %q", c.name, c.params, got)
		}
	}
}
