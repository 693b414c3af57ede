package kamailiocfg_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
)

// askedConfig is demo.cfg with questions about rooms: the README's INVITE, INFO about a room, and INFO with a body
// about the user in From as its member. The answers are 200, 404 and 480. A REFER lets chat-3 expire.
func askedConfig(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(page), "### From a table that imcd keeps\n")
	block := strings.Split(chapter, "```\n")[1]
	if !strings.Contains(block, "route(IMC_ROOM_MEMBER)") {
		t.Fatal("the README has another form")
	}
	return strings.Replace(kamailiocfg.File(kamailiocfg.Demo), "request_route {", "request_route {\n"+block+`
	if (is_method("INVITE") && $rU =~ "^conf-") { sl_send_reply("486", "Member"); exit; }
	if (is_method("REFER")) { # 15 minutes later
		$shtex(imcr=>chat-3@chat.test) = 1;
		sl_send_reply("200", "Expires");
		exit;
	}
	if (is_method("INFO")) {
		$var(room) = "sip:" + $rU + "@" + $rd;
		$var(user) = "sip:" + $fU + "@" + $fd;
		if ($ml > 0 && $cl > 0) {
			route(IMC_ROOM_MEMBER);
			$var(answer) = $rc;
		} else {
			route(IMC_ROOM_ACTIVE);
			$var(answer) = $rc;
		}
		if ($var(answer) == 1) sl_send_reply("200", "Yes");
		else if ($var(answer) == -1) sl_send_reply("404", "No");
		else sl_send_reply("480", "Not known");
		exit;
	}`, 1)
}

const (
	yes     = 200
	no      = 404
	unknown = 480
)

// asked are user agents that ask, by name.
type asked struct {
	k   *evapitest.Kamailio
	uas map[string]*evapitest.UA
}

// ask asks whether a room exists, or a user is in it ("alice chat-1").
func (a *asked) ask(t *testing.T, what string) int {
	t.Helper()
	user, room, about := strings.Cut(what, " ")
	r := evapitest.Request{Method: "INFO"}
	if r.URI = "sip:" + user + "@chat.test"; about {
		r.URI, r.Body = "sip:"+room+"@chat.test", []byte("who")
	} else {
		user = "anybody"
	}
	u := a.uas[user]
	if u == nil {
		u = kit.UA(t, evapitest.UAConfig{User: user, Domain: "chat.test", Proxy: a.k.SIPAddr()})
		a.uas[user] = u
	}
	res, err := u.Do(kit.Context(t), r)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

// until waits until all answers are as wanted.
func (a *asked) until(t *testing.T, when string, want map[string]int) {
	t.Helper()
	ctx := kit.Within(t, time.Minute)
	kit.Until(t, ctx, when, func() bool {
		for what, code := range want {
			if got := a.ask(t, what); got != code {
				t.Logf("%s: %s: %d, not %d yet", when, what, got, code)
				return false
			}
		}
		return true
	})
}

// TestTableFrames: what engines say of rooms that they own counts, until it expires, and nothing else.
func TestTableFrames(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{Config: askedConfig(t), IMCLocal: "#!define IMC_HTABLE\n",
		Local: "alias=\"chat.test\"\n"})
	a := &asked{k: k, uas: map[string]*evapitest.UA{}}
	a.until(t, "without imcd", map[string]int{"chat-1": unknown, "alice chat-1": unknown})

	one, two := startEngine(t, k, "1"), startEngine(t, k, "2")
	if f := unb64(t, one.welcome.Params["features"]); !strings.HasSuffix(f, " htable") {
		t.Errorf("features %q", f)
	}
	frames := func(e *standIn, all ...string) {
		t.Helper()
		n, _ := e.seen("imc.pong")
		for _, f := range all {
			send(t, e.peer, f)
		}
		e.wait(t, "imc.pong", len(n)+2) // the first may have been on its way
	}
	table := func(whole, list string) string { return call("imc.htable", whole, list+".") }
	const room = "5 chat-1@chat.test alice@chat.test x'y@chat.test .<"
	frames(one, table("1", room))
	a.until(t, "nobody owns it", map[string]int{"chat-1": unknown})
	frames(one, call("imc.fleet", "1"), call("imc.own", "0 7 ."), table("", room))
	a.until(t, "not whole", map[string]int{"chat-1": yes, "CHAT-1": yes, "alice chat-1": yes, "x'y chat-1": yes,
		"bob chat-1": unknown, "chat-2": unknown, "%61lice chat-1": unknown, "alice %63hat-1": unknown})
	frames(two, table("1", "0 chat-1@chat.test .<6 chat-2@chat.test .<"))
	a.until(t, "of another engine", map[string]int{"chat-1": yes, "chat-2": unknown})
	frames(one, table("1", ""))
	a.until(t, "whole", map[string]int{"alice chat-1": yes, "bob chat-1": no, "chat-2": no, "alice chat-2": no})
	frames(one, table("", "5 chat-1@chat.test bob@chat.test .<0 chat-1@chat.test alice@chat.test .<"))
	a.until(t, "changed", map[string]int{"chat-1": yes, "bob chat-1": yes, "alice chat-1": no})
	frames(one, table("", "0 chat-1@chat.test .<"))
	a.until(t, "ended", map[string]int{"chat-1": no, "bob chat-1": no})
	frames(one, table("", "8 chat-1@chat.test carl@chat.test .<"))
	a.until(t, "created again", map[string]int{"chat-1": yes, "carl chat-1": yes, "bob chat-1": no})
	frames(two, call("imc.own", "0 8 ."))
	a.until(t, "moved", map[string]int{"carl chat-1": yes, "bob chat-1": unknown, "chat-2": unknown})
	frames(two, table("0", "7 chat-3@chat.test bob@chat.test .<"))
	a.until(t, "moved, not whole", map[string]int{"carl chat-1": yes, "bob chat-1": unknown, "bob chat-3": yes})
	frames(two, table("1", ""))
	a.until(t, "moved, whole: what its owner does not give is gone", map[string]int{"chat-1": no, "carl chat-1": no,
		"bob chat-3": yes, "carl chat-3": no})
	frames(two, table("0", "7 chat-3@chat.test .<"))
	a.until(t, "changes were lost", map[string]int{"chat-3": yes, "bob chat-3": yes, "chat-1": yes,
		"carl chat-3": unknown})
	frames(two, table("1", ""))
	a.until(t, "all was given again", map[string]int{"chat-3": yes, "bob chat-3": no, "chat-1": no})
	expect(t, do(t, a.uas["bob"], evapitest.Request{Method: "REFER", URI: "sip:chat-3@chat.test"}), 200)
	a.until(t, "expired", map[string]int{"chat-3": no})
	if err := two.peer.Close(); err != nil {
		t.Fatal(err)
	}
	a.until(t, "gone", map[string]int{"chat-3": unknown})
}

// TestTable: the real imcd keeps the table, also when it or Kamailio is started again.
func TestTable(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{Config: askedConfig(t), IMCLocal: "#!define IMC_HTABLE\n",
		Local: "alias=\"chat.test\"\n"})
	a := &asked{k: k, uas: map[string]*evapitest.UA{}}
	imcd := imcdtest.Beside(t, k, imcdtest.Options{Dir: programs.Folder(t)})
	for _, user := range []string{"alice", "bob", "carl"} {
		a.uas[user] = kit.Registered(t, k, evapitest.UAConfig{User: user, Domain: "chat.test"})
	}
	says := func(user, room, text string) {
		t.Helper()
		expect(t, say(t, a.uas[user], "sip:"+room+"@chat.test", text), 200)
	}
	a.until(t, "no rooms", map[string]int{"chat-1": no})
	says("alice", "chat-1", "#create")
	says("bob", "chat-1", "#join")
	says("alice", "chat-p", "#create private")
	says("alice", "chat-p", "#invite carl")
	before := map[string]int{"chat-1": yes, "alice chat-1": yes, "bob chat-1": yes, "carl chat-1": no, "chat-p": yes,
		"alice chat-p": yes, "carl chat-p": no, "bob chat-p": no, "chat-q": no}
	a.until(t, "created", before)
	call := func(user string, code int) {
		t.Helper()
		expect(t, do(t, a.uas[user], evapitest.Request{Method: "INVITE", URI: "sip:conf-1@chat.test"}), code)
	}
	call("bob", 486)
	call("carl", 403)

	if err := imcd.Kill(); err != nil {
		t.Fatal(err)
	}
	a.until(t, "imcd is away", map[string]int{"bob chat-1": yes, "carl chat-1": unknown, "chat-q": unknown})
	call("carl", 503)
	if err := imcd.Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	a.until(t, "imcd is back", before)
	if err := k.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := k.Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	a.until(t, "Kamailio is back", before)

	says("bob", "chat-1", "#exit")
	says("carl", "chat-p", "#accept")
	a.until(t, "left", map[string]int{"bob chat-1": no, "carl chat-p": yes, "alice chat-1": yes})
	says("alice", "chat-1", "#destroy")
	says("bob", "chat-1", "#create")
	a.until(t, "another room of that name", map[string]int{"chat-1": yes, "bob chat-1": yes, "alice chat-1": no})
	says("bob", "chat-1", "#destroy")
	a.until(t, "destroyed", map[string]int{"chat-1": no, "bob chat-1": no, "chat-p": yes})
}
