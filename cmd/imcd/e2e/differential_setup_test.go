package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imcd/cmd/internal/stack"
	"imcd/cmd/internal/stack/stacktest"
	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
	"imcd/schema"
	"imcd/schema/schematest"
)

// keepRooms makes PostgreSQL keep what the module saves. The module replaces
// rows of members by user alone, so that of several rooms with the same user only
// the last would have that user.
const keepRooms = `
CREATE FUNCTION other_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.room <> OLD.room THEN RETURN NULL; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER other_room BEFORE UPDATE ON imc_members FOR EACH ROW EXECUTE FUNCTION other_room();
`

// newComparison starts both systems. They end with the test.
func newComparison(t *testing.T, imcdURL string, strict bool) *comparison {
	t.Helper()
	return compareWith(t, imcdURL, strict, func(opts stack.Options) []*stack.Stack {
		return []*stack.Stack{stacktest.Start(t, opts)}
	})
}

// compareWith is newComparison with one or several imcd that share the rooms, which start makes.
func compareWith(t *testing.T, imcdURL string, strict bool,
	start func(stack.Options) []*stack.Stack) *comparison {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeLimit)
	t.Cleanup(cancel)
	c := &comparison{t: t, ctx: ctx, strict: strict, rules: ruleTable(), used: make(map[string]int)}
	c.peerURL = schematest.NewDatabase(t)
	c.saved = c.openStore(c.peerURL)
	c.onPeer(keepRooms)
	c.startPeer()
	c.startImcd(imcdURL, start)
	c.stored = c.openStore(imcdURL)
	return c
}

func (c *comparison) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// onPeer runs SQL in the module's database.
func (c *comparison) onPeer(statements string) {
	name := c.peerURL[strings.LastIndexByte(c.peerURL, '/')+1:]
	c.must(schematest.Server(c.t).Exec(c.ctx, name, statements))
}

func (c *comparison) openStore(url string) *schema.Store {
	s, err := schema.Open(c.ctx, url, schema.Options{})
	c.must(err)
	c.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return s
}

func (c *comparison) startPeer() {
	ports, err := evapitest.FreePorts(2)
	c.must(err)
	local := []string{
		// The rig waits for its evapi, which this Kamailio has none of.
		"listen=tcp:127.0.0.1:" + strconv.Itoa(ports[1]),
		fmt.Sprintf("#!define IMC_DB_URL %q", c.peerURL),
		fmt.Sprintf("#!define IMC_OUTBOUND_PROXY \"sip:127.0.0.1:%d\"", ports[0]),
	}
	if c.strict {
		local = append(local, "#!define IMC_CREATE_ON_JOIN 0", "#!define IMC_CHECK_ON_CREATE 1")
	}
	c.peer = kit.Kamailio(c.t, evapitest.Options{Config: kamailiocfg.File(kamailiocfg.Peer),
		Workers: 1, SIPPort: ports[0], EvapiPort: ports[1], Local: strings.Join(local, "\n")})
	c.module, err = peerSide(c.peer)
	c.t.Cleanup(func() {
		for _, u := range c.module.agents {
			if err := u.Close(); err != nil {
				c.t.Error(err)
			}
		}
	})
	c.must(err)
}

func (c *comparison) startImcd(url string, start func(stack.Options) []*stack.Stack) {
	settings := map[string]string{"owner_leave": "refuse", "notice_repeat": "0s"} // as the module: each time
	if c.strict {
		settings["create_on_join"], settings["check_on_create"] = "0", "1"
	}
	// The module makes rooms of any name.
	rooms := evapitest.Options{IMCLocal: `#!define IMC_ROOM "."`}
	c.stacks = start(stack.Options{Binary: binary.Path(c.t), DBURL: url, Settings: settings, Kamailio: rooms})
	c.connectImcd()
	c.must(c.imcd.prepare(c.ctx))
}

// connectImcd makes the side of imcd again, after its start.
func (c *comparison) connectImcd() {
	rpc, err := evapi.Dial(c.ctx, c.stacks[0].RPCAddr(), "")
	c.must(err)
	c.t.Cleanup(func() { _ = rpc.Close() }) // imcd may be gone
	c.imcd, err = imcdSide(c.stacks, func(ctx context.Context, method string, params []string, result any) error {
		if params == nil {
			params = []string{}
		}
		return rpc.Call(ctx, method, params, result)
	})
	c.must(err)
}

// begin starts the module, and returns what both sides begin with: nothing, or
// rooms that they find in their tables. The latter have admins, which nobody can
// become with the module.
func (c *comparison) begin(stored bool) state {
	c.t.Helper()
	if stored {
		c.must(c.peer.Halt())
		for _, s := range c.stacks {
			c.must(s.StopImcd())
		}
		for _, s := range []*schema.Store{c.saved, c.stored} {
			c.must(s.Commit(c.ctx, store.Fence{}, storedRooms()))
		}
		for _, s := range c.stacks {
			c.must(s.StartImcd(c.ctx))
		}
		if c.started != nil {
			c.started()
		}
		c.connectImcd()
	}
	if !c.peer.Running() {
		c.must(c.peer.Start(c.ctx))
	}
	c.must(c.module.prepare(c.ctx))
	now, err := loadState(c.ctx, c.stored)
	c.must(err)
	return now
}

// storedRooms are the rooms that some conversations begin with, owners first: the
// module takes the first member for it.
func storedRooms() []store.Change {
	var changes []store.Change
	for _, r := range []struct {
		room    string
		flag    int
		members map[string]int
		owner   string
	}{
		{rooms[0], 0, map[string]int{"bob": store.MemberAdmin, "carol": 0, "dave": store.MemberInvited}, "alice"},
		{rooms[1], store.RoomPrivate, map[string]int{"alice": store.MemberAdmin, "erin": store.MemberAdmin,
			"frank": 0, "carol": store.MemberInvited}, "bob"},
		{rooms[3], store.RoomPrivate, map[string]int{"dave": store.MemberAdmin, "bob": store.MemberInvited}, "carol"},
	} {
		room := nameOf(r.room)
		put := func(user string, flag int) {
			changes = append(changes, store.Change{Op: store.PutMember, Member: store.MemberRow{
				Room: room, User: nameOf(user + "@" + home), Flag: flag}})
		}
		changes = append(changes, store.Change{Op: store.PutRoom, Room: store.RoomRow{Name: room, Flag: r.flag}})
		put(r.owner, store.MemberOwner)
		for _, user := range slices.Sorted(maps.Keys(r.members)) {
			put(user, r.members[user])
		}
	}
	return changes
}

func nameOf(key string) store.Name {
	user, host, _ := strings.Cut(key, "@")
	return store.Name{User: user, Host: host}
}
