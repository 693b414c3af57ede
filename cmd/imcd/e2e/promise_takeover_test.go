package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
	"imcd/schema/schematest"
)

// moduleTables are what Kamailio's own scripts make for the imc module, with a
// room that it has written.
const moduleTables = `
CREATE TABLE version (id SERIAL PRIMARY KEY NOT NULL, table_name VARCHAR(32) NOT NULL,
	table_version INTEGER DEFAULT 0 NOT NULL, CONSTRAINT version_table_name_idx UNIQUE (table_name));
CREATE TABLE imc_rooms (id SERIAL PRIMARY KEY NOT NULL, name VARCHAR(64) NOT NULL, domain VARCHAR(64) NOT NULL,
	flag INTEGER NOT NULL, CONSTRAINT imc_rooms_name_domain_idx UNIQUE (name, domain));
CREATE TABLE imc_members (id SERIAL PRIMARY KEY NOT NULL, username VARCHAR(64) NOT NULL, domain VARCHAR(64) NOT NULL,
	room VARCHAR(64) NOT NULL, flag INTEGER NOT NULL,
	CONSTRAINT imc_members_account_room_idx UNIQUE (username, domain, room));
INSERT INTO version (table_name, table_version) VALUES ('imc_rooms', 1), ('imc_members', 1);
` + moduleRows + `;`

// moduleRows are written again after the module had them: it empties the tables at
// its start and writes them at its end, at which Kamailio 5.6 hangs at times.
const moduleRows = `
INSERT INTO imc_rooms (name, domain, flag) VALUES ('chat-old', 'chat.example', 0) ON CONFLICT DO NOTHING;
INSERT INTO imc_members (username, domain, room, flag) VALUES ('alice', 'chat.example', 'sip:chat-old@chat.example', 1),
	('bob', 'chat.example', 'sip:chat-old@chat.example', 0), ('carol', 'chat.example', 'sip:chat-old@chat.example', 0)
	ON CONFLICT DO NOTHING`

// TestPromiseTakeOver: a room that the module made keeps its messages for members
// who are offline, from the first one on and over a crash; the module can take the
// room back; and what was owed then is still delivered when imcd has it again.
func TestPromiseTakeOver(t *testing.T) {
	t.Parallel()
	const room = "chat-old"
	url := schematest.NewDatabase(t)
	ctx := kit.Within(t, 3*time.Minute)
	database := url[strings.LastIndexByte(url, '/')+1:]
	if err := schematest.Server(t).Exec(ctx, database, moduleTables); err != nil {
		t.Fatal(err)
	}
	s := start(t, "postgres", stack.Options{DBURL: url})
	k := newSink(t, s, nil)
	phone := chatAgent(t, s, "phone")
	if err := registerAt(ctx, k.ua, []string{"alice", "bob"}, 3600); err != nil {
		t.Fatal(err)
	}
	bob, carol := seat{room, "bob"}, seat{room, "carol"}
	mustSay(t, phone, "alice", room, "first #0")
	kit.Until(t, ctx, "bob has the first message", func() bool { return k.has(bob, 0) })
	if err := kill9(ctx, s); err != nil {
		t.Fatal(err)
	}
	mustSay(t, phone, "alice", room, "second #1")
	kit.Until(t, ctx, "bob has the second message", func() bool { return k.has(bob, 1) })
	if err := s.StopImcd(); err != nil {
		t.Fatal(err)
	}

	handBack(t, url, room)
	if err := schematest.Server(t).Exec(ctx, database, moduleRows); err != nil {
		t.Fatal(err)
	}

	if err := s.StartImcd(ctx); err != nil {
		t.Fatal(err)
	}
	mustSay(t, phone, "alice", room, "third #2")
	if err := registerAt(ctx, k.ua, []string{"carol"}, 3600); err != nil {
		t.Fatal(err)
	}
	want := []int{0, 1, 2}
	kit.Until(t, ctx, "everybody has the third message", func() bool { return k.has(bob, 2) && k.has(carol, 2) })
	for _, p := range []seat{bob, carol} {
		if got := k.order(p); !slices.Equal(got, want) {
			t.Errorf("%s got %v", p.user, got)
		}
	}
	if twice := k.doubles(); len(twice) > 0 {
		t.Errorf("came again: %v", twice)
	}
}

// handBack lets Kamailio's own module have the rooms for a while.
func handBack(t *testing.T, url, room string) {
	t.Helper()
	ctx := kit.Context(t)
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := evapitest.StartKamailio(ctx, evapitest.Options{Config: kamailiocfg.File(kamailiocfg.Peer),
		Workers: 1, SIPPort: ports[0], EvapiPort: ports[1], Local: fmt.Sprintf("listen=tcp:127.0.0.1:%d\n"+
			"#!define IMC_DB_URL %q\n#!define IMC_OUTBOUND_PROXY \"sip:127.0.0.1:%d\"", ports[1], url, ports[0])})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := peer.Stop(); err != nil {
			t.Error(err)
		}
	}()
	bob, err := evapitest.NewUA(evapitest.UAConfig{User: "bob", Domain: chatHost, Proxy: peer.SIPAddr()})
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	if err := bob.Register(ctx); err != nil {
		t.Fatal(err)
	}
	mustSay(t, bob, "alice", room, "said to the module")
	_, err = bob.Wait(ctx, func(all []evapitest.Received) bool { return countTexts(all, "said to the module") > 0 })
	if err != nil {
		t.Error(err)
	}
}
