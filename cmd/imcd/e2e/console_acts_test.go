package e2e

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// keys types into what has the focus.
func (b *browser) keys(text string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(text))
}

// press presses the button that an expression names, by the keyboard.
func (b *browser) press(button string) {
	b.t.Helper()
	b.is(fmt.Sprintf(`(%s).focus() || true`, button))
	b.must(fmt.Sprintf(`document.activeElement === (%s)`, button))
	b.keys("\r")
}

// choose opens what a menu of a member offers.
func (b *browser) choose(member, action string) {
	b.t.Helper()
	menu := fmt.Sprintf(`document.querySelector('#members select[data-key="%s"]')`, member)
	b.sees("%s !== null", menu)
	b.is(fmt.Sprintf(`(() => {
		const menu = %s;
		menu.value = %q;
		menu.dispatchEvent(new Event("change"));
		return true;
	})()`, menu, action))
	b.sees(`document.getElementById("act").open`)
}

// done waits until a form was sent.
func (b *browser) done() {
	b.t.Helper()
	b.sees(`!document.getElementById("act").open`)
}

// TestConsoleActs: an operator makes a room, adds somebody, speaks, mutes, sees who did what, finds the user and why
// it gets nothing, and destroys the room only after typing its name again; all by the keyboard. Who opens the
// console afterwards sees what has happened.
func TestConsoleActs(t *testing.T) {
	s := start(t, "sqlite", stack.Options{})
	b := openConsole(t, s)
	b.live()
	bob, room := agent(t, s, "bob"), "sip:chat-acts@127.0.0.1"
	id := func(name string) string { return fmt.Sprintf(`document.getElementById(%q)`, name) }
	tool := func(name string) string { return fmt.Sprintf(`document.querySelector('[data-act="%s"]')`, name) }

	b.press(id("create"))
	b.sees(`document.activeElement.name === "room"`)
	b.keys(room + "\r")
	b.done()
	b.sees(`location.hash === "#room=" + encodeURIComponent(%q)`, room)
	b.press(tool("add"))
	b.sees(`document.activeElement.name === "user"`)
	b.keys("sip:bob@127.0.0.1\r")
	b.done()
	b.sees(`document.querySelectorAll("#members tr").length === 1`)
	b.press(tool("say"))
	b.sees(`document.activeElement.name === "text"`)
	b.keys("Maintenance at six")
	b.press(id("act-ok"))
	b.done()
	hears(t, bob, "[operator]: Maintenance at six")
	b.sees(`document.querySelectorAll("#talk .delete").length === 1`)
	b.press(`document.querySelector("#talk .delete")`)
	b.sees(`document.querySelector('#act-fields [name="seq"]').value === "1"`)
	b.press(id("act-ok"))
	b.done()
	hears(t, bob, "*** operator has deleted message 1, of operator, ")
	b.sees(`document.querySelectorAll("#talk .delete").length === 0`)
	b.press(tool("set"))
	b.sees(`document.activeElement.name === "name" && document.querySelectorAll("#act-fields option").length > 10`)
	b.is(`document.querySelector('#act-fields [name="name"]').value = "topic"`)
	b.is(`document.querySelector('#act-fields [name="value"]').focus() || true`)
	b.keys("what breaks\r")
	b.done()
	b.choose("sip:bob@127.0.0.1", "mute")
	b.sees(`document.activeElement.name === "for"`)
	b.keys("never\r")
	b.sees(`document.getElementById("act-wrong").textContent !== ""`) // it is no time
	b.is(`document.querySelector('#act-fields [name="for"]').select() || true`)
	b.keys("10m\t" + "too loud\r")
	b.done()
	b.sees(`[...document.querySelectorAll("#acts tr")].some(r => ["operator", "mute", "bob", "too loud"].every(w =>
		r.textContent.includes(w)))`)
	b.sees(`document.getElementById("acts").textContent.includes("topic: what breaks")`)

	alice := agent(t, s, "alice")
	for _, member := range [][]string{{room, alice.AOR(), "owner"}, {room, "sip:dora@127.0.0.1"}} {
		if err := s.Call(kit.Context(t), "imc.add_member", member, nil); err != nil {
			t.Fatal(err)
		}
	}
	res, err := alice.Do(kit.Context(t), evapitest.Request{Method: "MESSAGE", URI: room, Body: []byte("#remove dora")})
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}

	b.is(id("user-name") + ".focus() || true")
	b.keys("dora\r")
	b.sees(`document.getElementById("user-facts").textContent === "is in no room" &&
		["alice", "remove", "chat-acts"].every(w => document.getElementById("user-acts").textContent.includes(w))`)
	b.do(chromedp.EmulateViewport(1440, 1100), prefer("light"))
	b.picture("removed-desk-light.png")

	if err := bob.Unregister(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Call(kit.Context(t), "imc.say", map[string]string{"room": room, "text": "still there"}, nil); err != nil {
		t.Fatal(err)
	}
	b.is(id("user-name") + ".select() || true")
	b.keys("bob\r") // in the domain of the rooms
	b.sees(`document.getElementById("h-user").textContent === "bob@127.0.0.1"`)
	b.sees(`["chat-acts", "muted", "not registered"].every(w =>
		document.getElementById("user-rooms").textContent.includes(w))
		&& document.getElementById("user-facts").textContent.includes("owed 1 message")
		&& /chat-acts\S*: has \d+ of \d+/.test(document.getElementById("user-devices").textContent)`)
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"desk", 1440, 1100}, {"hand", 390, 844}} {
		b.pictured("user-"+size.name, size.width, size.height)
	}
	b.press(`document.querySelector("#user-rooms button")`)
	b.sees(`!document.getElementById("room-panel").hidden`)
	b.choose("sip:bob@127.0.0.1", "ban")
	b.picture("act-hand-dark.png")
	b.must(`document.documentElement.scrollWidth <= innerWidth &&
		document.getElementById("act").getBoundingClientRect().left >= 0`)
	b.press(id("act-cancel"))
	b.do(chromedp.EmulateViewport(1440, 1100), prefer("light"))
	b.sees(`[...document.querySelectorAll("#acts tr")].some(r => ["alice", "remove", "dora"].every(w =>
		r.textContent.includes(w)))`)
	b.picture("room-desk-light.png")

	b.press(tool("destroy"))
	b.sees(`document.activeElement.name === "again"`)
	b.keys("chat-other@127.0.0.1\r")
	b.sees(`document.getElementById("act-wrong").textContent.includes("not the room")`)
	b.is(`document.querySelector('#act-fields [name="again"]').select() || true`)
	b.keys("chat-acts@127.0.0.1\r")
	b.done()
	b.sees(`document.getElementById("room-facts").textContent === "is gone"`)
	b.do(chromedp.Navigate("http://" + s.HTTPAddr() + "/"))
	b.live()
	b.sees(`document.getElementById("events").textContent.includes("destroyed")`)
	b.sees(`document.querySelector("#c-rate polyline")?.points.length >= 2`)
	b.sees(`["bob", "dora", "404"].every(w => document.getElementById("events").textContent.includes(w))`)
	b.picture("incident-desk-light.png")
}
