package kamailiocfg_test

import (
	"os"
	"strings"
	"testing"

	"imcd/engine/store"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
	"imcd/schema/schematest"
)

// TestRoomsInRouting: the README's routes find rooms and members in the tables, and nobody can write SQL into them.
func TestRoomsInRouting(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(page), "### From the database\n")
	blocks := strings.Split(chapter, "```\n")
	url, _, _ := strings.Cut(schematest.NewDatabase(t), "?")
	routes := strings.Replace(blocks[1], "postgres://kamailio:kamailiorw@localhost/kamailio", url, 1)
	if routes == blocks[1] || !strings.Contains(blocks[3], "route(ROOM_MEMBER)") {
		t.Fatal("the README has another form")
	}
	s, err := schema.Open(kit.Context(t), url, schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	name := func(user string) store.Name { return store.Name{User: user, Host: "example.org"} }
	member := func(user string, flag int) store.Change {
		return store.Change{Op: store.PutMember, Member: store.MemberRow{Room: name("chat-a"), User: name(user), Flag: flag}}
	}
	err = s.Commit(kit.Context(t), store.Fence{}, []store.Change{
		{Op: store.PutRoom, Room: store.RoomRow{Name: name("chat-a")}},
		{Op: store.PutRoom, Room: store.RoomRow{Name: name("chat-p"), Flag: store.RoomPrivate}},
		member("alice", store.MemberOwner), member("bob", 0), member("carl", store.MemberInvited)})
	if err != nil {
		t.Fatal(err)
	}
	text := stockConfig(t, readmeDiffs(t)[0])
	text = strings.Replace(text, "####### Routing Logic ########", "loadmodule \"db_postgres.so\"\n"+routes, 1)
	text = strings.Replace(text, "request_route {", "request_route {\n"+blocks[3]+`
		if (is_method("INVITE") && $rU =~ "^conf-") { sl_send_reply("486", "Member"); exit; }
		if (is_method("INFO")) {
			$var(room) = "sip:" + $rU + "@" + $rd;
			if (route(ROOM_ACTIVE)) { sl_send_reply("200", "Room"); } else { sl_send_reply("404", "No room"); }
			exit;
		}`, 1)
	k := kit.Kamailio(t, evapitest.Options{Config: text, Local: "alias=\"example.org\"\n"})
	for user, code := range map[string]int{"alice": 486, "bob": 486, "carl": 403, "dora": 403, "x'or'1'='1": 403} {
		u := kit.UA(t, evapitest.UAConfig{User: user, Domain: "example.org", Proxy: k.SIPAddr()})
		expect(t, do(t, u, evapitest.Request{Method: "INVITE", URI: "sip:conf-a@example.org"}), code)
		expect(t, do(t, u, evapitest.Request{Method: "INVITE", URI: "sip:conf-p@example.org"}), 403)
	}
	u := kit.UA(t, evapitest.UAConfig{User: "eve", Domain: "example.org", Proxy: k.SIPAddr()})
	for room, code := range map[string]int{"chat-a": 200, "chat-p": 200, "chat-q": 404, "x'or'1'='1": 404} {
		expect(t, do(t, u, evapitest.Request{Method: "INFO", URI: "sip:" + room + "@example.org"}), code)
	}
}
