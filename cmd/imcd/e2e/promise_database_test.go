package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestPromiseWithoutDatabase: while PostgreSQL is away nothing is answered 200,
// what was committed before is still delivered, and all goes on by itself.
func TestPromiseWithoutDatabase(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	if err := pg.CreateDatabase("imcd"); err != nil {
		t.Fatal(err)
	}
	s := start(t, "postgres", stack.Options{DBURL: pg.URL("imcd")})
	ctx := kit.Within(t, 2*time.Minute)
	const room = "chat-away"
	alice, bob := chatAgent(t, s, "alice"), chatAgent(t, s, "bob")
	for _, u := range []*evapitest.UA{alice, bob} {
		if err := u.Register(ctx); err != nil {
			t.Fatal(err)
		}
	}
	mustSay(t, alice, "alice", room, "#create")
	mustSay(t, bob, "bob", room, "#join")
	// The first copy fails for the moment, so that all are still to be delivered
	// when the database has gone.
	bob.AnswerWith(503)
	const committed = 5
	for i := range committed {
		mustSay(t, alice, "alice", room, fmt.Sprint("committed ", i))
	}
	if _, err := bob.Wait(ctx, func(all []evapitest.Received) bool {
		return countTexts(all,
			"committed") > 0
	}); err != nil {
		t.Fatal(err)
	}
	if err := pg.StopFast(); err != nil {
		t.Fatal(err)
	}
	kit.Until(t, ctx, "imcd is not ready", func() bool { return ready(t, s) == http.StatusServiceUnavailable })
	for i, text := range []string{"lost", "#add carol", "#exit", "lost again", "#create chat-other"} {
		res, err := alice.Say(ctx, roomURI(room), text)
		if err != nil || res.StatusCode != 503 || res.GetHeader("Retry-After") == nil {
			t.Errorf("%q without a database: %v %v", text, res, err)
		}
		if i == 0 {
			bob.Clear()
			bob.AnswerWith(200)
		}
	}
	if err := pg.Start(ctx); err != nil {
		t.Fatal(err)
	}
	kit.Until(t, ctx, "imcd is ready again", func() bool { return ready(t, s) == http.StatusOK })
	kit.Until(t, ctx, "a message is answered 200", func() bool {
		code, err := sayAs(ctx, alice, "alice", room, "afterwards")
		return err == nil && code == 200
	})
	all, err := bob.Wait(ctx, func(all []evapitest.Received) bool { return countTexts(all, "afterwards") > 0 })
	if err != nil {
		t.Error(err)
	}
	var got []string
	for _, m := range all {
		if text := strings.TrimPrefix(m.Text(), "[alice]: "); text != m.Text() {
			got = append(got, text)
		}
	}
	want := []string{"committed 0", "committed 1", "committed 2", "committed 3", "committed 4", "afterwards"}
	if !slices.Equal(got, want) {
		t.Errorf("bob got %q, want %q", got, want)
	}
}

// TestPromiseDeliversWithoutDatabase: members that follow get what is committed
// though the database has gone meanwhile.
func TestPromiseDeliversWithoutDatabase(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	if err := pg.CreateDatabase("imcd"); err != nil {
		t.Fatal(err)
	}
	const room, members, messages = "chat-goes-on", 100, 20
	users := names("u", members)
	fillRooms(t, pg.URL("imcd"), []filling{{room: room, members: users}})
	// Copies go out few at a time, so that there is a rest to deliver.
	s := start(t, "postgres", stack.Options{DBURL: pg.URL("imcd"), Settings: map[string]string{"max_outstanding": "4"}})
	k := newSink(t, s, nil)
	// The phones read nothing of the later half before PostgreSQL has gone.
	gone := make(chan struct{})
	read := sync.OnceFunc(func() { close(gone) })
	defer read()
	k.ua.SetAnswer(func(req *sip.Request) evapitest.Reply {
		if k.take(req); k.has(seat{room, req.To().Address.User}, messages/2) {
			<-gone
		}
		return evapitest.Reply{Code: 200}
	})
	ctx := kit.Within(t, 2*time.Minute)
	if err := registerAt(ctx, k.ua, users, 3600); err != nil {
		t.Fatal(err)
	}
	phone := chatAgent(t, s, "phone")
	for n := range messages {
		mustSay(t, phone, users[0], room, fmt.Sprintf("message #%d", n))
	}
	if err := pg.StopFast(); err != nil {
		t.Fatal(err)
	}
	before, _ := k.counts()
	read()
	const all = (members - 1) * messages
	kit.Until(t, ctx, "everything has arrived", func() bool { n, _ := k.counts(); return n == all })
	_, repeats := k.counts()
	t.Logf("%d of %d copies arrived while PostgreSQL was away, %d repeated", all-before, all, repeats)
	if before == all {
		t.Error("nothing was left to deliver")
	}
	kit.Until(t, ctx, "imcd is not ready", func() bool { return ready(t, s) == http.StatusServiceUnavailable })
	if err := pg.Start(ctx); err != nil {
		t.Fatal(err)
	}
	kit.Until(t, ctx, "a message is answered 200", func() bool {
		code, err := sayAs(ctx, phone, users[0], room, fmt.Sprintf("message #%d", messages))
		return err == nil && code == 200
	})
	kit.Until(t, ctx, "it has arrived", func() bool { n, _ := k.counts(); return n == all+members-1 })
}

func countTexts(all []evapitest.Received, part string) int {
	n := 0
	for _, m := range all {
		if strings.Contains(m.Text(), part) {
			n++
		}
	}
	return n
}

// ready is the answer of /readyz.
func ready(t *testing.T, s *stack.Stack) int {
	t.Helper()
	code, _ := kit.Get(t, "http://"+s.HTTPAddr()+"/readyz")
	return code
}
