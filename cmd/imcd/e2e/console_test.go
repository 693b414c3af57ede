package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// What a page that takes data for HTML would fall for.
const (
	hostileName = `<img src=x onerror=document.title='owned'>`
	hostileBody = "</span><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\n" +
		"&lt;b&gt;"
	hostileRoom = `chat-&lt;b&gt;'(x)`
)

// speak sends a text and wants a 200.
func speak(t *testing.T, u *evapitest.UA, uri, text string) {
	t.Helper()
	res, err := u.Say(kit.Context(t), uri, text)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %v, %v", text, res, err)
	}
}

// TestConsole: the console shows a room that a SIP client makes while it is open,
// shows as text whatever clients send, and is there again after imcd was
// restarted.
func TestConsole(t *testing.T) {
	s := start(t, "sqlite", stack.Options{Settings: map[string]string{"event_bodies": "1"}})
	b := openConsole(t, s)
	b.live()
	b.sees(`document.getElementById("t-kamailio").textContent === "1/1"`)

	alice, err := s.Agent(evapitest.UAConfig{User: "alice", DisplayName: hostileName})
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.Register(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	room := "sip:" + hostileRoom + "@" + s.Kamailio().SIPAddr()
	speak(t, alice, room, "#create")
	row := fmt.Sprintf(`[...document.querySelectorAll("#rooms button")].find(b => b.textContent.startsWith(%s))`,
		strconv.Quote(hostileRoom+"@"))
	b.sees("%s", row)
	b.is(row + ".click()")
	b.sees(`[...document.querySelectorAll("#members tr")].some(r =>
		r.textContent.startsWith("alice") && r.textContent.includes("owner"))`)

	speak(t, alice, room, hostileBody)
	b.sees(`[...document.querySelectorAll("#talk .body")].some(n => n.textContent === %s)`, strconv.Quote(hostileBody))
	b.sees(`[...document.querySelectorAll("#talk .who")].some(n => n.textContent.startsWith(%s))`,
		strconv.Quote(hostileName))
	b.must(`document.title === "imcd" && document.querySelectorAll("img, body script, #talk b, #rooms b").length === 0`)

	if err := s.StopImcd(); err != nil {
		t.Fatal(err)
	}
	b.sees(`document.getElementById("link").textContent === "reconnecting"`)
	if err := s.StartImcd(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	b.live()
	bob := agent(t, s, "bob")
	speak(t, bob, room, "#join")
	speak(t, bob, room, "after the restart")
	b.sees(`[...document.querySelectorAll("#talk .body")].some(n => n.textContent === "after the restart")`)
	b.sees(`document.getElementById("events").textContent.includes("bob@")`)
}

// TestConsoleAsksForToken: with a token the page shows nothing before it is given.
func TestConsoleAsksForToken(t *testing.T) {
	s := start(t, "sqlite", stack.Options{Settings: map[string]string{"rpc_token": "T0/+=?-of-some-length"}})
	b := openConsole(t, s)
	give := func(token string) {
		b.sees(`document.getElementById("ask-token").open`)
		b.do(chromedp.SendKeys(chromedp.CSS("#token"), token+"\n"))
	}
	b.sees(`document.getElementById("ask-token").open`)
	b.must(`document.getElementById("t-rooms").textContent === "–"`)
	give("not the token")
	b.sees(`!document.getElementById("token-wrong").hidden`)
	give("T0/+=?-of-some-length")
	b.live()
	b.sees(`document.getElementById("t-rooms").textContent === "0"`)
}

// screenshots says where TestConsoleFits puts pictures of what it sees.
var screenshots = flag.String("screenshots", "", "directory for pictures of the console; empty: none are made")

// TestConsoleFits: a lively system on a desk and on a phone, light and dark:
// nothing sticks out, and what there is to see is seen.
func TestConsoleFits(t *testing.T) {
	s := start(t, "sqlite", stack.Options{Settings: map[string]string{"event_bodies": "1"}})
	b := openConsole(t, s)
	b.live()
	liven(t, s)
	room := "sip:chat-garden@chat.example"
	b.is(fmt.Sprintf("location.hash = 'room=' + encodeURIComponent(%q)", room))
	b.sees(`document.getElementById("talk").textContent.includes("Who waters the tomatoes")`)
	samples := 2
	if *screenshots != "" {
		samples = 25 // a minute looks better
	}
	b.sees(`document.querySelectorAll("#members tr").length === 4 &&
		document.querySelector("#c-rate polyline")?.points.length >= %d`, samples)
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1280, 960}, {"phone", 390, 844}} {
		b.pictured(size.name, size.width, size.height)
	}
	// The choice of the user goes before the system's.
	b.do(chromedp.Click(chromedp.CSS("#theme")))
	b.must(`getComputedStyle(document.documentElement).colorScheme === "light"`)
}

// contrast is whether every text stands out from the panels as WCAG AA demands.
const contrast = `(() => {
	const style = getComputedStyle(document.documentElement);
	const light = (name) => {
		const n = parseInt(style.getPropertyValue(name).trim().slice(1), 16);
		const [r, g, b] = [n >> 16, n >> 8 & 255, n & 255].map((v) =>
			(v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	return ["--text", "--dim", "--accent", "--second", "--good", "--bad", "--wait"].every((t) =>
		["--panel", "--bg", "--chosen", "--hover"].every((p) => {
		const [a, b] = [light(t), light(p)];
		return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) >= 4.5;
	}));
})()`

// faint lists the texts that are seen, and the hints in empty fields, that do not stand out as WCAG AA demands
// from what is behind them.
const faint = `(() => {
	const numbers = (color) => color.match(/[\d.]+/g).map(Number);
	const light = (color) => {
		const [r, g, b] = numbers(color).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = (node) => {
		const color = getComputedStyle(node).backgroundColor;
		return numbers(color)[3] === 0 && node.parentElement ? behind(node.parentElement) : color;
	};
	const faint = (node, style) => {
		const color = node instanceof SVGElement ? style.fill : style.color;
		const [a, b] = [light(color), light(behind(node))];
		return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
	};
	const seen = [...document.querySelectorAll("body *")].filter((n) => n.checkVisibility() && n.localName !== "option");
	return [
		...seen.filter((n) => [...n.childNodes].some((c) => c.nodeType === Node.TEXT_NODE && c.data.trim()) &&
			faint(n, getComputedStyle(n))).map((n) => n.textContent),
		...seen.filter((n) => n.placeholder && faint(n, getComputedStyle(n, "::placeholder"))).map((n) => n.placeholder),
	].join("; ");
})()`

// readable wants no text to be faint.
func (b *browser) readable() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserWait)
	defer cancel()
	list, err := chromedp.Run(ctx, chromedp.Evaluate[string](faint))
	if err != nil || list != "" {
		b.t.Errorf("%v; too little contrast: %s", err, list)
	}
}

// pictured wants a page to fit and to be read, light and dark, and takes pictures of it.
func (b *browser) pictured(name string, width, height int64) {
	b.t.Helper()
	for _, theme := range []string{"light", "dark"} {
		b.do(chromedp.EmulateViewport(width, height), prefer(theme))
		b.sees(`innerWidth === %d && matchMedia("(prefers-color-scheme: %s)").matches`, width, theme)
		b.must(`document.documentElement.scrollWidth <= innerWidth`)
		b.must(contrast)
		b.readable()
		b.picture(name + "-" + theme + ".png")
	}
}

// prefer makes the browser say that the user likes a theme.
func prefer(theme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, page *chromedp.Target) error {
		_, err := cdp.Call(ctx, page, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
		return err
	})
}

// picture saves what is seen, if pictures are wanted.
func (b *browser) picture(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserWait)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if *screenshots == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// liven fills a system with rooms, members and talk; one member is away.
func liven(t *testing.T, s *stack.Stack) {
	t.Helper()
	const at = "@chat.example"
	agent := func(user string) *evapitest.UA {
		u, err := s.Agent(evapitest.UAConfig{User: user, Domain: at[1:]})
		if err == nil {
			err = u.Register(kit.Context(t))
		}
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	alice, bob, carol := agent("alice"), agent("bob"), agent("carol")
	for _, line := range []struct {
		who        *evapitest.UA
		room, text string
	}{
		{alice, "chat-garden", "#create"}, {bob, "chat-garden", "#join"}, {carol, "chat-garden", "#join"},
		{alice, "chat-garden", "#add dave"}, {alice, "chat-garden", "#modify bob admin"},
		{carol, "chat-surprise", "#create chat-surprise private"}, {carol, "chat-surprise", "#invite alice"},
		{alice, "chat-surprise", "#accept"}, {bob, "chat-night-shift", "#create"}, {alice, "chat-night-shift", "#join"},
		{bob, "chat-oncall", "#create"}, {carol, "chat-oncall", "#join"},
		{bob, "chat-night-shift", "All quiet."}, {alice, "chat-surprise", "The cake is ordered."},
		{alice, "chat-garden", "Who waters the tomatoes this week?"}, {bob, "chat-garden", "I can, from Thursday on."},
		{carol, "chat-garden", "Then I take the first half. The hose is in the shed, the key is with Dave, and the " +
			"barrel is full after last night."},
	} {
		speak(t, line.who, "sip:"+line.room+at, line.text)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	t.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		beat := time.NewTicker(150 * time.Millisecond)
		defer beat.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-beat.C:
			}
			// The test's own context ends before it stops this.
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			res, err := bob.Say(ctx, "sip:chat-oncall"+at, fmt.Sprintf("Check %d passed", n))
			cancel()
			if err != nil || res.StatusCode != 200 {
				t.Errorf("check %d: %v, %v", n, res, err)
				return
			}
		}
	}()
}
